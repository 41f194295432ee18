/**
 * How long one placement takes on a site of the size Sheaf is drawn for: 5,000 hosts, 100,000 machines, with disks,
 * a network and a local pool. `node bench/scheduling.ts`; no target, no test asserts the figures.
 */
import { type AnyRecord, HostSpec, NetworkSpec, PoolSpec, VmSpec, VolumeSpec } from "@sheaf/model";
import { SnapshotIndex, place, planBatch } from "@sheaf/scheduling";
import { publish } from "./outcome.ts";

const hostCount = Number(process.argv[2] ?? 5000);
const vmCount = Number(process.argv[3] ?? 100_000);
const gib = 2 ** 30;
const id = (kind: number, n: number): string => `0000000${kind}-0000-7000-8000-${n.toString(16).padStart(12, "0")}`;
const head = (recordId: string, name: string) => ({
  id: recordId,
  name,
  labels: {},
  generation: 1,
  createdAt: 0,
  createdBy: "bench",
  finalizers: [],
  revision: 1,
  specRevision: 1,
});

const poolId = id(1, 1);
const networkId = id(2, 1);

function hostRecord(n: number): AnyRecord {
  return {
    ...head(id(3, n), `host-${n}`),
    kind: "host",
    spec: HostSpec.parse({ cpuOvercommit: 4 }),
    status: {
      liveness: { state: "ready", since: 0, reason: "" },
      agent: {
        hostname: `host-${n}`,
        agentVersion: "0",
        bootId: "",
        bootedAt: 0,
        address: "10.0.0.1",
        architecture: "x86_64",
        cpu: { model: "", vendor: "", flags: [], sockets: 2, cores: 32, threads: 2, count: 128, mhz: 2000 },
        numa: [],
        memoryBytes: 512 * gib,
        disks: [],
        interfaces: [{ name: "br0", mac: "", mtu: 1500, up: true, bridge: true, addresses: [] }],
        pciDevices: [],
        gpus: [],
        hypervisor: {
          type: "qemu",
          libvirtVersion: "",
          qemuVersion: "",
          accelerated: true,
          machineTypes: ["q35"],
          cpuModels: ["qemu64"],
          uefi: true,
          secureBoot: true,
          tpm: true,
        },
        unmanaged: [],
        problems: [],
      },
    },
  };
}

function vmRecord(n: number, hostId?: string): AnyRecord & { kind: "vm" } {
  return {
    ...head(id(4, n), `vm-${n}`),
    kind: "vm",
    project: "p",
    spec: VmSpec.parse({
      cpu: { count: 1 + (n % 4) },
      memory: { bytes: (1 + (n % 8)) * gib },
      disks: [{ name: "root", volume: id(5, n) }],
      nics: [{ name: "eth0", network: networkId }],
    }),
    ...(hostId === undefined ? {} : { placement: { host: hostId, epoch: 1, incarnation: "i", at: 0 } }),
    status: {},
  };
}

function volumeRecord(n: number, hostId?: string): AnyRecord {
  return {
    ...head(id(5, n), `volume-${n}`),
    kind: "volume",
    project: "p",
    spec: VolumeSpec.parse({ pool: poolId, sizeBytes: 10 * gib }),
    ...(hostId === undefined ? {} : { placement: { host: hostId, epoch: 1, incarnation: "i", at: 0 } }),
    status: {},
  };
}

const records: AnyRecord[] = [];
const onHosts: Record<string, { state: "ready"; capacityBytes: number; availableBytes: number }> = {};
for (let n = 0; n < hostCount; n += 1) {
  records.push(hostRecord(n));
  onHosts[id(3, n)] = { state: "ready", capacityBytes: 2000 * gib, availableBytes: 1000 * gib };
}
records.push({ ...head(poolId, "local"), kind: "pool", spec: PoolSpec.parse({ type: "local", path: "/pool" }), status: { hosts: onHosts } });
records.push({ ...head(networkId, "lan"), kind: "network", project: "p", spec: NetworkSpec.parse({ bridge: "br0" }), status: {} });
for (let n = 0; n < vmCount; n += 1) {
  records.push(vmRecord(n, id(3, n % hostCount)), volumeRecord(n, id(3, n % hostCount)));
}

const heapBefore = process.memoryUsage().heapUsed;
const buildStart = performance.now();
const snapshot = new SnapshotIndex();
for (const record of records) snapshot.update({ type: "upsert", record });
const buildMs = performance.now() - buildStart;

const updateStart = performance.now();
for (let n = 0; n < 10_000; n += 1) snapshot.update({ type: "upsert", record: vmRecord(n, id(3, (n + 1) % hostCount)) });
const updateMs = (performance.now() - updateStart) / 10_000;

const fresh = Array.from({ length: 200 }, (_, n) => vmRecord(vmCount + n));
for (let n = 0; n < fresh.length; n += 1) snapshot.update({ type: "upsert", record: volumeRecord(vmCount + n) });
const times: number[] = [];
for (const vm of fresh) {
  const start = performance.now();
  const request = snapshot.request(vm);
  const decision = place(request, snapshot);
  if (decision.none) throw new Error(decision.reason);
  times.push(performance.now() - start);
}
times.sort((a, b) => a - b);
const requests = fresh.map((vm) => snapshot.request(vm));
const batchStart = performance.now();
const decisions = planBatch(requests, snapshot);
const batchMs = performance.now() - batchStart;
const tooLarge = fresh.slice(0, 20).map((vm) => ({ ...snapshot.request(vm), memoryBytes: 1000 * gib }));
const refusalStart = performance.now();
for (const request of tooLarge) if (!place(request, snapshot).none) throw new Error("placed what cannot fit");

publish([], {
  hosts: hostCount,
  vms: vmCount,
  buildMs: Math.round(buildMs),
  heapMiB: Math.round((process.memoryUsage().heapUsed - heapBefore) / 2 ** 20),
  updateMicroseconds: Number((updateMs * 1000).toFixed(1)),
  placeMedianMs: Number((times[100] ?? 0).toFixed(2)),
  placeP99Ms: Number((times[198] ?? 0).toFixed(2)),
  batchOf200Ms: Math.round(batchMs),
  placedOf200: decisions.filter(({ decision }) => !decision.none).length,
  refusalMs: Number(((performance.now() - refusalStart) / tooLarge.length).toFixed(2)),
});
