/**
 * Opening a WebSocket to the server with a certificate of one's own: the agent's way to its server. The server must show a
 * certificate of the site's own authority for the name that was dialled; nothing else is trusted.
 */
import { WebSocket } from "ws";
import { messageSocket, type MessageSocket } from "./message-socket.ts";

export interface DialOptions {
  /** `wss://name:7444/path` */
  readonly url: string;
  /** PEM: the authority's certificate. */
  readonly authority: string;
  /** PEM: own certificate and its key. */
  readonly certificate: string;
  readonly privateKey: string;
  /** Until the connection stands, ms. */
  readonly timeoutMs: number;
  readonly signal?: AbortSignal;
  /** Largest message taken, 64 MiB by default: a host with a thousand machines gets them all in one. */
  readonly maximumMessageBytes?: number;
}

/** The connection did not come about. `status` where the server answered something else than an upgrade (403: revoked). */
export class DialError extends Error {
  override readonly name = "DialError";
  readonly status: number | null;
  constructor(message: string, status: number | null, cause?: unknown) {
    super(message, cause === undefined ? undefined : { cause });
    this.status = status;
  }
}

/** @throws DialError */
export function dial(options: DialOptions): Promise<MessageSocket> {
  return new Promise((resolve, reject) => {
    const socket = new WebSocket(options.url, {
      ca: options.authority,
      cert: options.certificate,
      key: options.privateKey,
      minVersion: "TLSv1.3",
      handshakeTimeout: options.timeoutMs,
      perMessageDeflate: false,
      maxPayload: options.maximumMessageBytes ?? 64 * 2 ** 20,
    });
    const onAbort = (): void => socket.terminate();
    const finish = (): void => options.signal?.removeEventListener("abort", onAbort);
    options.signal?.addEventListener("abort", onAbort, { once: true });
    // Before it is open: the answer to the upgrade tells what it will speak over.
    socket.once("upgrade", ({ socket: connection }) => {
      socket.once("open", () => {
        finish();
        socket.off("error", onError);
        socket.off("unexpected-response", onAnswer);
        resolve(messageSocket(socket, connection));
      });
    });
    const onAnswer = (_request: unknown, answer: { statusCode?: number }): void => {
      finish();
      socket.terminate();
      reject(new DialError(`${options.url} answers ${answer.statusCode ?? "nothing"} and no connection`, answer.statusCode ?? null));
    };
    const onError = (error: Error): void => {
      finish();
      reject(new DialError(`${options.url} cannot be reached: ${error.message}`, null, error));
    };
    socket.on("error", onError);
    socket.on("unexpected-response", onAnswer);
    if (options.signal?.aborted) onAbort();
  });
}
