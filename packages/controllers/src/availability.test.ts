/** Accounts of availability are kept by the real controllers, through fail-over, migration, deletion and the death of the server. */
import assert from "node:assert/strict";
import { test } from "node:test";
import { AvailabilityAccount, availabilityKey, GoneAvailability, goneAvailabilityKey } from "@sheaf/model";
import { accountMonth, monthOf } from "@sheaf/planning";
import { World } from "./world.test-support.ts";

async function account(world: World, vm: string): Promise<AvailabilityAccount | undefined> {
  const entry = await world.store.get(availabilityKey(world.ids.project, vm));
  return entry ? AvailabilityAccount.parse(JSON.parse(entry.value)) : undefined;
}
async function figures(world: World, vm: string) {
  const found = await account(world, vm);
  assert.ok(found, "there is an account");
  const now = world.clock.now();
  const month = accountMonth(found, monthOf(now), now);
  assert.ok(month);
  return month;
}

async function running(count: number, hosts = 2): Promise<{ world: World; hosts: string[]; vms: string[] }> {
  const world = await World.make();
  const ids: string[] = [];
  for (let number = 1; number <= hosts; number += 1) ids.push(await world.addHost(`h${number}`));
  const vms: string[] = [];
  for (let number = 0; number < count; number += 1)
    vms.push((await world.addVm(`vm-${number}`, { disk: "shared", spec: { highlyAvailable: true } })).vm);
  await world.until(() => vms.every((vm) => world.agents.runningOn(vm).length === 1), "all run");
  await world.clock.advance(5000);
  return { world, hosts: ids, vms };
}

test("while nothing changes nothing is written; what a machine is in counts all the same", async () => {
  const { world, vms } = await running(5);
  const written = async () => (await world.store.range({ prefix: "av/" })).entries.map(({ key, modRevision }) => [key, modRevision]);
  const before = await written();
  assert.equal(before.length, 5);
  await world.clock.advance(6 * 3_600_000);
  assert.deepEqual(await written(), before);
  const month = await figures(world, vms[0] ?? "");
  assert.ok(month.upMs >= 6 * 3_600_000);
  assert.equal(month.downMs, 0);
  await world.close();
});

test("a lost host is an outage of its machines from its last word until they run elsewhere; the others have none", async () => {
  const { world, hosts, vms } = await running(6, 3);
  const lost = hosts[0] ?? "";
  const theirs = vms.filter((vm) => world.vmOn(vm) === lost);
  const others = vms.filter((vm) => world.vmOn(vm) !== lost);
  assert.ok(theirs.length > 0 && others.length > 0);
  await world.change("host", lost, (head) => {
    head.spec["fencing"] = [
      { type: "ipmi", address: lost, user: "admin", password: "secret", port: 623, cipherSuite: 17, privilege: "administrator", timeoutMs: 5000 },
    ];
  });
  const cutAt = world.clock.now();
  world.agents.powerOff(lost);
  await world.until(() => theirs.every((vm) => world.vmOn(vm) !== lost && world.agents.runningOn(vm).length === 1), "all run elsewhere");
  const backAt = world.clock.now();
  await world.clock.advance(5000);
  for (const vm of theirs) {
    const { outages, causes, downMs } = await figures(world, vm);
    assert.deepEqual(causes, { host: { count: 1, ms: downMs } });
    assert.equal(outages.length, 1);
    assert.ok(Math.abs((outages[0]?.from ?? 0) - cutAt) <= 100, `began ${(outages[0]?.from ?? 0) - cutAt} ms after the cut`);
    assert.ok(Math.abs((outages[0]?.to ?? 0) - backAt) <= 200);
  }
  for (const vm of others) assert.equal((await figures(world, vm)).downMs, 0);
  await world.close();
});

test("silence that ends with the same guests is no outage, also when the server died meanwhile", async () => {
  const { world, hosts, vms } = await running(4);
  const host = hosts[0] ?? "";
  const vm = vms.find((one) => world.vmOn(one) === host) ?? "";
  world.agents.cut(host);
  await world.clock.advance(60_000);
  const during = await figures(world, vm);
  assert.ok(during.unknownMs >= 55_000 && during.downMs === 0);
  world.killServer();
  await world.clock.advance(30_000);
  await world.startServer();
  world.agents.heal(host);
  await world.clock.advance(60_000);
  const after = await figures(world, vm);
  assert.equal(after.unknownMs + after.downMs, 0);
  await world.close();
});

test("a live migration costs its pause and is counted once, however often the server begins anew", async () => {
  const { world, vms } = await running(1);
  const [vm = ""] = vms;
  const task = await world.addTask("migrate", "vm", vm);
  assert.equal(await world.taskEnds(task), "succeeded");
  await world.clock.advance(5000);
  for (let round = 0; round < 2; round += 1) {
    const { causes, downMs } = await figures(world, vm);
    assert.deepEqual([causes, downMs], [{ migration: { count: 1, ms: 12 } }, 12]);
    world.killServer();
    await world.startServer();
    await world.clock.advance(5000);
  }
  await world.close();
});

test("a machine that is deleted leaves its time to its project, also when that was left to the next server", async () => {
  const { world, vms } = await running(3);
  const [first = "", second = ""] = vms;
  await world.clock.advance(600_000);
  const remove = (vm: string) => world.change("vm", vm, (head) => (head.deletedAt = world.clock.now()));
  await remove(first);
  await world.until(() => world.cache.get("vm", first) === undefined, "it is gone");
  await world.clock.advance(5000);
  assert.equal(await account(world, first), undefined);
  await remove(second);
  await world.until(() => world.cache.get("vm", second) === undefined, "it is gone too");
  world.killServer();
  await world.startServer();
  await world.clock.advance(5000);
  assert.equal(await account(world, second), undefined);
  const entry = await world.store.get(goneAvailabilityKey(world.ids.project));
  const [month] = GoneAvailability.parse(JSON.parse(entry?.value ?? "{}")).months;
  assert.equal(month?.machines, 2);
  assert.ok((month?.upMs ?? 0) >= 1_200_000);
  assert.equal((await figures(world, vms[2] ?? "")).offMs, 0);
  await world.close();
});
