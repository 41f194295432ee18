/** Whatever is asked, decided, committed, dropped, moved and reported: no device is ever with two machines, and none is given that is not there. */
import assert from "node:assert/strict";
import { test } from "node:test";
import { type AnyRecord, type HostGpu, type HostPciDevice, type PlacedDevices, type PlacedGpu, VmSpec } from "@sheaf/model";
import fc from "fast-check";
import { place } from "../place.ts";
import { planBatch } from "../plan-batch.ts";
import type { PlacementRequest } from "../placement-request.ts";
import { buildSnapshot, SnapshotIndex } from "../snapshot.ts";
import { dividedGpu, gpu, networkCard, slices } from "../testing/host-devices.ts";
import { cluster, gib, host, id, vm } from "../testing/records.ts";

const hosts = 4;
const functionsOf = (address: string) => [1, 2].map((n) => ({ address: address.replace(/0$/, String(n)), count: 1 }));

const anyGpu = (n: number): fc.Arbitrary<HostGpu> =>
  fc.constantFrom(
    gpu(n),
    gpu(n, { numaCell: 1, memoryBytes: 16 * gib }),
    gpu(n, { whole: false, refusal: "no IOMMU" }),
    dividedGpu(n),
    dividedGpu(n, { whole: false }),
    gpu(n, { whole: false, slices: [slices("", 2, { kind: "vf", type: "vf", places: functionsOf(gpu(n).address) })] }),
  );
const anyCard = (n: number): fc.Arbitrary<HostPciDevice> =>
  fc.constantFrom(networkCard(n), networkCard(n, { functions: [networkCard((n % 2) + 1).address] }));
const inventory = fc.record({ gpus: fc.tuple(anyGpu(1), anyGpu(2), anyGpu(3)), cards: fc.tuple(anyCard(1), anyCard(2)), offered: fc.boolean() });

const gpuWish = fc.constantFrom<NonNullable<VmSpec["gpus"]>[]>(
  { count: 1, models: [] },
  { count: 2, models: [] },
  { count: 1, models: ["A16"] },
  { count: 1, models: [], minimumMemoryBytes: 20 * gib },
  { count: 1, models: [], shareMilli: 200 },
  { count: 1, models: [], shareMilli: 500 },
);
const wish = fc.record({
  cpus: fc.integer({ min: 1, max: 3 }),
  gpus: fc.option(gpuWish, { nil: undefined, freq: 4 }),
  cards: fc.option(fc.constantFrom(1, 2), { nil: undefined, freq: 2 }),
  together: fc.constantFrom(undefined, undefined, "g"),
});
const machine = fc.integer({ min: 1, max: 8 });
const step = fc.oneof(
  {
    weight: 6,
    arbitrary: fc.record({ do: fc.constant("batch" as const), wishes: fc.array(fc.tuple(machine, wish), { minLength: 1, maxLength: 4 }) }),
  },
  { weight: 4, arbitrary: fc.record({ do: fc.constantFrom("commit" as const, "fail" as const, "remove" as const, "move" as const), n: machine }) },
  { weight: 1, arbitrary: fc.record({ do: fc.constant("report" as const), on: fc.integer({ min: 1, max: hosts }), inventory }) },
);

type Inventory = typeof inventory extends fc.Arbitrary<infer T> ? T : never;
const hostWith = (n: number, { gpus, cards, offered }: Inventory) =>
  host(n, {
    cpus: 8,
    memoryBytes: 64 * gib,
    gpus,
    pciDevices: cards,
    spec: { passthrough: offered ? cards.map(({ address }) => ({ address })) : [] },
  });

/** What a machine holds, as its record or its open decision says. */
interface Held {
  readonly host: string;
  readonly devices: PlacedDevices;
}

/** A model that knows nothing of the ledger: lists, and what is in them twice. */
function checkNoneTwice(held: readonly Held[]): void {
  const whole = new Set<string>();
  const divided = new Map<string, { type: string; places: string[] }>();
  for (const { host: at, devices } of held) {
    for (const device of [...(devices.pciDevices ?? []), ...(devices.gpus ?? []).filter(({ slice }) => slice === undefined)]) {
      for (const address of [device.address, ...(device.functions ?? [])]) {
        assert.ok(!whole.has(`${at} ${address}`), `${address} is with two machines`);
        whole.add(`${at} ${address}`);
      }
    }
    for (const { address, slice } of devices.gpus ?? []) {
      if (slice === undefined) continue;
      const known = divided.get(`${at} ${address}`) ?? { type: slice.type, places: [] };
      assert.equal(known.type, slice.type, "slices of two types on one GPU");
      known.places.push(slice.place);
      divided.set(`${at} ${address}`, known);
    }
  }
  for (const [key, { type, places }] of divided) {
    assert.ok(!whole.has(key), `${key} is with one machine as a whole and with another as a slice`);
    // Of the types in this test: so many a GPU, one for each virtual function.
    const most = type === "vf" ? new Set(places).size : Number(type.slice("vgpu-".length));
    assert.ok(places.length <= most, `${places.length} slices of type ${type}`);
  }
}

/** What was decided is there, and is what was asked for. */
function checkGranted({ gpus: wished, pciDevices: cards = [] }: PlacementRequest, devices: PlacedDevices, of: AnyRecord | undefined): void {
  assert.ok(of?.kind === "host");
  const seen = of.status.agent;
  const given: readonly PlacedGpu[] = devices.gpus ?? [];
  assert.equal(given.length, wished?.count ?? 0);
  for (const { address, slice } of given) {
    const unit = seen?.gpus.find((one) => one.address === address);
    assert.ok(unit, "no such GPU");
    if (slice === undefined) assert.ok(unit.whole === true && wished?.shareMilli === undefined);
    else {
      const type = unit.slices?.find((one) => one.type === slice.type);
      assert.ok(type?.places.some((place) => place.address === slice.place && place.count > 0) === true, "no such slice");
      assert.ok(slice.milli >= (wished?.shareMilli ?? 1001));
    }
    assert.ok(wished?.models.length === 0 || unit.model === "A16");
    assert.ok((unit.memoryBytes ?? 0) >= (wished?.minimumMemoryBytes ?? 0));
  }
  assert.equal(
    devices.pciDevices?.length ?? 0,
    cards.reduce((sum, { count }) => sum + count, 0),
  );
  for (const { address } of devices.pciDevices ?? []) assert.ok(of.spec.passthrough.some((one) => one.address === address));
}

const specOf = ({ cpus, gpus, cards, together }: typeof wish extends fc.Arbitrary<infer T> ? T : never): VmSpec =>
  VmSpec.parse({
    cpu: { count: cpus },
    ...(gpus === undefined ? {} : { gpus }),
    ...(cards === undefined ? {} : { pciDevices: [{ class: "0200", count: cards }] }),
    ...(together === undefined ? {} : { placement: { together } }),
  });

test("no device is ever with two machines", () => {
  fc.assert(
    fc.property(
      fc.array(inventory, { minLength: hosts, maxLength: hosts }),
      fc.array(step, { minLength: 1, maxLength: 25 }),
      (inventories, steps) => {
        const snapshot = new SnapshotIndex();
        const records = new Map<string, AnyRecord>();
        const put = (record: AnyRecord): void => {
          records.set(record.id, record);
          snapshot.update({ type: "upsert", record });
        };
        inventories.forEach((each, n) => put(hostWith(n + 1, each)));
        /** Decisions whose transactions are under way. */
        const open = new Map<number, { request: PlacementRequest; host: string; devices: PlacedDevices; spec: VmSpec }>();
        const epochs = new Map<number, number>();
        const placed = (n: number) => {
          const record = records.get(id(200 + n));
          return record?.kind === "vm" ? record : undefined;
        };
        const decide = (asked: readonly { n: number; request: PlacementRequest; spec: VmSpec }[]): void => {
          const decided = planBatch(
            asked.map(({ request }) => request),
            snapshot,
          );
          decided.forEach(({ request, decision }, at) => {
            const about = asked[at];
            if (decision.none || about === undefined) return;
            const devices = decision.devices ?? {};
            checkGranted(request, devices, records.get(decision.host));
            assert.deepEqual(snapshot.reservedDevices(request.vm), devices);
            open.set(about.n, { request, host: decision.host, devices, spec: about.spec });
          });
        };
        for (const one of steps) {
          if (one.do === "batch") {
            const fresh = [...new Map(one.wishes)].filter(([n]) => placed(n) === undefined && !open.has(n));
            decide(
              fresh.map(([n, wished]) => {
                const spec = specOf(wished);
                return { n, spec, request: snapshot.request(vm(200 + n, { spec })) };
              }),
            );
          } else if (one.do === "report") {
            // What a host says it has may shrink under those who have it; new ones get what there is then.
            if (
              [...records.values(), ...open.values()].some((of) => ("kind" in of ? of.kind === "vm" && of.placement?.host : of.host) === id(one.on))
            )
              continue;
            put(hostWith(one.on, one.inventory));
          } else if (one.do === "move") {
            const record = placed(one.n);
            if (record !== undefined && !open.has(one.n)) decide([{ n: one.n, spec: record.spec, request: snapshot.request(record, "move") }]);
          } else if (one.do === "remove") {
            if (placed(one.n) === undefined || open.has(one.n)) continue;
            records.delete(id(200 + one.n));
            snapshot.update({ type: "remove", kind: "vm", id: id(200 + one.n) });
          } else {
            const decision = open.get(one.n);
            if (decision === undefined) continue;
            const { request, spec, devices } = decision;
            const epoch = (epochs.get(one.n) ?? 0) + 1;
            open.delete(one.n);
            if (one.do === "commit") {
              epochs.set(one.n, epoch);
              put(vm(200 + one.n, { spec, on: Number.parseInt(decision.host.slice(-12), 16), epoch, devices }));
            }
            snapshot.release(request);
          }
          const held: Held[] = [...open.values()];
          for (const record of records.values())
            if (record.kind === "vm" && record.placement) held.push({ host: record.placement.host, devices: record.placement });
          checkNoneTwice(held);
          // What is kept from change to change is what the records and the open decisions say.
          const again = buildSnapshot(records.values());
          for (const decision of open.values()) again.reserve(decision.request, decision.host, decision.devices);
          for (let n = 1; n <= hosts; n += 1) {
            const idle = (of: SnapshotIndex): number | undefined => of.devices.idleGpus[of.table.slotOf(id(n))];
            assert.equal(idle(snapshot), idle(again));
          }
        }
      },
    ),
    { numRuns: 400 },
  );
});

test("reasons add up to all hosts, and nobody is refused whom some host can serve", () => {
  fc.assert(
    fc.property(
      fc.array(inventory, { minLength: hosts, maxLength: hosts }),
      fc.array(wish, { maxLength: 8 }),
      wish,
      (inventories, before, { together: _together, ...last }) => {
        const snapshot = buildSnapshot(inventories.map((each, n) => hostWith(n + 1, each)));
        before.forEach((each, n) => planBatch([snapshot.request(vm(200 + n, { spec: specOf(each) }))], snapshot));
        const request = snapshot.request(vm(300, { spec: specOf({ ...last, together: undefined }) }));
        const able = (n: number): boolean => {
          const slot = snapshot.table.slotOf(id(n));
          const { cpuCapacity, cpuUsed } = snapshot.table;
          const room = (cpuCapacity[slot] ?? 0) - (cpuUsed[slot] ?? 0) >= request.cpus;
          return (
            room &&
            snapshot.devices.choose(slot, [
              { ...(request.gpus && { gpus: request.gpus }), ...(request.pciDevices && { pciDevices: request.pciDevices }) },
            ]) !== undefined
          );
        };
        const fitting = [1, 2, 3, 4].filter(able);
        const decision = place(request, snapshot);
        assert.equal(decision.none === true, fitting.length === 0);
        if (!decision.none) return;
        assert.deepEqual(decision.classes.flatMap((of) => of.hosts).toSorted(), [1, 2, 3, 4].map(id));
        assert.equal(
          decision.classes.map(({ text }) => Number.parseInt(text, 10)).reduce((sum, count) => sum + count, 0),
          hosts,
        );
      },
    ),
    { numRuns: 400 },
  );
});

test("in whatever order hosts come, the same host and devices are chosen", () => {
  fc.assert(
    fc.property(
      fc.array(inventory, { minLength: hosts, maxLength: hosts }),
      fc.shuffledSubarray([0, 1, 2, 3], { minLength: hosts, maxLength: hosts }),
      fc.array(wish, { minLength: 1, maxLength: 8 }),
      fc.constantFrom("balanced" as const, "fragmentation" as const, "pack" as const),
      (inventories, order, wishes, placementPolicy) => {
        const records = inventories.map((each, n) => hostWith(n + 1, each));
        const rest = [cluster(90, { placementPolicy }, "default")];
        const decideAll = (of: SnapshotIndex) =>
          wishes.map((each, n) => {
            const [decided] = planBatch([of.request(vm(200 + n, { spec: specOf(each) }))], of);
            return decided === undefined || decided.decision.none ? "none" : [decided.decision.host, decided.decision.devices];
          });
        const permuted = order.flatMap((at) => records[at] ?? []);
        assert.deepEqual(decideAll(buildSnapshot([...permuted, ...rest])), decideAll(buildSnapshot([...rest, ...records])));
      },
    ),
    { numRuns: 300 },
  );
});
