import assert from "node:assert/strict";
import { test } from "node:test";
import type { AnyRecord } from "@sheaf/model";
import { place, rank, refusalsOf } from "./place.ts";
import { type SnapshotIndex, buildSnapshot } from "./snapshot.ts";
import { type VmOptions, cluster, gib, host, id, network, pool, vm, volume } from "./testing/records.ts";

/** The decision for a machine with that spec: the chosen host's number, or the refusal. */
function decide(snapshot: SnapshotIndex, spec: VmOptions["spec"]): number | string {
  const decision = place(snapshot.request(vm(999, { spec: spec ?? {} })), snapshot);
  return decision.none ? decision.reason : Number.parseInt(decision.host.slice(-12), 16);
}
const memory = (bytes: number) => ({ memory: { bytes } });

test("the refusal counts hosts by reason, most frequent first, with the largest figure", () => {
  const snapshot = buildSnapshot([
    host(1, { memoryBytes: 4 * gib }),
    host(2, { memoryBytes: 4 * gib }),
    host(3, { spec: { schedulable: "cordoned" } }),
    vm(10, { on: 1, spec: memory(4 * gib) }),
    vm(11, { on: 2, spec: memory(2.75 * gib) }),
  ]);
  assert.equal(decide(snapshot, memory(2 * gib)), "no host fits: 2 lack memory (largest free 1.2 GiB), 1 is cordoned");
});

test("no host at all is said so", () => {
  assert.equal(decide(buildSnapshot([]), {}), "no host fits: there is no host yet");
});

test("free memory is rounded down", () => {
  const snapshot = buildSnapshot([host(1, { memoryBytes: 4 * gib - 2 ** 20 })]);
  assert.equal(decide(snapshot, memory(4 * gib)), "no host fits: 1 lacks memory (largest free 3.9 GiB)");
});

test("host states refuse in their own words", () => {
  const silent = host(4);
  const { agent: _, ...status } = silent.status;
  const snapshot = buildSnapshot([
    host(1, { liveness: "unreachable" }),
    host(2, { liveness: "joining" }),
    host(3, { spec: { schedulable: "draining" } }),
    { ...silent, status },
    { ...host(5), deletedAt: 1 },
  ]);
  assert.equal(
    decide(snapshot, {}),
    "no host fits: 1 is unreachable, 1 has not joined yet, 1 has not reported what it has, 1 is being removed, 1 is being drained",
  );
});

test("CPU is promised up to the overcommit ratio of host or cluster", () => {
  const own = buildSnapshot([host(1, { cpus: 2, spec: { cpuOvercommit: 2 } })]);
  assert.equal(decide(own, { cpu: { count: 4 } }), 1);
  assert.equal(decide(own, { cpu: { count: 5 } }), "no host fits: 1 lacks CPU (largest free 4 vCPUs)");
  const member = host(1, { cpus: 2, spec: { cluster: id(50) } });
  const { cpuOvercommit: _cpu, memoryOvercommit: _memory, ...spec } = member.spec;
  const clustered = buildSnapshot([{ ...member, spec }, cluster(50, { cpuOvercommit: 3, memoryOvercommit: 2 })]);
  assert.equal(decide(clustered, { cpu: { count: 6 }, memory: { bytes: 16 * gib } }), 1);
  assert.equal(decide(clustered, { cpu: { count: 7 } }), "no host fits: 1 lacks CPU (largest free 6 vCPUs)");
});

test("a changed overcommit ratio of the cluster counts at once", () => {
  const member = host(1, { cpus: 2, spec: { cluster: id(50) } });
  const { cpuOvercommit: _, ...spec } = member.spec;
  const snapshot = buildSnapshot([cluster(50, { cpuOvercommit: 1 }), { ...member, spec }]);
  assert.match(String(decide(snapshot, { cpu: { count: 4 } })), /lacks CPU/);
  snapshot.update({ type: "upsert", record: { ...cluster(50, { cpuOvercommit: 2 }), specRevision: 2 } });
  assert.equal(decide(snapshot, { cpu: { count: 4 } }), 1);
});

test("huge pages come from their own memory and are never promised twice", () => {
  const numa = [{ cell: 0, cpus: [0], memoryBytes: 8 * gib, hugepages: [{ sizeBytes: 2 ** 21, count: 1024 }] }];
  const snapshot = buildSnapshot([host(1, { memoryBytes: 8 * gib, numa })]);
  assert.equal(decide(snapshot, { memory: { bytes: 2 * gib, hugepages: true } }), 1);
  assert.equal(decide(snapshot, { memory: { bytes: 3 * gib, hugepages: true } }), "no host fits: 1 lacks huge pages (largest free 2 GiB)");
  assert.equal(decide(snapshot, memory(7 * gib)), "no host fits: 1 lacks memory (largest free 6 GiB)");
});

test("what a host cannot run is named", () => {
  const snapshot = buildSnapshot([host(1, { hypervisor: { machineTypes: ["pc-i440fx-7.2"] } })]);
  assert.equal(decide(snapshot, {}), "no host fits: 1 lacks machine type q35");
  const pc = { machineType: "pc" as const };
  assert.equal(decide(snapshot, pc), 1);
  assert.equal(decide(snapshot, { ...pc, cpu: { model: "EPYC" } }), "no host fits: 1 lacks CPU model EPYC");
  assert.equal(decide(snapshot, { ...pc, cpu: { model: "Nehalem" } }), 1);
  assert.equal(decide(snapshot, { ...pc, firmware: { type: "uefi" } }), "no host fits: 1 lacks UEFI firmware (package ovmf)");
  assert.equal(decide(snapshot, { ...pc, firmware: { tpm: true } }), "no host fits: 1 lacks a TPM emulator (package swtpm)");
  snapshot.update({ type: "upsert", record: host(1, { hypervisor: { uefi: true } }) });
  assert.equal(decide(snapshot, { firmware: { type: "uefi" } }), 1);
  assert.equal(decide(snapshot, { firmware: { type: "uefi", secureBoot: true } }), "no host fits: 1 lacks firmware with Secure Boot (package ovmf)");
});

test("the cluster's baseline model must be there", () => {
  const baseline = cluster(50, { cpuBaseline: "Skylake-Server" });
  const snapshot = buildSnapshot([
    baseline,
    host(1, { spec: { cluster: id(50) } }),
    host(2, { spec: { cluster: id(50) }, cpuModels: ["Skylake-Server"] }),
  ]);
  assert.equal(decide(snapshot, {}), 2);
  snapshot.update({ type: "remove", kind: "host", id: id(2) });
  assert.equal(decide(snapshot, {}), "no host fits: 1 lacks the cluster's CPU model");
});

test("networks: the bridge must be there, be managed, or be reported ready", () => {
  const nics = [{ name: "eth0", network: id(70) }];
  const hosts = [host(1, { bridges: [] }), host(2, { bridges: ["br7"] })];
  const spec = { bridge: "br7" };
  assert.equal(decide(buildSnapshot([...hosts, network(70, "lan", spec)]), { nics }), 2);
  assert.equal(decide(buildSnapshot([host(1, { bridges: [] }), network(70, "lan", spec)]), { nics }), "no host fits: 1 lacks network lan");
  assert.equal(decide(buildSnapshot([host(1, { bridges: [] }), network(70, "lan", { ...spec, managed: true })]), { nics }), 1);
  const reported = network(70, "lan", spec, { [id(1)]: { state: "ready" }, [id(2)]: { state: "failed" } });
  assert.equal(decide(buildSnapshot([...hosts, reported]), { nics }), 1);
  assert.equal(decide(buildSnapshot([...hosts, network(70, "lan", { ...spec, hosts: [id(1)] })]), { nics }), "no host fits: 2 lack network lan");
  assert.equal(decide(buildSnapshot(hosts), { nics }), `no host fits: 2 lack network ${id(70)}`);
});

const disk = (n: number) => ({ name: "root", volume: id(n) });

test("pools: present, usable, with space left to promise", () => {
  const disks = [disk(90)];
  const hosts = [host(1), host(2)];
  const want = volume(90, { pool: 80, sizeBytes: 60 * gib });
  const on = (...pools: AnyRecord[]): SnapshotIndex => buildSnapshot([...hosts, want, ...pools]);
  assert.equal(decide(on(pool(80, "local", {}, { 2: {} })), { disks }), 2);
  assert.equal(decide(on(), { disks }), `no host fits: 2 lack pool ${id(80)}`);
  assert.equal(decide(on(pool(80, "local", { hosts: [id(1)] }, { 2: {} })), { disks }), "no host fits: 2 lack pool local");
  const broken = pool(80, "local", {}, { 1: { state: "failed" }, 2: { availableBytes: gib } });
  assert.equal(decide(on(broken), { disks }), "no host fits: 1 cannot use pool local now, 1 is nearly out of disk in pool local");
  const used = on(
    pool(80, "local", {}, { 1: {}, 2: {} }),
    volume(91, { pool: 80, sizeBytes: 50 * gib, on: 1 }),
    volume(92, { pool: 80, sizeBytes: 70 * gib, on: 2 }),
  );
  assert.equal(decide(used, { disks }), "no host fits: 2 lack space in pool local (largest free 50 GiB)");
  used.update({ type: "remove", kind: "volume", id: id(92) });
  assert.equal(decide(used, { disks }), 2);
});

test("a shared pool's space is counted once for all hosts", () => {
  const shared = pool(80, "nfs", { type: "shared" }, { 1: {}, 2: {} });
  const snapshot = buildSnapshot([
    host(1),
    host(2),
    shared,
    volume(91, { pool: 80, sizeBytes: 60 * gib, on: 1 }),
    volume(90, { pool: 80, sizeBytes: 60 * gib }),
  ]);
  assert.equal(decide(snapshot, { disks: [disk(90)] }), "no host fits: 2 lack space in pool nfs (largest free 40 GiB)");
});

test("a volume that a shared pool holds already takes no more room on another host", () => {
  const shared = pool(80, "nfs", { type: "shared" }, { 1: {}, 2: {} });
  const moving = vm(10, { on: 1, spec: { disks: [disk(90)] } });
  const snapshot = buildSnapshot([host(1), host(2), shared, volume(90, { pool: 80, sizeBytes: 60 * gib, on: 1 }), moving]);
  const decision = place(snapshot.request(moving, "move"), snapshot);
  assert.equal(decision.none ? decision.reason : decision.host, id(2));
});

test("a local volume pins its machine, a shared one does not", () => {
  const local = pool(80, "local", {}, { 1: {}, 2: {} });
  const shared = pool(81, "nfs", { type: "shared" }, { 1: {}, 2: {} });
  const hosts = [host(1, { memoryBytes: 4 * gib }), host(2), local, shared];
  const snapshot = buildSnapshot([...hosts, volume(90, { pool: 80, on: 1 }), volume(91, { pool: 81, on: 1 }), volume(92, { pool: 80, on: 2 })]);
  assert.equal(decide(snapshot, { disks: [disk(90)] }), 1);
  assert.equal(decide(snapshot, { disks: [disk(91)] }), 2);
  assert.equal(
    decide(snapshot, { disks: [disk(90)], memory: { bytes: 5 * gib } }),
    "no host fits: 1 lacks memory (largest free 4 GiB), 1 does not hold its volumes",
  );
  assert.equal(
    decide(snapshot, { disks: [disk(90), { name: "data", volume: id(92) }] }),
    "no host fits: 2 do not hold its volumes, which lie on several",
  );
});

test("a copy is made where its original lies", () => {
  const copy = volume(91, { pool: 80, spec: { source: { volume: id(90) } } });
  const snapshot = buildSnapshot([host(1), host(2), pool(80, "local", {}, { 1: {}, 2: {} }), volume(90, { pool: 80, on: 2 }), copy]);
  assert.equal(decide(snapshot, { disks: [disk(91)] }), 2);
});

test("a machine whose volume has no record is placed nowhere", () => {
  assert.equal(decide(buildSnapshot([host(1)]), { disks: [disk(90)] }), `no host fits: 1 cannot take it: volume ${id(90)} is not there`);
});

test("the machine's own wishes: host, cluster, selector; said after the hosts' reasons", () => {
  const hosts = [host(1, { labels: { disk: "ssd" } }), host(2, { spec: { cluster: id(50) } }), host(3), cluster(50, {}, "edge")];
  const snapshot = buildSnapshot(hosts);
  assert.equal(decide(snapshot, { placement: { host: id(3) } }), 3);
  assert.equal(decide(snapshot, { placement: { cluster: id(50) } }), 2);
  assert.equal(decide(snapshot, { placement: { cluster: "edge" } }), 2);
  assert.equal(decide(snapshot, { placement: { hostSelector: { disk: "ssd" } } }), 1);
  assert.equal(
    decide(snapshot, { placement: { host: id(3) }, memory: { bytes: 9 * gib } }),
    "no host fits: 1 lacks memory (largest free 8 GiB), 2 are not the host it is bound to",
  );
  assert.equal(decide(snapshot, { placement: { hostSelector: { constructor: "x" } } }), "no host fits: 3 lack the host labels it asks for");
});

test("together and apart", () => {
  const grouped = (group: object) => ({ placement: group });
  const snapshot = buildSnapshot([
    host(1),
    host(2),
    vm(10, { on: 1, spec: { memory: { bytes: 6 * gib }, ...grouped({ together: "web", apart: "db" }) } }),
  ]);
  assert.equal(decide(snapshot, grouped({ together: "web" })), 1);
  assert.equal(decide(snapshot, grouped({ apart: "db" })), 2);
  assert.equal(
    decide(snapshot, grouped({ together: "web", apart: "db" })),
    "no host fits: 1 holds a machine it must keep apart from, 1 does not hold the machines it stays together with",
  );
  const elsewhere = { ...vm(998, { spec: grouped({ together: "web" }) }), project: "other" };
  const decision = place(snapshot.request(elsewhere), snapshot);
  assert.equal(decision.none ? decision.reason : decision.host, id(2), "another project's group of that name does not bind");
});

test("a machine to be moved leaves its host and counts there no longer", () => {
  const moving = vm(10, { on: 1, spec: { memory: { bytes: 6 * gib }, placement: { apart: "db", together: "web" } } });
  const snapshot = buildSnapshot([host(1), host(2), moving]);
  const decision = place(snapshot.request(moving, "move"), snapshot);
  assert.equal(decision.none ? decision.reason : decision.host, id(2));
  assert.deepEqual(refusalsOf(snapshot.request(moving, "place"), id(1), snapshot), [], "on its own host it does not compete with itself");
});

test("a machine with local volumes can be moved where its pool has room", () => {
  const moving = vm(10, { on: 1, spec: { disks: [disk(90)] } });
  const pools = pool(80, "local", {}, { 1: {}, 2: { capacityBytes: gib / 2, availableBytes: gib / 2 }, 3: {} });
  const snapshot = buildSnapshot([host(1), host(2), host(3), pools, volume(90, { pool: 80, on: 1 }), moving]);
  const decision = place(snapshot.request(moving, "move"), snapshot);
  assert.equal(decision.none ? decision.reason : decision.host, id(3));
});

test("rank lists every host, the fitting ones first, each with all that rules it out", () => {
  const snapshot = buildSnapshot([
    host(1, { memoryBytes: 2 * gib, spec: { schedulable: "cordoned" } }),
    host(2, { memoryBytes: 8 * gib }),
    host(3, { memoryBytes: 16 * gib }),
  ]);
  const ranked = rank(snapshot.request(vm(999, { spec: memory(4 * gib) })), snapshot);
  assert.deepEqual(
    ranked.map(({ name, fits, reasons }) => ({ name, fits, reasons })),
    [
      { name: "host-3", fits: true, reasons: ["13 % of its CPU and 25 % of its memory promised with it"] },
      { name: "host-2", fits: true, reasons: ["13 % of its CPU and 50 % of its memory promised with it"] },
      { name: "host-1", fits: false, reasons: ["is cordoned", "lacks memory (2 GiB free, 4 GiB needed)"] },
    ],
  );
  assert.ok((ranked[0]?.score ?? 0) > (ranked[1]?.score ?? 1));
});

test("a decision says why", () => {
  const snapshot = buildSnapshot([host(1), host(2)]);
  const decision = place(snapshot.request(vm(999, { spec: memory(4 * gib) })), snapshot, "pack");
  assert.deepEqual(decision, {
    host: id(1),
    score: 0.5,
    parts: { cpu: 0.125, memory: 0.5 },
    reasons: ["best of 2 hosts that fit (policy pack): 13 % of its CPU and 50 % of its memory promised with it"],
  });
});
