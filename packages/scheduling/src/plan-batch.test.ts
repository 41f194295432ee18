import assert from "node:assert/strict";
import { test } from "node:test";
import type { VmRecord } from "@sheaf/model";
import { planBatch } from "./plan-batch.ts";
import { buildSnapshot, type SnapshotIndex } from "./snapshot.ts";
import { gib, host, id, vm } from "./testing/records.ts";

test("decisions see each other, and are reserved", () => {
  const snapshot = buildSnapshot([host(1, { memoryBytes: 2 * gib }), host(2, { memoryBytes: 2 * gib })]);
  const requests = [1, 2, 3, 4, 5].map((n) => snapshot.request(vm(n)));
  const decisions = planBatch(requests, snapshot);
  assert.deepEqual(
    decisions.map(({ decision }) => (decision.none ? decision.reason : decision.host)),
    [id(1), id(2), id(1), id(2), "no host fits: 2 lack memory (largest free 0 B)"],
  );
  assert.equal(snapshot.usage(id(1))?.machines, 2);
});

test("important machines come first, then large ones", () => {
  const snapshot = buildSnapshot([host(1, { memoryBytes: 4 * gib })]);
  const small = vm(1, { spec: { memory: { bytes: 3 * gib } } });
  const large = vm(2, { spec: { memory: { bytes: 4 * gib } } });
  const important = vm(3, { spec: { memory: { bytes: 2 * gib }, priority: 500 } });
  const first = planBatch(
    [small, large].map((record) => snapshot.request(record)),
    snapshot,
  );
  const names = first.filter(({ decision }) => !decision.none);
  assert.deepEqual(
    names.map(({ request }) => request.name),
    ["vm-2"],
  );
  for (const { request } of first) snapshot.release(request);
  const again = planBatch(
    [small, large, important].map((record) => snapshot.request(record)),
    snapshot,
  ).filter(({ decision }) => !decision.none);
  assert.deepEqual(
    again.map(({ request }) => request.name),
    ["vm-3"],
  );
});

test("machines that stay together get a host with room for all of them", () => {
  // pack alone would put the first on the fuller host 1, where the second does not fit.
  const snapshot = buildSnapshot([host(1, { memoryBytes: 3 * gib }), host(2, { memoryBytes: 8 * gib })]);
  const spec = { memory: { bytes: 2 * gib }, placement: { together: "web" } };
  const decisions = planBatch(
    [vm(1, { spec }), vm(2, { spec })].map((record) => snapshot.request(record)),
    snapshot,
    "pack",
  );
  assert.deepEqual(
    decisions.map(({ decision }) => !decision.none && decision.host),
    [id(2), id(2)],
  );
});

test("those of a group that a lost host leaves are given one new host, together, as soon as the old one was cut off", () => {
  const spec = { memory: { bytes: 2 * gib }, placement: { together: "web" } };
  const machines = [1, 2, 3].map((n) => vm(n, { spec, on: 1 }));
  const lost = host(1, { liveness: "unreachable" });
  const cutOff = { ...lost, status: { ...lost.status, fencing: { state: "fenced" as const, since: 0, reason: "", attempts: [] } } };
  const hosts = (first: typeof lost, moving: typeof machines) => {
    const snapshot = buildSnapshot([first, host(2, { memoryBytes: 3 * gib }), host(3), ...machines]);
    const decisions = planBatch(
      moving.map((record) => snapshot.request(record)),
      snapshot,
      "pack",
    );
    return decisions.map(({ decision }) => (decision.none ? decision.reason : decision.host));
  };
  const binding = "no host fits: 1 is unreachable, 2 do not hold the machines it stays together with";
  assert.deepEqual(hosts(lost, machines), [binding, binding, binding], "its guests may still run there");
  assert.deepEqual(hosts(cutOff, machines), [id(3), id(3), id(3)]);
  machines[0] = vm(1, { spec, on: 3, epoch: 2 });
  assert.deepEqual(hosts(cutOff, machines.slice(1)), [id(3), id(3)], "those that come later follow the first");
});

test("a host that was cut off takes nothing, although it was heard a moment before", () => {
  const ready = host(1);
  const cutOff = { ...ready, status: { ...ready.status, fencing: { state: "fenced" as const, since: 0, reason: "", attempts: [] } } };
  const snapshot = buildSnapshot([cutOff]);
  const [decided] = planBatch([snapshot.request(vm(1, { spec: { memory: { bytes: gib } } }))], snapshot);
  assert.match(decided?.decision.none === true ? decided.decision.reason : "", /is unreachable/);
});

test("a group that fits on no single host is refused as a whole", () => {
  const snapshot = buildSnapshot([host(1, { memoryBytes: 3 * gib })]);
  const spec = { memory: { bytes: 2 * gib }, placement: { together: "web" } };
  const decisions = planBatch(
    [vm(1, { spec }), vm(2, { spec })].map((record) => snapshot.request(record)),
    snapshot,
  );
  assert.deepEqual(
    decisions.map(({ decision }) => decision.none && decision.reason),
    Array(2).fill("no host fits: 1 lacks memory (largest free 3 GiB), for all 2 machines that stay together"),
  );
  assert.equal(snapshot.usage(id(1))?.machines, 0);
});

test("together and apart at once is refused, not broken", () => {
  const snapshot = buildSnapshot([host(1), host(2)]);
  const spec = { placement: { together: "web", apart: "web" } };
  const decisions = planBatch(
    [vm(1, { spec }), vm(2, { spec })].map((record) => snapshot.request(record)),
    snapshot,
  );
  assert.equal(decisions.filter(({ decision }) => !decision.none).length, 1);
});

test("a gang: all of it or none, and what it would have taken is there for the others", () => {
  const gang = (n: number, size: number, memoryGib = 2) =>
    vm(n, { spec: { memory: { bytes: memoryGib * gib }, priority: 500, placement: { gang: { name: "g", size } } } });
  const site = () => buildSnapshot([host(1, { memoryBytes: 4 * gib }), host(2, { memoryBytes: 4 * gib })]);
  const decide = (snapshot: SnapshotIndex, records: VmRecord[]) =>
    planBatch(
      records.map((record) => snapshot.request(record)),
      snapshot,
    ).map(({ decision }) => (decision.none ? decision.reason : "placed"));
  assert.deepEqual(
    decide(
      site(),
      [1, 2, 3, 4].map((n) => gang(n, 4)),
    ),
    ["placed", "placed", "placed", "placed"],
  );
  const waits = "it waits for the other machines of gang g: 3 of 4 are there";
  assert.deepEqual(
    decide(
      site(),
      [1, 2, 3].map((n) => gang(n, 4)),
    ),
    [waits, waits, waits],
  );
  const snapshot = site();
  const small = vm(20, { spec: { memory: { bytes: 4 * gib } } });
  const reason = "no host fits: 2 lack memory (largest free 0 B); 4 of the 5 machines of gang g would fit, and they start all or none";
  assert.deepEqual(decide(snapshot, [...[1, 2, 3, 4, 5].map((n) => gang(n, 5)), small]), [...Array.from({ length: 5 }, () => reason), "placed"]);
  assert.equal(snapshot.usage(id(1))?.memoryUsedBytes === 4 * gib || snapshot.usage(id(2))?.memoryUsedBytes === 4 * gib, true);
  // Those that have hosts count: the rest of a gang of which some were written before the server died.
  const rest = buildSnapshot([host(1, { memoryBytes: 8 * gib }), { ...gang(1, 3), placement: { host: id(1), epoch: 1, incarnation: "i", at: 0 } }]);
  assert.deepEqual(decide(rest, [gang(2, 3), gang(3, 3)]), ["placed", "placed"]);
});
