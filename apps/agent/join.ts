/**
 * Joining a site: once in a host's life. The one-time token is sent only to a server whose authority has the fingerprint that the
 * person was given with the token; the key is made here and never leaves. Called by main.ts with `--join`.
 */
import { createHash, X509Certificate } from "node:crypto";
import { request as httpsRequest } from "node:https";
import { connect as tlsConnect, type DetailedPeerCertificate } from "node:tls";
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

const timeoutMs = 30_000;

/** @throws SheafError `unauthenticated` for a server with another authority, `not-allowed` for a token that is not (or no longer) good */
export async function joinHost(options: JoinOptions): Promise<Identity> {
  const { serverUrl, token, dataDirectory, hostname, machineId, address, files } = options;
  const base = new URL(serverUrl);
  const authority = await pinnedAuthority(base, options.caFingerprint);
  const { request, privateKey } = await makeCertificateRequest(hostname);
  const body = { token, certificateRequest: request, hostname, machineId, address };
  const answer = hostRoutes.join.output.parse(await post(base, `/api/v1${hostRoutes.join.path}`, body, authority));
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

/** The certificate with that fingerprint out of the chain the server shows; nothing is sent before. */
function pinnedAuthority(base: URL, fingerprint: string): Promise<string> {
  const wanted = fingerprint
    .replace(/^sha256:/i, "")
    .replaceAll(":", "")
    .toLowerCase();
  return new Promise((resolve, reject) => {
    const socket = tlsConnect(
      { host: hostOf(base), port: portOf(base), rejectUnauthorized: false, minVersion: "TLSv1.2", timeout: timeoutMs },
      () => {
        let certificate: DetailedPeerCertificate = socket.getPeerCertificate(true);
        const seen = new Set<string>();
        while (sha256(certificate.raw) !== wanted && certificate.issuerCertificate && !seen.has(certificate.fingerprint256)) {
          seen.add(certificate.fingerprint256);
          certificate = certificate.issuerCertificate;
        }
        socket.end();
        if (sha256(certificate.raw) === wanted) return resolve(new X509Certificate(certificate.raw).toString());
        reject(
          new SheafError("unauthenticated", `the server at ${base.origin} does not show the certificate authority ${fingerprint}`, {
            next: "Is the address right? Ask for a new line with `sheaf host add`; do not join a server that you cannot verify.",
          }),
        );
      },
    );
    socket.on("timeout", () => socket.destroy(new Error(`no answer within ${timeoutMs} ms`)));
    socket.on("error", (error) => reject(unreachable(base, error)));
  });
}

function post(base: URL, path: string, body: unknown, authority: string): Promise<unknown> {
  const text = JSON.stringify(body);
  return new Promise((resolve, reject) => {
    const headers = { "content-type": "application/json", accept: "application/json", "content-length": Buffer.byteLength(text) };
    const request = httpsRequest(
      { host: hostOf(base), port: portOf(base), path, method: "POST", ca: authority, headers, timeout: timeoutMs },
      (response) => {
        const chunks: Buffer[] = [];
        response.on("data", (chunk: Buffer) => chunks.push(chunk));
        response.on("error", (error) => reject(unreachable(base, error)));
        response.on("end", () => {
          const answer = parse(Buffer.concat(chunks).toString("utf8"));
          if ((response.statusCode ?? 500) < 300) resolve(answer);
          else reject(problemOf(answer, response.statusCode ?? 0));
        });
      },
    );
    request.on("timeout", () => request.destroy(new Error(`no answer within ${timeoutMs} ms`)));
    request.on("error", (error) => reject(unreachable(base, error)));
    request.end(text);
  });
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

const unreachable = (base: URL, error: Error): SheafError =>
  new SheafError("unavailable", `the server at ${base.origin} cannot be reached: ${error.message}`, {
    next: "Is it running, and does this host reach that address and port?",
  });

const sha256 = (bytes: Uint8Array): string => createHash("sha256").update(bytes).digest("hex");
const hostOf = (base: URL): string => base.hostname.replace(/^\[|\]$/g, "");
const portOf = (base: URL): number => (base.port === "" ? 443 : Number(base.port));
