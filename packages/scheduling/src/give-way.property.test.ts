import assert from "node:assert/strict";
import { test } from "node:test";
import type { VmRecord } from "@sheaf/model";
import fc from "fast-check";
import { giveWay, wayWords, type WayMade } from "./give-way.ts";
import { place, refusalsOf } from "./place.ts";
import { buildSnapshot, type SnapshotIndex } from "./snapshot.ts";
import { cluster, gib, host, id, vm } from "./testing/records.ts";

const machine = fc.record({
  cpus: fc.integer({ min: 1, max: 4 }),
  memoryGib: fc.integer({ min: 1, max: 4 }),
  priority: fc.constantFrom(0, 100, 200, 300),
  preemptible: fc.constantFrom(true, true, false),
  group: fc.constantFrom(undefined, undefined, "g"),
  reserved: fc.constantFrom(0, 0, 0.5),
  on: fc.integer({ min: 0, max: 3 }),
});
const site = fc.record({
  hosts: fc.array(
    fc.record({ cpus: fc.integer({ min: 2, max: 12 }), memoryGib: fc.integer({ min: 2, max: 10 }), off: fc.constantFrom(false, false, false, true) }),
    {
      minLength: 1,
      maxLength: 4,
    },
  ),
  ratio: fc.constantFrom(1, 1.5),
  machines: fc.array(machine, { maxLength: 12 }),
  wanted: machine,
});
type Site = typeof site extends fc.Arbitrary<infer T> ? T : never;

const recordOf = (of: Omit<Site["machines"][number], "priority"> & { priority: number }, n: number, on?: number): VmRecord & { kind: "vm" } =>
  vm(n, {
    spec: {
      priority: of.priority,
      cpu: { count: of.cpus, reservationMillicores: of.cpus * 1000 * of.reserved },
      memory: { bytes: of.memoryGib * gib },
      placement: { preemptible: of.preemptible, ...(of.group === undefined ? {} : { rules: [{ group: of.group, keep: "apart", limit: 2 }] }) },
    },
    ...(on === undefined ? {} : { on }),
  });

/** With as many of the machines as fit, each on its host. */
function built(of: Site): { snapshot: SnapshotIndex; placed: (VmRecord & { kind: "vm" })[] } {
  const snapshot = buildSnapshot([
    cluster(50),
    cluster(51, { preemption: "off" }),
    ...of.hosts.map(({ cpus, memoryGib, off }, index) =>
      host(index + 1, { cpus, memoryBytes: memoryGib * gib, spec: { cluster: id(off ? 51 : 50), cpuOvercommit: of.ratio } }),
    ),
  ]);
  const placed: (VmRecord & { kind: "vm" })[] = [];
  of.machines.forEach((given, index) => {
    const on = (given.on % of.hosts.length) + 1;
    const record = recordOf(given, 100 + index, on);
    if (refusalsOf(snapshot.request(record), id(on), snapshot).length > 0) return;
    snapshot.update({ type: "upsert", record });
    placed.push(record);
  });
  return { snapshot, placed };
}

/** The best by trying every set: fewest, then the least important, then the smaller host id. */
function bruteForce(of: Site, wanted: VmRecord, placed: readonly VmRecord[]): { host: string; count: number; highest: number } | undefined {
  let best: { host: string; count: number; highest: number } | undefined;
  of.hosts.forEach(({ off }, index) => {
    const hostId = id(index + 1);
    if (off) return;
    const may = placed.filter(
      ({ placement, spec }) => placement?.host === hostId && spec.placement.preemptible === true && spec.priority < wanted.spec.priority,
    );
    for (let set = 1; set < 2 ** may.length; set += 1) {
      const victims = may.filter((_, at) => (set & (2 ** at)) !== 0);
      const { snapshot } = built(of);
      for (const victim of victims) snapshot.update({ type: "remove", kind: "vm", id: victim.id });
      if (refusalsOf(snapshot.request(wanted), hostId, snapshot).length > 0) continue;
      const found = { host: hostId, count: victims.length, highest: Math.max(...victims.map(({ spec }) => spec.priority)) };
      if (best === undefined || found.count < best.count || (found.count === best.count && found.highest < best.highest)) best = found;
    }
  });
  return best;
}

function check(of: Site, wanted: VmRecord, placed: readonly VmRecord[], made: WayMade | undefined): void {
  const best = bruteForce(of, wanted, placed);
  if (made === undefined) return assert.equal(best, undefined, "nobody gives way, though some could");
  for (const { vm: victim } of made.victims) {
    const record = placed.find((one) => one.id === victim);
    assert.ok(record?.spec.placement.preemptible, "one that is not to be stopped");
    assert.ok(record.spec.priority < wanted.spec.priority, "one that is as important");
    assert.equal(record.placement?.host, made.host);
  }
  assert.deepEqual({ host: made.host, count: made.victims.length, highest: Math.max(...made.victims.map(({ priority }) => priority)) }, best);
  const { snapshot } = built(of);
  for (const victim of made.victims) snapshot.update({ type: "remove", kind: "vm", id: victim.vm });
  assert.deepEqual(refusalsOf(snapshot.request(wanted), made.host, snapshot), [], "it fits with them gone");
}

test("as few give way as can be, the least important ones, by every rule; the snapshot is left as it was", () => {
  let asked = 0;
  fc.assert(
    fc.property(site, (of) => {
      const { snapshot, placed } = built(of);
      const wanted = recordOf({ ...of.wanted, priority: of.wanted.priority + 50 }, 999);
      const request = snapshot.request(wanted);
      if (!place(request, snapshot).none) return;
      asked += 1;
      const usage = () => of.hosts.map((_, n) => snapshot.usage(id(n + 1)));
      const before = usage();
      const made = giveWay(request, snapshot);
      assert.deepEqual(usage(), before);
      assert.deepEqual(giveWay(request, snapshot), made, "the same question, the same answer");
      check(of, wanted, placed, made);
    }),
    { numRuns: 400 },
  );
  assert.ok(asked > 40, `of 400 sites only ${asked} had no room`);
});

test("a claim keeps the room, and who has given way takes none", () => {
  const victim = recordOf({ cpus: 4, memoryGib: 4, priority: 0, preemptible: true, group: undefined, reserved: 0, on: 0 }, 100, 1);
  const wanted = recordOf({ cpus: 4, memoryGib: 4, priority: 100, preemptible: false, group: undefined, reserved: 0, on: 0 }, 200);
  const snapshot = buildSnapshot([host(1, { cpus: 4, memoryBytes: 4 * gib }), victim, wanted]);
  const made = giveWay(snapshot.request(wanted), snapshot);
  assert.ok(made);
  assert.deepEqual([made.host, wayWords(made, "p")], [id(1), "it fits on host-1 if vm-100 gives way"]);
  assert.equal(wayWords(made, "q"), "it fits on host-1 if a machine of another project gives way");
  const claim = { host: id(1), victims: [victim.id], reason: "", since: 1 };
  const yields = { epoch: 1, to: wanted.id, reason: "", since: 1 };
  const seen = {
    state: "running" as const,
    epoch: 1,
    host: id(1),
    bootId: "b",
    observedGeneration: 1,
    since: 0,
    startRequestSeen: 0,
    restarts: 0,
    pendingChanges: [],
  };
  snapshot.update({ type: "upsert", record: { ...wanted, status: { claim } } });
  const victimAs = (agent: typeof victim.status.agent) =>
    snapshot.update({ type: "upsert", record: { ...victim, status: { yield: yields, ...(agent === undefined ? {} : { agent }) } } });
  const claimed = { ...wanted, status: { claim } };
  victimAs(seen);
  assert.equal(refusalsOf(snapshot.request(claimed), id(1), snapshot).length, 2, "it runs still");
  victimAs({ ...seen, state: "stopped" });
  assert.equal(refusalsOf(snapshot.request(claimed), id(1), snapshot).length, 2, "it has not heard of it, and may start again");
  victimAs({ ...seen, state: "stopped", gaveWay: 1 });
  assert.deepEqual(refusalsOf(snapshot.request(claimed), id(1), snapshot), []);
  const other = recordOf({ cpus: 1, memoryGib: 1, priority: 900, preemptible: false, group: undefined, reserved: 0, on: 0 }, 300);
  assert.equal(place(snapshot.request(other), snapshot).none, true, "the room is not for others");
  assert.equal(giveWay(snapshot.request(other), snapshot), undefined);
});

test("where a sleeping host is woken for it, nobody is stopped", () => {
  const sleeping = host(2, { cpus: 4, memoryBytes: 4 * gib, spec: { cluster: id(50) } });
  const power = { state: "asleep" as const, since: 0, by: "system", reason: "", bootId: "b", attempts: [] };
  const wanted = vm(200, { spec: { priority: 500, cpu: { count: 4 } } });
  const asked = (mode: "automatic" | "off") => {
    const snapshot = buildSnapshot([
      cluster(50, { power: { mode } }),
      host(1, { cpus: 4, spec: { cluster: id(50) } }),
      { ...sleeping, status: { ...sleeping.status, power } },
      vm(100, { on: 1, spec: { cpu: { count: 4 }, placement: { preemptible: true } } }),
    ]);
    return giveWay(snapshot.request(wanted), snapshot)?.victims.length;
  };
  assert.equal(asked("automatic"), undefined);
  assert.equal(asked("off"), 1);
});

test("devices: a host that lacks them is refused when it is asked alone, and machines that have some are not asked to give way", () => {
  const wanted = vm(200, { spec: { priority: 500, cpu: { count: 4 }, gpus: { count: 1 } } });
  const snapshot = buildSnapshot([
    host(1, { cpus: 4 }),
    vm(100, { on: 1, spec: { cpu: { count: 4 }, gpus: { count: 1 }, placement: { preemptible: true } } }),
  ]);
  assert.equal(
    refusalsOf(snapshot.request({ ...wanted, spec: { ...wanted.spec, cpu: { ...wanted.spec.cpu, count: 1 } } }), id(1), snapshot).length,
    2,
  );
  const { gpus: _, ...plain } = wanted.spec;
  assert.equal(giveWay(snapshot.request({ ...wanted, spec: plain }), snapshot), undefined);
});
