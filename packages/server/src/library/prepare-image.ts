/**
 * From a fetched file to what hosts clone: verified, unpacked, told by its content, checked, turned into qcow2 (or kept, where it is
 * qcow2 or ISO), measured and put under its final name. Everything in the file is a stranger's: qemu-img is told the format, never lets
 * it guess, runs with limits and a deadline, and sees a header only after `image-headers` has.
 */
import { createHash } from "node:crypto";
import { Readable } from "node:stream";
import { createGunzip, createZstdDecompress } from "node:zlib";
import { SheafError, type ImageSpec } from "@sheaf/model";
import { z } from "zod";
import { contentFormat, packingOf, refused, type Content, type DiskFormat, type Packing } from "./image-headers.ts";
import type { ImagePaths } from "./library-paths.ts";
import type { LibraryContext, LibraryFiles, LibraryProgramOptions } from "./library-ports.ts";
import { requireSpace, writeStream } from "./write-stream.ts";

const PreparedFacts = z.object({
  format: z.enum(["qcow2", "iso"]),
  virtualSizeBytes: z.int().positive(),
  fileBytes: z.int().positive(),
  digest: z.string().regex(/^sha256:[0-9a-f]{64}$/),
});
export type PreparedImage = Readonly<z.infer<typeof PreparedFacts>>;

export interface PrepareInput {
  readonly spec: ImageSpec;
  readonly paths: ImagePaths;
  readonly signal: AbortSignal;
  /** What is being done now, for people. */
  readonly step: (text: string) => void;
}

type Context = Pick<LibraryContext, "files" | "programs" | "directory" | "limits">;

/**
 * `paths.fetched` is gone afterwards, or left as it is where this fails.
 * @throws SheafError `image-refused`, `too-large`, `store-full`, `timed-out`
 */
export async function prepareImage(context: Context, input: PrepareInput): Promise<PreparedImage> {
  const { files, limits } = context;
  const { spec, paths, signal, step } = input;
  if (spec.checksum !== undefined) {
    step("comparing the checksum");
    await verifyChecksum(context, paths.fetched, spec.checksum, signal);
  }
  let source = paths.fetched;
  const packing = await packingOf(await contentOf(context, source));
  if (packing !== null) {
    step(`unpacking (${packing})`);
    await unpack(context, input, packing);
    source = paths.unpacked;
  }
  const content = await contentOf(context, source);
  const format = await contentFormat(content, { type: spec.type, ...(spec.format === undefined ? {} : { format: spec.format }) });
  let prepared = source;
  let virtualSizeBytes = content.sizeBytes;
  if (format !== "iso") {
    step(`checking the ${format} file`);
    virtualSizeBytes = await inspect(context, source, format, signal);
    if (format === "qcow2") await check(context, source, signal);
    else {
      await requireSpace({ ...context, reserveBytes: limits.reserveBytes }, Math.min(content.sizeBytes, virtualSizeBytes));
      step(`converting ${format} to qcow2`);
      await convert(context, source, format, paths.prepared, signal);
      prepared = paths.prepared;
    }
  }
  await files.syncFile(prepared);
  step("computing the digest");
  const digest = `sha256:${await hashOf(context, prepared, "sha256", signal)}`;
  const fileBytes = (await contentOf(context, prepared)).sizeBytes;
  const ready = format === "iso" ? "iso" : "qcow2";
  const image: PreparedImage = { format: ready, virtualSizeBytes, fileBytes, digest };
  // Before the name: a file that has its final name has its facts, also after a crash before the record says that it is ready.
  await files.writeAtomic(paths.facts, JSON.stringify(image));
  await files.rename(prepared, paths[ready]);
  for (const left of [paths.fetched, paths.unpacked, paths.prepared, paths.partSource]) await files.remove(left);
  return image;
}

/** An image that was prepared before. @returns `null` when there is none, or not the whole of it. */
export async function preparedBefore(files: LibraryFiles, paths: ImagePaths): Promise<PreparedImage | null> {
  const text = await files.readText(paths.facts);
  if (text === null) return null;
  const { success, data } = PreparedFacts.safeParse(parsed(text));
  if (!success) return null;
  const file = await files.facts(paths[data.format]);
  return file?.sizeBytes === data.fileBytes ? data : null;
}

function parsed(text: string): unknown {
  try {
    return JSON.parse(text);
  } catch {
    return null;
  }
}

async function contentOf({ files }: Context, path: string): Promise<Content> {
  const facts = await files.facts(path);
  if (!facts) throw new SheafError("internal", "The fetched image vanished from the library's directory.", { next: "Import it again." });
  return { sizeBytes: facts.sizeBytes, read: (offset, length) => files.readRange(path, offset, length) };
}

async function hashOf({ files }: Context, path: string, algorithm: "sha256" | "sha512", signal: AbortSignal): Promise<string> {
  const hash = createHash(algorithm);
  for await (const chunk of files.stream(path)) {
    signal.throwIfAborted();
    hash.update(chunk);
  }
  return hash.digest("hex");
}

async function verifyChecksum(context: Context, path: string, checksum: string, signal: AbortSignal): Promise<void> {
  const algorithm = checksum.startsWith("sha512:") ? "sha512" : "sha256";
  const found = `${algorithm}:${await hashOf(context, path, algorithm, signal)}`;
  if (found !== checksum)
    throw refused(
      `The file's checksum is ${found}, but ${checksum} was asked for: the file was damaged on its way, or is another one.`,
      "Compare with the publisher's checksum, and import it again.",
    );
}

async function unpack(context: Context, { paths, signal }: PrepareInput, packing: Packing): Promise<void> {
  const { limits, files, directory } = context;
  const target = {
    files,
    directory,
    path: paths.unpacked,
    offset: 0,
    maximumBytes: limits.unpackedBytes,
    reserveBytes: limits.reserveBytes,
    what: "The unpacked image",
    signal,
  };
  try {
    await writeStream(unpacked(context, paths.fetched, packing, signal), target);
  } catch (error) {
    if (error instanceof SheafError || signal.aborted) throw error;
    if (error instanceof Error && "code" in error && error.code === "not-found") throw error; // xz is not installed
    throw refused(
      `The file cannot be unpacked (${packing}): it is damaged or cut off.`,
      "Import it again, or unpack it before.",
      (error instanceof Error ? error.message : String(error)).replaceAll(`${directory}/`, ""),
    );
  }
}

async function* unpacked(context: Context, path: string, packing: Packing, signal: AbortSignal): AsyncGenerator<Uint8Array> {
  if (packing === "xz") {
    yield* context.programs.stream("xz", ["--decompress", "--stdout", "--format=xz", "--", path], {
      deadlineMs: context.limits.workMs,
      signal,
      limits: { memoryBytes: 2 ** 30 },
    });
    return;
  }
  const source = Readable.from(context.files.stream(path), { objectMode: false });
  const decompressor = packing === "gz" ? createGunzip() : createZstdDecompress();
  source.once("error", (error) => decompressor.destroy(error));
  source.pipe(decompressor);
  try {
    for await (const chunk of decompressor) yield chunk as Uint8Array; // no encoding is set: it yields buffers
  } finally {
    source.destroy();
  }
}

/** @returns the disk's size as a machine sees it, bytes */
async function inspect(context: Context, path: string, format: DiskFormat, signal: AbortSignal): Promise<number> {
  const { limits } = context;
  const output = await qemuImg(context, ["info", "-f", format, "--output=json", "-U", path], `is no ${format} image that QEMU can read`, {
    deadlineMs: limits.inspectMs,
    signal,
    limits: { memoryBytes: limits.programMemoryBytes, cpuSeconds: Math.ceil(limits.inspectMs / 1000) },
  });
  const facts = JSON.parse(output) as Record<string, unknown>; // qemu-img prints an object; each member is looked at below
  const size = facts["virtual-size"];
  // The header was looked at before; this holds should QEMU read it in another way than we do.
  if (facts["backing-filename"] !== undefined || facts["encrypted"] === true || /"data-file"/.test(output))
    throw refused("The image refers to other files or is encrypted.", "Flatten it: qemu-img convert -O qcow2 IMAGE FLAT.");
  if (typeof size !== "number" || !Number.isSafeInteger(size) || size <= 0)
    throw refused("The image's disk has no size.", "See whether the file is damaged, and import it again.");
  if (size > limits.virtualBytes)
    throw new SheafError("too-large", `The image's disk has ${size} bytes; at most ${limits.virtualBytes} are allowed here.`, {
      next: "Give a smaller one; the limit is a setting of the server.",
    });
  return size;
}

async function check(context: Context, path: string, signal: AbortSignal): Promise<void> {
  // 3: clusters that nobody uses, which does no harm. 63: the format has no check.
  await qemuImg(context, ["check", "-q", "-f", "qcow2", path], "is damaged", work(context, signal), [0, 3]);
}

async function convert(context: Context, source: string, format: DiskFormat, target: string, signal: AbortSignal): Promise<void> {
  await qemuImg(context, ["convert", "-q", "-f", format, "-O", "qcow2", source, target], "could not be converted", work(context, signal));
}

const work = ({ limits }: Context, signal: AbortSignal): LibraryProgramOptions => ({
  deadlineMs: limits.workMs,
  signal,
  limits: { memoryBytes: limits.programMemoryBytes, fileBytes: limits.unpackedBytes },
});

async function qemuImg(
  context: Context,
  programArguments: readonly string[],
  failure: string,
  options: LibraryProgramOptions,
  good: readonly number[] = [0],
): Promise<string> {
  let result;
  try {
    result = await context.programs.run("qemu-img", programArguments, options);
  } catch (error) {
    options.signal?.throwIfAborted();
    const code = error instanceof Error && "code" in error ? error.code : undefined;
    if (code === "timed-out" || code === "too-much-output")
      throw refused(`qemu-img ${programArguments[0]} was not done with the file in time, or printed too much.`, "See whether the file is damaged.");
    throw error;
  }
  if (result.exitCode !== null && good.includes(result.exitCode)) return result.output;
  // Its own paths mean nothing to the user and tell of the server.
  const words = `${result.errorOutput}\n${result.output}`
    .replaceAll(`${context.directory}/`, "")
    .trim()
    .split("\n")
    .slice(0, 3)
    .join(" ")
    .slice(0, 500);
  if (/No space left on device/.test(words))
    throw new SheafError("store-full", "The image library's disk is full.", { next: "Delete images that are no longer needed, then import again." });
  throw refused(`The file ${failure}: ${words === "" ? "qemu-img was killed" : words}`, "See whether the file is whole, and import it again.");
}
