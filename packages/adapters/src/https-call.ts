/**
 * One JSON request over HTTPS to a management controller: basic authentication, a certificate that is pinned by its fingerprint or not
 * checked at all (such controllers sign their own). Never follows a redirect.
 */
import { request as httpsRequest } from "node:https";
import type { TLSSocket } from "node:tls";

export interface HttpsCallOptions {
  readonly method: "GET" | "POST";
  readonly host: string;
  readonly port: number;
  readonly path: string;
  readonly user: string;
  readonly password: string;
  /** SHA-256, hexadecimal, small letters. */
  readonly certificateFingerprint?: string;
  readonly body?: unknown;
  readonly signal: AbortSignal;
}

const maximumAnswerBytes = 2 ** 20;

export function httpsCall(options: HttpsCallOptions): Promise<{ readonly status: number; readonly text: string }> {
  const { host, port, path, method, user, password, certificateFingerprint, signal } = options;
  return new Promise((resolve, reject) => {
    const body = options.body === undefined ? undefined : JSON.stringify(options.body);
    const request = httpsRequest({
      ...{ host, port, path, method, signal },
      rejectUnauthorized: false, // see below: the fingerprint decides before anything is sent
      agent: false,
      headers: {
        accept: "application/json",
        ...(body === undefined ? {} : { "content-type": "application/json", "content-length": Buffer.byteLength(body) }),
      },
    });
    request.once("error", reject);
    request.once("response", (answer) => {
      const chunks: Uint8Array[] = [];
      let size = 0;
      answer.on("data", (chunk: Uint8Array) => {
        size += chunk.byteLength;
        if (size > maximumAnswerBytes) answer.destroy(new Error(`${host} answers with more than ${maximumAnswerBytes} bytes`));
        else chunks.push(chunk);
      });
      answer.once("error", reject);
      answer.once("end", () => resolve({ status: answer.statusCode ?? 0, text: Buffer.concat(chunks).toString("utf8") }));
    });
    request.once("socket", (socket) => {
      socket.once("secureConnect", () => {
        const seen = (socket as TLSSocket).getPeerCertificate().fingerprint256?.replaceAll(":", "").toLowerCase(); // an https request's socket
        if (certificateFingerprint !== undefined && seen !== certificateFingerprint) {
          request.destroy(new Error(`the certificate of ${host} is another than the expected one: its fingerprint is ${seen ?? "not told"}`));
          return;
        }
        // Credentials go out only to whom they are meant for.
        request.setHeader("authorization", `Basic ${Buffer.from(`${user}:${password}`).toString("base64")}`);
        request.end(body);
      });
    });
  });
}
