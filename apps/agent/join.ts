/**
 * Joining a site: once in a host's life. The one-time token is sent only to a server whose authority has the fingerprint that the
 * person was given with the token; the key is made here and never leaves. Called by main.ts with `--join`.
 */
import { OtherAuthorityError, pinnedPost } from "@sheaf/adapters";
import { type Files, fits, type Identity, makeCertificateRequest, writeIdentity } from "@sheaf/agent";
import { hostRoutes } from "@sheaf/contract";
import { type ProblemCode, problems, SheafError } from "@sheaf/model";

export interface JoinOptions {
  /** The server's API: `https://name:7443`. */
  readonly serverUrl: string;
  readonly token: string;
  /** `sha256:<hex>` of the authority's certificate. */
  readonly caFingerprint: string;
  readonly dataDirectory: string;
  readonly hostname: string;
  readonly machineId: string;
  /** Where the server and other hosts reach this one. */
  readonly address: string;
  readonly files: Files;
}

/** @throws SheafError `unauthenticated` for a server with another authority, `not-allowed` for a token that is not (or no longer) good */
export async function joinHost(options: JoinOptions): Promise<Identity> {
  const { serverUrl, token, dataDirectory, hostname, machineId, address, files } = options;
  const base = new URL(serverUrl);
  const { request, privateKey } = await makeCertificateRequest(hostname);
  const body = { token, certificateRequest: request, hostname, machineId, address };
  const { content, authority } = await post(base, options.caFingerprint, body);
  const answer = hostRoutes.join.output.parse(content);
  if (!(await fits(answer.certificate, privateKey))) {
    throw new SheafError("internal", "the server answered with a certificate for another key", {
      next: "Look at the server's log, then join with a new token.",
    });
  }
  const agents = new URL(base);
  agents.port = String(answer.agentPort);
  const identity = { hostId: answer.hostId, serverUrl: agents.origin, certificate: answer.certificate, privateKey, authority };
  await writeIdentity(files, dataDirectory, identity);
  return identity;
}

async function post(base: URL, fingerprint: string, body: unknown): Promise<{ content: unknown; authority: string }> {
  try {
    const { status, text, authority } = await pinnedPost({ server: base.origin, path: `/api/v1${hostRoutes.join.path}`, fingerprint, body });
    const content = parse(text);
    if (status >= 300) throw problemOf(content, status);
    return { content, authority };
  } catch (error) {
    if (error instanceof SheafError) throw error;
    if (error instanceof OtherAuthorityError)
      throw new SheafError("unauthenticated", error.message, {
        next: "Is the address right? Ask for a new line with `sheaf host add`; do not join a server that you cannot verify.",
      });
    throw new SheafError("unavailable", `the server at ${base.origin} cannot be reached: ${error instanceof Error ? error.message : String(error)}`, {
      next: "Is it running, and does this host reach that address and port?",
    });
  }
}

function problemOf(answer: unknown, status: number): SheafError {
  const { code, detail, next } = (answer ?? {}) as { code?: unknown; detail?: unknown; next?: unknown }; // whatever came: each is checked below
  const known = typeof code === "string" && Object.hasOwn(problems, code);
  return new SheafError(
    known ? (code as ProblemCode) : "internal",
    typeof detail === "string" ? detail : `the server answered ${status} to the request to join`,
    typeof next === "string" ? { next } : {},
  );
}

function parse(text: string): unknown {
  try {
    return JSON.parse(text);
  } catch {
    return null;
  }
}
