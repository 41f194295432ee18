/** The open hosts of a decision, scored: by one policy as it says, by several after each one's scores are brought to 0 … 1 over these hosts. */
import type { HostCandidates } from "./host-candidates.ts";
import type { WeightedPolicies } from "./policy-choice.ts";
import type { HostScorer } from "./scoring-policy.ts";

interface Scale {
  readonly lowest: number;
  readonly span: number;
}

export class HostScores {
  readonly #candidates: HostCandidates;
  readonly #by: WeightedPolicies;
  readonly #scorers: readonly HostScorer[];
  /** Of each policy; empty for a single one. */
  readonly #scales: readonly Scale[];

  constructor(candidates: HostCandidates, by: WeightedPolicies) {
    this.#candidates = candidates;
    this.#by = by;
    this.#scorers = by.map(({ policy }) => policy.scorer(candidates.world));
    this.#scales = by.length === 1 ? [] : this.#scorers.map((scorer) => this.#scaleOf(scorer));
  }

  /** Equal scores: the smaller host id. @param cluster number of the only one wanted @returns -1 where no host is open */
  best(cluster?: number): number {
    const { table } = this.#candidates.snapshot;
    let best = -1;
    let bestScore = Number.NEGATIVE_INFINITY;
    for (let slot = 0; slot < this.#candidates.length; slot += 1) {
      if (!this.#candidates.isOpen(slot) || (cluster !== undefined && table.clusterNumber[slot] !== cluster)) continue;
      const score = this.of(slot, bestScore);
      if (score < bestScore || (score === bestScore && best !== -1 && (table.ids[slot] ?? "") > (table.ids[best] ?? ""))) continue;
      best = slot;
      bestScore = score;
    }
    return best;
  }

  /** @param floor below it, anything below it may be answered */
  of(slot: number, floor = Number.NEGATIVE_INFINITY): number {
    const figures = this.#candidates.figures(slot);
    const [only] = this.#scorers;
    if (this.#scales.length === 0) return only?.score(figures, floor) ?? 0;
    let sum = 0;
    for (const [place, scorer] of this.#scorers.entries()) sum += this.#scaled(place, scorer.score(figures, Number.NEGATIVE_INFINITY));
    return sum;
  }

  parts(slot: number): Readonly<Record<string, number>> {
    const figures = this.#candidates.figures(slot);
    const [only] = this.#scorers;
    if (this.#scales.length === 0) return only?.parts(figures) ?? {};
    const score = (place: number, scorer: HostScorer): number => this.#scaled(place, scorer.score(figures, Number.NEGATIVE_INFINITY));
    return Object.fromEntries(this.#by.map(({ policy }, place) => [policy.name, score(place, this.#scorers[place] as HostScorer)])); // one for each
  }

  #scaled(place: number, score: number): number {
    const { lowest = 0, span = 0 } = this.#scales[place] ?? {};
    return span === 0 ? 0 : ((this.#by[place]?.weight ?? 0) * (score - lowest)) / span;
  }

  #scaleOf(scorer: HostScorer): Scale {
    let lowest = Number.POSITIVE_INFINITY;
    let highest = Number.NEGATIVE_INFINITY;
    for (let slot = 0; slot < this.#candidates.length; slot += 1) {
      if (!this.#candidates.isOpen(slot)) continue;
      const score = scorer.score(this.#candidates.figures(slot), Number.NEGATIVE_INFINITY);
      lowest = Math.min(lowest, score);
      highest = Math.max(highest, score);
    }
    return { lowest, span: highest > lowest ? highest - lowest : 0 };
  }
}
