import assert from "node:assert/strict";
import { test } from "node:test";
import { checkEvacuation, type HostRoom } from "./evacuation-check.ts";

const room = (name: string, used: number, capacity = 100, open = true): HostRoom => ({
  name,
  memoryCapacityBytes: capacity,
  memoryUsedBytes: used,
  cpuCapacity: capacity,
  cpuUsed: used / 2,
  open,
});
const machine = (id: string, refusal: string | null = null) => ({ id, memoryBytes: 10, moving: false, refusal });

/** A choice adds to the first host, as the scheduler's picture does. */
function check(use: number[], machines: ReturnType<typeof machine>[], toleratedHostFailures = 0) {
  const hosts = use.map((used, index) => room(`h${index}`, used));
  const choose = () => {
    const first = hosts.findIndex((host) => host.memoryUsedBytes + 10 <= host.memoryCapacityBytes);
    const host = hosts[first];
    if (!host) return { why: "no host can take it" };
    hosts[first] = { ...host, memoryUsedBytes: host.memoryUsedBytes + 10 };
    return { host: host.name };
  };
  return checkEvacuation({ machines, choose, others: () => hosts, toleratedHostFailures });
}

test("a cluster with room has nothing against it, and says how full it would be", () => {
  assert.deepEqual(check([10, 20], [machine("a"), machine("b")]), {
    machines: 2,
    cannotMove: [],
    memoryPercent: 25,
    cpuPercent: 8,
    warnings: [],
  });
});

test("who cannot move is named: by his own state, and by lack of room", () => {
  const { cannotMove, warnings } = check([90], [machine("a"), machine("b", "it is paused"), machine("c")]);
  assert.deepEqual(cannotMove, [
    { vm: "b", why: "it is paused" },
    { vm: "c", why: "no host can take it" },
  ]);
  assert.match(warnings.join(), /2 of its 3 machines cannot move/);
  assert.match(warnings.join(), /memory would be promised to 100 %/);
});

test("the loss of the room for failures is said: what the fullest host carries must fit on the rest", () => {
  assert.deepEqual(check([40, 40], [machine("a")], 1).warnings, []);
  assert.match(check([50, 60], [machine("a")], 1).warnings.join(), /would not survive the loss of a host/);
  assert.match(check([10], [machine("a")], 1).warnings.join(), /would not survive/);
  assert.deepEqual(check([20, 20, 20], [machine("a")], 2).warnings, []);
  assert.match(check([30, 30, 60], [machine("a")], 2).warnings.join(), /loss of 2 hosts/);
});

test("hosts that take no machines lend no room", () => {
  const others = () => [room("h1", 50), room("h2", 0, 100, false)];
  const { memoryPercent, warnings } = checkEvacuation({ machines: [], choose: () => ({ why: "" }), others, toleratedHostFailures: 1 });
  assert.equal(memoryPercent, 50);
  assert.equal(warnings.length, 1);
});
