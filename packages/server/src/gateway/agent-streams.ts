/**
 * Byte streams (consoles) beside the messages of one agent's connection. Each has a number; a stream whose reader is too slow is
 * closed, so that it holds up neither the others nor the messages.
 */
import { streamHeaderBytes, type ServerMessage } from "@sheaf/contract";

export interface StreamHandlers {
  bytes(bytes: Uint8Array): void;
  /** Bytes handed over that were not passed on yet. Where it can be told, a reader that is too slow is noticed by it. */
  readonly unsentBytes?: number;
  /** Once, and the last call. `reason` where something went wrong. */
  ended(reason: string | undefined): void;
}

export interface AgentStream {
  readonly number: number;
  send(bytes: Uint8Array): void;
  /** Told to the agent; no handler is called after it. */
  close(reason?: string): void;
}

export interface StreamTransport {
  send(data: string | Uint8Array): void;
  readonly unsentBytes: number;
}

/** More than this waiting, for the agent or for the reader, and the stream is closed (contract/wire.ts). */
export const streamBufferBytes = 256 * 1024;

export class AgentStreams {
  readonly #transport: StreamTransport;
  readonly #streams = new Map<number, StreamHandlers>();
  #next = 1;

  constructor(transport: StreamTransport) {
    this.#transport = transport;
  }

  open(handlers: StreamHandlers): AgentStream {
    const number = this.#next;
    this.#next = number === 0xffff_ffff ? 1 : number + 1;
    this.#streams.set(number, handlers);
    return {
      number,
      send: (bytes) => this.#sendBytes(number, bytes),
      close: (reason) => {
        if (this.#streams.delete(number)) this.#tellEnd(number, reason);
      },
    };
  }

  receive(frame: Uint8Array): void {
    if (frame.byteLength < streamHeaderBytes) return;
    const number = new DataView(frame.buffer, frame.byteOffset).getUint32(0);
    const handlers = this.#streams.get(number);
    // What was under way when a stream was closed comes after its end.
    if (!handlers) return;
    handlers.bytes(frame.subarray(streamHeaderBytes));
    if ((handlers.unsentBytes ?? 0) <= streamBufferBytes) return;
    this.receiveEnd(number, "what the guest sends is read too slowly");
    this.#tellEnd(number, "too much was unread");
  }

  receiveEnd(number: number, reason: string | undefined): void {
    const handlers = this.#streams.get(number);
    this.#streams.delete(number);
    handlers?.ended(reason);
  }

  get count(): number {
    return this.#streams.size;
  }

  /** The connection is lost. */
  close(): void {
    for (const number of this.#streams.keys()) this.receiveEnd(number, "the connection to the host was lost");
  }

  #sendBytes(number: number, bytes: Uint8Array): void {
    if (!this.#streams.has(number)) return;
    if (this.#transport.unsentBytes + bytes.byteLength > streamBufferBytes) {
      this.receiveEnd(number, "the host reads too slowly");
      return this.#tellEnd(number, "too much was unread");
    }
    const frame = new Uint8Array(streamHeaderBytes + bytes.byteLength);
    new DataView(frame.buffer).setUint32(0, number);
    frame.set(bytes, streamHeaderBytes);
    this.#transport.send(frame);
  }

  #tellEnd(number: number, reason: string | undefined): void {
    const message: ServerMessage = { type: "stream-end", stream: number, ...(reason === undefined ? {} : { reason }) };
    this.#transport.send(JSON.stringify(message));
  }
}
