/** NUMA cells and CPUs of machines' own: kept in their placement, chosen anew wherever they go, and kept in step with what they ask for. */
import assert from "node:assert/strict";
import { test } from "node:test";
import { gib, World } from "./world.test-support.ts";

const short = (world: World, vm: string) =>
  world.cache
    .get("vm", vm)
    ?.placement?.numa?.cells.map(({ cell, cpus, memoryBytes }) => [cell, memoryBytes / gib, ...(cpus === undefined ? [] : [cpus])]);
const own = (world: World, host: string): number => world.snapshot.cells(host).reduce((sum, cell) => sum + cell.ownCpus, 0);
const dedicated = (count: number) => ({ spec: { cpu: { count, placement: "dedicated" } }, disk: "shared" as const });

async function placed(world: World, name: string, given: Parameters<World["addVm"]>[1]): Promise<string> {
  const { vm, task } = await world.addVm(name, given);
  assert.equal(await world.taskEnds(task), "succeeded");
  return vm;
}

test("the placement says which cells and CPUs a machine has, no CPU twice, and a move gives it others", async () => {
  const world = await World.make();
  const h1 = await world.addHost("h1", { cells: 2, spec: { cpuOvercommit: 2 } });
  const one = await placed(world, "one", dedicated(2));
  const two = await placed(world, "two", dedicated(2));
  const plain = await placed(world, "plain", { disk: "shared" });
  assert.deepEqual(short(world, one), [[0, 1, [0, 1]]]);
  assert.deepEqual(short(world, two), [[0, 1, [2, 3]]]);
  assert.deepEqual(short(world, plain), [[1, 1]]);
  const h2 = await world.addHost("h2", { cells: 2, spec: { cpuOvercommit: 2 } });
  const task = await world.addTask("migrate", "vm", two);
  await world.until(() => world.cache.get("vm", two)?.status.migration?.phase === "performed", "it is being copied");
  assert.deepEqual([own(world, h1), own(world, h2)], [4, 2], "on both hosts while it moves");
  assert.deepEqual(world.cache.get("vm", two)?.status.migration?.targetNuma, {
    cells: [{ cell: 0, vcpus: 2, memoryBytes: gib, cpus: [0, 1] }],
    guestCells: false,
  });
  assert.equal(await world.taskEnds(task), "succeeded");
  assert.deepEqual(short(world, two), [[0, 1, [0, 1]]]);
  assert.deepEqual([own(world, h1), own(world, h2)], [2, 2]);
  await world.close();
});

test("a changed wish gets other cells on the same host under the same epoch, and one without room says so and is left as it is", async () => {
  const world = await World.make();
  await world.addHost("h1", { cells: 2 });
  const full = await placed(world, "full", dedicated(6));
  const vm = await placed(world, "web", { disk: "shared" });
  const before = world.cache.get("vm", vm)?.placement;
  const wish = (placement: string | undefined, count = 1) =>
    world.change("vm", vm, (head) => (head.spec["cpu"] = { ...(head.spec["cpu"] as object), count, placement }));
  await wish("dedicated");
  await world.until(() => short(world, vm)?.[0]?.[2] !== undefined, "it has a CPU of its own");
  assert.equal(world.cache.get("vm", vm)?.placement?.epoch, before?.epoch);
  assert.equal(own(world, before?.host ?? ""), 7);
  await wish("dedicated", 4);
  await world.until(() => world.cache.get("vm", vm)?.status.numa !== undefined, "it is said that there is no room");
  assert.match(world.cache.get("vm", vm)?.status.numa?.reason ?? "", /its host h1 lacks CPUs to dedicate \(2 CPUs free, 4 CPUs needed\)/);
  assert.equal(own(world, before?.host ?? ""), 7);
  await world.change("vm", full, (head) => (head.spec["cpu"] = { ...(head.spec["cpu"] as object), placement: "floating" }));
  await world.until(() => world.cache.get("vm", full)?.placement?.numa === undefined, "the other floats");
  await world.until(() => own(world, before?.host ?? "") === 4, "it has its CPUs");
  await world.until(() => world.cache.get("vm", vm)?.status.numa === undefined, "nothing more is to be said");
  await world.close();
});
