/** The client's transport under Node: HTTPS with the server's own authority, one kept-alive agent, and the streaming kinds beside it. */
import { Agent, request as httpsRequest, type RequestOptions } from "node:https";
import type { IncomingMessage } from "node:http";
import { connect as tlsConnect, type DetailedPeerCertificate } from "node:tls";
import { createHash } from "node:crypto";
import type { HttpResponse, Transport } from "@sheaf/client";
import { SheafError } from "@sheaf/model";
import type { Connection } from "./cli.ts";

export interface HttpsTransport {
  readonly transport: Transport;
  /** Resolves with the answer once its head is there. `body` may be a stream of bytes with its length. */
  stream(
    path: string,
    options: {
      readonly method?: string;
      readonly headers?: Record<string, string | number>;
      readonly body?: AsyncIterable<Uint8Array>;
      readonly signal?: AbortSignal;
    },
  ): Promise<IncomingMessage>;
  close(): void;
}

export function httpsTransport(connection: Connection, timeoutMs = 60_000): HttpsTransport {
  const base = new URL(connection.url);
  const agent = new Agent({ keepAlive: true, maxSockets: 16, ...(connection.authority === undefined ? {} : { ca: connection.authority }) });
  const options = (path: string, method: string, headers: Record<string, string | number>, signal?: AbortSignal): RequestOptions => ({
    agent,
    host: base.hostname.replace(/^\[|\]$/g, ""),
    port: base.port === "" ? 443 : base.port,
    path,
    method,
    headers,
    ...(signal === undefined ? {} : { signal }),
  });

  const transport: Transport = (input) =>
    new Promise((resolve, reject) => {
      const body = input.body === undefined ? undefined : Buffer.from(input.body);
      const headers = { ...input.headers, ...(body === undefined ? {} : { "content-length": body.length }) };
      const request = httpsRequest(options(input.path, input.method, headers, input.signal), (response) => {
        readText(response).then(
          (text) => resolve({ status: response.statusCode ?? 0, headers: flat(response), text }),
          (error: unknown) => reject(unreachable(base, error)),
        );
      });
      request.setTimeout(timeoutMs, () =>
        request.destroy(
          new SheafError("timed-out", `${base.origin} did not answer within ${timeoutMs / 1000} s.`, {
            next: "Look whether the change was made before you repeat it.",
          }),
        ),
      );
      request.on("error", (error) => reject(unreachable(base, error)));
      request.end(body);
    });

  return {
    transport,
    stream: (path, input) =>
      new Promise((resolve, reject) => {
        const authorization: Record<string, string> = connection.token === undefined ? {} : { authorization: `Bearer ${connection.token}` };
        const request = httpsRequest(options(path, input.method ?? "GET", { ...authorization, ...input.headers }, input.signal), resolve);
        request.on("error", (error) => reject(unreachable(base, error)));
        if (input.body === undefined) request.end();
        else void pump(input.body, request).catch((error: unknown) => request.destroy(error instanceof Error ? error : new Error(String(error))));
      }),
    close: () => agent.destroy(),
  };
}

async function pump(body: AsyncIterable<Uint8Array>, request: ReturnType<typeof httpsRequest>): Promise<void> {
  for await (const chunk of body) {
    if (!request.write(chunk)) await new Promise((resolve) => request.once("drain", resolve));
  }
  request.end();
}

export async function readText(response: IncomingMessage): Promise<string> {
  const chunks: Buffer[] = [];
  for await (const chunk of response) chunks.push(chunk as Buffer); // no encoding is set, so chunks are buffers
  return Buffer.concat(chunks).toString("utf8");
}

export function flat(response: IncomingMessage): HttpResponse["headers"] {
  return Object.fromEntries(Object.entries(response.headers).map(([name, value]) => [name, Array.isArray(value) ? value.join(", ") : value]));
}

function unreachable(base: URL, error: unknown): SheafError {
  if (error instanceof SheafError) return error;
  const cause = error instanceof Error ? ((error as NodeJS.ErrnoException).code ?? error.message) : String(error); // system errors carry a code
  if (error instanceof Error && error.name === "AbortError") return new SheafError("cancelled", "Interrupted.");
  const untrusted = /CERT|SELF_SIGNED|UNABLE_TO/.test(cause);
  return new SheafError("unavailable", `${base.origin} cannot be reached.`, {
    cause,
    next: untrusted
      ? "Its certificate is not trusted: run `sheaf login` for this address and compare the fingerprint."
      : "Is the server running, and the address right?",
  });
}

/** The certificate authority a server presents, before it is trusted: its PEM and SHA-256 fingerprint, for a person to compare. */
export function fetchAuthority(url: string): Promise<{ pem: string; fingerprint: string }> {
  const base = new URL(url);
  const host = base.hostname.replace(/^\[|\]$/g, "");
  return new Promise((resolve, reject) => {
    // Nothing is sent on this connection: it only looks at the chain.
    const socket = tlsConnect({ host, port: base.port === "" ? 443 : Number(base.port), rejectUnauthorized: false, timeout: 10_000 }, () => {
      let certificate: DetailedPeerCertificate = socket.getPeerCertificate(true);
      while (certificate.issuerCertificate !== undefined && certificate.issuerCertificate.fingerprint256 !== certificate.fingerprint256)
        certificate = certificate.issuerCertificate;
      socket.end();
      const lines = certificate.raw.toString("base64").replace(/(.{64})/g, "$1\n");
      resolve({
        pem: `-----BEGIN CERTIFICATE-----\n${lines.trimEnd()}\n-----END CERTIFICATE-----\n`,
        fingerprint: createHash("sha256").update(certificate.raw).digest("hex"),
      });
    });
    socket.on("timeout", () => socket.destroy(new Error("ETIMEDOUT")));
    socket.on("error", (error) => reject(unreachable(base, error)));
  });
}
