/**
 * Advice that this server gave on request, for as long as somebody may still act on it: what was read is what is done. In memory alone: after a
 * restart, or on another server, whoever names it is told what is advised then.
 */
import type { MadeAdvice } from "@sheaf/controllers";
import type { Clock } from "@sheaf/base";

interface Given extends MadeAdvice {
  readonly id: string;
  /** Monotonic, ms. */
  readonly at: number;
}

const keptMs = 3_600_000;
/** Of one cluster; each has at most some hundred moves. */
const keptEach = 8;

export class AdviceShelf {
  readonly #clock: Pick<Clock, "monotonic">;
  readonly #newId: () => string;
  /** By cluster, oldest first. */
  readonly #given = new Map<string, readonly Given[]>();

  constructor(clock: Pick<Clock, "monotonic">, newId: () => string) {
    this.#clock = clock;
    this.#newId = newId;
  }

  /** @returns its id: the same for the same moves */
  put(clusterId: string, made: MadeAdvice): string {
    const now = this.#clock.monotonic();
    const moves = JSON.stringify(made.moves);
    const others = (this.#given.get(clusterId) ?? []).filter(({ at }) => now - at < keptMs);
    const same = others.find((given) => JSON.stringify(given.moves) === moves);
    const given: Given = { ...made, id: same?.id ?? this.#newId(), at: now };
    this.#given.set(clusterId, [...others.filter((other) => other !== same), given].slice(-keptEach));
    return given.id;
  }

  find(clusterId: string, id: string): MadeAdvice | undefined {
    const now = this.#clock.monotonic();
    return this.#given.get(clusterId)?.find((given) => given.id === id && now - given.at < keptMs);
  }
}
