/**
 * The image library of a site with several servers: all serve the files of one shared folder, the leader alone fetches, checks and removes
 * them. A folder that is not the shared one (not mounted, another disk) is never worked in: its images would look lost. Called by the start-up code.
 */
import type { Readable } from "node:stream";
import type { Random } from "@sheaf/base";
import { libraryFolderKey, SheafError } from "@sheaf/model";
import type { ImageLibrary as Library } from "../context.ts";
import type { LibraryContext } from "./library-ports.ts";
import { serveImage, type ImageAnswer, type ImageRequest } from "./serve-image.ts";

interface WorkingLibrary extends Library {
  start(): void;
  stop(): Promise<void>;
}

export interface LeadingLibraryOptions {
  readonly context: LibraryContext;
  readonly random: Random;
  /** Whether other servers use the folder too. */
  readonly shared: boolean;
  /** A new one for each time this server leads. */
  readonly make: () => WorkingLibrary;
  /** Where the leader is reached, as far as it is known. */
  readonly leaderUrl: () => Promise<string | undefined>;
}

const marker = ".library";

export class LeadingLibrary implements Library {
  readonly #options: LeadingLibraryOptions;
  #working: WorkingLibrary | null = null;
  #turn: Promise<void> = Promise.resolve();

  constructor(options: LeadingLibraryOptions) {
    this.#options = options;
  }

  began(): void {
    this.#turn = this.#turn.then(() => this.#begin());
  }

  ended(): Promise<void> {
    this.#turn = this.#turn.then(async () => {
      const working = this.#working;
      this.#working = null;
      await working?.stop();
    });
    return this.#turn;
  }

  serve(imageId: string, request: ImageRequest): Promise<ImageAnswer> {
    const { context } = this.#options;
    return serveImage(context, context.cache.get("image", imageId), request);
  }

  async offset(imageId: string): Promise<number> {
    return (await this.#leader()).offset(imageId);
  }

  async receive(imageId: string, stream: Readable, range: { readonly offset: number; readonly totalBytes?: number }): Promise<number> {
    return (await this.#leader()).receive(imageId, stream, range);
  }

  async #leader(): Promise<Library> {
    await this.#turn;
    if (this.#working !== null) return this.#working;
    const url = await this.#options.leaderUrl();
    throw new SheafError("state-refused", "Images are received by the server that leads, and this one does not.", {
      next: url === undefined ? "Try again in a moment." : `Send it to ${url}.`,
    });
  }

  async #begin(): Promise<void> {
    const { context, make, shared } = this.#options;
    try {
      if (shared && !(await this.#isTheFolder())) {
        context.logger.error(
          { directory: context.directory },
          "this is not the folder of images that the servers share: mount it there (--images). Until then this server neither fetches nor removes any",
        );
        return;
      }
      this.#working = make();
      this.#working.start();
    } catch (error) {
      context.logger.error({ error: String(error), directory: context.directory }, "the image library could not be begun");
    }
  }

  /** The store and the folder name each other; whoever leads first names both. */
  async #isTheFolder(): Promise<boolean> {
    const { context, random } = this.#options;
    const { files, directory, store } = context;
    await files.makeDirectory(directory);
    const found = await files.readText(`${directory}/${marker}`);
    const named = await store.get(libraryFolderKey);
    if (named !== null) return found?.trim() === named.value;
    const name = found?.trim() ?? Buffer.from(random.bytes(16)).toString("hex");
    if (found === null) await files.writeAtomic(`${directory}/${marker}`, `${name}\n`);
    return (await store.transact({ compare: [{ key: libraryFolderKey, createRevision: 0 }], then: [{ put: libraryFolderKey, value: name }] }))
      .succeeded;
  }
}
