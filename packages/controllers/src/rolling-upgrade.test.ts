/** Agents are upgraded through a cluster, with the real controllers: one host at a time, stopping at the first failure. */
import assert from "node:assert/strict";
import { test } from "node:test";
import type { UpgradeOrder } from "@sheaf/contract";
import { partKey, SheafError, type AgentInstallation, type RecordOf } from "@sheaf/model";
import { World } from "./world.test-support.ts";

const [oldArchive, newArchive] = ["0a".repeat(32), "0b".repeat(32)];
const release = { version: "0.2.0", archives: [{ platform: "linux-x64", sha256: newArchive, sizeBytes: 1000 }] };
const settleMs = 15_000;

/** How an agent takes an order: `bad` falls back, `lost` never comes back, `refuses` says no, `source` cannot be replaced. */
type Manner = "good" | "bad" | "lost" | "refuses" | "source" | "kills-a-machine";

class Scene {
  readonly world: World;
  readonly hosts: string[] = [];
  readonly vms: string[] = [];
  readonly orders: string[] = [];
  readonly manners = new Map<string, Manner>();
  /** Host's names in the order in which they took the new version. */
  readonly taken: string[] = [];
  #most = 0;

  constructor(world: World) {
    this.world = world;
  }

  static async make(hostCount = 3, manners: readonly Manner[] = []): Promise<Scene> {
    const world = await World.make();
    const scene = new Scene(world);
    for (let number = 1; number <= hostCount; number += 1) {
      const id = await world.addHost(`h${number}`);
      world.agents.pulses.set(id, "server");
      scene.hosts.push(id);
      const manner = manners[number - 1] ?? "good";
      scene.manners.set(id, manner);
      await scene.report(id, { platform: "linux-x64", archive: oldArchive, ...(manner === "source" ? { fixed: "it runs from source files" } : {}) });
    }
    for (let number = 0; number < hostCount; number += 1) scene.vms.push((await world.addVm(`vm-${number}`, { disk: "shared" })).vm);
    await world.until(() => scene.vms.every((vm) => world.agents.runningOn(vm).length === 1), "all run");
    world.agents.upgrade = (host, order) => {
      if (scene.manners.get(host) === "refuses") throw new SheafError("state-refused", "this host takes version 0.1.5 just now");
      void scene.#take(host, order);
    };
    world.cache.subscribe(() => void (scene.#most = Math.max(scene.#most, scene.hosts.filter((id) => scene.#underWay(id)).length)));
    return scene;
  }

  get most(): number {
    return this.#most;
  }

  #underWay(id: string): boolean {
    const seen = this.host(id)?.status.agent?.installation;
    return seen?.trial === true || (seen?.upgrade !== undefined && !["done", "failed"].includes(seen.upgrade.state));
  }

  host(id: string): RecordOf<"host"> | undefined {
    return this.world.cache.get("host", id);
  }

  async report(id: string, installation: AgentInstallation, version = "0.1.0"): Promise<void> {
    const agent = this.host(id)?.status.agent;
    await this.world.store.transact({
      compare: [],
      then: [{ put: partKey("host", id, "status/agent"), value: JSON.stringify({ ...agent, agentVersion: version, installation }) }],
    });
  }

  /** As the agent does it. */
  async #take(id: string, { order, version, sha256 }: UpgradeOrder): Promise<void> {
    this.orders.push(id);
    const { clock, agents } = this.world;
    const manner = this.manners.get(id);
    const pass = (ms: number): Promise<void> => new Promise((resolve) => clock.setTimer(ms, resolve));
    const upgrade = { order, version, begunAt: clock.now(), state: "fetching" as const };
    const before = { platform: "linux-x64", archive: oldArchive };
    await this.report(id, { ...before, upgrade });
    await pass(4000);
    await this.report(id, { ...before, upgrade: { ...upgrade, state: "restarting" } });
    agents.cut(id);
    if (manner === "lost") return;
    await pass(3000);
    agents.heal(id);
    if (manner === "bad") {
      const problem = { code: "upgrade-failed", detail: "the host went back from version 0.2.0: it ended 3 times" };
      return this.report(id, { ...before, upgrade: { ...upgrade, state: "failed", problem } });
    }
    const after = { platform: "linux-x64", archive: sha256 };
    await this.report(id, { ...after, trial: true, upgrade: { ...upgrade, state: "restarting" } }, version);
    await pass(5000);
    if (manner === "kills-a-machine") await this.#endMachine(id);
    this.taken.push(this.host(id)?.name ?? "");
    await this.report(id, { ...after, upgrade: { ...upgrade, state: "done" } }, version);
  }

  async #endMachine(hostId: string): Promise<void> {
    const { cache, store, clock } = this.world;
    const vm = [...cache.all("vm")].find(({ placement }) => placement?.host === hostId);
    assert.ok(vm?.status.agent);
    const value = JSON.stringify({ ...vm.status.agent, lastEnd: { at: clock.now(), by: "crash" } });
    await store.transact({ compare: [], then: [{ put: partKey("vm", vm.id, "status/agent"), value }] });
  }

  begin(parameters: Record<string, unknown> = {}): Promise<string> {
    return this.world.addTask("upgrade", "cluster", this.world.ids.cluster, { parameters: { hosts: this.hosts, release, ...parameters } });
  }

  message(task: string): string {
    return this.world.cache.get("task", task)?.status.controller?.message ?? "";
  }
  steps(task: string): string[] | undefined {
    return this.world.cache.get("task", task)?.status.controller?.steps?.map(({ name, state }) => `${name} ${state}`);
  }

  async end(): Promise<void> {
    const { agents } = this.world;
    assert.deepEqual(agents.violations, []);
    assert.deepEqual(
      this.hosts.map((id) => this.host(id)?.status.fencing),
      this.hosts.map(() => undefined),
      "no upgrade leads to fencing",
    );
    assert.deepEqual(
      [...agents.started].sort(),
      this.vms.map((_, at) => `vm-${at}`),
      "no machine was started anew",
    );
    await this.world.close();
  }
}

test("host after host takes the new version, each only when the one before is back, proved and quiet", async () => {
  const scene = await Scene.make();
  const { world, hosts } = scene;
  const begun = world.clock.now();
  const task = await scene.begin();
  assert.equal(await world.taskEnds(task), "succeeded");
  assert.deepEqual(scene.taken, ["h1", "h2", "h3"]);
  assert.equal(scene.most, 1);
  assert.ok(world.clock.now() - begun >= 3 * (12_000 + settleMs), "each is watched for its time");
  assert.deepEqual(scene.steps(task), ["h1 done", "h2 done", "h3 done"]);
  assert.match(scene.message(task), /3 of 3 hosts have agent 0\.2\.0/);
  // Once more: there is nothing to do, and nobody is told anything.
  const told = scene.orders.length;
  assert.equal(await world.taskEnds(await scene.begin()), "succeeded");
  assert.equal(scene.orders.length, told);
  assert.equal(told, hosts.length);
  await scene.end();
});

test("as many at once as were asked for, and no more", async () => {
  const scene = await Scene.make(4);
  assert.equal(await scene.world.taskEnds(await scene.begin({ parallel: 2, settleMs: 3000 })), "succeeded");
  assert.equal(scene.most, 2);
  await scene.end();
});

for (const [manner, words] of [
  ["bad", /^h2: the host went back from version 0\.2\.0: it ended 3 times/],
  ["lost", /^h2: its agent has not come back from its restart/],
  ["refuses", /^h2: this host takes version 0\.1\.5 just now/],
  ["kills-a-machine", /^h2: machines ended by themselves meanwhile: vm-\d/],
] as const)
  test(`the first failure ends the whole, with the reason and what to do next: ${manner}`, async () => {
    const scene = await Scene.make(3, ["good", manner]);
    const { world } = scene;
    const task = await scene.begin();
    assert.equal(await world.taskEnds(task, 900_000), "failed");
    assert.match(scene.message(task), words);
    assert.deepEqual(scene.steps(task), ["h1 done", "h2 failed", "h3 waiting"]);
    const { problem } = world.cache.get("task", task)?.status.controller ?? {};
    assert.equal(problem?.code, manner === "refuses" ? "state-refused" : "upgrade-failed");
    assert.match(problem?.next ?? "", /Nothing else was begun\. Mend it, then go on: `sheaf cluster upgrade it`/);
    await world.clock.advance(600_000);
    assert.ok(!scene.taken.includes("h3"));
    await scene.end();
  });

test("an agent that restarts again and again while it is watched has failed", async () => {
  const scene = await Scene.make(2);
  const { world, hosts } = scene;
  const task = await scene.begin();
  await world.until(() => scene.taken.length === 1, "h1 has it");
  for (let round = 0; round < 3; round += 1) {
    world.agents.cut(hosts[0] ?? "");
    await world.clock.advance(500);
    world.agents.heal(hosts[0] ?? "");
    await world.clock.advance(3000);
  }
  assert.equal(await world.taskEnds(task), "failed");
  assert.match(scene.message(task), /h1: its agent has lost its connection 3 times since/);
  await scene.end();
});

test("hosts in maintenance, from source files, and off are left out with their reason; one that is not connected is waited for, then left out", async () => {
  const scene = await Scene.make(4, ["good", "source"]);
  const { world, hosts } = scene;
  const [, , h3 = "", h4 = ""] = hosts;
  await world.hostTask("maintain", h3, { schedulable: "draining", maintenance: true });
  await world.until(() => world.cache.get("host", h3)?.status.drain?.done === true, "h3 is empty");
  world.agents.cut(h4);
  await world.until(() => world.cache.get("host", h4)?.status.liveness?.state === "unreachable", "h4 is unreachable");
  const task = await scene.begin();
  await world.until(() => /h1 waits: h4 has just become unreachable/.test(scene.message(task)), "it waits");
  assert.equal(await world.taskEnds(task), "succeeded");
  assert.match(
    scene.message(task),
    /1 of 4 hosts has agent 0\.2\.0; left out: h2 \(it runs from source files\), h3 \(it is in maintenance\), h4 \(its agent is not connected\)/,
  );
  assert.deepEqual(scene.taken, ["h1"]);
  await world.close();
});

test("where no host can take it, that is a failure with the reason", async () => {
  const scene = await Scene.make(1, ["source"]);
  const task = await scene.begin();
  assert.equal(await scene.world.taskEnds(task), "failed");
  assert.match(scene.message(task), /h1 \(it runs from source files\)/);
  await scene.end();
});

test("an order that its agent has forgotten is given again", async () => {
  const scene = await Scene.make(1);
  const { world } = scene;
  const take = world.agents.upgrade;
  let calls = 0;
  world.agents.upgrade = (...words) => void ((calls += 1) > 2 && take(...words));
  assert.equal(await world.taskEnds(await scene.begin()), "succeeded");
  assert.equal(calls, 3);
  await scene.end();
});

test("cancelled, nobody else is told; the host under way goes on by itself", async () => {
  const scene = await Scene.make(2);
  const { world, hosts } = scene;
  const task = await scene.begin();
  await world.until(() => scene.orders.length === 1, "h1 is told");
  await world.change("task", task, (head) => (head.spec["cancelRequestedAt"] = world.clock.now()));
  assert.equal(await world.taskEnds(task), "cancelled");
  assert.match(scene.message(task), /h1 goes on/);
  await world.clock.advance(120_000);
  assert.deepEqual([scene.taken, scene.orders], [["h1"], [hosts[0]]]);
  await scene.end();
});

test("the server is killed again and again: the roll goes on where it was", async () => {
  const scene = await Scene.make(3);
  const { world } = scene;
  const task = await scene.begin();
  for (let round = 0; round < 400 && !["succeeded", "failed"].includes(world.taskState(task)); round += 1) {
    await world.clock.advance(1170);
    world.killServer();
    await world.startServer();
  }
  assert.equal(world.taskState(task), "succeeded", scene.message(task));
  assert.deepEqual(scene.taken, ["h1", "h2", "h3"]);
  assert.equal(scene.most, 1);
  await scene.end();
});
