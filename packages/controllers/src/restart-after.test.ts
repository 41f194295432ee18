/** Machines start after those they name (`restart.after`), on other hosts and on their own: with the real controllers and simulated agents. */
import assert from "node:assert/strict";
import { test } from "node:test";
import type { RecordOf } from "@sheaf/model";
import { gib, World } from "./world.test-support.ts";

const maximumWaitMs = 60_000;

interface Scene {
  readonly world: World;
  /** The machines lie on the first. */
  readonly hosts: readonly string[];
  readonly vm: (name: string) => RecordOf<"vm">;
}

/** @param machines name → the names it is started after, made in this order; others are on the last host */
async function scene(
  machines: Readonly<Record<string, { after?: readonly string[]; spec?: Record<string, unknown>; elsewhere?: true; restart?: object }>>,
  memoryBytes = 16 * gib,
): Promise<Scene> {
  const world = await World.make();
  const hosts: string[] = [];
  for (const name of ["h1", "h2", "h3"]) {
    const method = { type: "ipmi", address: name, user: "a", password: "p", port: 623, cipherSuite: 17, privilege: "administrator", timeoutMs: 5000 };
    hosts.push(await world.addHost(name, { memoryBytes }));
    await world.change("host", hosts.at(-1) ?? "", (head) => {
      head.spec["fencing"] = [{ ...method, address: hosts.at(-1) }];
      head.labels = { first: name === "h1" ? "yes" : "no", last: name === "h3" ? "yes" : "no" };
    });
  }
  const ids = new Map<string, string>();
  for (const [name, { spec = {}, elsewhere }] of Object.entries(machines)) {
    const placement = { hostSelector: elsewhere ? { last: "yes" } : { first: "yes" } };
    ids.set(name, (await world.addVm(name, { disk: "shared", spec: { highlyAvailable: true, ...spec, placement } })).vm);
  }
  await world.until(() => [...ids.values()].every((id) => world.agents.runningOn(id).length === 1), "all run");
  for (const [name, { after, restart }] of Object.entries(machines))
    await world.change("vm", ids.get(name) ?? "", (head) => {
      head.spec["placement"] = { hostSelector: {} };
      if (after === undefined) return;
      const order = { machines: after.map((other) => ids.get(other)), condition: "running", maximumWaitMs, ...restart };
      head.spec["restart"] = { ...(head.spec["restart"] as object), after: order };
    });
  world.agents.started.length = 0;
  const vm = (name: string): RecordOf<"vm"> => world.cache.get("vm", ids.get(name) ?? "") ?? assert.fail(`no machine ${name}`);
  return { world, hosts, vm };
}

const [first, last] = [0, 2];
const runs = ({ world, vm }: Scene, name: string): boolean => world.agents.runningOn(vm(name).id).length === 1;
const waitsOf = ({ vm }: Scene, name: string) => vm(name).status.failover ?? assert.fail(`${name} says nothing`);

async function end({ world }: Scene): Promise<void> {
  assert.deepEqual(world.agents.violations, []);
  await world.close();
}

test("machines of a lost host start in their order, whatever their age, importance and number; and at once after one another", async () => {
  const it = await scene({ web: { after: ["app"], spec: { priority: 900 } }, app: { after: ["db", "queue"] }, db: {}, queue: {} });
  const { world, hosts } = it;
  world.agents.powerOff(hosts[first] ?? "");
  const offAt = world.clock.monotonic();
  await world.until(() => ["web", "app", "db", "queue"].every((name) => runs(it, name)), "all run");
  assert.deepEqual(world.agents.started.slice(2), ["app", "web"]);
  assert.ok(world.clock.monotonic() - offAt < 20_000, "nobody waits longer than for those before");
  await end(it);
});

test("one that waits says for whom and why; what it needs is not given to less important ones meanwhile", async () => {
  const machines = {
    filler: { spec: { memory: { bytes: 13 * gib }, highlyAvailable: false }, elsewhere: true as const },
    small: { spec: { memory: { bytes: 2 * gib }, priority: 10 } },
    large: { spec: { memory: { bytes: 5 * gib }, priority: 20 } },
    app: { after: ["db"], spec: { memory: { bytes: 6 * gib }, priority: 500 } },
    db: { spec: { memory: { bytes: 3 * gib } } },
  };
  const it = await scene(machines);
  const { world, hosts, vm } = it;
  await world.change("cluster", world.ids.cluster, (head) => (head.spec["placementPolicy"] = "spread"));
  await world.change("host", hosts[1] ?? "", (head) => (head.spec["offeredMemoryBytes"] = 12 * gib));
  world.agents.broken.set(vm("db").id, "its start fails");
  world.agents.powerOff(hosts[first] ?? "");
  await world.until(() => vm("app").status.failover?.state === "waiting", "app waits");
  assert.equal(waitsOf(it, "app").reason, "it is started after db (it does not run yet)");
  assert.deepEqual(waitsOf(it, "app").waitsFor, [vm("db").id]);
  await world.until(() => vm("db").status.agent?.state === "failed", "db fails");
  // Of 12 GiB on one host 9 are taken or kept, of 16 on the other 13 are taken: 2 GiB fit, 5 do not.
  await world.until(() => runs(it, "small"), "the smaller one runs");
  assert.deepEqual([runs(it, "app"), runs(it, "large")], [false, false]);
  world.agents.broken.clear();
  world.agents.lookAtAll(hosts[1] ?? "");
  await world.until(() => runs(it, "app"), "it runs as soon as db does");
  assert.deepEqual(world.agents.started.slice(-2), ["db", "app"]);
  assert.equal(runs(it, "large"), false);
  await end(it);
});

test("no room goes to an important machine while the less important one that it waits for has none", async () => {
  const machines = {
    filler: { spec: { memory: { bytes: 14 * gib }, highlyAvailable: false }, elsewhere: true as const },
    other: { spec: { memory: { bytes: 9 * gib }, priority: 300 } },
    app: { after: ["db"], spec: { memory: { bytes: 2 * gib }, priority: 500 } },
    db: { spec: { memory: { bytes: 4 * gib }, priority: 10 } },
  };
  const it = await scene(machines);
  const { world, hosts } = it;
  await world.change("host", hosts[1] ?? "", (head) => (head.spec["offeredMemoryBytes"] = 11 * gib));
  world.agents.powerOff(hosts[first] ?? "");
  await world.until(() => runs(it, "db") && runs(it, "app"), "both run");
  assert.equal(runs(it, "other"), false);
  await end(it);
});

test("a guest that is to answer first is waited for, though it runs", async () => {
  const it = await scene({ app: { after: ["db"], restart: { condition: "guest-answers" } }, db: {} });
  const { world, hosts, vm } = it;
  world.agents.powerOff(hosts[first] ?? "");
  await world.until(() => runs(it, "db"), "db runs");
  await world.clock.advance(20_000);
  assert.match(waitsOf(it, "app").reason, /db \(its guest does not answer yet\)/);
  world.agents.answering.add(vm("db").id);
  for (const host of hosts.slice(1)) world.agents.lookAtAll(host);
  await world.until(() => runs(it, "app"), "app runs", 1000);
  await end(it);
});

for (const [what, meanwhile] of [
  ["that is lost with another host that nobody can cut off", "lost"],
  ["that does not start", "broken"],
] as const)
  test(`a machine ${what} is waited for so long and no longer, and what is started without it says so`, async () => {
    const it = await scene({ app: { after: ["db"] }, db: meanwhile === "lost" ? { elsewhere: true } : {} });
    const { world, hosts, vm } = it;
    if (meanwhile === "lost") world.bmcs.faults.set(`ipmi ${hosts[last]}`, "refuses");
    else world.agents.broken.set(vm("db").id, "its start fails");
    await world.change(
      "cluster",
      world.ids.cluster,
      (head) => (head.spec["highAvailability"] = { ...(head.spec["highAvailability"] as object), wideOutagePercent: 100 }),
    );
    if (meanwhile === "lost") world.agents.cut(hosts[last] ?? "");
    world.agents.powerOff(hosts[first] ?? "");
    await world.until(() => vm("app").status.failover?.state === "waiting", "app waits");
    const fencedAt = world.cache.get("host", hosts[first] ?? "")?.status.fencing?.since ?? 0;
    await world.until(() => runs(it, "app"), "app runs");
    const waitedMs = world.clock.now() - fencedAt;
    assert.ok(waitedMs >= maximumWaitMs && waitedMs < maximumWaitMs + 1000, `it waited ${waitedMs} ms`);
    assert.match(vm("app").placement?.reason ?? "", /it waited long enough for db/);
    await world.close();
  });

test("a machine that is deleted or stopped is waited for no longer", async () => {
  for (const way of ["deleted", "stopped"] as const) {
    const it = await scene({ app: { after: ["db"] }, db: {} });
    const { world, hosts, vm } = it;
    const db = vm("db").id;
    world.agents.broken.set(db, "its start fails");
    world.agents.powerOff(hosts[first] ?? "");
    await world.until(() => vm("app").status.failover?.state === "waiting", "app waits");
    await world.change("vm", db, (head) => {
      if (way === "deleted") head.deletedAt = world.clock.now();
      else head.spec["power"] = "stopped";
    });
    await world.until(() => runs(it, "app"), `app runs although db was ${way}`, 1000);
    await end(it);
  }
});

test("a server that is killed while machines wait goes on with their order", async () => {
  const it = await scene({ app: { after: ["db"] }, db: {} });
  const { world, hosts, vm } = it;
  world.agents.broken.set(vm("db").id, "its start fails");
  world.agents.powerOff(hosts[first] ?? "");
  await world.until(() => vm("app").status.failover?.state === "waiting", "app waits");
  world.killServer();
  await world.startServer();
  await world.clock.advance(5000);
  assert.equal(runs(it, "app"), false);
  world.agents.broken.clear();
  for (const host of hosts.slice(1)) world.agents.lookAtAll(host);
  await world.until(() => runs(it, "app"), "both run");
  assert.deepEqual(world.agents.started.slice(-2), ["db", "app"]);
  await end(it);
});

test("after a power cut of everything machines start on their own hosts in their order, whichever host is back first", async () => {
  const it = await scene({ web: { after: ["app"] }, app: { after: ["db"], elsewhere: true }, db: {} });
  const { world, hosts, vm } = it;
  for (const host of hosts) world.agents.powerOff(host);
  world.agents.powerOn(hosts[last] ?? "");
  await world.until(() => vm("app").status.order?.state === "waiting", "app waits for its turn");
  assert.equal(vm("app").status.order?.reason, "it is started after db (it does not run yet)");
  await world.clock.advance(5000);
  assert.deepEqual(world.agents.started, []);
  world.agents.powerOn(hosts[first] ?? "");
  await world.until(() => ["web", "app", "db"].every((name) => runs(it, name)), "all run", 30_000);
  assert.deepEqual(world.agents.started, ["db", "app", "web"]);
  assert.equal(vm("app").placement?.epoch, 1);
  await end(it);
});
