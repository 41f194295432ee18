/**
 * `GET` from the agents' port with a certificate of one's own: how an agent fetches images. Nothing but the site's own authority
 * is trusted. Resumes by `Range`.
 */
import { request as httpsRequest } from "node:https";
import type { IncomingMessage } from "node:http";

export interface SecureGetOptions {
  readonly url: string;
  /** PEM each. */
  readonly authority: string;
  readonly certificate: string;
  readonly privateKey: string;
  /** First byte wanted. */
  readonly offset: number;
  /** Longest silence, ms. */
  readonly idleTimeoutMs: number;
  readonly signal: AbortSignal;
}

export interface SecureGetResult {
  readonly offset: number;
  readonly totalBytes?: number;
  readonly body: AsyncIterable<Uint8Array>;
}

export class SecureGetError extends Error {
  override readonly name = "SecureGetError";
  /** `null`: no answer came. */
  readonly status: number | null;
  constructor(message: string, status: number | null) {
    super(message);
    this.status = status;
  }
}

/** @throws SecureGetError before the body begins; errors of the connection come while it is read */
export async function secureGet(options: SecureGetOptions): Promise<SecureGetResult> {
  const answer = await new Promise<IncomingMessage>((resolve, reject) => {
    const request = httpsRequest(
      options.url,
      {
        ca: options.authority,
        cert: options.certificate,
        key: options.privateKey,
        minVersion: "TLSv1.3",
        agent: false, // a connection of its own, with the certificate of now
        signal: options.signal,
        timeout: options.idleTimeoutMs,
        headers: options.offset > 0 ? { range: `bytes=${options.offset}-` } : {},
      },
      resolve,
    );
    request.once("timeout", () => request.destroy(new SecureGetError(`${options.url} was silent for ${options.idleTimeoutMs} ms`, null)));
    request.once("error", (error) =>
      reject(error instanceof SecureGetError || options.signal.aborted ? error : new SecureGetError(`${options.url}: ${error.message}`, null)),
    );
    request.end();
  });
  const status = answer.statusCode ?? 0;
  const body = answer as AsyncIterable<Uint8Array>; // no encoding is set: it yields buffers
  if (status === 200) {
    const length = Number(answer.headers["content-length"]);
    return { offset: 0, body, ...(Number.isSafeInteger(length) ? { totalBytes: length } : {}) };
  }
  const range = /^bytes (\d+)-\d+\/(\d+)$/.exec(answer.headers["content-range"] ?? "");
  if (status === 206 && range) return { offset: Number(range[1]), totalBytes: Number(range[2]), body };
  // All was there already: an empty rest.
  const whole = /^bytes \*\/(\d+)$/.exec(answer.headers["content-range"] ?? "");
  answer.destroy();
  if (status === 416 && whole && Number(whole[1]) === options.offset) return { offset: options.offset, totalBytes: options.offset, body: nothing() };
  throw new SecureGetError(`${options.url} answers ${status}`, status);
}

async function* nothing(): AsyncGenerator<Uint8Array> {}
