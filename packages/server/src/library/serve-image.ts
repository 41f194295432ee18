/** Answers a host's `GET` of a prepared image: whole or one range (RFC 9110, 14), so that an interrupted fetch goes on. */
import type { RecordOf } from "@sheaf/model";
import { imagePaths } from "./library-paths.ts";
import type { LibraryContext } from "./library-ports.ts";

export interface ImageRequest {
  readonly method: "GET" | "HEAD";
  /** The `Range` header as it came. */
  readonly range?: string;
}

/** Fits the agents' listener; `body` is absent for `HEAD` and for refusals. */
export interface ImageAnswer {
  readonly status: number;
  readonly headers: Readonly<Record<string, string>>;
  readonly body?: AsyncIterable<Uint8Array>;
}

export async function serveImage(
  { files, directory }: Pick<LibraryContext, "files" | "directory">,
  image: RecordOf<"image"> | undefined,
  { method, range }: ImageRequest,
): Promise<ImageAnswer> {
  const ready = image?.status.library;
  if (!image || ready?.state !== "ready" || ready.digest === undefined) return { status: 404, headers: { "content-length": "0" } };
  const path = imagePaths(directory, image.id)[ready.format === "iso" ? "iso" : "qcow2"];
  const facts = await files.facts(path);
  if (!facts || facts.sizeBytes !== ready.fileBytes) return { status: 404, headers: { "content-length": "0" } };
  const size = facts.sizeBytes;
  const headers = { "accept-ranges": "bytes", "content-type": "application/octet-stream", etag: `"${ready.digest}"` };
  const part = range === undefined ? null : parseRange(range, size);
  if (part === "unsatisfiable") return { status: 416, headers: { ...headers, "content-range": `bytes */${size}`, "content-length": "0" } };
  const { start, end } = part ?? { start: 0, end: size - 1 };
  return {
    status: part ? 206 : 200,
    headers: { ...headers, "content-length": String(end - start + 1), ...(part ? { "content-range": `bytes ${start}-${end}/${size}` } : {}) },
    ...(method === "GET" ? { body: files.stream(path, { start, end }) } : {}),
  };
}

/** @returns `null` for what is no single range of bytes: it is ignored, as the standard allows */
function parseRange(range: string, size: number): { start: number; end: number } | "unsatisfiable" | null {
  const match = /^bytes=(\d{0,15})-(\d{0,15})$/.exec(range.trim());
  const [, from = "", to = ""] = match ?? [];
  if (from === "" && to === "") return null;
  if (from === "") {
    const length = Math.min(Number(to), size);
    return length === 0 ? "unsatisfiable" : { start: size - length, end: size - 1 };
  }
  const start = Number(from);
  if (to !== "" && Number(to) < start) return null;
  if (start >= size) return "unsatisfiable";
  return { start, end: to === "" ? size - 1 : Math.min(Number(to), size - 1) };
}
