/** Broken rules are mended, and room is made for what waits, by real controllers: as advice, and by itself. */
import assert from "node:assert/strict";
import { test } from "node:test";
import { balanceAdvice } from "./cluster-balance.ts";
import { gib, World } from "./world.test-support.ts";

/** Hosts of 8 CPUs and 16 GiB, each with machines of so many GiB. */
async function scene(memoryGib: readonly (readonly number[])[], balancing: Record<string, unknown> = {}) {
  const world = await World.make();
  await world.change("cluster", world.ids.cluster, (head) => (head.spec["balancing"] = { patienceMinutes: 1, ...balancing }));
  const hosts: string[] = [];
  const vms: string[][] = [];
  for (const [at, sizes] of memoryGib.entries()) {
    for (const host of hosts) await world.change("host", host, (head) => (head.spec["schedulable"] = "cordoned"));
    const host = await world.addHost(`h${at + 1}`);
    const its: string[] = [];
    for (const size of sizes) {
      const { vm } = await world.addVm(`vm-${at}-${its.length}`, { disk: "shared", spec: { memory: { bytes: size * gib } } });
      await world.until(() => world.agents.runningOn(vm).length === 1, "it runs");
      its.push(vm);
    }
    hosts.push(host);
    vms.push(its);
  }
  for (const host of hosts) await world.change("host", host, (head) => (head.spec["schedulable"] = "open"));
  await world.clock.advance(120_000);
  return { world, hosts, vms };
}

function adviceOf({ cache, clock, agents, snapshot, book }: World) {
  const cluster = cache.byName("cluster", "-", "default");
  assert.ok(cluster);
  return balanceAdvice(cluster, { cache, clock, agents, snapshot, book });
}
async function end(world: World): Promise<void> {
  assert.deepEqual(world.agents.violations, []);
  await world.close();
}
const keepApart = (world: World, vm: string) =>
  world.change("vm", vm, (head) => (head.spec["placement"] = { ...(head.spec["placement"] as object), apart: "pair" }));

test("machines that are told to stay apart while they share a host are parted, by one move", async () => {
  const { world, hosts, vms } = await scene([[2, 2, 2], [2]], { mode: "automatic" });
  const [first = "", second = "", third = ""] = vms[0] ?? [];
  for (const vm of [first, second]) await keepApart(world, vm);
  const advice = adviceOf(world);
  assert.deepEqual([advice.cause, advice.moves.length], [{ kind: "rules" }, 1]);
  assert.match(advice.moves[0]?.reason ?? "", /^h1 holds a machine it must keep apart from$/);
  await world.until(() => world.vmOn(first) !== world.vmOn(second), "they are apart", 600_000);
  assert.equal(world.vmOn(third), hosts[0]);
  await world.clock.advance(3_600_000);
  assert.deepEqual(adviceOf(world).moves, []);
  await end(world);
});

test("a machine that is bound to another host, or whose host has lost its label, goes there", async () => {
  const { world, hosts, vms } = await scene([[2, 2], [2], []]);
  const [bound = "", labelled = ""] = vms[0] ?? [];
  await world.change("vm", bound, (head) => (head.spec["placement"] = { hostSelector: {}, host: hosts[1] }));
  await world.change("vm", labelled, (head) => (head.spec["placement"] = { hostSelector: { disk: "ssd" } }));
  await world.change("host", hosts[2] ?? "", (head) => (head.labels = { disk: "ssd" }));
  const { moves, cause } = adviceOf(world);
  assert.deepEqual(cause, { kind: "rules" });
  assert.deepEqual(Object.fromEntries(moves.map(({ vm, to }) => [vm, to])), { [bound]: hosts[1], [labelled]: hosts[2] });
  await end(world);
});

test("room is made for a machine that fits nowhere although enough is free in pieces, and it starts", async () => {
  const { world, hosts, vms } = await scene([[5, 5], [9]], { mode: "automatic" });
  const { vm } = await world.addVm("big", { disk: "shared", spec: { memory: { bytes: 10 * gib } } });
  await world.until(() => world.cache.get("vm", vm)?.status.placement?.pending !== undefined, "it waits");
  const advice = adviceOf(world);
  assert.deepEqual([advice.cause, advice.moves.length], [{ kind: "room", vm, name: "big" }, 1]);
  assert.match(advice.moves[0]?.reason ?? "", /^makes room for big on h1$/);
  await world.until(() => world.agents.runningOn(vm).length === 1, "it runs", 900_000);
  assert.equal(world.vmOn(vm), hosts[0]);
  assert.equal((vms[0] ?? []).filter((small) => world.vmOn(small) === hosts[1]).length, 1);
  await end(world);
});

test("no room is made where nothing would come of it: the rules are against it, or too little is free altogether", async () => {
  const { world } = await scene([[5, 5], [9]]);
  for (const [name, spec] of [
    ["nowhere", { memory: { bytes: 10 * gib }, placement: { hostSelector: { disk: "none" } } }],
    ["too-large", { memory: { bytes: 15 * gib } }],
  ] as const) {
    const { vm } = await world.addVm(name, { disk: "shared", spec });
    await world.until(() => world.cache.get("vm", vm)?.status.placement?.pending !== undefined, "it waits");
  }
  assert.deepEqual(adviceOf(world).moves, []);
  await end(world);
});

test("as advice it stands with its cause, and is withdrawn once no rule is broken any more", async () => {
  const { world, vms } = await scene([[2, 2], [2]], { mode: "advise" });
  const [first = "", second = ""] = vms[0] ?? [];
  for (const vm of [first, second]) await keepApart(world, vm);
  const kept = () => world.cache.get("cluster", world.ids.cluster)?.status.advice;
  await world.until(() => kept() !== undefined, "it is advised", 600_000);
  assert.deepEqual(kept()?.cause, { kind: "rules" });
  const { id } = kept() ?? {};
  await world.clock.advance(600_000);
  assert.equal(kept()?.id, id);
  await world.change("vm", first, (head) => (head.spec["placement"] = { hostSelector: {} }));
  await world.until(() => kept() === undefined, "it is withdrawn", 900_000);
  assert.equal(world.vmOn(first), world.vmOn(second));
  await end(world);
});

test("a machine that waits in vain is no reason to even out hosts that are even enough", async () => {
  const { world } = await scene([[2, 2, 2, 2], [2]], { mode: "automatic", goal: "even", unevenPoints: 50 });
  for (const vm of world.cache.all("vm")) world.agents.busyCpus.set(vm.id, 1);
  await world.clock.advance(900_000);
  const { vm } = await world.addVm("too-large", { disk: "shared", spec: { memory: { bytes: 40 * gib } } });
  await world.until(() => world.cache.get("vm", vm)?.status.placement?.pending !== undefined, "it waits");
  assert.ok(adviceOf(world).moves.length > 0, "asked, there is something to gain");
  await world.clock.advance(3 * 3_600_000);
  assert.ok(![...world.cache.all("task")].some(({ spec }) => spec.verb === "balance"));
  await end(world);
});
