/** Records for this package's tests: small, valid, each field to be overridden. */
import type { AnyRecord, HostObservation, PlacedDevices, Placement, PoolOnHost, RecordOf, VmRecord } from "@sheaf/model";
import { ClusterSpec, HostSpec, NetworkSpec, PoolSpec, VmSpec, VolumeSpec } from "@sheaf/model";
import type { z } from "zod";

export const gib = 2 ** 30;

/** A UUID of version 7 that ends in `n`. */
export const id = (n: number): string => `00000000-0000-7000-8000-${n.toString(16).padStart(12, "0")}`;

const head = (kind: AnyRecord["kind"], n: number, name: string) => ({
  id: id(n),
  name,
  labels: {},
  generation: 1,
  createdAt: 0,
  createdBy: "test",
  finalizers: [],
  revision: 1,
  specRevision: 1,
  kind,
});

export interface HostOptions {
  readonly cpus?: number;
  readonly memoryBytes?: number;
  readonly spec?: z.input<typeof HostSpec>;
  readonly labels?: Record<string, string>;
  readonly liveness?: "joining" | "ready" | "unreachable";
  readonly bridges?: readonly string[];
  readonly cpuModels?: readonly string[];
  readonly hypervisor?: Partial<HostObservation["hypervisor"]>;
  readonly numa?: HostObservation["numa"];
  readonly gpus?: HostObservation["gpus"];
  readonly pciDevices?: HostObservation["pciDevices"];
}

/** Offers exactly `memoryBytes` and `cpus` × overcommit 1, so that tests can count. */
export function host(n: number, options: HostOptions = {}): RecordOf<"host"> & { kind: "host" } {
  const memoryBytes = options.memoryBytes ?? 8 * gib;
  const seen: HostObservation = {
    hostname: `host-${n}`,
    agentVersion: "0",
    bootId: "b",
    bootedAt: 0,
    address: "10.0.0.1",
    architecture: "x86_64",
    cpu: { model: "m", vendor: "v", flags: [], sockets: 1, cores: 8, threads: 1, count: options.cpus ?? 8, mhz: 1 },
    numa: options.numa ?? [],
    memoryBytes,
    disks: [],
    interfaces: (options.bridges ?? ["br0"]).map((name) => ({ name, mac: "", mtu: 1500, up: true, bridge: true, addresses: [] })),
    pciDevices: options.pciDevices ?? [],
    gpus: options.gpus ?? [],
    hypervisor: {
      type: "qemu",
      libvirtVersion: "9.0.0",
      qemuVersion: "7.2.0",
      accelerated: true,
      machineTypes: ["pc-q35-7.2", "pc-i440fx-7.2"],
      cpuModels: [...(options.cpuModels ?? ["qemu64", "Nehalem"])],
      uefi: false,
      secureBoot: false,
      tpm: false,
      ...options.hypervisor,
    },
    unmanaged: [],
    problems: [],
  };
  return {
    ...head("host", n, `host-${n}`),
    kind: "host",
    labels: options.labels ?? {},
    spec: HostSpec.parse({ reservedMemoryBytes: 0, cpuOvercommit: 1, memoryOvercommit: 1, ...options.spec }),
    status: { agent: seen, liveness: { state: options.liveness ?? "ready", since: 0, reason: "" } },
  };
}

export interface VmOptions {
  readonly spec?: z.input<typeof VmSpec>;
  readonly on?: number;
  readonly epoch?: number;
  readonly devices?: PlacedDevices;
  readonly migration?: { readonly source: number; readonly target: number };
}

const placementOf = (on: number, { epoch = 1, devices }: VmOptions): Placement => ({
  host: id(on),
  epoch,
  incarnation: "i",
  at: 0,
  ...(devices?.gpus === undefined ? {} : { gpus: [...devices.gpus] }),
  ...(devices?.pciDevices === undefined ? {} : { pciDevices: [...devices.pciDevices] }),
});

export function vm(n: number, options: VmOptions = {}): VmRecord & { kind: "vm" } {
  return {
    ...head("vm", n, `vm-${n}`),
    kind: "vm",
    project: "p",
    spec: VmSpec.parse(options.spec ?? {}),
    ...(options.on === undefined ? {} : { placement: placementOf(options.on, options) }),
    status:
      options.migration === undefined
        ? {}
        : { migration: { task: "t", phase: "p", source: id(options.migration.source), target: id(options.migration.target), since: 0 } },
  };
}

export function cluster(n: number, spec: z.input<typeof ClusterSpec> = {}, name = `cluster-${n}`): RecordOf<"cluster"> & { kind: "cluster" } {
  return { ...head("cluster", n, name), kind: "cluster", spec: ClusterSpec.parse(spec), status: {} };
}

export function network(
  n: number,
  name: string,
  spec: z.input<typeof NetworkSpec>,
  hosts?: Record<string, { state: "ready" | "failed" }>,
): RecordOf<"network"> & { kind: "network" } {
  return { ...head("network", n, name), kind: "network", spec: NetworkSpec.parse(spec), status: hosts === undefined ? {} : { hosts } };
}

export function pool(
  n: number,
  name: string,
  spec: Partial<z.input<typeof PoolSpec>>,
  hosts: Record<number, Partial<PoolOnHost>>,
): RecordOf<"pool"> & { kind: "pool" } {
  const status: Record<string, PoolOnHost> = {};
  for (const [hostNumber, given] of Object.entries(hosts)) {
    status[id(Number(hostNumber))] = { state: "ready", capacityBytes: 100 * gib, availableBytes: 100 * gib, ...given };
  }
  return {
    ...head("pool", n, name),
    kind: "pool",
    spec: PoolSpec.parse({ type: "local", path: "/pool", overcommit: 1, ...spec }),
    status: { hosts: status },
  };
}

export function volume(
  n: number,
  options: { readonly pool: number; readonly sizeBytes?: number; readonly on?: number; readonly spec?: Partial<z.input<typeof VolumeSpec>> },
): RecordOf<"volume"> & { kind: "volume" } {
  return {
    ...head("volume", n, `volume-${n}`),
    kind: "volume",
    project: "p",
    spec: VolumeSpec.parse({ pool: id(options.pool), sizeBytes: options.sizeBytes ?? gib, ...options.spec }),
    ...(options.on === undefined ? {} : { placement: { host: id(options.on), epoch: 1, incarnation: "i", at: 0 } }),
    status: {},
  };
}
