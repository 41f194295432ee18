/**
 * A data stream beside a call: uploads, downloads, consoles, screenshots. It has a connection of its own, so that a reader who is
 * slow holds up the daemon's sending and nothing else. Made by `Libvirt.openStream`.
 */
import { hyper, struct, uint } from "./codec.ts";
import { decodeValue, encodeValue } from "./codec.ts";
import { LibvirtConnectionError, type LibvirtClientError } from "./errors.ts";
import { MAX_STREAM_PAYLOAD_BYTES } from "./frame.ts";

/** A piece of a sparse stream: data, or a run of zero bytes that is not sent. */
export type StreamPiece = { readonly kind: "data"; readonly data: Uint8Array } | { readonly kind: "hole"; readonly lengthBytes: number };

const hole = struct({ length: hyper, flags: uint });

export const encodeHole = (lengthBytes: number) => encodeValue(hole, { length: BigInt(lengthBytes), flags: 0 });
export const decodeHole = (payload: Uint8Array) => Number(decodeValue(hole, payload).length);

/** What a stream needs from its connection. */
export interface StreamChannel {
  /** False: wait for `drained` before sending much more. */
  sendData(data: Uint8Array): boolean;
  sendHole(payload: Uint8Array): boolean;
  sendFinish(): void;
  sendAbort(): void;
  /** Resolves when what was sent has left, or the connection is gone. */
  drained(): Promise<void>;
  pause(): void;
  resume(): void;
  /** The stream is over: the connection can be closed. */
  release(): void;
}

/** Bytes kept for a reader before the daemon is made to wait. */
const HIGH_WATER_BYTES = 1_048_576;

type State = { readonly kind: "open" } | { readonly kind: "ended" } | { readonly kind: "failed"; readonly error: Error };

export class LibvirtStream implements AsyncIterable<StreamPiece> {
  readonly #channel: StreamChannel;
  #state: State = { kind: "open" };
  /** No more data will come (the daemon's end of file), although the stream is not confirmed as finished yet. */
  #endOfData = false;
  #finishSent = false;
  #released = false;
  #pieces: StreamPiece[] = [];
  #bufferedBytes = 0;
  #paused = false;
  #wake: (() => void)[] = [];

  constructor(channel: StreamChannel) {
    this.#channel = channel;
  }

  /** Bytes that arrived and were not read yet. */
  get bufferedBytes(): number {
    return this.#bufferedBytes;
  }

  /** Sends data; waits while the daemon is slower than we are. Large chunks are cut into frames. */
  async write(data: Uint8Array): Promise<void> {
    for (let offset = 0; offset < data.byteLength; offset += MAX_STREAM_PAYLOAD_BYTES) {
      this.#mustBeWritable();
      if (!this.#channel.sendData(data.subarray(offset, offset + MAX_STREAM_PAYLOAD_BYTES))) await this.#channel.drained();
    }
  }

  /** Sends a run of zero bytes as its length only. The procedure's SPARSE flag is required. */
  async writeHole(lengthBytes: number): Promise<void> {
    this.#mustBeWritable();
    if (!this.#channel.sendHole(encodeHole(lengthBytes))) await this.#channel.drained();
  }

  /** Says that all was sent, and waits until the daemon confirms that it has stored all of it. Unread data is thrown away. */
  async finish(): Promise<void> {
    if (this.#state.kind === "open" && !this.#finishSent) {
      this.#finishSent = true;
      this.#channel.sendFinish();
    }
    while (this.#state.kind === "open") {
      this.#discard();
      await this.#changed();
    }
    if (this.#state.kind === "failed") throw this.#state.error;
  }

  /** Breaks the stream off. The daemon keeps what it has got so far. Does nothing when it is over already. */
  abort(): void {
    if (this.#state.kind !== "open") return;
    this.#channel.sendAbort();
    this.#discard();
    this.#settle({ kind: "failed", error: new LibvirtConnectionError("the stream was broken off by this side", false) });
  }

  /** The next piece; undefined at the end. Rejects when the daemon reports an error or the connection is lost. */
  async read(): Promise<StreamPiece | undefined> {
    for (;;) {
      const piece = this.#pieces.shift();
      if (piece !== undefined) {
        if (piece.kind === "data") this.#bufferedBytes -= piece.data.byteLength;
        this.#flow();
        return piece;
      }
      if (this.#state.kind === "failed") throw this.#state.error;
      if (this.#state.kind === "ended" || this.#endOfData) return undefined;
      await this.#changed();
    }
  }

  /** All pieces to the end, then the daemon's confirmation. Leaving the loop early breaks the stream off. */
  async *[Symbol.asyncIterator](): AsyncGenerator<StreamPiece, void> {
    try {
      for (let piece = await this.read(); piece !== undefined; piece = await this.read()) yield piece;
      await this.finish();
    } finally {
      this.abort();
    }
  }

  /** From the connection: data arrived. An empty piece is the daemon's end of file. */
  receiveData(data: Uint8Array): void {
    if (data.byteLength === 0) this.#endOfData = true;
    else this.#receive({ kind: "data", data: new Uint8Array(data) });
    this.#notify();
  }

  /** From the connection: a hole arrived. */
  receiveHole(lengthBytes: number): void {
    this.#receive({ kind: "hole", lengthBytes });
    this.#notify();
  }

  /** From the connection: the daemon confirmed the end. */
  receiveEnd(): void {
    this.#settle({ kind: "ended" });
  }

  /** From the connection: the daemon reported an error, or the connection is gone. */
  receiveError(error: LibvirtClientError): void {
    this.#settle({ kind: "failed", error });
  }

  #receive(piece: StreamPiece): void {
    if (this.#state.kind !== "open" || this.#finishSent) return;
    this.#pieces.push(piece);
    // A hole costs memory too; counted roughly, so that a flood of them is held up as well.
    this.#bufferedBytes += piece.kind === "data" ? piece.data.byteLength : 0;
    this.#flow();
  }

  #flow(): void {
    const full = this.#bufferedBytes >= HIGH_WATER_BYTES || this.#pieces.length >= 4_096;
    if (full === this.#paused) return;
    this.#paused = full;
    if (full) this.#channel.pause();
    else this.#channel.resume();
  }

  #discard(): void {
    this.#pieces = [];
    this.#bufferedBytes = 0;
    this.#flow();
  }

  #settle(state: State): void {
    if (this.#state.kind !== "open") return;
    this.#state = state;
    this.#notify();
    if (!this.#released) {
      this.#released = true;
      this.#channel.release();
    }
  }

  #mustBeWritable(): void {
    if (this.#state.kind === "failed") throw this.#state.error;
    if (this.#state.kind === "ended" || this.#finishSent)
      throw new LibvirtConnectionError("the stream is finished, nothing can be written any more", false);
  }

  #changed(): Promise<void> {
    return new Promise((resolve) => this.#wake.push(resolve));
  }

  #notify(): void {
    const wake = this.#wake;
    this.#wake = [];
    for (const run of wake) run();
  }
}
