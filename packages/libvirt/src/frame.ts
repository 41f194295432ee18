/**
 * Frames: the packets of libvirt's RPC. A big-endian length that counts itself, six header words, the payload.
 * Source: libvirt's "RPC infrastructure" page and virnetprotocol.x.
 */
import { XdrError } from "./xdr.ts";

export const FRAME_HEADER_BYTES = 28;
/** The largest frame, its length word included. */
export const MAX_FRAME_BYTES = 33_554_432 + 4;
/** The most data put into one stream frame: what every libvirt since 0.9.6 accepts. */
export const MAX_STREAM_PAYLOAD_BYTES = 262_120;

export const KEEPALIVE_PROGRAM = 0x6b656570;
export const KEEPALIVE_PING = 1;
export const KEEPALIVE_PONG = 2;

export const MessageType = { call: 0, reply: 1, event: 2, stream: 3, callWithFds: 4, replyWithFds: 5, streamHole: 6 } as const;
export const MessageStatus = { ok: 0, error: 1, continue: 2 } as const;

export interface FrameHeader {
  readonly program: number;
  readonly procedure: number;
  /** One of `MessageType`. */
  readonly type: number;
  /** Ties a reply to its call; 0 for events. */
  readonly serial: number;
  /** One of `MessageStatus`. */
  readonly status: number;
}

export interface Frame extends FrameHeader {
  readonly payload: Uint8Array;
}

const NO_PAYLOAD = new Uint8Array(0);

/** One frame as bytes. Throws `XdrError` when the payload is too large. */
export function encodeFrame(header: FrameHeader, payload: Uint8Array = NO_PAYLOAD): Uint8Array {
  const length = FRAME_HEADER_BYTES + payload.byteLength;
  if (length > MAX_FRAME_BYTES) throw new XdrError(`the message takes ${length} bytes, at most ${MAX_FRAME_BYTES} are allowed`);
  const bytes = Buffer.allocUnsafe(length);
  bytes.writeUInt32BE(length, 0);
  bytes.writeUInt32BE(header.program, 4);
  bytes.writeUInt32BE(1, 8);
  bytes.writeInt32BE(header.procedure, 12);
  bytes.writeInt32BE(header.type, 16);
  bytes.writeUInt32BE(header.serial, 20);
  bytes.writeInt32BE(header.status, 24);
  bytes.set(payload, FRAME_HEADER_BYTES);
  return bytes;
}

/** One whole frame from `bytes`. Throws `XdrError` when it is none. */
export function decodeFrame(bytes: Uint8Array): Frame {
  const view = Buffer.from(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  if (view.length < FRAME_HEADER_BYTES) throw new XdrError(`${view.length} bytes are no frame`);
  const version = view.readUInt32BE(8);
  if (version !== 1) throw new XdrError(`version ${version} of program 0x${view.readUInt32BE(4).toString(16)} is not known, only 1 is`);
  const type = view.readInt32BE(16);
  if (type < 0 || type > MessageType.streamHole) throw new XdrError(`${type} is no type of a message`);
  const status = view.readInt32BE(24);
  if (status < 0 || status > MessageStatus.continue) throw new XdrError(`${status} is no status of a message`);
  return {
    program: view.readUInt32BE(4),
    procedure: view.readInt32BE(12),
    type,
    serial: view.readUInt32BE(20),
    status,
    payload: view.subarray(FRAME_HEADER_BYTES),
  };
}

/**
 * Cuts a byte stream into frames. Keeps only bytes that really arrived: a frame that claims 32 MiB costs nothing until they come.
 * After it has thrown the stream cannot be trusted any more and must be closed.
 */
export class FrameSplitter {
  #chunks: Uint8Array[] = [];
  #buffered = 0;

  /** Bytes kept for an unfinished frame. */
  get bufferedBytes(): number {
    return this.#buffered;
  }

  /** The frames that are complete now. Throws `XdrError` on a length that no frame can have. */
  *push(chunk: Uint8Array): Generator<Frame> {
    if (chunk.byteLength > 0) this.#chunks.push(chunk);
    this.#buffered += chunk.byteLength;
    while (this.#buffered >= 4) {
      const length = this.#peekLength();
      if (length < FRAME_HEADER_BYTES || length > MAX_FRAME_BYTES) {
        throw new XdrError(`a frame of ${length} bytes: the other side does not speak libvirt's protocol, or bytes were lost`);
      }
      if (this.#buffered < length) return;
      yield decodeFrame(this.#take(length));
    }
  }

  #peekLength(): number {
    const first = this.#chunks[0];
    if (first !== undefined && first.byteLength >= 4)
      return (((first[0] ?? 0) << 24) | ((first[1] ?? 0) << 16) | ((first[2] ?? 0) << 8) | (first[3] ?? 0)) >>> 0;
    this.#chunks = [Buffer.concat(this.#chunks)];
    return this.#peekLength();
  }

  #take(length: number): Uint8Array {
    this.#buffered -= length;
    const first = this.#chunks[0];
    if (first !== undefined && first.byteLength >= length) {
      if (first.byteLength === length) this.#chunks.shift();
      else this.#chunks[0] = first.subarray(length);
      return first.subarray(0, length);
    }
    const all = Buffer.concat(this.#chunks);
    this.#chunks = all.length > length ? [all.subarray(length)] : [];
    return all.subarray(0, length);
  }
}
