/**
 * How long machines with GPUs take to be placed: 10,000 hosts of eight GPUs each, of four models, some of them divided; requests for shares,
 * whole GPUs, several, by model and by memory, and some for none. Part of the benchmark of placement.
 */
import { randomInt, seededRandom } from "@sheaf/base";
import { type AnyRecord, type HostGpu, HostSpec, placedDevices, type RecordOf, VmSpec } from "@sheaf/model";
import { place, SnapshotIndex } from "@sheaf/scheduling";
import { observedHost, recordHead } from "./made-records.ts";

const gib = 2 ** 30;
const gpusPerHost = 8;
const warmUp = 300;
const models = [
  { model: "A10", product: "2236", memoryBytes: 24 * gib },
  { model: "A16", product: "25b6", memoryBytes: 16 * gib, divided: [2, 4, 8] },
  { model: "L40S", product: "26b9", memoryBytes: 48 * gib, divided: [2, 4] },
  { model: "H100", product: "2331", memoryBytes: 80 * gib },
] as const;

/** vCPUs, GiB, and the wish. In about the proportions of a cluster that trains and serves models. */
const wishes: readonly (readonly [cpus: number, memoryGib: number, gpus?: object])[] = [
  [8, 32, {}],
  [8, 32, { shareMilli: 250 }],
  [12, 64, { models: ["A10", "L40S"] }],
  [4, 16, { shareMilli: 500 }],
  [16, 128, { count: 2 }],
  [8, 32, { minimumMemoryBytes: 40 * gib }],
  [4, 8, { shareMilli: 100 }],
  [32, 256, { count: 4, models: ["H100"] }],
  [64, 512, { count: 8 }],
  [4, 16],
  [8, 32],
];

const id = (kind: number, n: number): string => `${n.toString(16).padStart(8, "0")}-0000-7000-8000-00000000000${kind}`;

export interface GpuFigures {
  readonly placedMs: readonly number[];
  /** Of those that asked for no GPU. */
  readonly plainMs: readonly number[];
  readonly updateMicroseconds: number;
}

export function measureGpus(hosts: number, decisions: number, nowMs: () => number): GpuFigures {
  const random = seededRandom(11);
  const snapshot = new SnapshotIndex();
  for (let n = 0; n < hosts; n += 1) snapshot.update({ type: "upsert", record: hostWithGpus(n) });
  const machines = Array.from({ length: hosts * 2 + warmUp + decisions }, (_, n) => machine(n, wishes[randomInt(random, wishes.length)] ?? [1, 1]));
  const standing: AnyRecord[] = [];
  const placedMs: number[] = [];
  const plainMs: number[] = [];
  for (const [n, vm] of machines.entries()) {
    const measured = n >= hosts * 2 + warmUp;
    if (n < hosts * 2) {
      // Filled cheaply: each on a host of its own choosing, if that has what it wishes for.
      const host = id(3, randomInt(random, hosts));
      const request = snapshot.request(vm);
      snapshot.reserve(request, host);
      const devices = snapshot.reservedDevices(vm.id);
      snapshot.release(request);
      if (vm.spec.gpus !== undefined && devices.gpus === undefined) continue;
      const record = { ...vm, placement: { host, epoch: 1, incarnation: "i", at: 0, ...placedDevices(devices) } };
      snapshot.update({ type: "upsert", record });
      standing.push(record);
      continue;
    }
    const gone = standing.splice(randomInt(random, standing.length), 1)[0];
    if (gone !== undefined) snapshot.update({ type: "remove", kind: "vm", id: gone.id });
    const from = nowMs();
    const decision = place(snapshot.request(vm), snapshot);
    const took = nowMs() - from;
    if (measured) (vm.spec.gpus === undefined ? plainMs : placedMs).push(took);
    if (decision.none) continue;
    const record = { ...vm, placement: { host: decision.host, epoch: 1, incarnation: "i", at: 0, ...placedDevices(decision.devices) } };
    snapshot.update({ type: "upsert", record });
    standing.push(record);
  }
  // The same devices under a newer epoch: all that a machine is charged with is taken back and charged anew.
  const changes = standing.slice(0, 10_000).map((record) => ({ ...record, revision: 2 }));
  const from = nowMs();
  for (const record of changes) snapshot.update({ type: "upsert", record });
  return { placedMs, plainMs, updateMicroseconds: (1000 * (nowMs() - from)) / changes.length };
}

function hostWithGpus(n: number): AnyRecord {
  const make = models[n % models.length] ?? models[0];
  const gpus = Array.from({ length: gpusPerHost }, (_, at): HostGpu => {
    const address = `0000:${(0x10 + at).toString(16)}:00.0`;
    const slices = ("divided" in make ? make.divided : []).map((count) => ({
      kind: "mdev" as const,
      type: `vgpu-${count}`,
      milli: Math.floor(1000 / count),
      places: [{ address, count }],
    }));
    return {
      address,
      vendor: "10de",
      product: make.product,
      model: make.model,
      memoryBytes: make.memoryBytes,
      numaCell: at < 4 ? 0 : 1,
      whole: true,
      slices,
    };
  });
  return {
    ...recordHead(id(3, n), `host-${n}`),
    kind: "host",
    spec: HostSpec.parse({ cpuOvercommit: 1 }),
    status: {
      liveness: { state: "ready", since: 0, reason: "" },
      agent: { ...observedHost({ cpus: 128, memoryBytes: 1024 * gib, cpuModels: ["qemu64"] }), gpus },
    },
  };
}

function machine(n: number, [count, memoryGib, gpus]: (typeof wishes)[number]): RecordOf<"vm"> & { kind: "vm" } {
  const spec = VmSpec.parse({ cpu: { count }, memory: { bytes: memoryGib * gib }, ...(gpus === undefined ? {} : { gpus }) });
  return { ...recordHead(id(4, n), `vm-${n}`), kind: "vm", project: "p", spec, status: {} };
}
