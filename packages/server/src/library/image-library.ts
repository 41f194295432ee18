/**
 * The server's image library: brings each image's file here (from an address, or by upload), has it checked and prepared, and gives it
 * to hosts. Follows the records in the cache; sole writer of `status/library`, owner of the finaliser `library`. One job an image; each
 * job's state is in its files' names, so that a restart goes on where it was. Files of images that no record names are left alone, save
 * unfinished ones: the store may have been restored to an earlier day.
 */
import type { Readable } from "node:stream";
import { sleep } from "@sheaf/base";
import { StoreError } from "@sheaf/store";
import { SheafError, taskState, type ImageLibraryStatus, type RecordOf } from "@sheaf/model";
import type { ImageLibrary } from "../context.ts";
import { fetchImage } from "./fetch-image.ts";
import { releaseImage, writeStatus } from "./image-parts.ts";
import { ImageUploads, type UploadRange } from "./image-uploads.ts";
import { imageIdOf, imagePaths, unfinishedEndings, workEndings } from "./library-paths.ts";
import type { LibraryContext } from "./library-ports.ts";
import { prepareImage, preparedBefore } from "./prepare-image.ts";
import { serveImage, type ImageAnswer, type ImageRequest } from "./serve-image.ts";
import { Turns } from "./turns.ts";
import { asFull } from "./write-stream.ts";

export type RunningImageLibrary = ImageLibrary & {
  /** Follows the records from now on. */
  start(): void;
  /** Ends what is under way; it goes on at the next start. */
  stop(): Promise<void>;
  serve(imageId: string, request: ImageRequest): Promise<ImageAnswer>;
};

export function createImageLibrary(context: LibraryContext): RunningImageLibrary {
  return new Library(context);
}

interface Job {
  readonly abort: AbortController;
  readonly done: Promise<void>;
  /** Removes the files of a deleted image: not to be ended by the deletion. */
  readonly removing: boolean;
}

type Image = RecordOf<"image">;

/** Live figures are told at most so often, ms. */
const tellEveryMs = 1000;
const removeAgainMs = 10_000;

class Library implements RunningImageLibrary {
  readonly #context: LibraryContext;
  readonly #uploads: ImageUploads;
  readonly #downloading: Turns;
  readonly #checking: Turns;
  readonly #jobs = new Map<string, Job>();
  /** Ended in this process; the cache may not have seen it yet. */
  readonly #ended = new Set<string>();
  readonly #stopping = new AbortController();
  /** Deletion was asked for, the record is there yet. */
  readonly #deleting = new Set<string>();
  /** The finaliser is off; the cache may not have seen it yet. */
  readonly #released = new Set<string>();
  #unsubscribe: () => void = () => {};
  #begun: Promise<void> = Promise.resolve();

  constructor(context: LibraryContext) {
    this.#context = context;
    this.#uploads = new ImageUploads(context);
    this.#downloading = new Turns(context.limits.downloadsAtOnce);
    this.#checking = new Turns(context.limits.checksAtOnce);
  }

  start(): void {
    this.#begun = this.#begin().catch((error: unknown) =>
      this.#context.logger.error(
        { error: String(error), directory: this.#context.directory },
        "the image library could not start: see to its directory",
      ),
    );
  }

  async stop(): Promise<void> {
    this.#unsubscribe();
    this.#stopping.abort(new SheafError("unavailable", "The server stops.", { next: "Try again when it is back." }));
    await this.#begun;
    await Promise.all([...this.#jobs.values()].map((job) => job.done));
  }

  async serve(imageId: string, request: ImageRequest): Promise<ImageAnswer> {
    return serveImage(this.#context, this.#context.cache.get("image", imageId), request);
  }

  async offset(imageId: string): Promise<number> {
    const image = this.#context.cache.get("image", imageId);
    const { state, receivedBytes } = image?.status.library ?? {};
    if (state === "ready") return receivedBytes ?? 0;
    return this.#uploads.offset(imageId);
  }

  async receive(imageId: string, stream: Readable, range: UploadRange): Promise<number> {
    await this.#begun;
    this.#stopping.signal.throwIfAborted();
    const image = this.#requireUpload(imageId);
    const tell = this.#teller(imageId);
    const { totalBytes } = range;
    const { bytes, whole } = await this.#run(imageId, (signal) =>
      this.#uploads.receive(imageId, stream, range, {
        begun: () => this.#tellState(imageId, "receiving", { receivedBytes: range.offset, ...(totalBytes === undefined ? {} : { totalBytes }) }),
        signal,
        progress: (received) => tell("receiving", received, totalBytes),
      }),
    );
    if (whole && !this.#jobs.has(imageId)) this.#runLogged(imageId, (signal) => this.#import(image, signal));
    return bytes;
  }

  /** @throws SheafError unless an upload may come now */
  #requireUpload(imageId: string): Image {
    const image = this.#context.cache.get("image", imageId);
    if (!image || image.deletedAt !== undefined) throw new SheafError("not-found", "There is no such image, or it is being deleted.");
    if (!("upload" in image.spec.source))
      throw new SheafError("state-refused", `The image ${image.name} is fetched from its address; it takes no upload.`, {
        next: "Make an image with the source upload.",
      });
    if (this.#jobs.has(imageId))
      throw new SheafError("conflict", `The content of image ${image.name} is being received or checked.`, {
        next: "Wait for it to end, ask how many bytes are there, then go on.",
      });
    const state = image.status.library?.state;
    if (state === "ready" || (this.#ended.has(imageId) && state !== "failed"))
      throw new SheafError("state-refused", `The image ${image.name} has its content already.`, { next: "Make a new image for another file." });
    this.#ended.delete(imageId);
    return image;
  }

  async #begin(): Promise<void> {
    const { files, directory, cache, logger } = this.#context;
    await files.makeDirectory(directory);
    for (const name of await files.list(directory)) {
      const id = imageIdOf(name);
      if (id === null) continue;
      const known = cache.get("image", id) !== undefined;
      if (workEndings.some((ending) => name.endsWith(ending)) || (!known && unfinishedEndings.some((ending) => name.endsWith(ending))))
        await files.remove(`${directory}/${name}`);
      else if (!known) logger.warn({ file: name }, "the library holds a file of an image that has no record; it is left there");
    }
    if (this.#stopping.signal.aborted) return;
    this.#unsubscribe = cache.subscribe((_revision, changes) => {
      for (const { kind, id, record, previous } of changes) {
        if (kind === "image") this.#look(id);
        // A use of an image that is being deleted may have ended.
        else if ((kind === "volume" || kind === "vm") && (record === undefined || record !== previous)) this.#lookAtDeleted();
      }
    });
    for (const image of [...cache.all("image")]) {
      this.#look(image.id);
      // Uploads that came whole before the server ended; the others wait for whoever uploads.
      const state = image.status.library?.state;
      if (!("upload" in image.spec.source) || image.deletedAt !== undefined || state === "ready" || state === "failed") continue;
      const paths = imagePaths(directory, image.id);
      if ((await files.facts(paths.fetched)) ?? (await preparedBefore(files, paths)))
        this.#runLogged(image.id, (signal) => this.#import(image, signal));
    }
  }

  #lookAtDeleted(): void {
    for (const id of this.#deleting) this.#look(id);
  }

  #look(imageId: string): void {
    const { cache } = this.#context;
    if (this.#stopping.signal.aborted) return;
    const image = cache.get("image", imageId);
    const job = this.#jobs.get(imageId);
    if (!image || image.deletedAt !== undefined) {
      if (image) this.#deleting.add(imageId);
      else {
        this.#deleting.delete(imageId);
        this.#released.delete(imageId);
      }
      if (job?.removing === false) job.abort.abort(new SheafError("cancelled", "The image is being deleted."));
      else if (!job && (!image || (image.finalizers.includes("library") && !this.#released.has(imageId) && !this.#isUsed(imageId))))
        this.#runLogged(imageId, (signal) => this.#remove(imageId, signal), true);
      return;
    }
    const state = image.status.library?.state;
    if (job || this.#ended.has(imageId) || state === "failed") return;
    if (state === "ready") this.#runLogged(imageId, (signal) => this.#verifyPresence(image, signal));
    else if ("url" in image.spec.source) this.#runLogged(imageId, (signal) => this.#import(image, signal));
  }

  #runLogged(imageId: string, work: (signal: AbortSignal) => Promise<void>, removing = false): void {
    this.#run(imageId, work, removing).catch((error: unknown) => {
      if (!this.#stopping.signal.aborted) this.#context.logger.error({ image: imageId, error: String(error) }, "the work on an image ended early");
    });
  }

  /** At most one job an image: whoever calls this has looked that there is none. A deletion ends it. */
  async #run<T>(imageId: string, work: (signal: AbortSignal) => Promise<T>, removing = false): Promise<T> {
    const abort = new AbortController();
    const running = work(AbortSignal.any([abort.signal, this.#stopping.signal]));
    const done = running.then(
      () => {},
      () => {},
    );
    this.#jobs.set(imageId, { abort, done, removing });
    try {
      return await running;
    } finally {
      this.#jobs.delete(imageId);
      // What was asked for meanwhile.
      if (abort.signal.aborted) this.#look(imageId);
    }
  }

  /** Whether a disk or a drive still needs the file: the API refuses to delete such an image, but a use may have come at the same moment. */
  #isUsed(imageId: string): boolean {
    const { cache } = this.#context;
    for (const { spec, status } of cache.all("volume"))
      if (spec.source && "image" in spec.source && spec.source.image === imageId) {
        // A full copy needs its image only until it is made; a linked one whenever it moves to a host without the image.
        if (spec.source.clone === "linked" || status.agent?.state !== "ready") return true;
      }
    for (const { spec } of cache.all("vm")) if (spec.cdroms.some((drive) => drive.image === imageId)) return true;
    return false;
  }

  async #remove(imageId: string, signal: AbortSignal): Promise<void> {
    const { clock, logger } = this.#context;
    for (;;) {
      try {
        await this.#removeFiles(imageId);
        break;
      } catch (error) {
        logger.error({ image: imageId, error: String(error) }, "the files of a deleted image could not be removed; it is tried again");
        await sleep(clock, removeAgainMs, signal);
      }
    }
    this.#ended.delete(imageId);
    if (!(await releaseImage(this.#context, imageId, signal))) return;
    if (this.#context.cache.get("image", imageId)) this.#released.add(imageId);
    logger.info({ image: imageId }, "the files of a deleted image were removed");
  }

  async #removeFiles(imageId: string): Promise<void> {
    const { files, directory } = this.#context;
    for (const path of Object.values(imagePaths(directory, imageId))) await files.remove(path);
  }

  /** After a restore the record may say ready while the file is not there. */
  async #verifyPresence(image: Image, signal: AbortSignal): Promise<void> {
    const { files, directory, logger } = this.#context;
    const { format, fileBytes } = image.status.library ?? {};
    this.#ended.add(image.id);
    const found = await files.facts(imagePaths(directory, image.id)[format === "iso" ? "iso" : "qcow2"]);
    if (found && found.sizeBytes === fileBytes) return;
    logger.warn({ image: image.id }, "the file of a ready image is missing or cut off");
    await this.#removeFiles(image.id);
    if ("url" in image.spec.source) return this.#import(image, signal);
    await this.#tellState(image.id, "failed", {
      receivedBytes: 0,
      problem: "The image's file is no longer in the library of this server, or is cut off. Upload it again.",
    });
  }

  async #import(image: Image, signal: AbortSignal): Promise<void> {
    const { files, directory, tasks, logger } = this.#context;
    const paths = imagePaths(directory, image.id);
    const task = this.#taskOf(image.id);
    const note = (text: string): void => {
      if (task !== null) tasks.append(task, text);
    };
    let receivedBytes = 0;
    try {
      let prepared = await preparedBefore(files, paths);
      if (!prepared) {
        if (!(await files.facts(paths.fetched))) {
          if (!("url" in image.spec.source)) return; // whoever uploads comes again
          const { url } = image.spec.source;
          const tell = this.#teller(image.id);
          await this.#downloading.take(signal, async () => {
            await this.#tellState(image.id, "receiving", { receivedBytes: await this.#uploads.offset(image.id) });
            note("fetching the file");
            await fetchImage(this.#context, { url, paths, signal, note, progress: (bytes, total) => tell("receiving", bytes, total) });
          });
        }
        receivedBytes = (await files.facts(paths.fetched))?.sizeBytes ?? 0;
        prepared = await this.#checking.take(signal, async () => {
          await this.#tellState(image.id, "checking", { receivedBytes });
          const step = (text: string): void => {
            note(text);
            if (task !== null) tasks.progress(task, { step: text });
          };
          return prepareImage(this.#context, { spec: image.spec, paths, signal, step });
        });
      }
      this.#ended.add(image.id);
      await this.#tellState(image.id, "ready", { receivedBytes: receivedBytes || prepared.fileBytes, ...prepared });
      note("the image is ready");
      logger.info({ image: image.id, ...prepared }, "an image is ready");
    } catch (error) {
      if (signal.aborted) return;
      // The file is as good as before; the next start tells it.
      if (error instanceof StoreError) throw error;
      const problem = asFull(error) ?? error;
      const known = problem instanceof SheafError;
      if (!known) logger.error({ image: image.id, error: String(error) }, "an import failed for a reason that is not the image's");
      await this.#removeFiles(image.id);
      this.#ended.add(image.id);
      const text = known
        ? [problem.message, problem.extra.cause, problem.extra.next].filter((part) => part !== undefined && part !== "").join(" ")
        : `The import failed within the server: ${String(error)}. Import the image again; the server's log says more.`;
      await this.#tellState(image.id, "failed", { receivedBytes, problem: text, code: known ? problem.code : "internal" });
      note(text);
      logger.warn({ image: image.id, problem: text }, "an image was not imported");
    }
  }

  async #tellState(imageId: string, state: ImageLibraryStatus["state"], facts: Omit<ImageLibraryStatus, "state" | "at">): Promise<void> {
    // The file system may know more than the store while the server stops: then the next start tells it.
    await writeStatus(this.#context, imageId, { state, ...facts, at: this.#context.clock.now() } as ImageLibraryStatus, this.#stopping.signal); // a spread of a loose object loses its named members
  }

  #taskOf(imageId: string): string | null {
    for (const { id, spec, status } of this.#context.cache.all("task")) {
      if (spec.target.id !== imageId || (spec.verb !== "import" && spec.verb !== "create")) continue;
      const state = taskState(status);
      if (state === "waiting" || state === "running") return id;
    }
    return null;
  }

  /** Live figures of an image's task, not more than one a second. */
  #teller(imageId: string): (step: string, receivedBytes: number, totalBytes: number | undefined) => void {
    const { clock, tasks } = this.#context;
    const task = this.#taskOf(imageId);
    let told = -Infinity;
    return (step, receivedBytes, totalBytes) => {
      if (task === null || clock.monotonic() - told < tellEveryMs) return;
      told = clock.monotonic();
      const percent = totalBytes === undefined || totalBytes === 0 ? {} : { totalBytes, percent: Math.floor((receivedBytes / totalBytes) * 100) };
      tasks.progress(task, { step, receivedBytes, ...percent });
    };
  }
}
