/**
 * What every machine of the site has used and which size it needs, kept in memory: one machine after the other is looked at in the background,
 * again every day, so that a list of all is answered without reading files. Nothing of it is on the disk: after a restart it is made anew,
 * and a machine that is asked for by name is looked at on the spot. Started with the API's services.
 */
import type { Clock, Logger, Timer } from "@sheaf/base";
import type { RecordOf } from "@sheaf/model";
import { type EarlierAdvice, type GivenSize, type MachineUse, type RightSize, rightSize } from "@sheaf/planning";
import type { RecordCache, SiteTelemetry } from "../context.ts";

export interface UseSurveyOptions {
  readonly clock: Clock;
  readonly logger: Logger;
  readonly cache: Pick<RecordCache, "get" | "all">;
  readonly figures: Pick<SiteTelemetry, "use">;
}

/** One machine, when it was looked at last. */
export interface Surveyed {
  readonly at: number;
  readonly use: MachineUse;
  /** The size it had, and what was advised for that. */
  readonly given: GivenSize;
  readonly advice: RightSize;
}

const dayMs = 86_400_000;
/** Looking takes at most so much of the time: a site of 100,000 machines is through in some hours, and nobody notices. */
const busyShare = 0.1;
/** Until agents have told where they are again. */
const firstMs = 60_000;
const idleMs = 60_000;
/** Asked for by name, it is looked at again when it was looked at longer ago. */
const staleMs = 600_000;

export class UseSurvey {
  readonly #options: UseSurveyOptions;
  readonly #surveyed = new Map<string, Surveyed>();
  /** Ids that are due, the next last. */
  #due: string[] = [];
  #timer: Timer | undefined;
  #stopped = false;
  #failing = false;

  constructor(options: UseSurveyOptions) {
    this.#options = options;
    this.#later(firstMs);
  }

  /** Machines that were looked at. */
  get size(): number {
    return this.#surveyed.size;
  }

  stop(): void {
    this.#stopped = true;
    this.#timer?.cancel();
  }

  /** As it is known; `undefined`: it was not looked at yet. The advice is for the size that the machine has now. */
  known(vm: RecordOf<"vm">): Surveyed | undefined {
    const found = this.#surveyed.get(vm.id);
    if (found === undefined) return undefined;
    const given = givenTo(vm);
    if (sameGiven(found.given, given)) return found;
    const now = { ...found, given, advice: rightSize(found.use, given) };
    this.#surveyed.set(vm.id, now);
    return now;
  }

  /** Looks at it now, unless that was done a moment ago. */
  async look(vm: RecordOf<"vm">, notBefore = this.#options.clock.now() - staleMs): Promise<Surveyed> {
    const before = this.known(vm);
    if (before !== undefined && before.at >= notBefore) return before;
    const use = await this.#options.figures.use(vm.id);
    const given = givenTo(vm);
    const earlier: EarlierAdvice | undefined = before && { given: before.given, suggested: before.advice.suggested };
    const found = { at: this.#options.clock.now(), use, given, advice: rightSize(use, given, earlier) };
    this.#surveyed.set(vm.id, found);
    return found;
  }

  #later(delayMs: number): void {
    if (this.#stopped) return;
    this.#timer = this.#options.clock.setTimer(delayMs, () => {
      const { clock, logger } = this.#options;
      const from = clock.monotonic();
      this.#next()
        .then((looked) => {
          this.#failing = false;
          this.#later(looked ? Math.max(1, (clock.monotonic() - from) * (1 / busyShare - 1)) : idleMs);
        })
        .catch((error: unknown) => {
          if (!this.#failing) logger.warn({ error: String(error) }, "what machines have used could not be read; it is tried again");
          this.#failing = true;
          this.#later(idleMs);
        });
    });
  }

  /** @returns whether one was looked at */
  async #next(): Promise<boolean> {
    if (this.#due.length === 0) this.#refill();
    const id = this.#due.pop();
    if (id === undefined) return false;
    const vm = this.#options.cache.get("vm", id);
    if (vm !== undefined) await this.look(vm, this.#options.clock.now() - dayMs);
    return true;
  }

  #refill(): void {
    const { cache, clock } = this.#options;
    const oldest = clock.now() - dayMs;
    for (const id of this.#surveyed.keys()) if (cache.get("vm", id) === undefined) this.#surveyed.delete(id);
    for (const { id } of cache.all("vm")) if ((this.#surveyed.get(id)?.at ?? Number.NEGATIVE_INFINITY) < oldest) this.#due.push(id);
  }
}

function givenTo({ spec }: RecordOf<"vm">): GivenSize {
  const { bytes, minimumBytes } = spec.memory;
  return { cpus: spec.cpu.count, memoryBytes: bytes, ...(minimumBytes === undefined ? {} : { minimumMemoryBytes: minimumBytes }) };
}

const sameGiven = (one: GivenSize, other: GivenSize): boolean =>
  one.cpus === other.cpus && one.memoryBytes === other.memoryBytes && one.minimumMemoryBytes === other.minimumMemoryBytes;
