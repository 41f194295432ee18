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
function check(use: number[], machines: ReturnType<typeof machine>[]) {
  const hosts = use.map((used, index) => room(`h${index}`, used));
  const choose = () => {
    const first = hosts.findIndex((host) => host.memoryUsedBytes + 10 <= host.memoryCapacityBytes);
    const host = hosts[first];
    if (!host) return { why: "no host can take it" };
    hosts[first] = { ...host, memoryUsedBytes: host.memoryUsedBytes + 10 };
    return { host: host.name };
  };
  return checkEvacuation({ machines, choose, others: () => hosts, failOverRoom: () => undefined });
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

test("the loss of the room for failures is said", () => {
  const warnings = (spareMemoryBytes: number, toleratedHostFailures = 1) =>
    checkEvacuation({
      machines: [],
      choose: () => ({ why: "" }),
      others: () => [room("h1", 0)],
      failOverRoom: () => ({ spareMemoryBytes, toleratedHostFailures }),
    }).warnings;
  assert.deepEqual(warnings(0), []);
  assert.deepEqual(warnings(-(2 ** 30)), ["the cluster would lack 1 GiB to survive the loss of a host meanwhile"]);
  assert.match(warnings(-1, 2).join(), /loss of 2 hosts/);
});

test("hosts that take no machines lend no room", () => {
  const others = () => [room("h1", 50), room("h2", 0, 100, false)];
  const { memoryPercent, warnings } = checkEvacuation({ machines: [], choose: () => ({ why: "" }), others, failOverRoom: () => undefined });
  assert.equal(memoryPercent, 50);
  assert.deepEqual(warnings, []);
});
