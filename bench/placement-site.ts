/**
 * Records of a site for the benchmark of placement: hosts of several makes in clusters, racks and states, machines of many sizes with disks,
 * networks and groups. From a seed, the same every time.
 */
import { randomInt, seededRandom, type Random } from "@sheaf/base";
import { type AnyRecord, ClusterSpec, type HostObservation, HostSpec, NetworkSpec, PoolSpec, type VmRecord, VmSpec, VolumeSpec } from "@sheaf/model";
import { observedHost, recordHead } from "./made-records.ts";

const gib = 2 ** 30;
/** As identifiers are: the time first. */
const id = (kind: number, n: number): string => `${n.toString(16).padStart(8, "0")}-0000-7000-8000-00000000000${kind}`;
const makes = [
  { cpus: 64, memoryBytes: 256 * gib, cpuModels: ["qemu64", "Haswell"] },
  { cpus: 96, memoryBytes: 384 * gib, cpuModels: ["qemu64", "Haswell", "Skylake-Server"] },
  { cpus: 128, memoryBytes: 512 * gib, cpuModels: ["qemu64", "Haswell", "Skylake-Server", "EPYC"] },
  { cpus: 64, memoryBytes: 768 * gib, cpuModels: ["qemu64", "Haswell"] },
] as const;
const clusters = 4;
const networks = 3;
/** vCPUs and GiB: what machines are asked for in. */
const sizes = [
  [1, 1],
  [1, 2],
  [2, 4],
  [2, 8],
  [4, 8],
  [4, 16],
  [8, 16],
  [8, 32],
  [12, 48],
  [16, 64],
] as const;

export type Ask = "plain" | "selector" | "cluster" | "apart" | "networks" | "pool" | "model" | "large" | "cell" | "dedicated" | "impossible";
export const asks: readonly Ask[] = ["plain", "selector", "cluster", "apart", "networks", "pool", "model", "large"];
/** Of a site whose hosts have several NUMA cells, besides. */
export const cellAsks: readonly Ask[] = ["cell", "dedicated"];

export class PlacementSite {
  readonly hosts: number;
  readonly #random: Random;
  readonly #cells: number;
  #machines = 0;

  /** @param cells NUMA cells of a host */
  constructor(hosts: number, cells: number, seed = 5) {
    this.hosts = hosts;
    this.#cells = cells;
    this.#random = seededRandom(seed);
  }

  /** With `machines` machines, each with a disk in the local pool of its host. */
  *records(machines: number): Generator<AnyRecord> {
    for (let n = 0; n < clusters; n += 1) {
      const spec = ClusterSpec.parse({ cpuOvercommit: 4, placementPolicy: "balanced" });
      yield { ...recordHead(id(6, n), `cluster-${n}`), kind: "cluster", spec, status: {} };
    }
    for (let n = 0; n < networks; n += 1)
      yield { ...recordHead(id(2, n), `lan-${n}`), kind: "network", project: "p", spec: NetworkSpec.parse({ bridge: "br0" }), status: {} };
    const here = { state: "ready" as const, capacityBytes: 4000 * gib, availableBytes: 2000 * gib };
    const everywhere = Object.fromEntries(Array.from({ length: this.hosts }, (_, n) => [id(3, n), here]));
    yield { ...recordHead(id(1, 0), "local"), kind: "pool", spec: PoolSpec.parse({ type: "local", path: "/pool" }), status: { hosts: everywhere } };
    yield {
      ...recordHead(id(1, 1), "shared"),
      kind: "pool",
      spec: PoolSpec.parse({ type: "shared", path: "/shared" }),
      status: { hosts: everywhere },
    };
    for (let n = 0; n < this.hosts; n += 1) yield this.#host(n);
    for (let n = 0; n < machines; n += 1) {
      // Not evenly: some hosts are nearly full, some nearly empty.
      const host = Math.floor(this.hosts * (this.#draw(2 ** 30) / 2 ** 30) ** 1.3);
      yield* this.machine("plain", host);
    }
  }

  /** A new machine that asks for that, and its disk. */
  machine(ask: Ask, host?: number): [vm: VmRecord & { kind: "vm" }, volume: AnyRecord] {
    const n = (this.#machines += 1);
    const parsed = VmSpec.parse(this.#spec(ask, n));
    const place = { cell: n % this.#cells, vcpus: parsed.cpu.count, memoryBytes: parsed.memory.bytes };
    const numa = this.#cells > 1 ? { numa: { cells: [place], guestCells: false } } : {};
    const placed = host === undefined ? {} : { placement: { host: id(3, host), epoch: 1, incarnation: "i", at: 0, ...numa } };
    const spec = VolumeSpec.parse({ pool: id(1, ask === "pool" ? 1 : 0), sizeBytes: 10 * gib });
    const volume: AnyRecord = { ...recordHead(id(5, n), `volume-${n}`), kind: "volume", project: "p", spec, ...placed, status: {} };
    return [{ ...recordHead(id(4, n), `vm-${n}`), kind: "vm", project: "p", spec: parsed, ...placed, status: {} }, volume];
  }

  /** Parsed by whoever asks. */
  #spec(ask: Ask, n: number): object {
    const [count, memoryGib] = sizes[this.#draw(sizes.length)] ?? [1, 1];
    const plain = {
      cpu: { count },
      memory: { bytes: memoryGib * gib },
      disks: [{ name: "root", volume: id(5, n) }],
      nics: [{ name: "eth0", network: id(2, 0) }],
    };
    switch (ask) {
      case "plain":
      case "pool":
        return plain;
      case "selector":
        return { ...plain, placement: { hostSelector: { zone: `zone-${this.#draw(4)}` } } };
      case "cluster":
        return { ...plain, placement: { cluster: `cluster-${this.#draw(clusters)}` } };
      case "apart":
        return { ...plain, placement: { apart: `group-${this.#draw(50)}` } };
      case "networks":
        return { ...plain, nics: Array.from({ length: networks }, (_, at) => ({ name: `eth${at}`, network: id(2, at) })) };
      case "model":
        return { ...plain, cpu: { count, model: "Skylake-Server" } };
      case "large":
        return { ...plain, cpu: { count: 48 }, memory: { bytes: 200 * gib } };
      case "cell":
      case "dedicated":
        return { ...plain, cpu: { count, placement: ask } };
      case "impossible":
        return { ...plain, memory: { bytes: 4000 * gib } };
    }
  }

  #host(n: number): AnyRecord {
    const make = makes[n % makes.length] ?? makes[0];
    const schedulable = n % 50 === 7 ? "cordoned" : n % 200 === 11 ? "draining" : "open";
    return {
      ...recordHead(id(3, n), `host-${n}`),
      kind: "host",
      labels: { zone: `zone-${n % 4}`, rack: `rack-${n >> 5}` },
      spec: HostSpec.parse({ cluster: `cluster-${n % clusters}`, schedulable }),
      status: {
        liveness: { state: n % 100 === 13 ? "unreachable" : "ready", since: 0, reason: "" },
        agent: { ...observedHost(make), numa: this.#numa(make) },
      },
    };
  }

  #numa({ cpus, memoryBytes }: { readonly cpus: number; readonly memoryBytes: number }): HostObservation["numa"] {
    const each = cpus / this.#cells;
    return Array.from({ length: this.#cells }, (_, cell) => ({
      cell,
      cpus: Array.from({ length: each }, (_cpu, at) => cell * each + at),
      siblings: Array.from({ length: each / 2 }, (_core, at) => [cell * each + 2 * at, cell * each + 2 * at + 1]),
      memoryBytes: memoryBytes / this.#cells,
      hugepages: [],
    }));
  }

  #draw(below: number): number {
    return randomInt(this.#random, below);
  }
}
