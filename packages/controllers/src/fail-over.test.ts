/** Hosts are lost, cut off, and their machines start elsewhere: with the real controllers, simulated agents and management controllers. */
import assert from "node:assert/strict";
import { test } from "node:test";
import { type HostFencing, partKey } from "@sheaf/model";
import { World } from "./world.test-support.ts";

const bmc = (type: "ipmi" | "redfish", id: string) => ({ type, address: id, user: "admin", password: "secret" });

interface Scene {
  readonly world: World;
  readonly hosts: readonly string[];
  readonly lost: string;
  readonly vms: readonly string[];
}

/** Three hosts with two management methods each; the machines lie on the first. */
async function scene(
  options: { disk?: "local" | "shared"; methods?: readonly ("ipmi" | "redfish")[]; machines?: number; hosts?: number } = {},
): Promise<Scene> {
  const world = await World.make();
  const hosts: string[] = [];
  for (let number = 1; number <= (options.hosts ?? 3); number += 1) {
    const id = await world.addHost(`h${number}`);
    await withMethods(world, id, options.methods ?? ["ipmi", "redfish"]);
    hosts.push(id);
  }
  const [lost = ""] = hosts;
  const vms: string[] = [];
  for (let number = 0; number < (options.machines ?? 3); number += 1) {
    const spec = { highlyAvailable: true, placement: { hostSelector: { here: "yes" } } };
    vms.push((await world.addVm(`vm-${number}`, { disk: options.disk ?? "shared", spec })).vm);
  }
  await world.change("host", lost, (head) => (head.labels = { here: "yes" }));
  await world.until(() => vms.every((vm) => world.agents.runningOn(vm).includes(lost)), "all run on the first host");
  for (const id of hosts) await world.change("host", id, (head) => (head.labels = { here: "yes" }));
  return { world, hosts, lost, vms };
}

async function withMethods(world: World, host: string, methods: readonly ("ipmi" | "redfish")[]): Promise<void> {
  await world.change("host", host, (head) => {
    head.spec["fencing"] = methods.map((type) => ({
      ...bmc(type, host),
      ...(type === "ipmi" ? { port: 623, cipherSuite: 17, privilege: "administrator" } : { port: 443, system: "/redfish/v1/Systems/1" }),
      timeoutMs: 5000,
    }));
  });
}

const fencing = (world: World, host: string): HostFencing | undefined => world.cache.get("host", host)?.status.fencing;
const elsewhere = ({ world, vms, lost }: Scene): boolean =>
  vms.every((vm) => world.agents.runningOn(vm).length === 1 && world.vmOn(vm) !== lost && !world.agents.runningOn(vm).includes(lost));

async function end({ world }: Scene): Promise<void> {
  assert.deepEqual(world.agents.violations, []);
  await world.close();
}

test("machines of a host that lost its power run elsewhere, each once, with a task that says so", async () => {
  const it = await scene();
  const { world, lost, vms } = it;
  const cutAt = world.clock.monotonic();
  world.agents.powerOff(lost);
  await world.until(() => elsewhere(it), "all run elsewhere");
  assert.ok(world.clock.monotonic() - cutAt <= 15_000, `took ${world.clock.monotonic() - cutAt} ms`);
  assert.deepEqual(world.bmcs.calls, [`ipmi ${lost}`]);
  const part = fencing(world, lost);
  assert.equal(part?.state, "fenced");
  assert.deepEqual(
    part.attempts.map(({ method, outcome }) => [method, outcome]),
    [[`ipmi ${lost}`, "off"]],
  );
  for (const vm of vms) {
    const record = world.cache.get("vm", vm);
    assert.equal(record?.placement?.epoch, 2);
    assert.equal(record.status.failover?.state, "moved");
    assert.equal(await world.taskEnds(record.status.failover.task ?? ""), "succeeded");
  }
  await end(it);
});

test("a method that refuses, is silent or lies is followed by the next; the machines wait for one that makes sure", async () => {
  const it = await scene();
  const { world, lost } = it;
  world.bmcs.faults.set(`ipmi ${lost}`, "silent");
  world.agents.cut(lost);
  await world.until(() => elsewhere(it), "all run elsewhere");
  assert.deepEqual(world.bmcs.calls, [`ipmi ${lost}`, `redfish ${lost}`]);
  assert.match(fencing(world, lost)?.attempts[0]?.detail ?? "", /no answer within 5000 ms/);
  await end(it);
});

test("without a word that it is off nothing starts elsewhere, however long; a person's word is one", async () => {
  const it = await scene();
  const { world, lost, vms } = it;
  for (const type of ["ipmi", "redfish"]) world.bmcs.faults.set(`${type} ${lost}`, "refuses");
  world.agents.cut(lost);
  await world.until(() => fencing(world, lost)?.state === "asking", "a person is asked");
  assert.match(fencing(world, lost)?.reason ?? "", /wrong password.*confirm-off/);
  await world.clock.advance(3_600_000);
  assert.ok(vms.every((vm) => world.vmOn(vm) === lost));
  assert.ok(world.bmcs.calls.length > 100, "it is tried again and again");
  world.agents.powerOff(lost);
  const task = await world.addTask("confirm-off", "host", lost);
  await world.until(() => elsewhere(it), "all run elsewhere");
  assert.equal(await world.taskEnds(task), "succeeded");
  assert.match(fencing(world, lost)?.reason ?? "", /admin says that it is off/);
  await end(it);
});

test("a host that is merely cut off and answers again before it was cut off keeps its machines", async () => {
  const it = await scene({ methods: [] });
  const { world, lost, vms } = it;
  world.agents.cut(lost);
  await world.until(() => fencing(world, lost)?.state === "asking", "a person is asked");
  world.agents.heal(lost);
  await world.until(() => fencing(world, lost) === undefined && world.agents.connected(lost), "it is let in");
  await world.until(() => world.cache.get("host", lost)?.status.liveness?.state === "ready", "it is ready");
  await world.clock.advance(120_000);
  assert.ok(vms.every((vm) => world.vmOn(vm) === lost && world.agents.runningOn(vm).length === 1));
  assert.equal(world.cache.get("host", lost)?.status.return, undefined);
  await end(it);
});

test("a host that comes back in the middle is let in once its fence is away, and starts nothing that was moved", async () => {
  const it = await scene({ machines: 12 });
  const { world, lost, vms } = it;
  world.agents.powerOff(lost);
  await world.until(() => fencing(world, lost)?.state === "fenced", "it is off");
  world.agents.powerOn(lost);
  await world.until(() => world.agents.connected(lost), "it is let in");
  await world.until(() => vms.every((vm) => world.agents.runningOn(vm).length === 1), "each runs");
  assert.ok(vms.every((vm) => world.agents.runningOn(vm)[0] === world.vmOn(vm)));
  await end(it);
});

test("a person's word that was given before the host came back is not taken for one that it is off now", async () => {
  const it = await scene();
  const { world, lost, vms } = it;
  // The word waits while a method is tried.
  for (const type of ["ipmi", "redfish"]) world.bmcs.faults.set(`${type} ${lost}`, "silent");
  world.agents.powerOff(lost);
  await world.until(() => fencing(world, lost)?.state === "fencing" && world.bmcs.calls.length > 0, "a method is tried");
  const task = await world.addTask("confirm-off", "host", lost);
  world.agents.powerOn(lost);
  assert.equal(await world.taskEnds(task), "failed");
  await world.until(() => world.cache.get("host", lost)?.status.liveness?.state === "ready", "it is ready");
  await world.clock.advance(120_000);
  assert.ok(vms.every((vm) => world.vmOn(vm) === lost && world.agents.runningOn(vm).length === 1));
  await end(it);
});

test("a host that knocks just before its power is cut counts as cut off: its machines do not wait for it to be silent again", async () => {
  const it = await scene();
  const { world, lost } = it;
  world.bmcs.delayMs = 2000;
  world.bmcs.moment = () => void world.clock.setTimer(1000, () => world.agents.heal(lost));
  world.agents.cut(lost);
  await world.until(() => elsewhere(it), "all run elsewhere");
  assert.deepEqual(world.bmcs.calls, [`ipmi ${lost}`]);
  await end(it);
});

test("a device that says off for a host that is on costs the host its machines, and never the site a second copy for long", async () => {
  const it = await scene();
  const { world, lost } = it;
  world.bmcs.faults.set(`ipmi ${lost}`, "lies");
  world.agents.cut(lost);
  await world.until(() => it.vms.every((vm) => world.vmOn(vm) !== lost), "all are placed elsewhere");
  // This is what no software can prevent: the only witness lied. What it can do is to clear up as soon as the host is heard.
  world.agents.violations.length = 0;
  world.agents.heal(lost);
  await world.until(() => elsewhere(it), "the copies there are gone");
  await world.close();
});

test("when many are silent at once nothing is cut off until they are fewer or a person asks", async () => {
  const it = await scene({ hosts: 5 });
  const { world, lost, hosts, vms } = it;
  for (const host of hosts.slice(0, 3)) world.agents.cut(host);
  await world.until(() => fencing(world, lost)?.state === "held", "nothing is done");
  assert.match(fencing(world, lost)?.reason ?? "", /3 of the cluster's 5 hosts are silent/);
  await world.clock.advance(600_000);
  assert.deepEqual(world.bmcs.calls, []);
  assert.ok(vms.every((vm) => world.vmOn(vm) === lost));
  world.agents.heal(hosts[1] ?? "");
  world.agents.heal(hosts[2] ?? "");
  await world.until(() => elsewhere(it), "then it is cut off");
  assert.deepEqual(world.bmcs.calls, [`ipmi ${lost}`]);
  await end(it);
});

for (const way of ["server", "pool"] as const) {
  test(`a host whose pulse is ${way === "server" ? "heard" : "seen in a shared pool"} is left alone, and cut off when that stops`, async () => {
    const it = await scene();
    const { world, lost, vms } = it;
    world.agents.pulses.set(lost, way);
    world.agents.cut(lost);
    await world.until(() => fencing(world, lost)?.state === "held", "it is left alone");
    assert.match(
      fencing(world, lost)?.reason ?? "",
      way === "server" ? /its pulse is heard.*restart the agent/ : /h2 sees its pulse in pool shared.*network is cut/,
    );
    const told = fencing(world, lost);
    await world.clock.advance(600_000);
    assert.deepEqual(fencing(world, lost), told, "what is merely looked at again is not written again");
    assert.deepEqual(world.bmcs.calls, []);
    assert.ok(vms.every((vm) => world.vmOn(vm) === lost && world.agents.runningOn(vm).length === 1));
    world.agents.pulses.delete(lost);
    world.agents.powerOff(lost);
    const offAt = world.clock.monotonic();
    await world.until(() => elsewhere(it), "then it is cut off");
    assert.ok(world.clock.monotonic() - offAt <= 10_000, `took ${world.clock.monotonic() - offAt} ms`);
    await end(it);
  });
}

test("a person who knows better has a host cut off although its pulse is heard", async () => {
  const it = await scene();
  const { world, lost } = it;
  world.agents.pulses.set(lost, "server");
  world.agents.cut(lost);
  await world.until(() => fencing(world, lost)?.state === "held", "it is left alone");
  await world.addTask("fence", "host", lost);
  await world.until(() => elsewhere(it), "all run elsewhere");
  await end(it);
});

test("a server that was paused or has just started takes nobody's silence for a loss", async () => {
  const it = await scene();
  const { world, lost } = it;
  world.agents.cut(lost);
  await world.until(() => world.cache.get("host", lost)?.status.liveness?.state === "unreachable", "it is lost");
  await world.until(() => fencing(world, lost) !== undefined, "it is being cut off");
  // The host is back while the server is down.
  world.killServer();
  world.bmcs.calls.length = 0;
  await world.clock.advance(60_000);
  world.agents.heal(lost);
  await world.startServer();
  await world.until(() => world.agents.connected(lost), "it is let in");
  await world.clock.advance(60_000);
  assert.equal(fencing(world, lost), undefined);
  await end(it);
});

/** The first method does not answer: its server dies with the fence begun and nothing done. */
async function begunAndLeft(): Promise<Scene> {
  const it = await scene({ methods: ["ipmi"] });
  const { world, lost } = it;
  world.bmcs.faults.set(`ipmi ${lost}`, "silent");
  world.agents.cut(lost);
  await world.until(() => world.bmcs.calls.length > 0, "it is being cut off");
  world.killServer();
  assert.equal(JSON.parse((await world.store.get(partKey("host", lost, "status/fencing")))?.value ?? "").state, "fencing");
  world.bmcs.calls.length = 0;
  world.bmcs.faults.clear();
  return it;
}

test("a host that a dead server had begun to cut off is left alone where it is heard while the next one listens", async () => {
  const it = await begunAndLeft();
  const { world, lost, vms } = it;
  await world.startServer();
  await world.clock.advance(5000);
  assert.deepEqual([world.bmcs.asked, world.bmcs.calls], [[`ipmi ${lost}`], []]);
  world.agents.heal(lost);
  await world.until(() => world.agents.connected(lost), "it is let in");
  await world.clock.advance(60_000);
  assert.deepEqual([fencing(world, lost), world.bmcs.calls], [undefined, []]);
  assert.ok(vms.every((vm) => world.vmOn(vm) === lost && world.agents.runningOn(vm).length === 1));
  await end(it);
});

test("a host that a dead server had begun to cut off is held where its pulse is heard", async () => {
  const it = await begunAndLeft();
  const { world, lost } = it;
  world.agents.pulses.set(lost, "server");
  await world.startServer();
  await world.until(() => fencing(world, lost)?.state === "held", "it is left alone");
  await world.clock.advance(60_000);
  assert.deepEqual(world.bmcs.calls, []);
  await end(it);
});

test("a host that a dead server had begun to cut off is cut off by the next one once it has listened, and without waiting where it is off", async () => {
  for (const off of [false, true]) {
    const it = await begunAndLeft();
    const { world, lost } = it;
    if (off) world.agents.powerOff(lost);
    await world.startServer();
    const startedAt = world.clock.monotonic();
    await world.until(() => elsewhere(it), "all run elsewhere");
    const tookMs = world.clock.monotonic() - startedAt;
    assert.deepEqual(world.bmcs.calls, off ? [] : [`ipmi ${lost}`]);
    assert.ok(off ? tookMs <= 5000 : tookMs >= 10_000 && tookMs <= 15_000, `took ${tookMs} ms`);
    assert.match(fencing(world, lost)?.reason ?? "", /says that it is off/);
    await end(it);
  }
});

test("what a person asked for before a backup was made is not done after it was restored", async () => {
  for (const verb of ["fence", "confirm-off"] as const) {
    const it = await scene({ methods: ["ipmi"] });
    const { world, lost, vms } = it;
    world.bmcs.faults.set(`ipmi ${lost}`, "silent");
    world.agents.cut(lost);
    await world.until(() => world.bmcs.calls.length > 0, "it is being cut off");
    world.killServer();
    const task = await world.addTask(verb, "host", lost);
    world.bmcs.calls.length = 0;
    world.heldBack = true;
    await world.startServer();
    assert.equal(await world.taskEnds(task), "failed");
    assert.ok(vms.every((vm) => world.vmOn(vm) === lost));
    await end(it);
  }
});

test("the server is killed at any moment of it: each machine runs once in the end", async () => {
  for (let moment = 0; moment <= 16; moment += 1) {
    const it = await scene({ machines: 4 });
    const { world, lost } = it;
    world.agents.powerOff(lost);
    await world.until(() => world.cache.get("host", lost)?.status.liveness?.state === "unreachable", "it is lost");
    await world.clock.advance(moment * 40);
    world.killServer();
    await world.startServer();
    await world.until(() => elsewhere(it), `all run elsewhere (killed ${moment * 40} ms after the loss)`);
    await end(it);
  }
});

test("what lies on the lost host alone waits and says so; what finds no room waits and starts when there is some", async () => {
  const local = await scene({ disk: "local" });
  local.world.agents.powerOff(local.lost);
  const waits = (it: Scene): string | undefined => it.world.cache.get("vm", it.vms[0] ?? "")?.status.failover?.reason;
  await local.world.until(() => waits(local) !== undefined, "it waits");
  assert.match(waits(local) ?? "", /disk vm-0-root lies on the lost host alone/);
  local.world.agents.powerOn(local.lost);
  await local.world.until(() => local.vms.every((vm) => local.world.agents.runningOn(vm).includes(local.lost)), "they run where they were");
  await end(local);

  const full = await scene();
  const { world, lost, hosts } = full;
  for (const host of hosts.slice(1)) await world.change("host", host, (head) => (head.spec["schedulable"] = "cordoned"));
  world.agents.powerOff(lost);
  await world.until(() => waits(full) !== undefined, "it waits");
  assert.match(waits(full) ?? "", /no host fits: 2 are cordoned, 1 is unreachable/);
  await world.change("host", hosts[1] ?? "", (head) => (head.spec["schedulable"] = "open"));
  await world.until(() => elsewhere(full), "they run");
  await end(full);
});

test("after a restore nothing of a lost host starts elsewhere until every host has been heard", async () => {
  const it = await scene();
  const { world, lost, vms } = it;
  world.heldBack = true;
  world.agents.powerOff(lost);
  await world.until(() => world.cache.get("vm", vms[0] ?? "")?.status.failover !== undefined, "it waits");
  assert.match(world.cache.get("vm", vms[0] ?? "")?.status.failover?.reason ?? "", /restored from a backup/);
  await world.clock.advance(60_000);
  assert.ok(vms.every((vm) => world.vmOn(vm) === lost));
  world.heldBack = false;
  await world.until(() => elsewhere(it), "all run elsewhere");
  await end(it);
});

test("machines that are not highly available stay, and nothing is cut off for them", async () => {
  const it = await scene();
  const { world, lost, vms } = it;
  for (const vm of vms) await world.change("vm", vm, (head) => (head.spec["highlyAvailable"] = false));
  world.agents.cut(lost);
  await world.clock.advance(120_000);
  assert.deepEqual(world.bmcs.calls, []);
  // Until somebody makes one of them so.
  await world.change("vm", vms[0] ?? "", (head) => (head.spec["highlyAvailable"] = true));
  await world.until(() => world.vmOn(vms[0] ?? "") !== lost, "it starts elsewhere");
  assert.ok(vms.slice(1).every((vm) => world.vmOn(vm) === lost));
  await end(it);
});

test("a migration whose target or source is lost ends when that host is off, and the machine runs once", async () => {
  for (const victim of ["source", "target"] as const) {
    for (const method of ["migrate.prepare", "migrate.perform", "migrate.finish", "migrate.confirm"]) {
      for (const when of ["before", "after"] as const) {
        const it = await scene({ machines: 1, hosts: 3 });
        const { world, lost, hosts, vms } = it;
        const [vm = ""] = vms;
        const target = hosts[1] ?? "";
        const off = victim === "source" ? lost : target;
        let done = false;
        let offAt = 0;
        world.agents.moment = (call, now) => {
          if (done || call.method !== method || call.cancelled || now !== when) return;
          done = true;
          offAt = world.clock.monotonic();
          world.agents.powerOff(off);
        };
        const task = await world.addTask("migrate", "vm", vm, { parameters: { host: target } });
        await world.until(() => done, `${method} is reached`);
        await world.until(
          () => world.cache.get("vm", vm)?.status.migration === undefined && world.agents.runningOn(vm).length === 1 && world.vmOn(vm) !== off,
          `it runs on a host that is on (${victim} lost ${when} ${method})`,
          600_000,
        );
        const tookMs = world.clock.monotonic() - offAt;
        assert.ok(tookMs <= 30_000, `${victim} lost ${when} ${method}: took ${tookMs} ms, as if the migration had to be waited for`);
        await world.taskEnds(task);
        await end(it);
      }
    }
  }
});
