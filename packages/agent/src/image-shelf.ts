/**
 * Takes images out of this host's pools: those that nothing is based on, the longest unused first, where they are more than the pool
 * gives room for, where room is missing, or where their record is gone. Called by the image cache and by the pools' looks.
 * Never takes an image that a disk is based on, be it another host's in a shared pool: the disks' own headers say so, not the records.
 */
import type { Logger } from "@sheaf/base";
import type { RecordOf } from "@sheaf/model";
import type { Files } from "./ports.ts";
import type { VolumeFiles } from "./volume-files.ts";

type Pool = RecordOf<"pool">;

export interface ImageShelfOptions {
  readonly hostId: string;
  readonly logger: Logger;
  readonly files: Files;
  readonly volumeFiles: VolumeFiles;
  readonly pools: () => readonly Pool[];
  /** Paths of images that records of this host ask for, whether or not what is based on them has been made. */
  readonly wanted: () => ReadonlySet<string>;
  readonly removed: (path: string) => void;
}

/** A file under its final name: by digest, whole and checked. */
const imageName = /^[0-9a-f]{64}\.(qcow2|raw|iso)$/;

interface Shelved {
  readonly path: string;
  readonly sizeBytes: number;
  readonly usedAt: number;
}

export class ImageShelf {
  readonly #options: ImageShelfOptions;
  /** By path: counts up with every use since this agent's start. */
  readonly #uses = new Map<string, number>();
  #count = 0;
  /** By pool, one at a time: each goes by what the one before has left. A pool that hangs holds up itself alone. */
  readonly #turns = new Map<string, Promise<unknown>>();

  constructor(options: ImageShelfOptions) {
    this.#options = options;
  }

  used(path: string): void {
    this.#uses.set(path, (this.#count += 1));
  }

  /** Takes these images away, but for those that are in use. */
  drop(poolPath: string, path: string): Promise<void> {
    return this.#inTurn(poolPath, async () => {
      if (!(await this.#options.files.facts(path))) return;
      if (!(await this.#inUse(poolPath)).has(path)) await this.#take(poolPath, path);
    });
  }

  /**
   * Keeps to the share of the pool that images may have (`imageCacheRatio`) and to its free space, for what is there and what is to come.
   * Where all is in use it does less.
   */
  makeRoom(poolPath: string, incomingBytes: number, spareBytes = 0): Promise<void> {
    return this.#inTurn(poolPath, async () => {
      const { files, pools } = this.#options;
      const pool = pools().find(({ spec }) => spec.path === poolPath);
      if (!pool) return;
      await this.#bringBack(poolPath);
      const shelved = await this.#shelved(poolPath);
      let imageBytes = shelved.reduce((sum, each) => sum + each.sizeBytes, incomingBytes);
      const tight = async (): Promise<boolean> => {
        const { capacityBytes, availableBytes } = await files.space(poolPath);
        const least = Math.max(spareBytes, capacityBytes * pool.spec.minimumFreeRatio);
        return imageBytes > capacityBytes * pool.spec.imageCacheRatio || availableBytes - incomingBytes < least;
      };
      if (shelved.length === 0 || !(await tight())) return;
      const inUse = await this.#inUse(poolPath);
      for (const { path, sizeBytes } of shelved.toSorted((a, b) => a.usedAt - b.usedAt)) {
        if (inUse.has(path)) continue;
        if (!(await tight())) return;
        if (await this.#take(poolPath, path)) imageBytes -= sizeBytes;
      }
    });
  }

  async #shelved(poolPath: string): Promise<Shelved[]> {
    const { files } = this.#options;
    const found: Shelved[] = [];
    for (const name of await files.list(`${poolPath}/images`)) {
      if (!imageName.test(name)) continue;
      const path = `${poolPath}/images/${name}`;
      const facts = await files.facts(path);
      // Unused since the agent's start: before all others, by age.
      if (facts) found.push({ path, sizeBytes: facts.sizeBytes, usedAt: this.#uses.get(path) ?? facts.modifiedAt - Number.MAX_SAFE_INTEGER });
    }
    return found;
  }

  /** @throws where a disk's header cannot be read: nothing is known then, and nothing taken */
  async #inUse(poolPath: string): Promise<Set<string>> {
    const { files, volumeFiles, wanted } = this.#options;
    const found = new Set(wanted());
    for (const name of await files.list(`${poolPath}/volumes`)) {
      if (!/\.qcow2(\.new)?$/.test(name)) continue;
      const path = `${poolPath}/volumes/${name}`;
      const backing = await volumeFiles.backing(path).catch(async (error: unknown) => {
        if (await files.facts(path)) throw error;
        return null; // it went meanwhile
      });
      if (backing !== null) found.add(backing);
    }
    return found;
  }

  /**
   * Another host may be making a disk on it at this moment: it is put aside first, and comes back where a disk is found after all. A disk
   * made while it was aside finds no image, and is made again (volume-files.ts).
   */
  async #take(poolPath: string, path: string): Promise<boolean> {
    const { files, logger, removed } = this.#options;
    const aside = this.#aside(path);
    await files.rename(path, aside);
    const used = await this.#inUse(poolPath).then(
      (inUse) => inUse.has(path),
      () => true,
    );
    if (used) {
      await files.rename(aside, path);
      return false;
    }
    await files.remove(aside);
    this.#uses.delete(path);
    logger.info({ path }, "an image that nothing is based on was taken out of its pool");
    removed(path);
    return true;
  }

  #aside(path: string): string {
    return `${path}.${this.#options.hostId}.aside`;
  }

  /** What this agent had put aside when it last ended. */
  async #bringBack(poolPath: string): Promise<void> {
    const { files, hostId } = this.#options;
    const ending = `.${hostId}.aside`;
    for (const name of await files.list(`${poolPath}/images`)) {
      if (!name.endsWith(ending)) continue;
      const path = `${poolPath}/images/${name.slice(0, -ending.length)}`;
      if (await files.facts(path)) await files.remove(this.#aside(path));
      else await files.rename(this.#aside(path), path);
    }
  }

  #inTurn<T>(poolPath: string, work: () => Promise<T>): Promise<T> {
    const result = (this.#turns.get(poolPath) ?? Promise.resolve()).then(work);
    this.#turns.set(
      poolPath,
      result.catch(() => {}),
    );
    return result;
  }
}
