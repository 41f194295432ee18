/**
 * Hosts in numbered slots: figures in typed arrays, so that one decision over 10,000 hosts stays in the cache of a core; what
 * rarely changes (labels, CPU models, bridges) beside them. A host that is charged before its record is known gets a slot too:
 * its charges are there when the record arrives. Used by SnapshotIndex alone.
 */
import {
  type ClusterSpec,
  type ClusterStatus,
  type HostObservation,
  type GroupExtent,
  type NumaPlacement,
  type RecordOf,
  clusterCpuModel,
  hostOffer,
} from "@sheaf/model";
import { NumaBook } from "./numa-book.ts";
import { type ExtraPromise, PromiseWeights } from "./promise-weights.ts";
import { SlotLog } from "./slot-log.ts";

export type HostState = "open" | "cordoned" | "draining" | "joining" | "unreachable" | "silent" | "leaving" | "asleep";

export interface HostFacts {
  readonly record: RecordOf<"host">;
  readonly state: HostState;
  /** Empty: not reported; the agent has the last word then. */
  readonly cpuModels: ReadonlySet<string>;
  readonly bridges: ReadonlySet<string>;
  readonly seen: HostObservation | undefined;
  /** What it draws at evenly spaced loads from idle to full. */
  readonly watts: readonly number[];
}

/** Defaults of ClusterSpec, for hosts whose cluster has no record. */
const noCluster = { cpuOvercommit: 8, memoryOvercommit: 1 };

export class HostTable {
  readonly ids: string[] = [];
  readonly facts: (HostFacts | undefined)[] = [];
  cpuCapacity = new Float64Array(16);
  cpuUsed = new Float64Array(16);
  memoryCapacity = new Float64Array(16);
  memoryUsed = new Float64Array(16);
  hugeCapacity = new Float64Array(16);
  hugeUsed = new Float64Array(16);
  /** Of the memory used: by highly available machines, which start elsewhere when the host is lost. */
  availableMemory = new Float64Array(16);
  /** Machines charged to the host. */
  machines = new Float64Array(16);
  /** Number of the cluster it is in: the same for a cluster's id and its name. */
  clusterNumber = new Int32Array(16);
  /** Measured percentages; NaN where nothing was measured. */
  cpuPercent = new Float64Array(16).fill(Number.NaN);
  memoryPercent = new Float64Array(16).fill(Number.NaN);
  powerPercent = new Float64Array(16).fill(Number.NaN);
  /** What machines with reservations, limits or classes take besides what they ask for; it is in `cpuUsed` and `memoryUsed`. */
  readonly weights = new PromiseWeights((slot) => ({
    cpu: this.#cpuRatio[slot] ?? 1,
    memory: this.#memoryRatio[slot] ?? 1,
    classes: this.cluster(this.facts[slot]?.record.spec.cluster ?? "")?.spec.machineClasses,
  }));
  /** Slots whose facts (state, abilities, cluster) changed, and those whose figures (capacity, what is promised) did. */
  readonly factsLog = new SlotLog();
  readonly figuresLog = new SlotLog();
  readonly numa = new NumaBook();
  /** The first digits of a host's id as a number: it tells most of them apart without looking at texts. */
  #order = new Float64Array(16);
  /** Overcommit ratios. */
  readonly #cpuRatio: number[] = [];
  readonly #memoryRatio: number[] = [];
  /** Numbers of racks and zones, by slot and by the path that names them; absent where the host names none. */
  readonly #racks: (number | undefined)[] = [];
  readonly #zones: (number | undefined)[] = [];
  readonly #domains = new Map<string, number>();
  readonly #slots = new Map<string, number>();
  readonly #clusterNumbers = new Map<string, number>();
  #clustersVersion = 0;
  #hostsWithHugePages = 0;
  readonly #clusters = new Map<string, RecordOf<"cluster">>();
  readonly #clusterIds = new Map<string, string>();

  /** Slots ever given; iterate from 0 and skip those without facts. */
  get length(): number {
    return this.ids.length;
  }

  get hostsWithHugePages(): number {
    return this.#hostsWithHugePages;
  }

  /** Whether the host's id is the smaller one. */
  isBefore(slot: number, other: number): boolean {
    const [one = 0, two = 0] = [this.#order[slot], this.#order[other]];
    return one === two ? (this.ids[slot] ?? "") < (this.ids[other] ?? "") : one < two;
  }

  /** Grows whenever a cluster's record changes. */
  get clustersVersion(): number {
    return this.#clustersVersion;
  }

  find(hostId: string): number | undefined {
    return this.#slots.get(hostId);
  }

  /** Its machines go elsewhere: it is known to be off, or being drained. Those that belong together with them are not bound to it. */
  isLeft(slot: number): boolean {
    const record = this.facts[slot]?.record;
    return record?.status.fencing?.state === "fenced" || record?.spec.schedulable === "draining";
  }

  /** Sleeping hosts are woken here when they are needed: the cluster does so, and nobody keeps this one from machines. */
  wakes(slot: number): boolean {
    const record = this.facts[slot]?.record;
    const mode = this.cluster(record?.spec.cluster ?? "")?.spec.power?.mode;
    return mode === "automatic" && record?.spec.schedulable === "open" && record.status.power?.state !== "not-woken";
  }

  /** Number of the host, rack or zone: equal for those that share it; `undefined` where the host names none. */
  domainOf(slot: number, extent: GroupExtent): number | undefined {
    switch (extent) {
      case "host":
        return slot;
      case "rack":
        return this.#racks[slot];
      case "zone":
        return this.#zones[slot];
    }
  }

  /** Without the second threads of a core; 0 where nothing was reported. */
  physicalCores(slot: number): number {
    const cpu = this.facts[slot]?.seen?.cpu;
    return cpu === undefined ? 0 : Math.ceil(cpu.count / Math.max(1, cpu.threads));
  }

  slotOf(hostId: string): number {
    const known = this.#slots.get(hostId);
    if (known !== undefined) return known;
    const slot = this.ids.length;
    if (slot >= this.cpuUsed.length) this.#grow();
    this.ids[slot] = hostId;
    this.#order[slot] = orderOf(hostId);
    this.facts[slot] = undefined;
    this.#slots.set(hostId, slot);
    return slot;
  }

  upsert(record: RecordOf<"host">): void {
    const slot = this.slotOf(record.id);
    const before = this.facts[slot];
    const seen = record.status.agent;
    const same = before !== undefined && before.seen === seen;
    this.facts[slot] = {
      record,
      state: stateOf(record),
      seen,
      cpuModels: same ? before.cpuModels : new Set(seen?.hypervisor.cpuModels),
      watts: record.spec.powerWatts ?? estimatedWatts(seen?.cpu.count ?? 0),
      bridges: same ? before.bridges : new Set(seen?.interfaces.filter((face) => face.bridge).map((face) => face.name)),
    };
    this.clusterNumber[slot] = this.numberOf(record.spec.cluster);
    const path = record.spec.failureDomain.split("/");
    this.#racks[slot] = this.#domain(path, 3);
    this.#zones[slot] = this.#domain(path, 2);
    this.factsLog.add(slot);
    this.#capacity(slot);
  }

  /** The slot stays: machines and volumes may still be charged to it, and the same host may come back. */
  remove(hostId: string): void {
    const slot = this.#slots.get(hostId);
    if (slot === undefined) return;
    this.facts[slot] = undefined;
    this.cpuCapacity[slot] = this.memoryCapacity[slot] = 0;
    this.numa.forget(slot);
    this.#setHuge(slot, 0);
    this.cpuPercent[slot] = this.memoryPercent[slot] = this.powerPercent[slot] = Number.NaN;
    this.factsLog.add(slot);
    this.figuresLog.add(slot);
  }

  /** O(hosts): overcommit ratios are the cluster's, and operators change them rarely. */
  upsertCluster(record: RecordOf<"cluster">): void {
    const before = this.#clusters.get(record.id);
    if (before !== undefined && before.name !== record.name) this.#clusterIds.delete(before.name);
    this.#clusters.set(record.id, record);
    this.#clusterIds.set(record.name, record.id);
    this.#clustersVersion += 1;
    if (before?.name !== record.name || before.specRevision !== record.specRevision || before.spec !== record.spec) this.#recount();
  }

  removeCluster(id: string): void {
    const before = this.#clusters.get(id);
    if (before === undefined) return;
    this.#clusters.delete(id);
    this.#clusterIds.delete(before.name);
    this.#clustersVersion += 1;
    this.#recount();
  }

  /** Id for a name or an id; the text itself where there is no such cluster. */
  clusterId(reference: string): string {
    return this.#clusterIds.get(reference) ?? reference;
  }

  cluster(reference: string): { readonly name: string; readonly spec: ClusterSpec; readonly status: ClusterStatus } | undefined {
    return this.#clusters.get(this.clusterId(reference));
  }

  /** For `clusterNumber`. */
  numberOf(reference: string): number {
    const id = this.clusterId(reference);
    let number = this.#clusterNumbers.get(id);
    if (number === undefined) this.#clusterNumbers.set(id, (number = this.#clusterNumbers.size));
    return number;
  }

  /** The clusters that have a record. */
  clusters(): IterableIterator<RecordOf<"cluster">> {
    return this.#clusters.values();
  }

  /** The model behind `cluster-baseline` on that host. */
  baseline(slot: number): string {
    const cluster = this.cluster(this.facts[slot]?.record.spec.cluster ?? "");
    return cluster === undefined ? "qemu64" : clusterCpuModel(cluster.spec, cluster.status);
  }

  /** Books NUMA cells, and CPUs of somebody's own: these count for less among those that are shared. @param sign 1: booked; -1: given back */
  bookCells(slot: number, numa: NumaPlacement, sign: 1 | -1): void {
    this.numa.book(slot, numa, sign);
    this.cpuCapacity[slot] = this.numa.cpuCapacity(slot);
  }

  #domain(path: readonly string[], depth: number): number | undefined {
    if (path.length < depth) return undefined;
    const key = path.slice(0, depth).join("/");
    let number = this.#domains.get(key);
    if (number === undefined) this.#domains.set(key, (number = this.#domains.size));
    return number;
  }

  #recount(): void {
    for (let slot = 0; slot < this.ids.length; slot += 1) {
      this.clusterNumber[slot] = this.numberOf(this.facts[slot]?.record.spec.cluster ?? "");
      this.#capacity(slot);
    }
  }

  #capacity(slot: number): void {
    this.figuresLog.add(slot);
    const record = this.facts[slot]?.record;
    const seen = record?.status.agent;
    if (record === undefined || seen === undefined) {
      this.cpuCapacity[slot] = this.memoryCapacity[slot] = 0;
      this.numa.forget(slot);
      this.#setHuge(slot, 0);
      return;
    }
    const cluster = this.cluster(record.spec.cluster)?.spec ?? noCluster;
    const offer = hostOffer(record.spec, seen);
    let huge = 0;
    for (const cell of seen.numa) for (const pages of cell.hugepages) huge += pages.sizeBytes * pages.count;
    // What lies in huge pages is not there for ordinary guests, and is never promised twice.
    const ordinary = Math.max(0, offer.memoryBytes - huge);
    const cpuRatio = (this.#cpuRatio[slot] = record.spec.cpuOvercommit ?? cluster.cpuOvercommit);
    const memoryRatio = (this.#memoryRatio[slot] = record.spec.memoryOvercommit ?? cluster.memoryOvercommit);
    const memoryCapacity = Math.floor(ordinary * memoryRatio);
    this.numa.describe(slot, seen.numa, { cpus: offer.cpus, cpuRatio, memoryCapacity });
    this.cpuCapacity[slot] = this.numa.cpuCapacity(slot);
    this.memoryCapacity[slot] = memoryCapacity;
    this.#setHuge(slot, huge);
    this.addExtra(slot, this.weights.weigh(slot));
  }

  addExtra(slot: number, { cpus, bytes }: ExtraPromise): void {
    this.cpuUsed[slot] = (this.cpuUsed[slot] ?? 0) + cpus;
    this.memoryUsed[slot] = (this.memoryUsed[slot] ?? 0) + bytes;
  }

  #setHuge(slot: number, bytes: number): void {
    this.#hostsWithHugePages += Number(bytes > 0) - Number((this.hugeCapacity[slot] ?? 0) > 0);
    this.hugeCapacity[slot] = bytes;
  }

  #grow(): void {
    const size = this.cpuUsed.length * 2;
    const numbers = new Int32Array(size);
    numbers.set(this.clusterNumber);
    this.clusterNumber = numbers;
    const larger = (old: Float64Array<ArrayBuffer>, rest = 0): Float64Array<ArrayBuffer> => {
      const grown = new Float64Array(size).fill(rest, old.length);
      grown.set(old);
      return grown;
    };
    this.cpuCapacity = larger(this.cpuCapacity);
    this.cpuUsed = larger(this.cpuUsed);
    this.#order = larger(this.#order);
    this.memoryCapacity = larger(this.memoryCapacity);
    this.memoryUsed = larger(this.memoryUsed);
    this.hugeCapacity = larger(this.hugeCapacity);
    this.hugeUsed = larger(this.hugeUsed);
    this.availableMemory = larger(this.availableMemory);
    this.machines = larger(this.machines);
    this.cpuPercent = larger(this.cpuPercent, Number.NaN);
    this.memoryPercent = larger(this.memoryPercent, Number.NaN);
    this.powerPercent = larger(this.powerPercent, Number.NaN);
  }
}

export const hasLabels = (labels: Readonly<Record<string, string>> = {}, wanted: Readonly<Record<string, string>>): boolean =>
  Object.entries(wanted).every(([key, value]) => Object.hasOwn(labels, key) && labels[key] === value);

function stateOf(host: RecordOf<"host">): HostState {
  const liveness = host.status.liveness?.state;
  if (host.deletedAt !== undefined) return "leaving";
  if (host.status.power !== undefined && host.status.power.state !== "not-woken") return "asleep";
  // One that was cut off just when it was heard again has not been silent for long enough yet.
  if (liveness === "unreachable" || host.status.fencing?.state === "fenced") return "unreachable";
  if (liveness !== "ready") return "joining";
  return host.status.agent === undefined ? "silent" : host.spec.schedulable;
}

/** Where nobody has said what the host draws: idle and full, by its logical CPUs. Rough: it tells large hosts from small ones. */
const estimatedWatts = (cpus: number): readonly number[] => [30 + 2 * cpus, 30 + 5 * cpus];

/** In the order of the texts, as far as it tells: 0 for what does not begin with hexadecimal digits as a UUID does. */
function orderOf(id: string): number {
  const digits = /^([0-9a-f]{8})-([0-9a-f]{4})-/.exec(id);
  return digits === null ? 0 : Number.parseInt(`${digits[1]}${digits[2]}`, 16);
}
