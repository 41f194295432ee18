/**
 * One request to a server of which nothing is known but the fingerprint of its authority: nothing is sent before the authority is found
 * in the chain that the server shows. For joining: hosts and servers.
 */
import { createHash, X509Certificate } from "node:crypto";
import { request as httpsRequest } from "node:https";
import { connect as tlsConnect, type DetailedPeerCertificate } from "node:tls";

export interface PinnedPost {
  /** `https://name:7443` */
  readonly server: string;
  readonly path: string;
  /** `sha256:<hex>` of the authority's certificate. */
  readonly fingerprint: string;
  readonly body: unknown;
}

export interface PinnedAnswer {
  readonly status: number;
  readonly text: string;
  /** PEM: the certificate with the fingerprint. */
  readonly authority: string;
}

/** The server shows another authority than the one that was named. */
export class OtherAuthorityError extends Error {
  override readonly name = "OtherAuthorityError";
}

const timeoutMs = 30_000;

/** @throws OtherAuthorityError; Error where the server cannot be reached */
export async function pinnedPost({ server, path, fingerprint, body }: PinnedPost): Promise<PinnedAnswer> {
  const base = new URL(server);
  const authority = await pinnedAuthority(base, fingerprint);
  return { ...(await post(base, path, body, authority)), authority };
}

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
        reject(new OtherAuthorityError(`the server at ${base.origin} does not show the certificate authority ${fingerprint}`));
      },
    );
    socket.on("timeout", () => socket.destroy(new Error(`no answer within ${timeoutMs} ms`)));
    socket.on("error", reject);
  });
}

function post(base: URL, path: string, body: unknown, authority: string): Promise<{ status: number; text: string }> {
  const text = JSON.stringify(body);
  return new Promise((resolve, reject) => {
    const headers = { "content-type": "application/json", accept: "application/json", "content-length": Buffer.byteLength(text) };
    const request = httpsRequest(
      { host: hostOf(base), port: portOf(base), path, method: "POST", ca: authority, headers, timeout: timeoutMs },
      (response) => {
        const chunks: Buffer[] = [];
        response.on("data", (chunk: Buffer) => chunks.push(chunk));
        response.on("error", reject);
        response.on("end", () => resolve({ status: response.statusCode ?? 0, text: Buffer.concat(chunks).toString("utf8") }));
      },
    );
    request.on("timeout", () => request.destroy(new Error(`no answer within ${timeoutMs} ms`)));
    request.on("error", reject);
    request.end(text);
  });
}

const sha256 = (bytes: Uint8Array): string => createHash("sha256").update(bytes).digest("hex");
const hostOf = (base: URL): string => base.hostname.replace(/^\[|\]$/g, "");
const portOf = (base: URL): number => (base.port === "" ? 443 : Number(base.port));
