/**
 * Fetches an image's file from the address that its spec names into `<id>.part`, going on where it stopped: after a cut, after a restart.
 * Bytes of two versions of a file are never mixed: without proof that it is the same one, it is fetched from its beginning.
 */
import { sleep } from "@sheaf/base";
import { SheafError } from "@sheaf/model";
import { refused } from "./image-headers.ts";
import type { ImagePaths } from "./library-paths.ts";
import type { LibraryContext } from "./library-ports.ts";
import { requireSpace, writeStream } from "./write-stream.ts";

export interface FetchInput {
  readonly url: string;
  readonly paths: ImagePaths;
  readonly signal: AbortSignal;
  readonly progress: (receivedBytes: number, totalBytes: number | undefined) => void;
  readonly note: (text: string) => void;
}

type Context = Pick<LibraryContext, "files" | "downloads" | "directory" | "limits" | "clock">;

/** What `<id>.part.json` holds. */
interface PartSource {
  readonly url: string;
  readonly validator: string;
}

/** The file is at `paths.fetched` afterwards. @throws SheafError `image-refused`, `too-large`, `store-full`; the signal's reason */
export async function fetchImage(context: Context, input: FetchInput): Promise<void> {
  const { files, limits, clock } = context;
  const { paths, signal } = input;
  let failures = 0;
  for (;;) {
    const before = (await files.facts(paths.part))?.sizeBytes ?? 0;
    try {
      await fetchOnce(context, input, before);
      await files.rename(paths.part, paths.fetched);
      return;
    } catch (error) {
      signal.throwIfAborted();
      if (error instanceof SheafError) throw error;
      const words = error instanceof Error ? error.message : String(error);
      if (isFinal(error)) throw refused(`The image could not be fetched: ${words}.`, "Correct the address, or upload the file.");
      if (codeOf(error) === "range-not-satisfiable") await files.remove(paths.part);
      const now = (await files.facts(paths.part))?.sizeBytes ?? 0;
      failures = now > before ? 1 : failures + 1;
      if (failures >= limits.downloadTries)
        throw refused(`The image could not be fetched, after ${failures} tries: ${words}.`, "See whether the address answers, then import it again.");
      const pauseMs = Math.min(limits.firstRetryMs * 2 ** (failures - 1), limits.lastRetryMs);
      input.note(`the download was interrupted (${words}); it goes on in ${Math.ceil(pauseMs / 1000)} s`);
      await sleep(clock, pauseMs, signal);
    }
  }
}

async function fetchOnce(context: Context, input: FetchInput, present: number): Promise<void> {
  const { files, downloads, directory, limits } = context;
  const { url, paths, signal } = input;
  const known = present > 0 ? await partSource(context, paths.partSource, url) : null;
  const offset = known === null ? 0 : present;
  const answer = await downloads.download(url, {
    offset,
    ...(known === null ? {} : { validator: known.validator }),
    signal,
    idleTimeoutMs: limits.idleTimeoutMs,
  });
  const { totalBytes } = answer;
  if (totalBytes !== undefined && totalBytes > limits.fetchedBytes)
    throw new SheafError("too-large", `The file has ${totalBytes} bytes; at most ${limits.fetchedBytes} are allowed here.`, {
      next: "Give a smaller one; the limit is a setting of the server.",
    });
  const space = { files, directory, reserveBytes: limits.reserveBytes };
  // Room for what still comes and for the prepared copy beside it.
  if (totalBytes !== undefined) await requireSpace(space, totalBytes - answer.offset + totalBytes);
  if (answer.offset === 0) {
    await files.remove(paths.part);
    if (answer.validator === undefined) await files.remove(paths.partSource);
    else await files.writeAtomic(paths.partSource, JSON.stringify({ url, validator: answer.validator } satisfies PartSource));
  }
  const received = await writeStream(answer.body, {
    ...space,
    path: paths.part,
    offset: answer.offset,
    maximumBytes: limits.fetchedBytes,
    what: "The file",
    signal,
    progress: (bytes) => input.progress(bytes, totalBytes),
  });
  if (totalBytes !== undefined && received < totalBytes) throw new Error(`the connection ended after ${received} of ${totalBytes} bytes`);
}

async function partSource({ files }: Context, path: string, url: string): Promise<PartSource | null> {
  try {
    const found: unknown = JSON.parse((await files.readText(path)) ?? "null");
    if (typeof found !== "object" || found === null || !("url" in found) || !("validator" in found)) return null;
    return found.url === url && typeof found.validator === "string" ? { url, validator: found.validator } : null;
  } catch {
    return null; // unreadable: fetched from the beginning
  }
}

const codeOf = (error: unknown): unknown => (error instanceof Error && "code" in error ? error.code : undefined);
const isFinal = (error: unknown): boolean => error instanceof Error && "temporary" in error && error.temporary === false;
