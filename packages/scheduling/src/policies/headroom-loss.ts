/**
 * What a machine on a host takes from the machines that may come next: the loss in Σ share of the size · log(how many more of it fit
 * anywhere). A size of which a thousand more fit loses nothing that matters with one of them; one that fits twice more is kept. Sizes that
 * nobody has asked for yet are stood for by wholly free hosts, which are guarded the more the fewer are left.
 */
import { forgiven } from "../headroom.ts";
import type { ScoringWorld } from "../scoring-policy.ts";

/** What whole hosts weigh against all sizes that were seen, while all of them are free. */
const wholeHostWeight = 0.01;
/** How fast that grows as they become few: (all ÷ free) to this power. */
const wholeHostPower = 3;

/** 0 … ; infinite where it is more than `most`, which is often seen early. */
export type HeadroomLoss = (slot: number, most: number) => number;

export function headroomLoss(world: ScoringWorld): HeadroomLoss {
  const { classes, whole, mix } = world.headroom();
  const sizes: { cpus: number; memoryBytes: number; weight: number; expected: number }[] = [];
  for (const [place, { cpus, memoryBytes, fitting }] of classes.entries()) {
    const count = mix.classes[place]?.count ?? 0;
    if (count === 0 || cpus === 0 || memoryBytes === 0) continue;
    const seen = count / mix.machines;
    sizes.push({ cpus, memoryBytes, weight: seen / Math.max(1, fitting), expected: seen });
  }
  for (const { cpus, memoryBytes, fitting, all } of whole) {
    if (fitting === 0) continue;
    const weight = (wholeHostWeight / whole.length / all) * (all / fitting) ** wholeHostPower;
    sizes.push({ cpus, memoryBytes, weight, expected: weight * fitting });
  }
  // Those that tell most come first: the sum passes its limit sooner.
  sizes.sort((a, b) => b.expected - a.expected || b.cpus - a.cpus || b.memoryBytes - a.memoryBytes);
  // Multiplying is several times quicker than dividing, and this is the innermost loop there is.
  const perCpu = Float64Array.from(sizes, (size) => 1 / size.cpus);
  const perByte = Float64Array.from(sizes, (size) => 1 / size.memoryBytes);
  const weights = Float64Array.from(sizes, (size) => size.weight);

  return (slot, most) => {
    const freeCpus = Math.max(0, (world.cpuCapacity[slot] ?? 0) - (world.cpuUsed[slot] ?? 0));
    const freeMemory = Math.max(0, (world.memoryCapacity[slot] ?? 0) - (world.memoryUsed[slot] ?? 0));
    const cpusLeft = freeCpus - world.cpus;
    const memoryLeft = freeMemory - world.memory;
    let loss = 0;
    for (let at = 0; at < weights.length && loss <= most; at += 1) {
      // Within: the three have one length.
      const ofCpu = perCpu[at]!;
      const ofMemory = perByte[at]!;
      const before = Math.min(Math.floor(freeCpus * ofCpu + forgiven), Math.floor(freeMemory * ofMemory + forgiven));
      if (before === 0) continue;
      const after = Math.min(Math.floor(cpusLeft * ofCpu + forgiven), Math.floor(memoryLeft * ofMemory + forgiven));
      loss += weights[at]! * (before - Math.max(0, after));
    }
    return loss > most ? Number.POSITIVE_INFINITY : loss;
  };
}
