import assert from "node:assert/strict";
import { test } from "node:test";
import { place, rank } from "./place.ts";
import { planBatch } from "./plan-batch.ts";
import { buildSnapshot, type SnapshotIndex } from "./snapshot.ts";
import { cluster, gib, host, id, vm, type VmOptions } from "./testing/records.ts";

type Spec = NonNullable<VmOptions["spec"]>;
type Placement = NonNullable<Spec["placement"]>;

function decide(snapshot: SnapshotIndex, spec: Spec): number | string {
  const decision = place(snapshot.request(vm(999, { spec })), snapshot);
  return decision.none ? decision.reason : Number.parseInt(decision.host.slice(-12), 16);
}
const asks = (placement: Placement): Spec => ({ memory: { bytes: gib }, placement });
const at = (n: number, failureDomain: string) => host(n, { spec: { failureDomain } });
const racks = [at(1, "eu/z1/r1"), at(2, "eu/z1/r1"), at(3, "eu/z1/r2"), at(4, "eu/z2/r1"), host(5)];
const web = (keep: "together" | "apart", within: "host" | "rack" | "zone", more: { limit?: number; preferred?: boolean } = {}): Placement => ({
  rules: [{ group: "web", keep, within, ...more }],
});

test("apart by rack and by zone: hosts of taken ones are refused, and those that name none", () => {
  const snapshot = buildSnapshot([
    ...racks,
    vm(10, { on: 1, spec: asks(web("apart", "rack")) }),
    vm(11, { on: 4, spec: asks(web("apart", "rack")) }),
  ]);
  assert.equal(decide(snapshot, asks(web("apart", "rack"))), 3);
  assert.equal(
    decide(snapshot, asks(web("apart", "zone"))),
    "no host fits: 3 are in racks with a machine of group web, 1 names no rack, 1 is in a zone with a machine of group web",
  );
  assert.equal(typeof decide(snapshot, asks({ rules: [{ group: "db", keep: "apart", within: "zone" }] })), "number");
});

test("a limit lets so many of a group share a host", () => {
  const two = asks(web("apart", "host", { limit: 2 }));
  const snapshot = buildSnapshot([host(1), host(2, { spec: { schedulable: "cordoned" } }), vm(10, { on: 1, spec: two })]);
  assert.equal(decide(snapshot, two), 1);
  snapshot.update({ type: "upsert", record: vm(11, { on: 1, spec: two }) });
  assert.equal(decide(snapshot, two), "no host fits: 1 is cordoned, 1 holds 2 machines of group web");
});

test("a rule that one member brings binds the others of its group, a preference does not", () => {
  const bound = buildSnapshot([host(1), host(2), vm(10, { on: 1, spec: asks(web("apart", "host")) })]);
  assert.equal(decide(bound, asks(web("apart", "host", { limit: 5 }))), 2);
  const free = buildSnapshot([host(1), vm(10, { on: 1, spec: asks(web("apart", "host", { preferred: true })) })]);
  assert.equal(decide(free, asks(web("apart", "host", { limit: 5 }))), 1);
});

test("together by rack", () => {
  const together = asks(web("together", "rack"));
  const snapshot = buildSnapshot([...racks, vm(10, { on: 3, spec: together })]);
  assert.equal(decide(snapshot, together), 3);
  snapshot.update({ type: "upsert", record: { ...at(3, "eu/z1/r2"), deletedAt: 1 } });
  assert.equal(decide(snapshot, together), "no host fits: 1 is being removed, 1 names no rack, 3 are in racks without a machine of group web");
});

test("machines of one batch that share a host by rule get one with room for all", () => {
  const snapshot = buildSnapshot([host(1, { memoryBytes: 3 * gib, cpus: 3 }), host(2, { memoryBytes: 8 * gib })]);
  const requests = [10, 11, 12, 13].map((n) => snapshot.request(vm(n, { spec: asks({ ...web("together", "host"), policy: "pack" }) })));
  assert.deepEqual(
    planBatch(requests, snapshot).map(({ decision }) => decision.none ?? decision.host),
    [id(2), id(2), id(2), id(2)],
  );
});

test("what is preferred comes before the policy, and what is broken is said", () => {
  const soft = asks({ ...web("apart", "rack", { preferred: true }), policy: "pack" });
  const snapshot = buildSnapshot([
    ...racks.slice(0, 4),
    vm(10, { on: 1, spec: soft }),
    vm(11, { on: 3, spec: soft }),
    vm(12, { on: 4, spec: soft }),
    vm(13, { on: 4, spec: soft }),
  ]);
  const request = snapshot.request(vm(999, { spec: soft }));
  const ranked = rank(request, snapshot);
  // Racks 1 and 2 of zone 1 have one each, rack 1 of zone 2 has two.
  assert.deepEqual(
    ranked.map(({ parts }) => parts?.["preferred"]),
    [-1, -1, -1, -2],
  );
  const decision = place(request, snapshot);
  assert.ok(!decision.none);
  assert.equal(decision.host, ranked[0]?.host);
  assert.match(decision.reasons[0] ?? "", /; not as preferred: it is in a rack with a machine of group web$/);
  const batch = buildSnapshot([host(1), host(2), host(3)]);
  const spread = asks({ ...web("apart", "host", { preferred: true }), policy: "pack" });
  const chosen = planBatch(
    [1, 2, 3, 4, 5, 6].map((n) => batch.request(vm(n, { spec: spread }))),
    batch,
  ).map(({ decision: one }) => one.none ?? one.host);
  assert.deepEqual(new Set(chosen.slice(0, 3)).size, 3);
  assert.deepEqual(new Set(chosen.slice(3)).size, 3);
});

test("noisy machines and sensitive ones: kept apart where it can be, and always where the cluster is strict", () => {
  const site = (neighbours: NonNullable<Parameters<typeof cluster>[1]>["neighbours"]) => [
    cluster(50, { neighbours }),
    host(1, { spec: { cluster: id(50) } }),
    host(2, { spec: { cluster: id(50) } }),
  ];
  const noisy = vm(10, { on: 1, spec: asks({ neighbours: "noisy" }) });
  const sensitive = vm(11, { on: 2, spec: asks({ neighbours: "sensitive" }) });
  const soft = buildSnapshot([...site(undefined), noisy]);
  assert.equal(decide(soft, asks({ neighbours: "sensitive", policy: "pack" })), 2);
  soft.update({ type: "upsert", record: sensitive });
  assert.equal(decide(soft, asks({ neighbours: "sensitive", policy: "pack" })), 2);
  const strict = buildSnapshot([...site({ strict: true, noisyPerHost: 1 }), noisy, sensitive]);
  assert.equal(decide(strict, asks({ neighbours: "sensitive" })), 2);
  assert.equal(
    decide(strict, asks({ neighbours: "noisy" })),
    "no host fits: 1 holds machines sensitive to noise, 1 holds as many noisy machines as it may",
  );
});

test("reservations are never promised twice, whatever the ratio; limits and classes count in what is taken", () => {
  // 8 CPUs and 8 GiB, four times and twice.
  const site = () =>
    buildSnapshot([
      cluster(50, { cpuOvercommit: 4, memoryOvercommit: 2, machineClasses: { gold: { cpuOvercommit: 1, memoryOvercommit: 1 } } }),
      member(),
    ]);
  const member = () => {
    const record = host(1, { spec: { cluster: id(50) } });
    const { cpuOvercommit: _cpu, memoryOvercommit: _memory, ...spec } = record.spec;
    return { ...record, spec };
  };
  const fill = (spec: Spec): number => {
    const snapshot = site();
    for (let n = 0; ; n += 1) {
      const request = snapshot.request(vm(100 + n, { spec }));
      const decision = place(request, snapshot);
      if (decision.none) return n;
      snapshot.reserve(request, decision.host);
    }
  };
  const small = { memory: { bytes: 16 * 2 ** 20 } };
  assert.equal(fill({ ...small, cpu: { count: 2 } }), 16);
  assert.equal(fill({ ...small, cpu: { count: 2, reservationMillicores: 2000 } }), 4);
  // 1 reserved takes 4, the other one 1.
  assert.equal(fill({ ...small, cpu: { count: 2, reservationMillicores: 1000 } }), 6);
  assert.equal(fill({ ...small, cpu: { count: 2, limitMillicores: 500 } }), 64);
  assert.equal(fill({ ...small, cpu: { count: 2 }, placement: { class: "gold" } }), 4);
  assert.equal(fill({ memory: { bytes: gib } }), 16);
  assert.equal(fill({ memory: { bytes: gib, reservedBytes: gib } }), 8);
  assert.equal(fill({ memory: { bytes: gib }, placement: { class: "gold" } }), 8);
  // A class that the cluster does not have is none.
  assert.equal(fill({ memory: { bytes: gib }, placement: { class: "silver" } }), 16);
});

test("what is taken follows the ratios, and nothing is left of it when the machine is gone", () => {
  const snapshot = buildSnapshot([host(1, { spec: { cpuOvercommit: 2 } })]);
  const before = snapshot.usage(id(1));
  const machine = vm(10, { on: 1, spec: { cpu: { count: 4, reservationMillicores: 1300 } } });
  snapshot.update({ type: "upsert", record: machine });
  assert.ok(Math.abs((snapshot.usage(id(1))?.cpuUsed ?? 0) - 5.3) < 0.001);
  snapshot.update({ type: "upsert", record: host(1, { spec: { cpuOvercommit: 3 } }) });
  assert.ok(Math.abs((snapshot.usage(id(1))?.cpuUsed ?? 0) - 6.6) < 0.001);
  // It does not compete with itself.
  const own = rank(snapshot.request({ ...machine, spec: { ...machine.spec, cpu: { ...machine.spec.cpu, count: 21 } } }), snapshot);
  assert.equal(own[0]?.fits, true);
  snapshot.update({ type: "upsert", record: host(1, { spec: { cpuOvercommit: 2 } }) });
  snapshot.update({ type: "remove", kind: "vm", id: id(10) });
  assert.deepEqual(snapshot.usage(id(1)), before);
});

test("licences: only on hosts they cover, by no more hosts and cores than there are", () => {
  const licensed = asks({ licences: ["oracle"], policy: "spread" });
  const site = (licence: NonNullable<NonNullable<Parameters<typeof cluster>[1]>["licences"]>[string]) =>
    buildSnapshot([
      cluster(50, { licences: { oracle: licence } }),
      cluster(51),
      ...[1, 2, 3].map((n) => host(n, { spec: { cluster: id(50) }, labels: { oracle: n < 3 ? "yes" : "no" } })),
      host(4, { spec: { cluster: id(51) } }),
    ]);
  const fill = (snapshot: SnapshotIndex): number[] => {
    const hosts: number[] = [];
    for (let n = 0; n < 6; n += 1) {
      const request = snapshot.request(vm(100 + n, { spec: licensed }));
      const decision = place(request, snapshot);
      assert.ok(!decision.none);
      snapshot.reserve(request, decision.host);
      hosts.push(Number.parseInt(decision.host.slice(-12), 16));
    }
    return hosts;
  };
  assert.deepEqual(new Set(fill(site({}))), new Set([1, 2, 3]));
  assert.deepEqual(new Set(fill(site({ hosts: { oracle: "yes" } }))), new Set([1, 2]));
  assert.deepEqual(new Set(fill(site({ maximumHosts: 1 }))), new Set([1]));
  assert.deepEqual(new Set(fill(site({ maximumCores: 16 }))), new Set([1, 2]));
  assert.equal(
    decide(site({ maximumCores: 7 }), licensed),
    "no host fits: 3 would use more of licence oracle than there is, 1 is not covered by licence oracle",
  );
});
