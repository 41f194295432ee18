/**
 * The site's one book of use, on every server: takes in what agents told of their load as soon as it is there, wherever they are connected, and
 * tells the scheduler's picture what hosts really use. Balancing, consolidation and the API read the book. Ends with `close`.
 */
import type { Timer } from "@sheaf/base";
import type { HostLoad } from "@sheaf/contract";
import type { RecordOf } from "@sheaf/model";
import { UseBook } from "@sheaf/planning";
import type { Measured } from "@sheaf/scheduling";
import type { ControllerContext } from "./context.ts";
import { hostUses, type HostUse } from "./host-use.ts";

/** A look at what is new costs little: what was taken in before is not taken in again. */
const lookMs = 2000;
/** What was told stands for so long, where nothing new is told. */
const heldMs = 15_000;
const tellMs = 10_000;

export interface UseSamplerOptions extends Pick<ControllerContext, "cache" | "clock" | "agents"> {
  readonly snapshot: { measure(hostId: string, figures: Measured): void };
}

export class UseSampler {
  readonly book = new UseBook();
  readonly #options: UseSamplerOptions;
  readonly #taken = new Map<string, { readonly load: HostLoad; readonly at: number }>();
  /** Hosts that the scheduler was told of: whoever is not known any more is forgotten. */
  #told: ReadonlySet<string> = new Set();
  #toldAt = -Infinity;
  #uses: readonly HostUse[] = [];
  #timer: Timer;

  constructor(options: UseSamplerOptions) {
    this.#options = options;
    this.#timer = options.clock.setTimer(lookMs, () => this.#look());
  }

  /** As they were told to the scheduler last, at most ten seconds ago. */
  get uses(): readonly HostUse[] {
    return this.#uses;
  }

  close(): void {
    this.#timer.cancel();
  }

  #look(): void {
    const { cache, clock, agents } = this.#options;
    this.#timer = clock.setTimer(lookMs, () => this.#look());
    const now = clock.monotonic();
    for (const host of cache.all("host")) {
      const load = agents.load(host.id);
      if (!load) continue;
      const before = this.#taken.get(host.id);
      if (before?.load === load && now - before.at < heldMs) continue;
      this.book.add(host.id, readingOf(host, load), now);
      this.#taken.set(host.id, { load, at: now });
    }
    if (now - this.#toldAt < tellMs) return;
    this.#toldAt = now;
    this.#tellScheduler(now);
    this.book.sweep(now);
    for (const id of this.#taken.keys()) if (cache.get("host", id) === undefined) this.#taken.delete(id);
  }

  #tellScheduler(now: number): void {
    const { cache, snapshot } = this.#options;
    const known = new Set<string>();
    this.#uses = hostUses(cache, this.book, now);
    for (const { host, cpuShare, memoryShare } of this.#uses) {
      snapshot.measure(host.id, { cpuPercent: Math.min(100, cpuShare * 100), memoryPercent: Math.min(100, memoryShare * 100) });
      known.add(host.id);
    }
    for (const id of this.#told) if (!known.has(id) && cache.get("host", id) !== undefined) snapshot.measure(id, {});
    this.#told = known;
  }
}

/** Of a host that offers a share of itself, what its machines use counts: the rest is not its own. */
function readingOf({ spec, status }: RecordOf<"host">, load: HostLoad) {
  const machines = load.vms.map(({ id, cpu, memoryUsedBytes }) => ({ id, cpus: cpu, memoryBytes: memoryUsedBytes }));
  const sum = (figure: (machine: (typeof machines)[number]) => number): number => machines.reduce((all, machine) => all + figure(machine), 0);
  return {
    cpus: spec.offeredCpus === undefined ? load.cpu * (status.agent?.cpu.count ?? 0) : sum(({ cpus }) => cpus),
    memoryBytes: spec.offeredMemoryBytes === undefined ? load.memoryUsedBytes : sum(({ memoryBytes }) => memoryBytes),
    machines,
  };
}
