/**
 * Writes a stream to a file with a limit on its size and an eye on the disk, so that neither a stranger's endless file nor a bomb
 * fills it. Called by downloads, uploads and unpacking.
 */
import { SheafError } from "@sheaf/model";
import type { LibraryFiles } from "./library-ports.ts";

/** So much may come between two looks at the free space. */
const lookEveryBytes = 64 * 2 ** 20;

export interface StreamTarget {
  readonly files: LibraryFiles;
  readonly directory: string;
  readonly path: string;
  /** Where to go on; what lies behind is cut off. */
  readonly offset: number;
  /** The whole file may have so many bytes. */
  readonly maximumBytes: number;
  readonly reserveBytes: number;
  /** What is too large, for the message: `the file`, `the unpacked file`. */
  readonly what: string;
  /** Aborts between two chunks; whoever feeds the stream ends it with the same signal. */
  readonly signal?: AbortSignal;
  readonly progress?: (bytes: number) => void;
}

/**
 * What was written stays, and is on the disk, also when this fails.
 * @returns bytes in the file. @throws SheafError `too-large`, `store-full`; errors of the stream as they are
 */
export async function writeStream(stream: AsyncIterable<Uint8Array>, target: StreamTarget): Promise<number> {
  const { files, path, maximumBytes, what } = target;
  let bytes = target.offset;
  let looked = bytes;
  await requireSpace(target, 0);
  const writer = await files.writer(path, target.offset);
  try {
    for await (const chunk of stream) {
      target.signal?.throwIfAborted();
      if (bytes + chunk.length > maximumBytes)
        throw new SheafError("too-large", `${what} has more than the ${maximumBytes} bytes that are allowed here.`, {
          next: "Give a smaller one; the limit is a setting of the server.",
        });
      await writer.write(chunk);
      bytes += chunk.length;
      if (bytes - looked >= lookEveryBytes) {
        looked = bytes;
        await requireSpace(target, 0);
      }
      target.progress?.(bytes);
    }
    await writer.sync();
  } catch (error) {
    await writer.sync().catch(() => {}); // what stopped the stream is what matters
    throw asFull(error) ?? error;
  } finally {
    await writer.close();
  }
  return bytes;
}

/** @throws SheafError `store-full` unless `neededBytes` and the reserve fit */
export async function requireSpace(
  place: { readonly files: LibraryFiles; readonly directory: string; readonly reserveBytes: number },
  neededBytes: number,
): Promise<void> {
  const { availableBytes } = await place.files.space(place.directory);
  if (availableBytes >= neededBytes + place.reserveBytes) return;
  throw new SheafError(
    "store-full",
    `The image library's disk has ${availableBytes} bytes free; ${neededBytes + place.reserveBytes} are needed (with ${place.reserveBytes} kept in reserve).`,
    { next: "Delete images that are no longer needed or enlarge the disk, then import again." },
  );
}

/** @returns `null` for any other error */
export function asFull(error: unknown): SheafError | null {
  const code = error instanceof Error && "code" in error ? error.code : undefined;
  if (code !== "ENOSPC" && code !== "EDQUOT") return null;
  return new SheafError("store-full", "The image library's disk is full.", {
    next: "Delete images that are no longer needed or enlarge the disk, then import again.",
  });
}
