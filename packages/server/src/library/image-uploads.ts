/**
 * The bytes of uploads, kept in `<id>.part` until the last one is there. Knows nothing of records' states: the library asks it when an
 * upload may come, sees to it that there is one at a time, and is told when it begins and when it is whole.
 */
import type { Readable } from "node:stream";
import { SheafError } from "@sheaf/model";
import { imagePaths } from "./library-paths.ts";
import type { LibraryContext } from "./library-ports.ts";
import { requireSpace, writeStream } from "./write-stream.ts";

export interface UploadRange {
  readonly offset: number;
  readonly totalBytes?: number;
}

export class ImageUploads {
  readonly #context: Pick<LibraryContext, "files" | "directory" | "limits">;

  constructor(context: Pick<LibraryContext, "files" | "directory" | "limits">) {
    this.#context = context;
  }

  async offset(imageId: string): Promise<number> {
    const { files, directory } = this.#context;
    const paths = imagePaths(directory, imageId);
    return ((await files.facts(paths.part)) ?? (await files.facts(paths.fetched)))?.sizeBytes ?? 0;
  }

  /**
   * @param begun called once the range is found good
   * @returns bytes there, and whether the file is whole: it is `<id>.fetched` then
   * @throws SheafError `conflict`, `invalid-input`, `too-large`, `store-full`; errors of the stream, what came before stays
   */
  async receive(
    imageId: string,
    stream: Readable,
    { offset, totalBytes }: UploadRange,
    options: { readonly begun: () => Promise<void>; readonly signal: AbortSignal; readonly progress: (bytes: number) => void },
  ): Promise<{ readonly bytes: number; readonly whole: boolean }> {
    const { files, directory, limits } = this.#context;
    const paths = imagePaths(directory, imageId);
    if (await files.facts(paths.fetched))
      throw new SheafError("state-refused", "The content of this image has come whole; it is being checked.", {
        next: "Wait for the image to be ready.",
      });
    const present = await this.offset(imageId);
    if (present !== offset)
      throw new SheafError("conflict", `${present} bytes of this image are there, so byte ${offset} cannot be the next.`, {
        next: `Go on from byte ${present}.`,
      });
    if (totalBytes !== undefined && totalBytes < offset)
      throw new SheafError("invalid-input", `The whole is said to have ${totalBytes} bytes, but ${offset} are there already.`, {
        next: "Delete the image and begin anew, if it is another file.",
      });
    if (totalBytes !== undefined && totalBytes > limits.fetchedBytes)
      throw new SheafError("too-large", `The file has ${totalBytes} bytes; at most ${limits.fetchedBytes} are allowed here.`, {
        next: "Give a smaller one; the limit is a setting of the server.",
      });
    const space = { files, directory, reserveBytes: limits.reserveBytes };
    if (totalBytes !== undefined) await requireSpace(space, totalBytes - offset + totalBytes);
    await options.begun();
    const bytes = await this.#append(imageId, stream, offset, totalBytes, options);
    const whole = totalBytes === undefined || bytes === totalBytes;
    if (whole) await files.rename(paths.part, paths.fetched);
    return { bytes, whole };
  }

  async #append(
    imageId: string,
    stream: Readable,
    offset: number,
    totalBytes: number | undefined,
    options: { readonly signal: AbortSignal; readonly progress: (bytes: number) => void },
  ): Promise<number> {
    const { files, directory, limits } = this.#context;
    const { part } = imagePaths(directory, imageId);
    const abort = (): void =>
      void stream.destroy(new SheafError("unavailable", "The server stops, or the image was deleted.", { next: "Go on later." }));
    options.signal.addEventListener("abort", abort, { once: true });
    try {
      return await writeStream(stream, {
        files,
        directory,
        path: part,
        offset,
        maximumBytes: totalBytes ?? limits.fetchedBytes,
        reserveBytes: limits.reserveBytes,
        what: "The file",
        signal: options.signal,
        progress: options.progress,
      });
    } catch (error) {
      if (error instanceof SheafError && error.code === "too-large") {
        // Nobody can say which of the bytes are right.
        await files.remove(part);
        if (totalBytes !== undefined)
          throw new SheafError(
            "invalid-input",
            `More bytes came than the ${totalBytes} that the whole was said to have; what was there is thrown away.`,
            {
              next: "Upload the file again from its beginning.",
            },
          );
      }
      throw error;
    } finally {
      options.signal.removeEventListener("abort", abort);
    }
  }
}
