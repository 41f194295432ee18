/** The storage pools of this host: their directories are made (local) or looked for (shared), their space is told. Called under the pool's key. */
import { type PoolOnHost, type RecordOf } from "@sheaf/model";
import type { z } from "zod";
import type { KeptState } from "./kept-state.ts";
import type { Files } from "./ports.ts";
import { pulsePoolsFile } from "./pulse.ts";

type Seen = z.infer<typeof PoolOnHost>;

export interface PoolReconcilerOptions {
  readonly hostId: string;
  readonly dataDirectory: string;
  readonly kept: KeptState;
  readonly files: Files;
  /** Ends a look at storage that hangs. */
  readonly within: <T>(work: Promise<T>, limitMs: number, what: string) => Promise<T>;
  /** Takes images out of the pool that are more than it gives room for. Never rejects. */
  readonly trimImages: (poolPath: string) => Promise<void>;
  readonly report: (poolId: string, value: Seen | null) => void;
}

const lookEveryMs = 60_000;
const lookLimitMs = 10_000;

export class PoolReconciler {
  readonly #options: PoolReconcilerOptions;
  readonly #seen = new Map<string, Seen>();
  #pulsePools = "";
  readonly #trimming = new Set<string>();

  constructor(options: PoolReconcilerOptions) {
    this.#options = options;
  }

  /** Whether the pool can be used on this host. */
  observation(poolId: string): Seen | undefined {
    return this.#seen.get(poolId);
  }

  /** For people: what is wrong with the pools of this host. */
  problems(): string[] {
    const { kept } = this.#options;
    return [...this.#seen].flatMap(([id, seen]) => {
      const pool = kept.document("pool", id);
      if (!pool) return [];
      if (seen.problem !== undefined) return [`pool ${pool.name}: ${seen.problem}`];
      const low = seen.availableBytes < seen.capacityBytes * pool.spec.minimumFreeRatio;
      return low ? [`pool ${pool.name} is nearly full: ${seen.availableBytes} of ${seen.capacityBytes} bytes are free; new volumes are refused`] : [];
    });
  }

  async reconcile(poolId: string): Promise<{ againAfterMs?: number } | void> {
    const { kept, hostId, report, within } = this.#options;
    const pool = kept.document("pool", poolId);
    if (!pool || pool.deletedAt !== undefined || !offeredHere(pool, hostId)) {
      if (this.#seen.delete(poolId)) report(poolId, null);
      return this.#tellPulse();
    }
    const seen = await within(this.#look(pool), lookLimitMs, `${pool.spec.path} does not answer`).catch((error: unknown): Seen => ({
      state: "failed",
      capacityBytes: 0,
      availableBytes: 0,
      problem: `${error instanceof Error ? error.message : String(error)}: see whether the storage is there and can be written to`,
    }));
    this.#seen.set(poolId, seen);
    report(poolId, seen);
    await this.#tellPulse();
    if (seen.state === "ready") this.#trim(poolId, pool.spec.path);
    return { againAfterMs: lookEveryMs };
  }

  /** The pulse beside this agent writes into every shared pool that this host can use, or could a moment ago. */
  async #tellPulse(): Promise<void> {
    const { kept, files, dataDirectory } = this.#options;
    const paths = [...this.#seen.keys()].flatMap((id) => {
      const pool = kept.document("pool", id);
      return pool?.spec.type === "shared" ? [pool.spec.path] : [];
    });
    const text = paths.toSorted().join("\n");
    if (text === this.#pulsePools) return;
    await files.writeAtomic(pulsePoolsFile(dataDirectory), text);
    this.#pulsePools = text;
  }

  /** Beside the looks: with many disks it takes a while, and on storage that hangs for ever. */
  #trim(poolId: string, path: string): void {
    if (this.#trimming.has(poolId)) return;
    this.#trimming.add(poolId);
    void this.#options.trimImages(path).finally(() => this.#trimming.delete(poolId));
  }

  async #look(pool: RecordOf<"pool">): Promise<Seen> {
    const { files } = this.#options;
    const { path, type } = pool.spec;
    // A shared pool whose directory is missing is not mounted: making it would fill the host's own disk instead.
    if (type === "shared" && !(await files.facts(path)))
      throw new Error(`the directory ${path} of this shared pool is not on this host (is it mounted?)`);
    for (const directory of ["volumes", "images"]) await files.makeDirectory(`${path}/${directory}`, 0o755);
    const { capacityBytes, availableBytes } = await files.space(path);
    // In steps, so that a guest's every write does not make news.
    const step = Math.max(16 * 2 ** 20, Math.floor(capacityBytes / 256));
    return { state: "ready", capacityBytes, availableBytes: Math.floor(availableBytes / step) * step };
  }
}

const offeredHere = (pool: RecordOf<"pool">, hostId: string): boolean => pool.spec.hosts === undefined || pool.spec.hosts.includes(hostId);
