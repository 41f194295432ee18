import assert from "node:assert/strict";
import { test } from "node:test";
import type { GroupRule, RecordOf, VmRecord } from "@sheaf/model";
import fc from "fast-check";
import { place, rank, refusalsOf } from "./place.ts";
import { planBatch } from "./plan-batch.ts";
import { buildSnapshot, type SnapshotIndex } from "./snapshot.ts";
import { cluster, gib, host, id, vm } from "./testing/records.ts";

const rule = fc.record({
  group: fc.constantFrom("g", "h"),
  keep: fc.constantFrom("together" as const, "apart" as const, "apart" as const),
  within: fc.constantFrom("host" as const, "rack" as const, "zone" as const),
  limit: fc.integer({ min: 1, max: 3 }),
  preferred: fc.boolean(),
});
const machine = fc.record({
  cpus: fc.integer({ min: 1, max: 4 }),
  memoryGib: fc.integer({ min: 1, max: 4 }),
  reserved: fc.constantFrom(0, 0, 0.3, 1),
  limited: fc.constantFrom(1, 1, 0.5),
  rules: fc.array(rule, { maxLength: 2 }),
  neighbours: fc.constantFrom(undefined, undefined, "noisy" as const, "sensitive" as const),
  licence: fc.constantFrom(false, false, true),
  gold: fc.constantFrom(false, false, true),
});
const site = fc.record({
  cpuRatio: fc.constantFrom(1, 1.3, 4),
  memoryRatio: fc.constantFrom(1, 1.5),
  strict: fc.boolean(),
  noisyPerHost: fc.constantFrom(undefined, 1, 2),
  maximumHosts: fc.constantFrom(undefined, 1, 2),
  maximumCores: fc.constantFrom(undefined, 8, 20),
  hosts: fc.array(
    fc.record({
      cpus: fc.integer({ min: 1, max: 12 }),
      memoryGib: fc.integer({ min: 1, max: 16 }),
      domain: fc.constantFrom("", "e/1", "e/1/a", "e/1/b", "e/2/a"),
      covered: fc.boolean(),
    }),
    { minLength: 1, maxLength: 7 },
  ),
  machines: fc.array(machine, { minLength: 1, maxLength: 16 }),
});
type Site = typeof site extends fc.Arbitrary<infer T> ? T : never;

function snapshotOf(of: Site): SnapshotIndex {
  const { strict, noisyPerHost, maximumHosts, maximumCores, cpuRatio, memoryRatio } = of;
  const neighbours = { strict, ...(noisyPerHost === undefined ? {} : { noisyPerHost }) };
  const oracle = {
    hosts: { oracle: "yes" },
    ...(maximumHosts === undefined ? {} : { maximumHosts }),
    ...(maximumCores === undefined ? {} : { maximumCores }),
  };
  return buildSnapshot([
    cluster(50, { neighbours, licences: { oracle }, machineClasses: { gold: { cpuOvercommit: 1, memoryOvercommit: 1 } } }),
    ...of.hosts.map(({ cpus, memoryGib, domain, covered }, index) =>
      host(index + 1, {
        cpus,
        memoryBytes: memoryGib * gib,
        labels: { oracle: covered ? "yes" : "no" },
        spec: { cluster: id(50), failureDomain: domain, cpuOvercommit: cpuRatio, memoryOvercommit: memoryRatio },
      }),
    ),
  ]);
}
const recordOf = (of: Site["machines"][number], index: number): VmRecord =>
  vm(1000 + index, {
    spec: {
      cpu: {
        count: of.cpus,
        ...(of.limited === 1 ? {} : { limitMillicores: of.cpus * 1000 * of.limited }),
        reservationMillicores: Math.floor(of.cpus * 1000 * Math.min(of.reserved, of.limited)),
      },
      memory: { bytes: of.memoryGib * gib, reservedBytes: Math.floor((of.memoryGib * gib * of.reserved) / 2 ** 20) * 2 ** 20 },
      placement: {
        rules: of.rules.map(({ limit, ...rest }): GroupRule => (rest.keep === "apart" ? { ...rest, limit } : rest)),
        ...(of.neighbours === undefined ? {} : { neighbours: of.neighbours }),
        ...(of.licence ? { licences: ["oracle"] } : {}),
        ...(of.gold ? { class: "gold" } : {}),
      },
    },
  });

/** What must hold of the machine that was just put somewhere; counted from the input alone. */
function checkRules(of: Site, placed: ReadonlyMap<number, number>, last: number): void {
  const at = (machineIndex: number): number => placed.get(machineIndex) ?? -1;
  const domain = (hostIndex: number, within: GroupRule["within"]): string | undefined => {
    if (within === "host") return `host ${hostIndex}`;
    const path = of.hosts[hostIndex]?.domain.split("/") ?? [];
    const depth = within === "rack" ? 3 : 2;
    return path.length < depth ? undefined : path.slice(0, depth).join("/");
  };
  const mine = of.machines[last];
  assert.ok(mine);
  const there = [...placed.keys()];
  for (const group of new Set(mine.rules.map((own) => own.group))) {
    const members = there.filter((index) => of.machines[index]?.rules.some((own) => own.group === group));
    const others = members.filter((index) => index !== last);
    const hard = members.flatMap((index) => of.machines[index]?.rules.filter((own) => own.group === group && !own.preferred) ?? []);
    for (const { keep, within, limit } of hard) {
      const own = domain(at(last), within);
      assert.notEqual(own, undefined, "a host that names no rack");
      const near = others.filter((index) => domain(at(index), within) === own).length;
      if (keep === "apart") assert.ok(near + 1 <= limit, "more than the limit");
      else assert.ok(others.length === 0 || near > 0, "not together");
    }
  }
  const here = there.filter((index) => at(index) === at(last) && index !== last).map((index) => of.machines[index]);
  const count = (kind: "noisy" | "sensitive"): number => here.filter((one) => one?.neighbours === kind).length;
  if (mine.neighbours === "sensitive" && of.strict) assert.equal(count("noisy"), 0);
  if (mine.neighbours === "noisy") {
    if (of.strict) assert.equal(count("sensitive"), 0);
    assert.ok(count("noisy") + 1 <= (of.noisyPerHost ?? Infinity));
  }
  const carrying = new Set(there.filter((index) => of.machines[index]?.licence).map(at));
  assert.ok(carrying.size <= (of.maximumHosts ?? Infinity), "a licence on more hosts");
  const cores = [...carrying].reduce((sum, index) => sum + (of.hosts[index]?.cpus ?? 0), 0);
  assert.ok(cores <= (of.maximumCores ?? Infinity), "a licence on more cores");
  for (const index of carrying) assert.equal(of.hosts[index]?.covered, true);
}

function checkRoom(of: Site, placed: ReadonlyMap<number, number>): void {
  of.hosts.forEach(({ cpus, memoryGib }, hostIndex) => {
    const mine = [...placed].flatMap(([index, on]) => (on === hostIndex ? [of.machines[index]] : []));
    const taken = mine.map((one) => {
      const usable = (one?.cpus ?? 0) * (one?.limited ?? 1);
      const firm = Math.floor((one?.cpus ?? 0) * 1000 * Math.min(one?.reserved ?? 0, one?.limited ?? 1)) / 1000;
      const firmGib = Math.floor((one?.memoryGib ?? 0) * 1024 * (one?.reserved ?? 0)) / 1024;
      // In whole CPUs and bytes, as if each machine were promised at its own ratio.
      return {
        cpus: firm + (usable - firm) / (one?.gold ? 1 : of.cpuRatio),
        gib: firmGib + ((one?.memoryGib ?? 0) - firmGib) / (one?.gold ? 1 : of.memoryRatio),
        firm,
        firmGib,
      };
    });
    const sum = (figure: "cpus" | "gib" | "firm" | "firmGib"): number => taken.reduce((total, one) => total + one[figure], 0);
    assert.ok(sum("cpus") <= cpus + 1e-3, "CPU promised beyond the ratios");
    assert.ok(sum("gib") <= memoryGib + 1e-6, "memory promised beyond the ratios");
    assert.ok(sum("firm") <= cpus + 1e-3 && sum("firmGib") <= memoryGib + 1e-6, "reserved twice");
  });
}
const hostIndexOf = (hostId: string): number => Number.parseInt(hostId.slice(-12), 16) - 1;

test("one after the other: no rule is broken, nothing is reserved twice, every refusal names every host once", () => {
  fc.assert(
    fc.property(site, (of) => {
      const snapshot = snapshotOf(of);
      const placed = new Map<number, number>();
      of.machines.forEach((given, index) => {
        const request = snapshot.request(recordOf(given, index));
        const decision = place(request, snapshot);
        if (decision.none) {
          assert.deepEqual(decision.classes.flatMap(({ hosts }) => hosts).sort(), of.hosts.map((_, n) => id(n + 1)).sort());
          return;
        }
        snapshot.reserve(request, decision.host);
        placed.set(index, hostIndexOf(decision.host));
        checkRules(of, placed, index);
        checkRoom(of, placed);
      });
    }),
    { numRuns: 400 },
  );
});

test("in batches: each as it was decided breaks no rule", () => {
  fc.assert(
    fc.property(site, (of) => {
      const snapshot = snapshotOf(of);
      const requests = of.machines.map((given, index) => snapshot.request(recordOf(given, index)));
      const order: [number, number][] = [];
      const reserve = snapshot.reserve.bind(snapshot);
      snapshot.reserve = (request, hostId) => {
        order.push([requests.indexOf(request), hostIndexOf(hostId)]);
        reserve(request, hostId);
      };
      planBatch(requests, snapshot);
      const placed = new Map<number, number>();
      for (const [index, on] of order) {
        placed.set(index, on);
        checkRules(of, placed, index);
      }
      checkRoom(of, placed);
    }),
    { numRuns: 300 },
  );
});

test("of a gang all are placed or none, whatever else is decided with it", () => {
  fc.assert(
    fc.property(site, fc.array(fc.constantFrom(undefined, "g", "h"), { minLength: 16, maxLength: 16 }), (of, names) => {
      const snapshot = snapshotOf(of);
      const sizes = { g: names.slice(0, of.machines.length).filter((name) => name === "g").length, h: 2 };
      const requests = of.machines.map((given, index) => {
        const name = names[index];
        const request = snapshot.request(recordOf({ ...given, rules: given.rules.filter(({ keep }) => keep === "apart") }, index));
        return name === undefined ? request : { ...request, gang: { name: `p/${name}`, size: sizes[name] } };
      });
      const decided = planBatch(requests, snapshot);
      assert.deepEqual(
        decided.map(({ request }) => request),
        requests,
      );
      for (const name of ["p/g", "p/h"]) {
        const members = decided.filter(({ request }) => request.gang?.name === name);
        const placed = members.filter(({ decision }) => !decision.none).length;
        assert.ok(placed === 0 || placed === members.length, `${placed} of ${members.length}`);
        for (const { request } of members)
          assert.equal(snapshot.reservedHost(request.vm) !== undefined, placed > 0, "nothing is held for those that got none");
      }
    }),
    { numRuns: 200 },
  );
});

test("many alike in one batch: as one by one, where a policy looks at one host alone", () => {
  fc.assert(
    fc.property(site, fc.integer({ min: 2, max: 12 }), (of, count) => {
      const [given] = of.machines;
      assert.ok(given);
      const alike = Array.from({ length: count }, () => ({ ...given, rules: given.rules.filter(({ keep }) => keep === "apart") }));
      const [batched, single] = [snapshotOf(of), snapshotOf(of)];
      const requests = (snapshot: SnapshotIndex) => alike.map((one, index) => snapshot.request(recordOf(one, index)));
      const decided = planBatch(requests(batched), batched, "pack").map(({ decision }) => (decision.none ? decision.reason : decision));
      const oneByOne = requests(single).map((request) => {
        const decision = place(request, single, "pack");
        if (!decision.none) single.reserve(request, decision.host);
        return decision.none ? decision.reason : decision;
      });
      assert.deepEqual(decided, oneByOne);
    }),
    { numRuns: 200 },
  );
});

test("one host alone is answered as among all, and the best one is no worse than any other", () => {
  fc.assert(
    fc.property(site, (of) => {
      const snapshot = snapshotOf(of);
      of.machines.forEach((given, index) => {
        const record = recordOf(given, index);
        const request = snapshot.request(record);
        const ranked = rank(request, snapshot);
        for (const { host: hostId, fits, reasons } of ranked) assert.deepEqual(refusalsOf(request, hostId, snapshot), fits ? [] : reasons);
        const decision = place(request, snapshot);
        if (decision.none) return;
        assert.equal(decision.host, ranked[0]?.host);
        const broken = ranked.flatMap(({ parts }) => (parts === undefined ? [] : [0 - (parts["preferred"] ?? 0)]));
        assert.equal(0 - (decision.parts["preferred"] ?? 0), Math.min(...broken));
        const placement = { host: decision.host, epoch: 1, incarnation: "i", at: 0 };
        snapshot.update({ type: "upsert", record: { ...record, kind: "vm", placement } satisfies RecordOf<"vm"> & { kind: "vm" } });
        // Where it is now, nothing of its own is in its way.
        assert.deepEqual(refusalsOf(request, decision.host, snapshot), []);
      });
    }),
    { numRuns: 200 },
  );
});

test("whatever comes and goes, nothing is left of it", () => {
  fc.assert(
    fc.property(site, (of) => {
      const snapshot = snapshotOf(of);
      const usage = () => of.hosts.map((_, n) => snapshot.usage(id(n + 1)));
      const before = usage();
      for (const { request } of planBatch(
        of.machines.map((given, index) => snapshot.request(recordOf(given, index))),
        snapshot,
      ))
        snapshot.release(request);
      assert.deepEqual(usage(), before);
      const fresh = planBatch([snapshot.request(recordOf({ ...(of.machines[0] as Site["machines"][number]), rules: [] }, 0))], snapshot); // at least one
      const again = snapshotOf(of);
      const expected = planBatch([again.request(recordOf({ ...(of.machines[0] as Site["machines"][number]), rules: [] }, 0))], again);
      assert.deepEqual(
        fresh.map(({ decision }) => (decision.none ? decision.reason : decision.host)),
        expected.map(({ decision }) => (decision.none ? decision.reason : decision.host)),
      );
    }),
  );
});
