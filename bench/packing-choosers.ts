/**
 * Who chooses hosts in the packing benchmark: best fit and dot product as in the published experiment on openb (Weng et al., USENIX ATC
 * 2023), without GPUs, and our policies through the scheduler itself, with a snapshot that knows nothing but what was placed.
 */
import { HostSpec, type PlacementPolicyName, VmSpec, type VmRecord } from "@sheaf/model";
import { place, SnapshotIndex } from "@sheaf/scheduling";
import { observedHost, recordHead } from "./made-records.ts";
import { hasRoom, type Chooser, type Rest, type Size } from "./packing-run.ts";

function scored(name: string, score: (rest: Rest, size: Size, largest: Size) => number): Chooser {
  return {
    name,
    start: (rests) => {
      const largest = { cpus: Math.max(...rests.map(({ cpus }) => cpus)), memoryGib: Math.max(...rests.map(({ memoryGib }) => memoryGib)) };
      return (size) => {
        let best = -1;
        let bestScore = Number.NEGATIVE_INFINITY;
        for (const [place, rest] of rests.entries()) {
          if (!hasRoom(rest, size)) continue;
          const its = score(rest, size, largest);
          if (its > bestScore) [best, bestScore] = [place, its];
        }
        return best;
      };
    },
  };
}

/** The least left, CPU and memory each in shares of the largest host's. */
export const bestFit = scored(
  "best fit",
  (rest, size, largest) => -(rest.cpus - size.cpus) / largest.cpus - (rest.memoryGib - size.memoryGib) / largest.memoryGib,
);

/** The smallest dot product of what is left and what is asked for, in the same shares. */
export const dotProduct = scored(
  "dot product",
  (rest, size, largest) => -(rest.cpus * size.cpus) / largest.cpus ** 2 - (rest.memoryGib * size.memoryGib) / largest.memoryGib ** 2,
);

const gib = 2 ** 30;
const id = (n: number): string => `00000000-0000-7000-8000-${n.toString(16).padStart(12, "0")}`;
/** Each host offers exactly what it has; CPUs are asked for in thousandths, so that the traces' fractions are whole vCPUs. */
const thousandths = 1000;

export function sheafPolicy(policy: PlacementPolicyName): Chooser {
  return {
    name: policy,
    start: (rests) => {
      const snapshot = new SnapshotIndex();
      for (const [n, rest] of rests.entries()) snapshot.update({ type: "upsert", record: hostRecord(n, rest) });
      const vm: VmRecord = { ...recordHead(id(2 ** 40), "machine"), kind: "vm", project: "p", spec: VmSpec.parse({}), status: {} };
      const plain = { ...snapshot.request(vm), cpuModel: "host-model" };
      let placed = 0;
      return (size) => {
        placed += 1;
        const cpus = Math.round(size.cpus * thousandths);
        const request = { ...plain, vm: id(2 ** 40 + placed), cpus, memoryBytes: Math.round(size.memoryGib * gib) };
        const decision = place(request, snapshot, policy);
        if (decision.none) return -1;
        snapshot.reserve(request, decision.host);
        return Number.parseInt(decision.host.slice(-12), 16);
      };
    },
  };
}

function hostRecord(n: number, { of }: Rest) {
  return {
    ...recordHead(id(n), `host-${n}`),
    kind: "host" as const,
    spec: HostSpec.parse({ reservedMemoryBytes: 0, cpuOvercommit: 1, memoryOvercommit: 1 }),
    status: {
      liveness: { state: "ready" as const, since: 0, reason: "" },
      agent: observedHost({ cpus: of.cpus * thousandths, memoryBytes: of.memoryGib * gib, cpuModels: [] }),
    },
  };
}
