/** Finds the frames of a log that are whole. What a crash cut off at the end is left out; behind damage in between the next whole frame is looked for. */
import { frameLength } from "./frame.ts";
import type { TelemetryFiles } from "./ports.ts";

export interface ScannedLog {
  /** Where the last whole frame ends. */
  readonly soundBytes: number;
  /** Places where something stands between whole frames that is none. */
  readonly damaged: number;
}

const pieceBytes = 4 * 2 ** 20;

/** @param found given each frame's bytes, which are its own only until the call returns */
export async function scanFrames(files: TelemetryFiles, path: string, found: (frame: Uint8Array, at: number) => void): Promise<ScannedLog> {
  const size = (await files.facts(path))?.sizeBytes ?? 0;
  let held = new Uint8Array(0);
  let heldAt = 0;
  let position = 0;
  let soundBytes = 0;
  let damaged = 0;
  while (position < size) {
    let length = frameLength(held, position - heldAt);
    while (length === "more" && heldAt + held.length < size) {
      const rest = held.subarray(position - heldAt);
      const piece = await files.readRange(path, heldAt + held.length, Math.max(pieceBytes, rest.length));
      if (piece.length === 0) break;
      held = Buffer.concat([rest, piece]);
      heldAt = position;
      length = frameLength(held, 0);
    }
    if (typeof length !== "number") {
      position += 1;
      continue;
    }
    if (position > soundBytes) damaged += 1;
    found(held.subarray(position - heldAt, position - heldAt + length), position);
    position += length;
    soundBytes = position;
  }
  return { soundBytes, damaged };
}
