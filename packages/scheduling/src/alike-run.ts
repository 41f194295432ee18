/**
 * Machines that ask for the same, decided one after the other: hosts are looked at and scored once, then only the host that each was put on.
 * The weights of a policy that looks at the whole site are those of the run's begin. Used by planBatch alone.
 */
import type { PlacementPolicy } from "@sheaf/model";
import { HostCandidates } from "./host-candidates.ts";
import { HostScores } from "./host-scores.ts";
import { chosen, policyFor } from "./place.ts";
import type { RequestRule } from "./group-book.ts";
import type { PlacementDecision } from "./placement-decision.ts";
import type { PlacementRequest } from "./placement-request.ts";
import { weighted, type WeightedPolicies } from "./policy-choice.ts";
import type { SnapshotIndex } from "./snapshot.ts";
import { standingKey } from "./request-filters.ts";

/**
 * Equal for requests that any host answers alike, one after the other.
 * @returns `null` where it also depends on which machine asks: what it is charged already, what lies where, which machines it stays with
 */
export function alikeKey(request: PlacementRequest, snapshot: SnapshotIndex): string | null {
  const { vm, host, leave, together, apart, rules, neighbours, licences, terms, unknownVolumes, volumes, admitted } = request;
  const { policy, priority, cpus, memoryBytes, hugepages, cells, gpus, pciDevices } = request;
  // Where one is put changes what is said of other hosts too.
  if (licences.length > 0 || [...rules, ...snapshot.groups.binding(rules)].some(isWide)) return null;
  if (host !== undefined || leave !== undefined || together !== undefined || unknownVolumes.length > 0) return null;
  if (snapshot.charge(vm) !== undefined || volumes.some((need) => need.pinnedTo !== undefined || snapshot.pools.chargedSlots(need.volume).length > 0))
    return null;
  const sizes = volumes.map(({ pool, sizeBytes }) => [pool, sizeBytes]);
  const capacity = [terms, sizes, admitted, policy, priority, cpus, memoryBytes, hugepages, cells, gpus, pciDevices];
  return JSON.stringify([standingKey(request), apart, rules, neighbours, ...capacity]);
}

const isWide = ({ keep, within }: RequestRule): boolean => keep === "together" || within !== "host";

export class AlikeRun {
  readonly #candidates: HostCandidates;
  readonly #by: WeightedPolicies;
  readonly #scores: HostScores;
  readonly #bySlot: Float64Array;
  /** How much of what is preferred each breaks; absent where nothing is. */
  readonly #broken: Float64Array | undefined;
  /** Whether it would be torn there: 0 is not known yet, 1 it is whole, 2 it is torn. */
  readonly #torn: Uint8Array;
  #fitting: number;

  private constructor(candidates: HostCandidates, policy: PlacementPolicy) {
    this.#candidates = candidates;
    this.#by = weighted(policy);
    this.#scores = new HostScores(candidates, this.#by);
    this.#bySlot = new Float64Array(candidates.mask.length).fill(Number.NEGATIVE_INFINITY);
    this.#broken = candidates.preferences === undefined ? undefined : new Float64Array(candidates.mask.length);
    this.#torn = new Uint8Array(candidates.mask.length);
    this.#fitting = 0;
    for (let slot = 0; slot < candidates.mask.length; slot += 1) {
      if (!candidates.isOpen(slot)) continue;
      this.#fitting += 1;
      this.#score(slot);
    }
  }

  /** @returns `undefined` where each must be decided by itself */
  static of(request: PlacementRequest, snapshot: SnapshotIndex, policy: PlacementPolicy | undefined): AlikeRun | undefined {
    const { policy: first, decided } = policyFor([request], snapshot, policy);
    const candidates = new HostCandidates([request], snapshot);
    // Room that is kept for a whole cluster shrinks with every machine, on all its hosts; so does that of a shared pool.
    if (!decided || candidates.has("admission") || request.volumes.some((need) => snapshot.pools.pool(need.pool)?.spec.type === "shared"))
      return undefined;
    return new AlikeRun(candidates, first);
  }

  next(): PlacementDecision {
    let best = this.#best();
    if (best === -1) return this.#candidates.refusal();
    if (this.#tears(best)) {
      const whole = this.#best((slot) => !this.#tears(slot));
      if (whole !== -1 && (this.#broken?.[whole] ?? 0) <= (this.#broken?.[best] ?? 0)) best = whole;
    }
    return chosen(best, this.#candidates, this.#scores, this.#by, this.#fitting);
  }

  #tears(slot: number): boolean {
    this.#torn[slot] ||= this.#candidates.tears(slot) ? 2 : 1;
    return this.#torn[slot] === 2;
  }

  #best(accepts?: (slot: number) => boolean): number {
    const { table } = this.#candidates.snapshot;
    const scores = this.#bySlot;
    let best = -1;
    let bestScore = Number.NEGATIVE_INFINITY;
    let leastBroken = Number.POSITIVE_INFINITY;
    for (let slot = 0; slot < scores.length; slot += 1) {
      const score = scores[slot] ?? Number.NEGATIVE_INFINITY;
      if (score === Number.NEGATIVE_INFINITY) continue;
      const broken = this.#broken?.[slot] ?? 0;
      if (broken > leastBroken) continue;
      if (accepts !== undefined && !accepts(slot)) continue;
      if (broken < leastBroken) [leastBroken, best, bestScore] = [broken, -1, Number.NEGATIVE_INFINITY];
      if (score < bestScore) continue;
      if (score === bestScore && table.isBefore(best, slot)) continue;
      best = slot;
      bestScore = score;
    }
    return best;
  }

  /** The last one was reserved there. */
  placed(hostId: string): void {
    const slot = this.#candidates.snapshot.table.slotOf(hostId);
    this.#candidates.snapshot.gpus.update();
    this.#candidates.again(slot);
    this.#torn[slot] = 0;
    const isOpen = this.#candidates.isOpen(slot);
    if (!isOpen) this.#fitting -= 1;
    if (isOpen) this.#score(slot);
    else this.#bySlot[slot] = Number.NEGATIVE_INFINITY;
  }

  #score(slot: number): void {
    this.#bySlot[slot] = this.#scores.of(slot);
    if (this.#broken !== undefined) this.#broken[slot] = this.#candidates.preferences?.broken(slot) ?? 0;
  }
}
