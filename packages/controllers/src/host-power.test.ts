/** Hosts are put to sleep and woken by real controllers: on a person's word and by themselves, whatever fails, whenever the server dies. */
import assert from "node:assert/strict";
import { test } from "node:test";
import { taskProgress, type RecordOf } from "@sheaf/model";
import { gib, World } from "./world.test-support.ts";

interface Scene {
  readonly hosts?: number;
  readonly power?: Record<string, unknown>;
  readonly balancing?: Record<string, unknown>;
}
const bmc = (world: World, id: string) =>
  world.change(
    "host",
    id,
    (head) =>
      (head.spec["fencing"] = [
        { type: "ipmi", address: id, user: "u", password: "p", port: 623, cipherSuite: 17, privilege: "administrator", timeoutMs: 10_000 },
      ]),
  );

async function scene({ hosts: count = 3, power = {}, balancing = {} }: Scene = {}) {
  const world = await World.make();
  await world.change("cluster", world.ids.cluster, (head) => {
    head.spec["power"] = { spareHosts: 0, minimumAwakeMinutes: 0, minimumAsleepMinutes: 0, ...power };
    head.spec["balancing"] = balancing;
  });
  const hosts: string[] = [];
  for (let at = 1; at <= count; at += 1) {
    const id = await world.addHost(`h${at}`);
    await bmc(world, id);
    hosts.push(id);
  }
  await world.clock.advance(120_000);
  return { world, hosts };
}
const host = (world: World, id: string): RecordOf<"host"> => {
  const found = world.cache.get("host", id);
  assert.ok(found);
  return found;
};
const powerOf = (world: World, id: string) => host(world, id).status.power?.state ?? "awake";
const message = (world: World, id: string): string => taskProgress(world.cache.get("task", id)?.status ?? {})?.message ?? "";
const is = (world: World, id: string, state: string, maxMs = 900_000) => world.until(() => powerOf(world, id) === state, `it is ${state}`, maxMs);
async function end(world: World): Promise<void> {
  assert.deepEqual(world.agents.violations, []);
  await world.close();
}

test("by hand: a host shuts itself down, sleeps without being lost, and is woken by its management controller", async () => {
  const { world, hosts } = await scene();
  const [, , h3 = ""] = hosts;
  const sleep = await world.addTask("sleep", "host", h3, { requestedBy: "ada" });
  assert.equal(await world.taskEnds(sleep), "succeeded");
  const { power } = host(world, h3).status;
  assert.deepEqual([power?.state, power?.by, power?.reason], ["asleep", "ada", "asked for by ada"]);
  assert.equal(world.agents.powered(h3), false);
  await world.until(() => host(world, h3).status.liveness?.state === "asleep", "it is asleep, not unreachable");
  // Nothing of it is an alarm, and nobody fences it.
  await world.clock.advance(3_600_000);
  assert.equal(host(world, h3).status.liveness?.state, "asleep");
  assert.equal(host(world, h3).status.fencing, undefined);
  assert.deepEqual(world.bmcs.calls, [], "it went off by itself");
  const wake = await world.addTask("wake", "host", h3);
  assert.equal(await world.taskEnds(wake), "succeeded");
  assert.match(message(world, wake), /awake after \d+ s/);
  assert.deepEqual(world.bmcs.calls, [`on ipmi ${h3}`]);
  assert.deepEqual([powerOf(world, h3), host(world, h3).status.liveness?.state], ["awake", "ready"]);
  await end(world);
});

test("what sleeps takes no machine, and says so; the last host, and one that carries something, stay awake", async () => {
  const { world, hosts } = await scene({ hosts: 2 });
  const [h1 = "", h2 = ""] = hosts;
  const { vm } = await world.addVm("vm", { disk: "shared" });
  await world.until(() => world.agents.runningOn(vm).length === 1, "it runs");
  const [carries = "", empty = ""] = world.vmOn(vm) === h1 ? [h1, h2] : [h2, h1];
  const refused = await world.addTask("sleep", "host", carries);
  assert.equal(await world.taskEnds(refused), "failed");
  assert.match(message(world, refused), /1 machine is placed there: `sheaf host drain`/);
  assert.equal(await world.taskEnds(await world.addTask("sleep", "host", empty)), "succeeded");
  const last = await world.addTask("sleep", "host", carries);
  assert.equal(await world.taskEnds(last), "failed");
  const { vm: second } = await world.addVm("second", { spec: { memory: { bytes: 16 * gib } } });
  await world.until(() => world.cache.get("vm", second)?.status.placement?.pending !== undefined, "it waits");
  assert.match(world.cache.get("vm", second)?.status.placement?.pending?.reason ?? "", /1 is asleep/);
  assert.equal(powerOf(world, empty), "asleep", "nobody has said that it wakes by itself");
  await end(world);
});

test("a host that cannot shut itself down is switched off by its controller, after its agent has said again that nothing runs", async () => {
  const { world, hosts } = await scene();
  const [, , h3 = ""] = hosts;
  world.agents.shutsDown = false;
  assert.equal(await world.taskEnds(await world.addTask("sleep", "host", h3)), "succeeded");
  assert.deepEqual(world.bmcs.calls, [`ipmi ${h3}`]);
  assert.equal(world.agents.calls.filter(({ method }) => method === "host.sleep").length, 2);
  await end(world);
});

test("no power is cut where the agent says that something runs", async () => {
  const { world, hosts } = await scene();
  const [, , h3 = ""] = hosts;
  world.agents.shutsDown = false;
  world.agents.fault = ({ method }) => (method === "host.sleep" ? "fail" : undefined);
  const task = await world.addTask("sleep", "host", h3);
  assert.equal(await world.taskEnds(task), "failed");
  assert.deepEqual([powerOf(world, h3), world.agents.powered(h3), world.bmcs.calls], ["awake", true, []]);
  await end(world);
});

test("a device that does not answer may still do what it was told: its host takes no machines until that is over", async () => {
  const { world, hosts } = await scene();
  const [, , h3 = ""] = hosts;
  world.agents.shutsDown = false;
  world.bmcs.faults.set(`ipmi ${h3}`, "silent");
  const task = await world.addTask("sleep", "host", h3);
  const ordered = () => world.bmcs.calls.filter((call) => call === `ipmi ${h3}`).length;
  await world.until(() => ordered() > 2, "it is told to cut the power", 600_000);
  let [orders, lastAt] = [ordered(), world.clock.monotonic()];
  await world.until(
    () => {
      if (ordered() > orders) [orders, lastAt] = [ordered(), world.clock.monotonic()];
      return powerOf(world, h3) === "awake";
    },
    "it counts again",
    1_800_000,
  );
  assert.ok(world.clock.monotonic() - lastAt > 240_000, `${world.clock.monotonic() - lastAt} ms after the last order`);
  assert.match(message(world, task), /its power did not go off in time/);
  await end(world);
});

test("Wake-on-LAN: from the server and from a neighbour, again until it wakes", async () => {
  const { world, hosts } = await scene();
  const [, h2 = "", h3 = ""] = hosts;
  const mac = "52:54:00:00:00:03";
  await world.change("host", h3, (head) => Object.assign(head.spec, { fencing: [], power: { sleep: "allowed", wakeOnLan: { mac, port: 9 } } }));
  for (const [at, id] of [h2, h3].entries())
    await world.setInterfaces(id, [{ mac: at === 0 ? "52:54:00:00:00:02" : mac, addresses: [`10.1.2.${at + 2}/24`] }]);
  assert.equal(await world.taskEnds(await world.addTask("sleep", "host", h3)), "succeeded");
  const wake = await world.addTask("wake", "host", h3);
  await world.clock.advance(70_000);
  assert.ok(world.agents.magicPackets.length >= 3, "it is sent again");
  assert.deepEqual([...new Set(world.bmcs.calls)], [`wake-on-lan ${mac}`]);
  world.agents.powerOn(h3);
  assert.equal(await world.taskEnds(wake), "succeeded");
  await end(world);
});

test("the ways to wake are tried in their order; who does not come back is reported, and lost", async () => {
  const { world, hosts } = await scene({ power: { wakeMinutes: 2 } });
  const [, , h3 = ""] = hosts;
  const mac = "52:54:00:00:00:03";
  await world.change("host", h3, (head) => (head.spec["power"] = { sleep: "allowed", wakeOnLan: { mac, port: 9 } }));
  assert.equal(await world.taskEnds(await world.addTask("sleep", "host", h3)), "succeeded");
  world.bmcs.faults.set(`ipmi ${h3}`, "refuses");
  const wake = await world.addTask("wake", "host", h3);
  assert.equal(await world.taskEnds(wake), "failed");
  assert.match(message(world, wake), /did not come back within 2 min of being woken \(the last try: wake-on-lan/);
  assert.equal(powerOf(world, h3), "not-woken");
  assert.deepEqual(
    host(world, h3)
      .status.power?.attempts.map(({ method, outcome }) => [method.split(" ")[0], outcome])
      .slice(0, 2),
    [
      ["ipmi", "failed"],
      ["wake-on-lan", "sent"],
    ],
  );
  await world.until(() => host(world, h3).status.liveness?.state === "unreachable", "now it is lost");
  // A person turns it on: it is taken in again.
  world.agents.powerOn(h3);
  await is(world, h3, "awake");
  await end(world);
});

test("a host that is believed asleep and answers is taken as awake", async () => {
  const { world, hosts } = await scene();
  const [, h2 = "", h3 = ""] = hosts;
  // Its controller says that it is off; it never was.
  world.agents.shutsDown = false;
  world.bmcs.faults.set(`ipmi ${h3}`, "lies");
  await world.addTask("sleep", "host", h3);
  await is(world, h3, "asleep");
  await is(world, h3, "awake");
  // Another one was switched on by somebody.
  world.bmcs.faults.clear();
  await world.addTask("sleep", "host", h2);
  await is(world, h2, "asleep");
  await world.clock.advance(60_000);
  world.agents.powerOn(h2);
  await is(world, h2, "awake");
  assert.equal(host(world, h2).status.liveness?.state, "ready");
  await end(world);
});

test("automatic: what has nothing to do sleeps, all but what is kept, and calm stays calm", async () => {
  const { world, hosts } = await scene({ hosts: 4, power: { mode: "automatic", spareHosts: 1 } });
  const { vm } = await world.addVm("vm", { disk: "shared" });
  world.agents.busyCpus.set(vm, 1);
  await world.clock.advance(1_800_000);
  const states = hosts.map((id) => powerOf(world, id));
  assert.deepEqual(states.toSorted(), ["asleep", "asleep", "awake", "awake"]);
  assert.equal(powerOf(world, world.vmOn(vm) ?? ""), "awake");
  const tasks = [...world.cache.all("task")].length;
  await world.clock.advance(12 * 3_600_000);
  assert.equal([...world.cache.all("task")].length, tasks);
  await end(world);
});

test("automatic: a machine that fits nowhere wakes a host, says which it waits for, and runs there", async () => {
  const { world, hosts } = await scene({ power: { mode: "automatic" } });
  const first = await world.addVm("first", { disk: "shared", spec: { memory: { bytes: 10 * gib } } });
  await world.until(() => hosts.filter((id) => powerOf(world, id) === "asleep").length === 2, "two sleep", 1_800_000);
  const { vm } = await world.addVm("second", { disk: "shared", spec: { memory: { bytes: 10 * gib } } });
  const pending = (): string => world.cache.get("vm", vm)?.status.placement?.pending?.reason ?? "";
  await world.until(() => pending() !== "", "it waits");
  assert.match(pending(), /2 are asleep and would be woken/);
  await world.until(() => /^waits for host h\d, which is being woken since \d{4}-/.test(pending()), `it says for which host: ${pending()}`);
  await world.until(() => world.agents.runningOn(vm).length === 1, "it runs", 900_000);
  assert.notEqual(world.vmOn(vm), world.vmOn(first.vm));
  assert.equal(hosts.filter((id) => powerOf(world, id) === "asleep").length, 1, "one was enough");
  await end(world);
});

test("automatic: before use passes the limit a host is woken", async () => {
  const { world, hosts } = await scene({ power: { mode: "automatic" } });
  const { vm } = await world.addVm("vm", { disk: "shared" });
  await world.until(() => hosts.filter((id) => powerOf(world, id) === "asleep").length === 2, "two sleep", 1_800_000);
  world.agents.busyCpus.set(vm, 7.5);
  await world.until(() => hosts.some((id) => powerOf(world, id) === "waking"), "one is woken", 1_800_000);
  const [task] = [...world.cache.all("task")].filter(({ spec }) => spec.verb === "wake");
  assert.deepEqual(task?.spec.parameters, { reason: "the hosts that are awake would pass 85 % of what they have" });
  await world.clock.advance(3_600_000);
  assert.equal(hosts.filter((id) => powerOf(world, id) === "asleep").length, 1, "and only one");
  world.agents.busyCpus.set(vm, 1);
  await world.until(() => hosts.filter((id) => powerOf(world, id) === "asleep").length === 2, "it sleeps again", 3_600_000);
  await end(world);
});

test("automatic: what a lost host leaves wakes a host, which takes it", async () => {
  const { world, hosts } = await scene({ power: { mode: "automatic" } });
  const { vm } = await world.addVm("vm", { disk: "shared", spec: { highlyAvailable: true } });
  await world.until(() => hosts.filter((id) => powerOf(world, id) === "asleep").length === 2, "two sleep", 1_800_000);
  const lost = world.vmOn(vm) ?? "";
  world.agents.powerOff(lost);
  await world.until(() => world.vmOn(vm) !== lost && world.agents.runningOn(vm).length === 1, "it runs on a host that was woken", 1_800_000);
  assert.equal(host(world, lost).status.fencing?.state, "fenced");
  assert.ok(
    hosts.every((id) => id === lost || host(world, id).status.fencing === undefined),
    "nobody fences what sleeps",
  );
  await end(world);
});

test("a server that is killed at any moment of falling asleep or waking leaves it to the next one", async () => {
  for (const shutsDown of [true, false])
    for (const afterMs of [1, 6, 12, 20, 300, 700, 2500, 9000, 10_500, 12_000]) {
      const { world, hosts } = await scene();
      const [, , h3 = ""] = hosts;
      world.agents.shutsDown = shutsDown;
      const sleep = await world.addTask("sleep", "host", h3);
      await world.clock.advance(afterMs);
      world.killServer();
      await world.startServer();
      assert.equal(await world.taskEnds(sleep), "succeeded", `killed after ${afterMs} ms`);
      assert.deepEqual([powerOf(world, h3), world.agents.powered(h3)], ["asleep", false]);
      const wake = await world.addTask("wake", "host", h3);
      await world.clock.advance(afterMs);
      world.killServer();
      await world.startServer();
      assert.equal(await world.taskEnds(wake), "succeeded", `killed after ${afterMs} ms`);
      assert.deepEqual([powerOf(world, h3), world.agents.powered(h3)], ["awake", true]);
      await end(world);
    }
});

test("what was asked for while no server led is done by the next one", async () => {
  const { world, hosts } = await scene();
  const [, , h3 = ""] = hosts;
  world.killServer();
  const sleep = await world.addTask("sleep", "host", h3);
  await world.startServer();
  assert.equal(await world.taskEnds(sleep), "succeeded");
  world.killServer();
  const wake = await world.addTask("wake", "host", h3);
  await world.startServer();
  assert.equal(await world.taskEnds(wake), "succeeded");
  await end(world);
});

test("a machine that is placed while its host falls asleep keeps it awake, or wakes it", async () => {
  for (const afterMs of [1, 8, 30, 400, 5000, 60_000]) {
    const { world, hosts } = await scene();
    const [, , h3 = ""] = hosts;
    await world.addTask("sleep", "host", h3);
    await world.clock.advance(afterMs);
    // As if it had been decided on before.
    const { vm } = await world.addVm("vm", { disk: "shared", spec: { placement: { hostSelector: {}, host: h3 } } });
    await world.place(vm, h3);
    await world.until(() => world.agents.runningOn(vm)[0] === h3, `it runs there, placed after ${afterMs} ms`, 1_800_000);
    assert.equal(powerOf(world, h3), "awake");
    await end(world);
  }
});
