import assert from "node:assert/strict";
import { test } from "node:test";
import { type PlacementPolicy, placementPolicyNames } from "@sheaf/model";
import { place } from "../place.ts";
import { buildSnapshot } from "../snapshot.ts";
import { cluster, gib, host, id, vm } from "../testing/records.ts";
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

test("the article's formula at its edges, as it stands: a full host may win over an empty one", () => {
  const at = (cpu: number, memory: number, power: number, wanted: number): number =>
    Number(articleScore({ cpu, memory, power }, { cpu: wanted, memory: wanted }).toFixed(6));
  assert.deepEqual(
    [at(0, 0, 0, 0), at(100, 100, 0, 100), at(0, 0, 0, 50), at(50, 50, 50, 50), at(100, 100, 100, 0), at(80, 20, 40, 10)],
    [1, 1, 0.733333, 0.9, 0.4, 0.686845],
  );
});

test("energy wakes no host that could sleep while another has room, and prefers the curve that rises less", () => {
  const steep = { powerWatts: [100, 400] };
  const flat = { powerWatts: [150, 250] };
  const busy = vm(10, { on: 1 });
  assert.equal(choose("energy", [host(1, { spec: steep }), host(2, { spec: flat }), busy]), id(1), "the idle watts of host 2 are more");
  assert.equal(choose("energy", [host(1, { spec: steep }), host(2, { spec: flat }), busy, vm(11, { on: 2 })]), id(2));
  const bent = { powerWatts: [100, 110, 400] };
  const half = vm(12, { on: 1, spec: { cpu: { count: 4 } } });
  assert.equal(choose("energy", [host(1, { spec: bent }), host(2, { spec: steep }), half, vm(11, { on: 2 })]), id(2), "past the bend");
  assert.equal(choose("energy", [host(1, { cpus: 64 }), host(2, { cpus: 8 })]), id(2), "nobody said what they draw: the smaller one");
});

test("priority: important machines on empty hosts, unimportant ones on full ones, those between between", () => {
  const records = [
    host(1),
    host(2),
    host(3),
    vm(10, { on: 1, spec: { memory: { bytes: 6 * gib } } }),
    vm(11, { on: 2, spec: { memory: { bytes: 3 * gib } } }),
  ];
  assert.equal(choose("priority", records, { priority: 1000 }), id(3));
  assert.equal(choose("priority", records, { priority: 500 }), id(2));
  assert.equal(choose("priority", records, { priority: 0 }), id(1));
});

test("fragmentation keeps the size that is asked for most often placeable", () => {
  const large = { cpu: { count: 4 }, memory: { bytes: 4 * gib } };
  const seen = Array.from({ length: 6 }, (_, n) => vm(20 + n, { on: 4, spec: large }));
  // Host 4 is full of them; one more fits into host 1 and host 2 each, none into host 3.
  const records = [host(1, { cpus: 4 }), host(2, { cpus: 4 }), host(3, { cpus: 3 }), host(4, { cpus: 24, memoryBytes: 24 * gib }), ...seen];
  assert.equal(choose("fragmentation", records), id(3));
  assert.equal(choose("fragmentation", records, large), id(1));
});

test("balanced spreads while there is plenty, and keeps room in the sizes that are asked for when there is not", () => {
  const half = (used: number) => {
    const records: Parameters<typeof buildSnapshot>[0] extends Iterable<infer R> ? R[] : never = [];
    for (let n = 1; n <= 6; n += 1) records.push(host(n, { cpus: 32, memoryBytes: 32 * gib }));
    for (let n = 0; n < used; n += 1) records.push(vm(100 + n, { on: 1 + (n % 6), spec: { cpu: { count: 8 }, memory: { bytes: 8 * gib } } }));
    return records;
  };
  const on = (records: ReturnType<typeof half>, machines: number, spec: object): Set<string> => {
    const snapshot = buildSnapshot(records);
    const hosts = new Set<string>();
    for (let n = 0; n < machines; n += 1) {
      const request = snapshot.request(vm(500 + n, { spec }));
      const decision = place(request, snapshot, "balanced");
      assert.ok(!decision.none);
      snapshot.reserve(request, decision.host);
      hosts.add(decision.host);
    }
    return hosts;
  };
  assert.equal(on(half(0), 4, { cpu: { count: 2 }, memory: { bytes: 2 * gib } }).size, 4, "a nearly empty cluster is not packed onto one host");
  // 18 of 24 eighths-and-quarters are used; each host has room for one machine of 8: small ones share a host instead of taking six of them.
  assert.equal(on(half(18), 4, { cpu: { count: 2 }, memory: { bytes: 2 * gib } }).size, 1);
});

test("several policies by weight: each one's scores count in its share", () => {
  const records = [host(1, { spec: { powerWatts: [10, 20] } }), host(2, { spec: { powerWatts: [300, 900] } }), vm(10, { on: 1 }), vm(11, { on: 2 })];
  const emptier = [...records, vm(12, { on: 1, spec: { memory: { bytes: 4 * gib } } })];
  assert.equal(choose({ energy: 9, spread: 1 }, emptier), id(1));
  assert.equal(choose({ energy: 1, spread: 9 }, emptier), id(2));
  assert.equal(choose({ spread: 1, energy: 0 }, emptier), choose("spread", emptier));
});

test("the machine's own policy goes before its cluster's; without either the default chooses the cluster and the cluster's policy the host", () => {
  const inCluster = (n: number, name: string) => host(n, { spec: { cluster: name } });
  const records = [
    cluster(50, { placementPolicy: "pack" }, "packed"),
    cluster(51, { placementPolicy: "spread" }, "even"),
    inCluster(1, "packed"),
    inCluster(2, "packed"),
    inCluster(3, "even"),
    vm(10, { on: 2 }),
    vm(11, { on: 3, spec: { memory: { bytes: 6 * gib } } }),
  ];
  const snapshot = buildSnapshot(records);
  const decided = (placement: object): string => {
    const decision = place(snapshot.request(vm(999, { spec: { placement } })), snapshot);
    return decision.none ? decision.reason : decision.host;
  };
  assert.equal(decided({ cluster: "packed" }), id(2));
  assert.equal(decided({ cluster: "packed", policy: "spread" }), id(1));
  assert.equal(decided({}), id(2), "host 1 is the emptiest; in its cluster, the fullest that fits");
});
