/** The open hosts of a decision, scored: by one policy as it says, by several after each one's scores are brought to 0 … 1 over these hosts. */
import { gpuTerm } from "./gpu/gpu-term.ts";
import type { HostCandidates } from "./host-candidates.ts";
import type { WeightedPolicies } from "./policy-choice.ts";
import type { HostScorer } from "./scoring-policy.ts";

/** More than what a sum of two terms is rounded by: hosts that are equal must be scored to the end. */
const rounding = 1e-9;

interface Scale {
  readonly lowest: number;
  readonly span: number;
}

export class HostScores {
  readonly #candidates: HostCandidates;
  readonly #by: WeightedPolicies;
  readonly #scorers: readonly HostScorer[];
  readonly #single: HostScorer | undefined;
  readonly #gpus: ((slot: number) => number) | undefined;
  /** Of each policy; empty for a single one. */
  readonly #scales: readonly Scale[];

  constructor(candidates: HostCandidates, by: WeightedPolicies) {
    this.#candidates = candidates;
    this.#by = by;
    this.#gpus = gpuTerm(candidates.requests, by, candidates.snapshot);
    this.#scorers = by.map(({ policy }) => policy.scorer(candidates.world));
    this.#single = by.length === 1 ? this.#scorers[0] : undefined;
    this.#scales = by.length === 1 ? [] : this.#scorers.map((scorer) => this.#scaleOf(scorer));
  }

  /**
   * Of those that break least of what is preferred, and of these where machines are whole in a NUMA cell if they can be, the highest score.
   * @param cluster number of the only one wanted @returns -1 where no host is open
   */
  best(cluster?: number): number {
    const candidates = this.#candidates;
    const { preferences } = candidates;
    if (!candidates.mayTear) return this.#best(cluster);
    const whole = this.#best(cluster, (slot) => !candidates.tears(slot));
    if (whole !== -1 && preferences === undefined) return whole;
    const first = this.#best(cluster);
    return whole === -1 || (preferences !== undefined && preferences.broken(whole) > preferences.broken(first)) ? first : whole;
  }

  /** Equal scores: the smaller host id. @param accepts absent: all */
  #best(cluster: number | undefined, accepts?: (slot: number) => boolean): number {
    const { mask, preferences, snapshot } = this.#candidates;
    const { table } = snapshot;
    const { clusterNumber } = table;
    let best = -1;
    let bestScore = Number.NEGATIVE_INFINITY;
    let leastBroken = Number.POSITIVE_INFINITY;
    for (let slot = 0; slot < mask.length; slot += 1) {
      if (mask[slot] !== 0 || (cluster !== undefined && clusterNumber[slot] !== cluster)) continue;
      // Before the score: that of a host that is not taken would not spare looking closely at the next.
      if (accepts !== undefined && !accepts(slot)) continue;
      if (preferences !== undefined) {
        const broken = preferences.broken(slot);
        if (broken > leastBroken) continue;
        if (broken < leastBroken) [leastBroken, best, bestScore] = [broken, -1, Number.NEGATIVE_INFINITY];
      }
      const score = this.of(slot, bestScore);
      if (score < bestScore || (score === bestScore && best !== -1 && table.isBefore(best, slot))) continue;
      best = slot;
      bestScore = score;
    }
    return best;
  }

  /** @param floor below it, anything below it may be answered */
  of(slot: number, floor = Number.NEGATIVE_INFINITY): number {
    if (this.#gpus === undefined) return this.#byPolicies(slot, floor);
    const gpus = this.#gpus(slot);
    return gpus + this.#byPolicies(slot, floor - gpus - rounding);
  }

  #byPolicies(slot: number, floor: number): number {
    if (this.#single !== undefined) return this.#single.score(slot, floor);
    let sum = 0;
    for (const [place, scorer] of this.#scorers.entries()) sum += this.#scaled(place, scorer.score(slot, Number.NEGATIVE_INFINITY));
    return sum;
  }

  parts(slot: number): Readonly<Record<string, number>> {
    const broken = this.#candidates.preferences?.broken(slot);
    return {
      ...(broken === undefined ? {} : { preferred: 0 - broken }),
      ...this.#policyParts(slot),
      ...(this.#gpus === undefined ? {} : { gpus: this.#gpus(slot) }),
    };
  }

  #policyParts(slot: number): Readonly<Record<string, number>> {
    if (this.#single !== undefined) return this.#single.parts(slot);
    const score = (place: number, scorer: HostScorer): number => this.#scaled(place, scorer.score(slot, Number.NEGATIVE_INFINITY));
    return Object.fromEntries(this.#by.map(({ policy }, place) => [policy.name, score(place, this.#scorers[place] as HostScorer)])); // one for each
  }

  #scaled(place: number, score: number): number {
    const { lowest = 0, span = 0 } = this.#scales[place] ?? {};
    return span === 0 ? 0 : ((this.#by[place]?.weight ?? 0) * (score - lowest)) / span;
  }

  #scaleOf(scorer: HostScorer): Scale {
    let lowest = Number.POSITIVE_INFINITY;
    let highest = Number.NEGATIVE_INFINITY;
    for (let slot = 0; slot < this.#candidates.mask.length; slot += 1) {
      if (!this.#candidates.isOpen(slot)) continue;
      const score = scorer.score(slot, Number.NEGATIVE_INFINITY);
      lowest = Math.min(lowest, score);
      highest = Math.max(highest, score);
    }
    return { lowest, span: highest > lowest ? highest - lowest : 0 };
  }
}
