import assert from "node:assert/strict";
import { test } from "node:test";
import { type PlacementPolicy, placementPolicyNames } from "@sheaf/model";
import { place } from "../place.ts";
import { buildSnapshot } from "../snapshot.ts";
import { gib, host, id, vm } from "../testing/records.ts";
import { articleScore } from "./article.ts";

const choose = (policy: PlacementPolicy, records: Parameters<typeof buildSnapshot>[0], spec = {}): string => {
  const snapshot = buildSnapshot(records);
  const decision = place(snapshot.request(vm(999, { spec })), snapshot, policy);
  return decision.none ? decision.reason : decision.host;
};

test("the article's formula, number for number", () => {
  assert.equal(articleScore({ cpu: 40, memory: 70, power: 30 }, { cpu: 10, memory: 20 }), 0.5 / 1.3 + 0.3 / 1.5 + 0.2 * 0.7);
  assert.equal(articleScore({ cpu: 10, memory: 20, power: 0 }, { cpu: 10, memory: 20 }), 1);
  assert.equal(articleScore({ cpu: 0, memory: 0, power: 100 }, { cpu: 100, memory: 100 }), 0.5 / 2 + 0.3 / 2);
});

test("spread takes the host whose fuller resource is emptiest; pack the fullest that fits", () => {
  const records = [
    host(1, { cpus: 8, memoryBytes: 8 * gib }),
    host(2, { cpus: 8, memoryBytes: 8 * gib }),
    host(3, { cpus: 8, memoryBytes: 8 * gib }),
    vm(10, { on: 1, spec: { memory: { bytes: 5 * gib } } }),
    // Little memory is used on host 2, but nearly all of its CPU.
    vm(11, { on: 2, spec: { cpu: { count: 7 }, memory: { bytes: gib } } }),
    vm(12, { on: 3, spec: { cpu: { count: 3 }, memory: { bytes: 3 * gib } } }),
  ];
  assert.equal(choose("spread", records), id(3));
  assert.equal(choose("pack", records), id(2));
  assert.equal(choose("pack", records, { cpu: { count: 2 } }), id(1), "host 2 does not fit any more");
});

test("article prefers use near to the request, and cheap power where it was measured", () => {
  const records = [host(1), host(2), vm(10, { on: 1, spec: { cpu: { count: 4 }, memory: { bytes: 4 * gib } } })];
  assert.equal(choose("article", records, { cpu: { count: 4 }, memory: { bytes: 4 * gib } }), id(1));
  assert.equal(choose("article", records), id(2));
  const snapshot = buildSnapshot([host(1), host(2)]);
  snapshot.measure(id(1), { powerPercent: 80 });
  snapshot.measure(id(2), { powerPercent: 30 });
  const decision = place(snapshot.request(vm(999)), snapshot, "article");
  assert.equal(decision.none ? decision.reason : decision.host, id(2));
  if (!decision.none) assert.equal(decision.parts["power"], 0.2 * 0.7);
});

test("equal scores go to the smaller host id, in whatever order the hosts came", () => {
  for (const name of placementPolicyNames) {
    assert.equal(choose(name, [host(3), host(1), host(2)]), id(1));
    assert.equal(choose(name, [host(2), host(3), host(1)]), id(1));
  }
});
