/**
 * Images in the pools of this host: fetched from the server once, whoever asks for them at the same time, resumed after a break,
 * checked against the library's digest before anything may use them. A file under its final name is whole and checked.
 * Called by volumes and machines before they need an image.
 */
import { createHash } from "node:crypto";
import type { Logger } from "@sheaf/base";
import { type RecordOf, SheafError } from "@sheaf/model";
import { imagePath } from "./host-paths.ts";
import type { ImageShelf } from "./image-shelf.ts";
import type { Dialer, Files, Identity } from "./ports.ts";

type Image = RecordOf<"image">;

export interface ImageCacheOptions {
  readonly files: Files;
  readonly dialer: Dialer;
  readonly logger: Logger;
  readonly identity: () => Identity;
  readonly shelf: ImageShelf;
  /** Told at the beginning, at each tenth, at the end. */
  readonly report: (imageId: string, value: { state: "fetching" | "ready" | "failed"; receivedBytes: number; problem?: string }) => void;
}

/** Must be left on the file system after the image has come, bytes. */
const spareBytes = 64 * 2 ** 20;

export class ImageCache {
  readonly #options: ImageCacheOptions;
  readonly #fetching = new Map<string, Promise<string>>();

  constructor(options: ImageCacheOptions) {
    this.#options = options;
  }

  /** @returns the path of the image in that pool. @throws SheafError where it cannot be fetched; a later call goes on from what has come */
  async ensure(image: Image, poolPath: string, signal: AbortSignal): Promise<string> {
    const path = imagePath(poolPath, image);
    this.#options.shelf.used(path);
    if (await this.#options.files.facts(path)) return path;
    let fetching = this.#fetching.get(path);
    if (!fetching) {
      fetching = this.#fetch(image, path, signal).finally(() => this.#fetching.delete(path));
      this.#fetching.set(path, fetching);
    }
    return fetching;
  }

  /** Drops the copies in these pools, but for those that a disk is based on: another record may name the same bytes. */
  async drop(image: Image, poolPaths: readonly string[]): Promise<void> {
    if (image.status.library?.digest === undefined) return;
    for (const poolPath of poolPaths) {
      const path = imagePath(poolPath, image);
      await this.#options.shelf.drop(poolPath, path);
      await this.#options.files.remove(partial(path, this.#options.identity().hostId));
    }
  }

  async #fetch(image: Image, path: string, signal: AbortSignal): Promise<string> {
    const { report, logger } = this.#options;
    try {
      const receivedBytes = await this.#download(image, path, signal);
      report(image.id, { state: "ready", receivedBytes });
      logger.info({ image: image.name, path, bytes: receivedBytes }, "an image has been fetched");
      return path;
    } catch (error) {
      const problem = error instanceof Error ? error.message : String(error);
      report(image.id, { state: "failed", receivedBytes: 0, problem });
      throw error instanceof SheafError
        ? error
        : new SheafError("host-unreachable", `image ${image.name} could not be fetched from the server: ${problem}`, { cause: problem });
    }
  }

  async #download(image: Image, path: string, signal: AbortSignal): Promise<number> {
    const { files, dialer, identity, report } = this.#options;
    const { digest, fileBytes } = image.status.library ?? {};
    // A name of this host's own: in a shared pool others may fetch the same image.
    const part = partial(path, identity().hostId);
    const there = (await files.facts(part))?.sizeBytes ?? 0;
    const hash = createHash("sha256");
    const usable = fileBytes === undefined || there <= fileBytes ? there : 0;
    const { offset, totalBytes, body } = await dialer.fetchImage(identity(), image.id, usable, signal);
    const total = totalBytes ?? fileBytes ?? 0;
    await this.#mustHaveRoom(path, image, total - offset);
    if (offset > 0) for await (const chunk of files.stream(part)) hash.update(chunk);
    const writer = await files.writer(part, offset, 0o644);
    let received = offset;
    let told = 0;
    report(image.id, { state: "fetching", receivedBytes: offset });
    try {
      for await (const chunk of body) {
        signal.throwIfAborted();
        hash.update(chunk);
        await writer.write(chunk);
        received += chunk.byteLength;
        if (fileBytes !== undefined && received > fileBytes)
          throw new SheafError("image-refused", `the server sent more of image ${image.name} than the ${fileBytes} bytes it has`);
        const tenth = total > 0 ? Math.floor((received * 10) / total) : 0;
        if (tenth > told && tenth < 10) report(image.id, { state: "fetching", receivedBytes: received });
        told = Math.max(told, tenth);
      }
      await writer.sync();
    } finally {
      await writer.close();
    }
    if (fileBytes !== undefined && received < fileBytes)
      throw new SheafError("host-unreachable", `the connection ended after ${received} of ${fileBytes} bytes of image ${image.name}`);
    if (`sha256:${hash.digest("hex")}` !== digest) {
      await files.remove(part);
      throw new SheafError("image-refused", `image ${image.name} arrived with another digest than the library's: it is fetched anew`);
    }
    await files.rename(part, path);
    return received;
  }

  async #mustHaveRoom(path: string, image: Image, bytes: number): Promise<void> {
    const directory = path.slice(0, path.lastIndexOf("/"));
    await this.#options.files.makeDirectory(directory, 0o755);
    await this.#options.shelf.makeRoom(directory.slice(0, directory.lastIndexOf("/")), bytes, spareBytes);
    const { availableBytes } = await this.#options.files.space(directory);
    if (availableBytes < bytes + spareBytes) {
      throw new SheafError(
        "no-capacity",
        `image ${image.name} does not fit into ${directory}: ${bytes} bytes are missing, ${availableBytes} are free`,
        {
          next: "Free space in the pool, or place the machine elsewhere.",
        },
      );
    }
  }
}

const partial = (path: string, hostId: string): string => `${path}.${hostId}.part`;
