import assert from "node:assert/strict";
import { test } from "node:test";
import { planClusterPower, type ClusterPowerInput, type PowerHost } from "./plan-cluster-power.ts";

const host = (id: string, given: Partial<PowerHost> = {}): PowerHost => ({
  ...{ id, state: "awake", cpus: 10, memoryBytes: 100, usedCpus: 0, usedMemoryBytes: 0, promisableCpus: 40, promisableMemoryBytes: 100 },
  ...{ rested: true, overdue: false, idleWatts: 50 },
  ...given,
});
const asleep = (id: string, given: Partial<PowerHost> = {}): PowerHost => host(id, { state: "asleep", ...given });
const plan = (hosts: readonly PowerHost[], cpus: number, given: Partial<ClusterPowerInput> = {}) => {
  const { wake, sleep } = planClusterPower({
    ...{ hosts, wanted: new Map(), somethingWaits: false, hotUse: 0.85, targetUse: 0.8, spareHosts: 0, hindrance: () => null },
    taken: { cpus, memoryBytes: 10, promisedCpus: cpus, promisedMemoryBytes: 20 },
    ...given,
  });
  return [wake.map(({ host: id }) => id).join(), sleep.map(({ host: id }) => id).join()];
};

test("one sleeps where the others stay below the target without it: that which draws most, one at a time", () => {
  const three = [host("a"), host("b", { idleWatts: 90 }), host("c")];
  assert.deepEqual(plan(three, 8), ["", "b"]);
  assert.deepEqual(plan(three, 16.1), ["", ""]);
  assert.deepEqual(plan(three, 8, { spareHosts: 1 }), ["", "b"]);
  assert.deepEqual(plan(three, 8.1, { spareHosts: 1 }), ["", ""]);
  assert.deepEqual(plan([host("a")], 0), ["", ""], "never the last");
});

test("one wakes before use passes what makes hosts hot; in between nothing happens", () => {
  const hosts = [host("a"), asleep("b", { idleWatts: 90 }), asleep("c")];
  assert.deepEqual(plan(hosts, 8.6), ["c", ""]);
  assert.deepEqual(plan(hosts, 8.5), ["", ""]);
  assert.deepEqual(plan([host("a"), host("b")], 8.1), ["", ""], "what is awake stays so above the target");
  assert.deepEqual(plan([host("a"), host("b", { state: "coming" }), asleep("c")], 8.6), ["", ""], "one that comes counts");
  assert.deepEqual(plan([host("a"), asleep("b", { rested: false })], 8.6), ["", ""], "its cool-down has not passed");
  const taken = { cpus: 0, memoryBytes: 0, promisedCpus: 0, promisedMemoryBytes: 0 };
  assert.deepEqual(plan(hosts, 0, { spareHosts: 1, taken }), ["", ""]);
  assert.deepEqual(plan(hosts, 0.1, { spareHosts: 1 }), ["c", ""], "spare hosts do not count");
});

test("promises count as use does", () => {
  const taken = { cpus: 1, memoryBytes: 1, promisedCpus: 1, promisedMemoryBytes: 101 };
  assert.deepEqual(plan([host("a"), asleep("b")], 0, { taken }), ["b", ""]);
  assert.deepEqual(plan([host("a"), host("b"), host("c")], 0, { taken }), ["", "c"]);
  assert.deepEqual(plan([host("a"), host("b")], 0, { taken }), ["", ""]);
});

test("what is waited for wakes at once, whatever its cool-down; nothing sleeps meanwhile, nor while use is not known", () => {
  const hosts = [host("a"), host("b"), asleep("c", { rested: false })];
  assert.deepEqual(plan(hosts, 1, { wanted: new Map([["c", "a machine waits"]]) }), ["c", ""]);
  assert.deepEqual(plan(hosts, 1, { somethingWaits: true }), ["", ""]);
  assert.deepEqual(plan(hosts, 1, { taken: undefined }), ["", ""]);
  assert.deepEqual(plan(hosts, 1), ["", "b"]);
  assert.deepEqual(plan(hosts, 1, { hindrance: (id) => (id === "b" ? "it holds a volume" : null) }), ["", "a"]);
  assert.deepEqual(plan([...hosts, asleep("d", { overdue: true })], 1), ["d", ""]);
});
