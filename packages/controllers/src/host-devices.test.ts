/** GPUs and other devices of hosts, through the real controllers: given with a host, named in the placement, given back, chosen anew elsewhere. */
import assert from "node:assert/strict";
import { test } from "node:test";
import type { HostGpu } from "@sheaf/model";
import { gib, World } from "./world.test-support.ts";

const gpu = (n: number): HostGpu => ({ address: `0000:4${n}:00.0`, vendor: "10de", product: "2236", model: "A10", whole: true });
const withGpus = (...gpus: readonly HostGpu[]) => ({ seen: { gpus: [...gpus] } });
const one = { spec: { gpus: { count: 1 } } };

const gpusOf = (world: World, vm: string): string[] => (world.cache.get("vm", vm)?.placement?.gpus ?? []).map(({ address }) => address);
const pending = (world: World, vm: string): string => world.cache.get("vm", vm)?.status.placement?.pending?.reason ?? "";

test("a machine's placement names its GPU; the next one waits, with the reason, until that is free", async () => {
  const world = await World.make();
  await world.addHost("plain");
  const host = await world.addHost("gpus", withGpus(gpu(1)));
  const first = await world.addVm("first", one);
  assert.equal(await world.taskEnds(first.task), "succeeded");
  assert.deepEqual([world.vmOn(first.vm), gpusOf(world, first.vm)], [host, ["0000:41:00.0"]]);
  assert.match(world.cache.get("vm", first.vm)?.placement?.reason ?? "", /with GPU 0000:41:00\.0 \(A10\)/);
  const second = await world.addVm("second", one);
  await world.until(() => pending(world, second.vm) !== "", "the second waits");
  assert.equal(pending(world, second.vm), "no host fits: 1 has no GPU, 1 lacks a free GPU");
  await world.change("vm", first.vm, (head) => (head.deletedAt = world.clock.now()));
  assert.equal(await world.taskEnds(second.task), "succeeded");
  assert.deepEqual(gpusOf(world, second.vm), ["0000:41:00.0"]);
  await world.close();
});

test("many at once, on a store that fails and forgets to answer: no GPU is given twice", async () => {
  const world = await World.make();
  const room = { cpus: 64, memoryBytes: 100 * gib };
  for (const name of ["a", "b", "c"]) await world.addHost(name, { ...room, ...withGpus(gpu(1), gpu(2), gpu(3), gpu(4)) });
  world.store.setFaults({ uncertainCommitted: 0.1, uncertainLost: 0.1, unavailable: 0.1, watchEnds: 0.02 });
  for (let n = 0; n < 20; n += 1) await world.addVm(`vm-${n}`, one).catch(() => world.clock.advance(10));
  await world.clock.advance(60_000);
  world.store.setFaults({});
  const placed = () => [...world.cache.all("vm")].filter(({ placement }) => placement !== undefined);
  const waiting = () => [...world.cache.all("vm")].filter(({ status }) => status.placement?.pending !== undefined);
  await world.until(() => placed().length === 12 && placed().length + waiting().length === [...world.cache.all("vm")].length, "twelve have GPUs");
  assert.ok(waiting().length > 0);
  const given = placed().flatMap(({ placement }) => (placement?.gpus ?? []).map(({ address }) => `${placement?.host ?? ""} ${address}`));
  assert.deepEqual([given.length, new Set(given).size], [12, 12]);
  await world.close();
});

test("while it runs it is not moved, and a drain says why; stopped, it is given over and gets a GPU of its new host", async () => {
  const world = await World.make();
  const [from, to] = [await world.addHost("from", withGpus(gpu(1))), await world.addHost("to", withGpus(gpu(2)))];
  await world.change("host", to, (head) => (head.spec["schedulable"] = "cordoned"));
  const { vm } = await world.addVm("it", one);
  await world.until(() => world.agents.runningOn(vm).includes(from), "it runs");
  await world.change("host", to, (head) => (head.spec["schedulable"] = "open"));
  await world.drain(from);
  await world.until(() => (world.cache.get("host", from)?.status.drain?.stuck.length ?? 0) > 0, "the drain is stuck");
  assert.deepEqual(
    world.cache.get("host", from)?.status.drain?.stuck.map(({ why }) => why),
    ["it has GPUs of its host for itself, whose state cannot be carried: stop it first, then it moves"],
  );
  const asked = await world.addTask("migrate", "vm", vm, { parameters: { host: to } });
  assert.equal(await world.taskEnds(asked), "failed");
  await world.change("vm", vm, (head) => (head.spec["power"] = "stopped"));
  await world.until(() => world.vmOn(vm) === to, "it moves");
  assert.deepEqual(gpusOf(world, vm), ["0000:42:00.0"]);
  const next = await world.addVm("next", { spec: { ...one.spec, placement: { host: to } } });
  await world.until(() => pending(world, next.vm) !== "", "the next waits");
  assert.match(pending(world, next.vm), /1 lacks a free GPU/);
  await world.close();
});

test("where its host is lost, it starts elsewhere with a GPU of the new host", async () => {
  const world = await World.make();
  const lost = await world.addHost("lost", withGpus(gpu(1)));
  const method = {
    type: "ipmi",
    address: lost,
    user: "admin",
    password: "secret",
    port: 623,
    cipherSuite: 17,
    privilege: "administrator",
    timeoutMs: 5000,
  };
  await world.change("host", lost, (head) => (head.spec["fencing"] = [method]));
  const { vm } = await world.addVm("it", { spec: { ...one.spec, highlyAvailable: true } });
  await world.until(() => world.agents.runningOn(vm).includes(lost), "it runs");
  await world.addHost("plain");
  const other = await world.addHost("other", withGpus(gpu(2), gpu(3)));
  world.agents.powerOff(lost);
  await world.until(() => world.agents.runningOn(vm).includes(other), "it runs elsewhere");
  assert.deepEqual(gpusOf(world, vm), ["0000:42:00.0"]);
  assert.deepEqual(world.agents.violations, []);
  await world.close();
});
