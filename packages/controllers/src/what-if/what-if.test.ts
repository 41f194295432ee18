/** What is said beforehand is what comes of it: each question is asked of a running site, then done in earnest by the real controllers. */
import assert from "node:assert/strict";
import { test } from "node:test";
import { partKey } from "@sheaf/model";
import { type ClusterOutlook, clusterOutlook } from "@sheaf/scheduling";
import type { RecordCache } from "../context.ts";
import { gib, World } from "../world.test-support.ts";
import { ifHostsAdded } from "./if-hosts-added.ts";
import { ifHostsRemoved } from "./if-hosts-removed.ts";
import { copySite } from "./site-copy.ts";

const copyOf = (world: World) => world.settled(copySite(world.cache, world.snapshot, world.clock));
const outlookOf = (world: World, without: readonly string[] = []): ClusterOutlook =>
  clusterOutlook(world.snapshot, world.ids.cluster, new Set(without));

/** Spread over the sizes that people ask for, with priorities, groups, and disks of both kinds. */
const machines = (count: number, from = 0) =>
  Array.from({ length: count }, (_, at) => {
    const number = from + at;
    return {
      name: `vm-${number}`,
      disk: number % 3 === 0 ? ("local" as const) : ("shared" as const),
      spec: {
        cpu: { count: 1 + (number % 4) },
        memory: { bytes: (1 + (number % 3)) * gib },
        priority: 100 + (number % 5),
        highlyAvailable: number % 3 !== 0 && number % 2 === 0,
        placement: number % 11 === 0 ? { apart: "web" } : {},
      },
    };
  });

const anyMachine = (world: World) => [...world.cache.all("vm")][0] ?? assert.fail();

async function filled(hosts: number, count: number) {
  const world = await World.make({ drainRetryMs: 5000 });
  await world.change("cluster", world.ids.cluster, (head) => (head.spec["highAvailability"] = { toleratedHostFailures: 1 }));
  const ids: string[] = [];
  for (let number = 1; number <= hosts; number += 1) ids.push(await world.addHost(`h${number}`));
  const vms: string[] = [];
  for (const { name, ...rest } of machines(count)) vms.push((await world.addVm(name, rest)).vm);
  const decided = (vm: string): boolean => world.vmOn(vm) !== undefined || world.cache.get("vm", vm)?.status.placement?.pending !== undefined;
  await world.until(() => vms.every(decided), "all have a host or wait");
  await world.until(() => vms.every((vm) => world.vmOn(vm) === undefined || world.agents.runningOn(vm).length === 1), "what has a host runs");
  return { world, ids, vms };
}

for (const added of [1, 2])
  test(`${added} more: those that wait go where it was said, and the cluster stands as it was said`, async () => {
    const { world, ids, vms } = await filled(3, 60);
    const [first = ""] = ids;
    const waited = vms.filter((vm) => world.vmOn(vm) === undefined);
    assert.ok(waited.length > 10, `${waited.length} wait`);
    const before = outlookOf(world);
    const like = world.cache.get("host", first) ?? assert.fail();
    const said = ifHostsAdded({ like, count: added, shape: {} }, await copyOf(world), world.cache);
    assert.deepEqual(said.before, before);
    assert.deepEqual(outlookOf(world), before, "nothing was changed");
    assert.ok(said.placed.length > 0 && said.waiting.length > 0, `${said.placed.length} placed, ${said.waiting.length} wait`);

    // Both open at the same moment.
    const fresh: string[] = [];
    for (let number = 1; number <= added; number += 1) fresh.push(await world.addHost(`n${number}`, { spec: { schedulable: "cordoned" } }));
    // Of equally good hosts the one with the smaller identifier is taken; these were made in the same millisecond.
    fresh.sort();
    const writes = [];
    for (const id of fresh) {
      const key = partKey("host", id, "spec");
      const head = JSON.parse((await world.store.get(key))?.value ?? "") as { spec: object }; // a spec part
      writes.push({ put: key, value: JSON.stringify({ ...head, spec: { ...head.spec, schedulable: "open" } }) });
    }
    await world.write(writes);
    await world.until(() => said.placed.every(({ vm }) => world.vmOn(vm.id) !== undefined), "all that were to get a host have one");
    await world.clock.advance(60_000);
    const addedIds = [...said.added.keys()];
    const expected = new Map(said.placed.map(({ vm, host }) => [vm.id, addedIds.includes(host) ? fresh[addedIds.indexOf(host)] : host]));
    for (const vm of waited) assert.equal(world.vmOn(vm), expected.get(vm), world.cache.get("vm", vm)?.name);
    assert.deepEqual(outlookOf(world), said.after);
    await world.close();
  });

for (const removed of [1, 2])
  test(`${removed} fewer: every machine goes where it was said, and the rest stands as it was said`, async () => {
    const { world, ids, vms } = await filled(6, 30);
    const leaving = ids.slice(0, removed);
    const hosts = leaving.map((id) => world.cache.get("host", id) ?? assert.fail());
    const said = ifHostsRemoved(hosts, { cache: world.cache, agents: world.agents, snapshot: await copyOf(world) });
    assert.ok(said.moves.length > 2);
    assert.deepEqual(said.stuck, []);
    const places = new Map(vms.map((vm) => [vm, world.vmOn(vm)]));
    for (const { vm, to } of said.moves) places.set(vm.id, to);
    // None goes from one to the other: all are closed before the first is emptied.
    for (const id of leaving) await world.change("host", id, (head) => (head.spec["schedulable"] = "cordoned"));
    for (const id of leaving) assert.equal(await world.taskEnds(await world.drain(id)), "succeeded");
    for (const [vm, host] of places) assert.equal(world.vmOn(vm), host, world.cache.get("vm", vm)?.name);
    assert.deepEqual(said.clusters, [{ cluster: world.ids.cluster, before: said.clusters[0]?.before, after: outlookOf(world, leaving) }]);
    await world.close();
  });

test("what has no place is named with why, as the drain says it", async () => {
  const { world, ids } = await filled(2, 24);
  const [first = ""] = ids;
  const host = world.cache.get("host", first) ?? assert.fail();
  const said = ifHostsRemoved([host], { cache: world.cache, agents: world.agents, snapshot: await copyOf(world) });
  assert.ok(said.stuck.length > 0);
  await world.drain(first);
  const stuck = () => world.cache.get("host", first)?.status.drain;
  await world.until(() => stuck()?.remaining === said.stuck.length && stuck()?.stuck.length === said.stuck.length, "the rest is stuck");
  assert.deepEqual(new Set(stuck()?.stuck.map(({ vm }) => vm)), new Set(said.stuck.map(({ vm }) => vm.id)));
  await world.close();
});

test("other sizes, and how many more machines fit", async () => {
  const { world, ids } = await filled(2, 6);
  const like = world.cache.get("host", ids[0] ?? "") ?? assert.fail();
  const { apart: _of, ...asked } = world.snapshot.request(anyMachine(world));
  const size = { ...asked, vm: "asked", memoryBytes: 4 * gib, cpus: 1, volumes: [], unknownVolumes: [] };
  const room = async (shape: { cpus?: number; memoryBytes?: number }): Promise<number> => {
    const found = ifHostsAdded({ like, count: 1, shape, size }, await copyOf(world), world.cache);
    return (found.room?.after ?? 0) - (found.room?.before ?? 0);
  };
  assert.equal(await room({}), 4);
  assert.equal(await room({ memoryBytes: 32 * gib }), 8);
  assert.equal(await room({ cpus: 1, memoryBytes: 64 * gib }), 8, "eight vCPUs can be promised on one");
  await world.close();
});

test("a copy has what is under way, and is its own", async () => {
  const { world, ids } = await filled(2, 4);
  const request = { ...world.snapshot.request(anyMachine(world)), vm: "decided" };
  world.snapshot.reserve(request, ids[0] ?? "");
  world.snapshot.measure(ids[1] ?? "", { cpuPercent: 40 });
  const making = copySite(world.cache, world.snapshot, world.clock);
  const copy = await world.settled(making);
  assert.equal(copy.reservedHost("decided"), ids[0]);
  for (const id of ids) assert.deepEqual(copy.usage(id), world.snapshot.usage(id));
  assert.deepEqual([...copy.table.cpuPercent.subarray(0, 2)].map(Number.isNaN), [true, false]);
  copy.release(request);
  assert.equal(world.snapshot.reservedHost("decided"), ids[0], "the copy is its own");
  await world.close();
});

test("what changes while a copy is made is in it, whatever was copied before", async () => {
  const { world, ids } = await filled(2, 4);
  const [first = "", second = ""] = ids;
  const hosts = ids.map((id) => world.cache.get("host", id) ?? assert.fail());
  const pools = Array.from({ length: 5000 }, (_, number) => ({
    ...(world.cache.get("pool", world.ids.local) ?? assert.fail()),
    id: `pool-${number}`,
  }));
  const records = new Map<string, object>([...hosts, ...pools].map((record) => [record.id, record]));
  let listener: Parameters<RecordCache["subscribe"]>[0] | undefined;
  const cache = {
    get: (_kind: string, id: string) => records.get(id),
    all: (kind: string) => (kind === "host" ? hosts : kind === "pool" ? pools : []),
    subscribe: (heard: typeof listener) => {
      listener = heard;
      return () => (listener = undefined);
    },
  } as unknown as RecordCache; // what is asked of it
  const making = copySite(cache, world.snapshot, world.clock);
  const [host] = hosts;
  assert.ok(host);
  listener?.(1, [{ kind: "host", id: first, record: { ...host, spec: { ...host.spec, schedulable: "cordoned" } } }]);
  listener?.(2, [{ kind: "host", id: second }]);
  const copy = await world.settled(making);
  assert.deepEqual(
    ids.map((id) => copy.table.facts[copy.table.slotOf(id)]?.state),
    ["cordoned", undefined],
  );
  assert.equal(listener, undefined, "nothing is kept up to date any more");
  await world.close();
});
