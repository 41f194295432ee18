/**
 * One WebSocket as server and agent use it: texts and bytes both ways, with what is still unsent made visible, so that a slow
 * reader is noticed. Made by `agent-listener.ts` (the server's side), `dial.ts` (the agent's side) and for consoles.
 */
import type { Duplex } from "node:stream";
import type { WebSocket } from "ws";

export interface MessageHandlers {
  text(text: string): void;
  bytes(bytes: Uint8Array): void;
  /** The other side answered a ping, or sent one. */
  alive(): void;
  /** What was unsent has fallen below `resumeBelowBytes`, after it was above. */
  drained(): void;
  /** Once, and the last call. */
  closed(code: number, reason: string): void;
}

export interface MessageSocket {
  /** Texts and bytes are sent in order. Ignored after closing. */
  send(data: string | Uint8Array): void;
  /** Bytes handed over and not yet given to the operating system. */
  readonly unsentBytes: number;
  ping(): void;
  /** Ends in good order; cut after 5 s when the other side does not answer. */
  close(code: number, reason: string): void;
  /** Cuts at once. */
  cut(): void;
  /** To be called once, soon after the socket was received: what came before is kept for it, the end too. */
  listen(handlers: MessageHandlers): void;
}

export const resumeBelowBytes = 256 * 1024;

/** @param connection what the WebSocket speaks over: what is sent in one turn leaves as one write, which TLS and the kernel take as one */
export function messageSocket(socket: WebSocket, connection: Pick<Duplex, "cork" | "uncork">): MessageSocket {
  let wasFull = false;
  let gathering = false;
  let handlers: MessageHandlers | null = null;
  const afterSend = (): void => {
    if (!wasFull || socket.bufferedAmount >= resumeBelowBytes) return;
    wasFull = false;
    handlers?.drained();
  };
  // A socket in error also closes; an `error` event without a listener would end the process.
  socket.on("error", () => {});
  return {
    send(data) {
      if (socket.readyState !== socket.OPEN) return;
      if (!gathering) {
        gathering = true;
        connection.cork();
        process.nextTick(() => {
          gathering = false;
          connection.uncork();
        });
      }
      socket.send(data, afterSend);
      if (socket.bufferedAmount >= resumeBelowBytes) wasFull = true;
    },
    get unsentBytes() {
      return socket.bufferedAmount;
    },
    ping() {
      if (socket.readyState === socket.OPEN) socket.ping();
    },
    close(code, reason) {
      socket.close(code, reason.slice(0, 120)); // RFC 6455: at most 123 bytes
    },
    cut() {
      socket.terminate();
    },
    listen(given) {
      handlers = given;
      socket.on("message", (data, binary) => {
        // `nodebuffer` is the default type: messages in one piece come as one Buffer, others as several.
        const bytes = Array.isArray(data) ? Buffer.concat(data) : data instanceof ArrayBuffer ? new Uint8Array(data) : data;
        if (binary) given.bytes(bytes);
        else given.text(Buffer.from(bytes.buffer, bytes.byteOffset, bytes.byteLength).toString("utf8"));
      });
      socket.on("pong", () => given.alive());
      socket.on("ping", () => given.alive());
      if (socket.readyState === socket.CLOSED) queueMicrotask(() => given.closed(1006, "it had ended before"));
      else socket.once("close", (code, reason) => given.closed(code, reason.toString("utf8")));
    },
  };
}
