/** Maintenance goes through a cluster, with the real controllers: one host at a time, stopping where it must. */
import assert from "node:assert/strict";
import { test } from "node:test";
import { taskProgress } from "@sheaf/model";
import { World } from "./world.test-support.ts";

interface Scene {
  readonly world: World;
  readonly hosts: readonly string[];
  readonly vms: readonly string[];
  readonly task: string;
}

async function scene(hostCount = 3, machines = 6, spec: Record<string, unknown> = {}, prepare: (world: World) => void = () => {}): Promise<Scene> {
  const world = await World.make({ drainRetryMs: 5000 });
  const hosts: string[] = [];
  for (let number = 1; number <= hostCount; number += 1) hosts.push(await world.addHost(`h${number}`));
  const vms: string[] = [];
  for (let number = 0; number < machines; number += 1) vms.push((await world.addVm(`vm-${number}`, { disk: "shared", spec })).vm);
  await world.until(() => vms.every((vm) => world.agents.runningOn(vm).length === 1), "all run");
  prepare(world);
  const task = await world.addTask("maintain", "cluster", world.ids.cluster, { parameters: { hosts } });
  return { world, hosts, vms, task };
}
const message = ({ world, task }: Scene): string => {
  const found = world.cache.get("task", task);
  return (found && taskProgress(found.status)?.message) ?? "";
};
const away = ({ world, hosts }: Scene): string[] =>
  hosts.filter((host) => {
    const record = world.cache.get("host", host);
    return record?.spec.schedulable !== "open" || record.status.maintenance !== undefined;
  });
const say = ({ world, task }: Scene, parameters: Record<string, unknown>) =>
  world.change("task", task, (head) => Object.assign(head.spec["parameters"] as object, parameters));
async function end({ world, vms }: Scene): Promise<void> {
  assert.deepEqual(world.agents.violations, []);
  for (const vm of vms) assert.equal(world.agents.runningOn(vm).length, 1);
  await world.close();
}

test("host after host is emptied, waits for its work (a word or a restart), and gets its machines back; never two at once", async () => {
  const it = await scene();
  const { world, hosts, vms, task } = it;
  const homes = vms.map((vm) => world.vmOn(vm));
  let most = 0;
  const watch = world.cache.subscribe(() => void (most = Math.max(most, away(it).length)));
  for (const [at, host] of hosts.entries()) {
    await world.until(() => message(it).startsWith(`h${at + 1} is empty`), `h${at + 1} is empty`, 600_000);
    assert.equal(world.agents.hosts.get(host)?.guests.size, 0);
    // It waits for as long as the work takes.
    await world.clock.advance(3_600_000);
    assert.match(message(it), new RegExp(`^h${at + 1} is empty`));
    if (at === 1) {
      world.agents.powerOff(host);
      await world.clock.advance(120_000);
      world.agents.powerOn(host);
    } else await say(it, { done: hosts.slice(0, at + 1) });
  }
  assert.equal(await world.taskEnds(task), "succeeded");
  watch();
  assert.equal(most, 1);
  assert.deepEqual(
    vms.map((vm) => world.vmOn(vm)),
    homes,
  );
  const steps = world.cache.get("task", task)?.status.controller?.steps?.map(({ name, state }) => `${name} ${state}`);
  assert.deepEqual(steps, ["h1 done", "h2 done", "h3 done"]);
  await end(it);
});

test("paused, the next host is not begun with; cancelled, the host under way is named and stays as it is", async () => {
  const it = await scene(2, 2);
  const { world, hosts, task } = it;
  const [h1 = ""] = hosts;
  await world.until(() => message(it).startsWith("h1 is empty"), "h1 is empty");
  await say(it, { paused: true, done: [h1] });
  await world.until(() => message(it).startsWith("paused before h2"), "it is paused");
  await world.clock.advance(3_600_000);
  assert.deepEqual(away(it), []);
  await say(it, { paused: false });
  await world.until(() => message(it).startsWith("h2 is empty"), "h2 is empty");
  await world.change("task", task, (head) => (head.spec["cancelRequestedAt"] = world.clock.now()));
  assert.equal(await world.taskEnds(task), "cancelled");
  assert.match(message(it), /h2 stays in maintenance: activate it/);
  assert.deepEqual(away(it), hosts.slice(1));
  await end(it);
});

test("a host is not emptied where groups or room forbid it: it waits, then it has failed, and no further host is touched", async () => {
  const it = await scene(2, 2, { placement: { hostSelector: {}, apart: "pair" } });
  const { world, task } = it;
  await world.until(() => /h1 waits/.test(message(it)), "it waits");
  assert.match(message(it), /1 of its 1 machines cannot move; vm-\d: no host can take it/);
  assert.equal(await world.taskEnds(task, 1_200_000), "failed");
  assert.match(world.cache.get("task", task)?.status.controller?.problem?.next ?? "", /cluster maintain it --hosts h1,h2/);
  assert.deepEqual(away(it), []);
  await end(it);
});

test("while another host is lost no host is begun with; it goes on when that one is back", async () => {
  const it = await scene(3, 3);
  const { world, hosts, vms } = it;
  const [h1 = "", , h3 = ""] = hosts;
  await world.until(() => message(it).startsWith("h1 is empty"), "h1 is empty");
  world.agents.cut(h3);
  await world.clock.advance(60_000);
  await say(it, { done: [h1] });
  await world.until(() => /h2 waits: h3 is not open and ready/.test(message(it)), "it waits", 600_000);
  world.agents.heal(h3);
  await world.until(() => message(it).startsWith("h2 is empty"), "h2 is empty");
  assert.ok(vms.every((vm) => world.agents.runningOn(vm).length === 1));
  await end(it);
});

test("a machine that can no longer leave stops it; so does a person who activates the host too early", async () => {
  const it = await scene(2, 4, {}, ({ agents }) => (agents.fault = ({ method }) => (method === "migrate.begin" ? "fail" : undefined)));
  const { world, hosts, vms, task } = it;
  const [h1 = ""] = hosts;
  assert.equal(await world.taskEnds(task, 1_800_000), "failed");
  assert.match(message(it), /h1 does not get empty, \d machines are left: migrate.begin was refused/);
  assert.deepEqual(away(it), [h1]);
  world.agents.fault = () => undefined;
  await world.hostTask("activate", h1, { schedulable: "open", maintenance: false });
  await world.until(() => away(it).length === 0, "it is open");
  const again = await world.addTask("maintain", "cluster", world.ids.cluster, { parameters: { hosts } });
  world.agents.copyMs = 60_000;
  await world.until(() => vms.some((vm) => world.cache.get("vm", vm)?.status.migration !== undefined), "they move");
  await world.hostTask("activate", h1, { schedulable: "open", maintenance: false });
  assert.equal(await world.taskEnds(again), "failed");
  await end(it);
});

test("the server is killed again and again: it goes on where it was", async () => {
  const it = await scene(3, 4);
  const { world, hosts, task } = it;
  for (let round = 0; round < 200 && world.taskState(task) !== "succeeded"; round += 1) {
    await world.clock.advance(330);
    world.killServer();
    await world.startServer();
    const done = hosts.filter((_, at) => message(it).startsWith(`h${at + 1} is empty`));
    if (done.length > 0) await say(it, { done: hosts });
    assert.ok(away(it).length <= 1);
  }
  assert.equal(await world.taskEnds(task), "succeeded");
  await end(it);
});
