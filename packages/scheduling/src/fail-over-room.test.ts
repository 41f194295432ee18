import assert from "node:assert/strict";
import { test } from "node:test";
import fc from "fast-check";
import { failOverRoom } from "./fail-over-room.ts";
import { place } from "./place.ts";
import { buildSnapshot } from "./snapshot.ts";
import { cluster, gib, host, id, vm } from "./testing/records.ts";

const member = (n: number, memoryBytes: number, more: object = {}) => host(n, { memoryBytes, spec: { cluster: id(50), ...more } });
const surviving = (toleratedHostFailures: number, enforceAdmission = true) =>
  cluster(50, { highAvailability: { toleratedHostFailures, enforceAdmission } });
const machine = (n: number, gigabytes: number, on?: number, highlyAvailable = true) =>
  vm(n, { ...(on === undefined ? {} : { on }), spec: { memory: { bytes: gigabytes * gib }, highlyAvailable, placement: { cluster: id(50) } } });

test("the room that is kept is that of the hosts whose loss is worst", () => {
  const hosts = [member(1, 8 * gib), member(2, 8 * gib), member(3, 8 * gib)];
  const machines = [machine(10, 4, 1), machine(11, 2, 2), machine(12, 2, 2, false)];
  const room = (failures: number) => failOverRoom(buildSnapshot([...hosts, ...machines, surviving(failures)]), id(50))?.spareMemoryBytes;
  // Free: 4 + 4 + 8. Worst loss: host 1 (4 free, 4 to restart) or host 3 (8 free).
  assert.equal(room(0), undefined);
  assert.equal(room(1), (16 - 8) * gib);
  assert.equal(room(2), (16 - 8 - 8) * gib);
  assert.equal(room(3), (16 - 8 - 8 - 6) * gib);
});

test("as a share of the hosts, rounded up; the larger of both wishes counts", () => {
  const hosts = Array.from({ length: 5 }, (_, n) => member(n + 1, 8 * gib));
  const failures = (toleratedHostFailures: number, toleratedHostFailurePercent: number) =>
    failOverRoom(buildSnapshot([...hosts, cluster(50, { highAvailability: { toleratedHostFailures, toleratedHostFailurePercent } })]), id(50))
      ?.toleratedHostFailures;
  assert.deepEqual([failures(0, 0), failures(0, 1), failures(0, 20), failures(0, 21), failures(3, 21), failures(1, 100)], [undefined, 1, 1, 2, 3, 5]);
});

test("hosts that take nothing have no room, but can be lost", () => {
  const snapshot = buildSnapshot([member(1, 8 * gib, { schedulable: "cordoned" }), member(2, 8 * gib), machine(10, 4, 1), surviving(1)]);
  assert.equal(failOverRoom(snapshot, id(50))?.spareMemoryBytes, 0);
});

test("a host that is to be emptied lends no room, and cannot be lost", () => {
  const hosts = [member(1, 8 * gib), member(2, 8 * gib), member(3, 8 * gib)];
  const snapshot = buildSnapshot([...hosts, machine(10, 4, 1), machine(11, 2, 2), surviving(1)]);
  // Free: 6 + 8. Worst loss: either of them takes 8.
  assert.equal(failOverRoom(snapshot, id(50), new Set([id(1)]))?.spareMemoryBytes, (14 - 8) * gib);
});

test("a new machine that would use the room is refused where that is enforced; what runs may move and be restarted", () => {
  const records = [member(1, 8 * gib), member(2, 8 * gib), machine(10, 4, 1)];
  const enforcing = buildSnapshot([...records, surviving(1)]);
  const decide = (gigabytes: number, snapshot = enforcing, of = machine(20, gigabytes, undefined, false)) => place(snapshot.request(of), snapshot);
  assert.ok("host" in decide(4));
  const refused = decide(5);
  assert.ok(refused.none && /1 must keep room for the loss of hosts \(largest free 4 GiB\)/.test(refused.reason), JSON.stringify(refused));
  assert.ok("host" in decide(5, buildSnapshot([...records, surviving(1, false)])));
  assert.ok("host" in decide(6, enforcing, machine(10, 6, 1)));
});

test("what is promised within the room survives the loss of any hosts, memory taken as one heap", () => {
  const sizes = fc.array(fc.record({ gigabytes: fc.integer({ min: 1, max: 8 }), available: fc.boolean() }), { maxLength: 30 });
  fc.assert(
    fc.property(
      fc.array(fc.integer({ min: 4, max: 32 }), { minLength: 2, maxLength: 6 }),
      sizes,
      fc.integer({ min: 1, max: 2 }),
      (capacities, wanted, failures) => {
        const snapshot = buildSnapshot([...capacities.map((gigabytes, n) => member(n + 1, gigabytes * gib)), surviving(failures)]);
        const hosts = capacities.map((gigabytes) => ({ free: gigabytes, available: 0 }));
        for (const [n, { gigabytes, available }] of wanted.entries()) {
          const decision = place(snapshot.request(machine(100 + n, gigabytes, undefined, available)), snapshot);
          if (decision.none) continue;
          const on = Number.parseInt(decision.host.slice(-12), 16);
          snapshot.update({ type: "upsert", record: machine(100 + n, gigabytes, on, available) });
          const at = hosts[on - 1];
          if (!at) throw new Error("placed on a host that is not there");
          at.free -= gigabytes;
          if (available) at.available += gigabytes;
          // Every choice of hosts that may be lost.
          for (let mask = 0; mask < 1 << hosts.length; mask += 1) {
            const lost = hosts.filter((_, index) => mask & (1 << index));
            if (lost.length > failures) continue;
            const left = hosts.filter((_, index) => !(mask & (1 << index)));
            const need = lost.reduce((sum, each) => sum + each.available, 0);
            const free = left.reduce((sum, each) => sum + each.free, 0);
            assert.ok(free >= need, `${need} GiB to restart, ${free} GiB free`);
          }
        }
      },
    ),
  );
});
