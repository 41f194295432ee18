/** Machines that give way to more important ones, and come back: by the real controllers, with simulated agents, and servers that die on the way. */
import assert from "node:assert/strict";
import { test } from "node:test";
import { taskState, type RecordOf } from "@sheaf/model";
import { gib, World } from "./world.test-support.ts";

type Vm = RecordOf<"vm">;

/** A host of 8 GiB, full with two preemptible machines of 4 GiB each. */
async function fullSite(): Promise<{ world: World; host: string; low: string; lower: string }> {
  const world = await World.make();
  const host = await world.addHost("h1", { memoryBytes: 8 * gib });
  const low = await add(world, "low", 100, true);
  const lower = await add(world, "lower", 50, true);
  await runs(world, low);
  await runs(world, lower);
  return { world, host, low, lower };
}
const spec = (priority: number, preemptible: boolean, rest: Record<string, unknown> = {}) => ({
  priority,
  memory: { bytes: 4 * gib },
  placement: { preemptible },
  ...rest,
});
const add = async (world: World, name: string, priority: number, preemptible = false, rest: Record<string, unknown> = {}): Promise<string> =>
  (await world.addVm(name, { spec: spec(priority, preemptible, rest) })).vm;
const vmOf = (world: World, id: string): Vm => {
  const vm = world.cache.get("vm", id);
  assert.ok(vm, "the machine is there");
  return vm;
};
const isUp = (world: World, id: string): boolean =>
  world.cache.get("vm", id)?.status.agent?.state === "running" && world.agents.runningOn(id).length === 1;
const runs = (world: World, id: string): Promise<void> => world.until(() => isUp(world, id), `${vmOf(world, id).name} runs`);

/** What runs on a host never needs more than it has, at any moment. */
function watchRoom(world: World): string[] {
  const broken: string[] = [];
  world.cache.subscribe(() => {
    const byHost = new Map<string, number>();
    for (const vm of world.cache.all("vm"))
      for (const host of world.agents.runningOn(vm.id)) byHost.set(host, (byHost.get(host) ?? 0) + vm.spec.memory.bytes);
    for (const [host, bytes] of byHost)
      if (bytes > (world.cache.get("host", host)?.status.agent?.memoryBytes ?? 0)) broken.push(`${host}: ${bytes / gib} GiB run`);
  });
  return broken;
}

test("the least important one stops, the important one runs, and the other comes back when there is room", async () => {
  const { world, host, low, lower } = await fullSite();
  const broken = watchRoom(world);
  const web = await add(world, "web", 500);
  await runs(world, web);
  assert.equal(vmOf(world, web).placement?.host, host);
  assert.equal(isUp(world, low), true);
  const given = vmOf(world, lower);
  assert.equal(given.status.agent?.state, "stopped");
  assert.match(given.status.agent?.reason ?? "", /gave way to web/);
  const tasks = [...world.cache.all("task")].filter((task) => task.spec.verb === "give-way");
  assert.deepEqual(
    tasks.map((task) => [task.spec.target.name, taskState(task.status), task.status.controller?.message]),
    [["lower", "succeeded", "it stops and gives way to web (priority 500, its own 50); it is started again when there is room"]],
  );
  await world.until(() => vmOf(world, web).status.claim === undefined, "the claim is over");
  // Nothing comes and goes while nothing changes.
  await world.clock.advance(60_000);
  assert.equal(isUp(world, lower), false);
  await world.change("vm", low, (head) => (head.deletedAt = world.clock.now()));
  await runs(world, lower);
  assert.equal(vmOf(world, lower).status.yield, undefined);
  assert.equal(vmOf(world, lower).placement?.host, host);
  assert.deepEqual(broken, []);
  assert.deepEqual(world.agents.violations, []);
  await world.close();
});

test("nobody gives way to one that is not more important, nor where the cluster does not let it, nor who is not marked", async () => {
  const { world, low, lower } = await fullSite();
  const same = await add(world, "same", 50);
  await world.until(() => vmOf(world, same).status.placement?.pending !== undefined, "it waits");
  await world.change("cluster", world.ids.cluster, (head) => (head.spec["preemption"] = "off"));
  const web = await add(world, "web", 500);
  await world.clock.advance(30_000);
  assert.equal(vmOf(world, same).placement, undefined);
  assert.equal(vmOf(world, web).placement, undefined);
  assert.match(vmOf(world, web).status.placement?.pending?.reason ?? "", /lacks memory/);
  assert.ok(isUp(world, low) && isUp(world, lower));
  await world.change("vm", lower, (head) => (head.spec["placement"] = { hostSelector: {} }));
  await world.change("cluster", world.ids.cluster, (head) => delete head.spec["preemption"]);
  await runs(world, web);
  assert.ok(isUp(world, lower) && !isUp(world, low), "the only one that is marked");
  await world.close();
});

test("while the other shuts down the room is kept, and who waits says for whom", async () => {
  const { world, lower } = await fullSite();
  world.agents.stubborn.add(lower);
  const web = await add(world, "web", 500);
  await world.until(() => vmOf(world, web).status.placement?.pending?.reason.includes("waits for others") === true, "it says what it waits for");
  assert.equal(vmOf(world, web).status.placement?.pending?.reason, "it waits for others to stop: it fits on h1 if lower gives way");
  const quick = (await world.addVm("quick", { spec: { priority: 900, memory: { bytes: gib } } })).vm;
  await world.clock.advance(20_000);
  assert.equal(vmOf(world, quick).placement, undefined, "the room that is coming free is not for others");
  world.agents.stubborn.delete(lower);
  world.agents.lookAtAll(vmOf(world, lower).placement?.host ?? "");
  await runs(world, web);
  await world.close();
});

test("when its host is lost meanwhile, the claim is given up, and there is room elsewhere", async () => {
  const { world, host, lower } = await fullSite();
  world.agents.stubborn.add(lower);
  const web = await add(world, "web", 500);
  await world.until(() => vmOf(world, web).status.claim !== undefined, "it claims room");
  world.agents.cut(host);
  await world.until(() => vmOf(world, web).status.claim === undefined, "the claim is given up");
  const other = await world.addHost("h2", { memoryBytes: 4 * gib });
  await runs(world, web);
  assert.equal(vmOf(world, web).placement?.host, other);
  await world.close();
});

test("one with shared disks comes back elsewhere", async () => {
  const world = await World.make();
  await world.addHost("h1", { memoryBytes: 4 * gib });
  const low = (await world.addVm("low", { spec: spec(50, true), disk: "shared" })).vm;
  await runs(world, low);
  const web = await add(world, "web", 500);
  await runs(world, web);
  const other = await world.addHost("h2", { memoryBytes: 4 * gib });
  await runs(world, low);
  assert.equal(vmOf(world, low).placement?.host, other);
  await world.until(() => vmOf(world, low).status.yield === undefined, "nothing is left of it");
  assert.deepEqual(world.agents.violations, []);
  await world.close();
});

test("a highly available machine whose host is lost: others give way to it", async () => {
  const world = await World.make();
  const bmc = { type: "ipmi", user: "admin", password: "secret", port: 623, cipherSuite: 17, privilege: "administrator", timeoutMs: 5000 };
  const [lost, other] = [await world.addHost("h1", { memoryBytes: 4 * gib }), await world.addHost("h2", { memoryBytes: 4 * gib })];
  for (const id of [lost, other]) await world.change("host", id, (head) => (head.spec["fencing"] = [{ ...bmc, address: id }]));
  const on = (host: string, preemptible: boolean) => ({ memory: { bytes: 4 * gib }, placement: { preemptible, hostSelector: { is: host } } });
  for (const [id, name] of [
    [lost, "h1"],
    [other, "h2"],
  ] as const)
    await world.change("host", id, (head) => (head.labels = { is: name }));
  const db = (await world.addVm("db", { disk: "shared", spec: { ...on("h1", false), priority: 500, highlyAvailable: true } })).vm;
  const night = (await world.addVm("night", { spec: { ...on("h2", true), priority: 50 } })).vm;
  await runs(world, db);
  await runs(world, night);
  const broken = watchRoom(world);
  await world.change("vm", db, (head) => (head.spec["placement"] = { hostSelector: {} }));
  world.agents.powerOff(lost);
  await world.until(() => vmOf(world, db).placement?.host === other && isUp(world, db), "it runs on the other host");
  assert.equal(isUp(world, night), false);
  await world.until(() => vmOf(world, db).status.claim === undefined, "the claim is over");
  await world.clock.advance(30_000);
  assert.equal(isUp(world, night), false);
  await world.change("vm", db, (head) => (head.deletedAt = world.clock.now()));
  await runs(world, night);
  assert.deepEqual([broken, world.agents.violations], [[], []]);
  await world.close();
});

test("a server that dies anywhere on the way: the next one brings it to the same end", async () => {
  for (const when of ["before", "after"] as const) {
    for (let dies = 1; dies <= 9; dies += 1) {
      const { world, host, low, lower } = await fullSite();
      const broken = watchRoom(world);
      let writes = 0;
      const transact = world.store.transact.bind(world.store);
      world.store.transact = async (transaction) => {
        const keys = transaction.then.flatMap((operation) => ("put" in operation ? operation.put : "delete" in operation ? operation.delete : []));
        const isStory = keys.some((key) => /\/(placement|status\/(claim|yield|placement|agent))$/.test(key));
        if (isStory) writes += 1;
        const mine = isStory && writes === dies;
        if (mine && when === "before") world.killServer();
        const result = await transact(transaction);
        if (mine && when === "after") world.killServer();
        return result;
      };
      const web = await add(world, "web", 500);
      const killed = () => writes >= dies;
      await world.until(() => killed() || isUp(world, web), "it dies or is done");
      world.store.transact = transact;
      if (killed()) {
        world.killServer();
        await world.startServer();
      }
      await runs(world, web);
      await world.until(() => vmOf(world, web).status.claim === undefined, "the claim is over");
      await world.clock.advance(10_000);
      assert.deepEqual([isUp(world, web), isUp(world, low), isUp(world, lower)], [true, true, false], `died ${when} write ${dies}`);
      assert.equal(vmOf(world, web).placement?.host, host);
      assert.deepEqual([broken, world.agents.violations], [[], []]);
      await world.change("vm", web, (head) => (head.deletedAt = world.clock.now()));
      await runs(world, lower);
      assert.deepEqual(broken, []);
      await world.close();
    }
  }
});
