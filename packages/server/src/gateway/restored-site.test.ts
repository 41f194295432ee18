/** A restored store: what it does not know must not be decided before the hosts were heard. */
import assert from "node:assert/strict";
import { afterEach, beforeEach, describe, it } from "node:test";
import { silentLogger } from "@sheaf/base";
import { until, World } from "./gateway.test-support.ts";
import { RestoredSite } from "./restored-site.ts";

const old = "01000000-0000-7000-8000-000000000000";

describe("a restored site", () => {
  let world: World;
  let a = "";
  let b = "";
  const open = () => RestoredSite.open({ store: world.store, cache: world.cache, clock: world.clock, logger: silentLogger });
  const beforeRestore = { head: { createdAt: 0 } };
  const pool = { type: "local", path: "/pool" };
  const vmWith = (disks: object[] = []) => ({ disks, nics: [] });
  const place = (host: string, epoch: number) => ({ host, epoch, incarnation: old, at: 0 });

  beforeEach(async () => {
    world = await World.open();
    a = await world.put("host", { cluster: "c" }, beforeRestore);
    b = await world.put("host", { cluster: "c" }, beforeRestore);
  });
  afterEach(() => world.close());

  it("gives what is older no host until every host was heard, and remembers that they were", async () => {
    const site = await open();
    const younger = { createdAt: world.clock.now() + 1 };
    assert.deepEqual([site.heldBack({ createdAt: 0 }), site.heldBack(younger)], [true, false]);
    await site.heard(a, []);
    await site.heard(a, []);
    assert.equal(site.heldBack({ createdAt: 0 }), true);
    await site.heard(b, []);
    assert.equal(site.heldBack({ createdAt: 0 }), false);
    site.close();
    const again = await open();
    assert.equal(again.settled(), true, "a later start waits for nobody");
    again.close();
  });

  it("waits no more for a host that a person removed", async () => {
    const site = await open();
    await site.heard(a, []);
    assert.equal(site.settled(), false);
    await world.erase("host", b);
    await until("the site is settled", () => site.settled());
    site.close();
  });

  it("waits no more for a host that was cut off since; one that was off in the backup may be on", async () => {
    const fenced = (since: number) => world.putPart("host", b, "status/fencing", { state: "fenced", since, reason: "", attempts: [] });
    await fenced(0);
    const site = await open();
    await site.heard(a, []);
    assert.equal(site.settled(), false);
    await fenced(world.clock.now() + 1);
    await until("the site is settled", () => site.settled());
    site.close();
  });

  it("a machine that the backup did not place is where the newest memory of it is, with its disks", async () => {
    const volume = await world.put("volume", { pool: await world.put("pool", pool), sizeBytes: 2 ** 30 }, beforeRestore);
    const vm = await world.put("vm", vmWith([{ name: "root", volume }]), beforeRestore);
    const site = await open();
    await site.heard(a, [{ id: vm, epoch: 1, incarnation: old }]);
    assert.equal(world.cache.get("vm", vm)?.placement, undefined, "an old memory decides nothing alone");
    await site.heard(b, [{ id: vm, epoch: 2, incarnation: old }]);
    const placement = world.cache.get("vm", vm)?.placement;
    assert.deepEqual([placement?.host, placement?.epoch, placement?.incarnation], [b, 2, old]);
    assert.equal(world.cache.get("volume", volume)?.placement?.host, b);
    site.close();
  });

  it("a machine that has moved since is where it moved to, with its disks", async () => {
    const poolId = await world.put("pool", pool);
    const volume = await world.put("volume", { pool: poolId, sizeBytes: 2 ** 30 }, { ...beforeRestore, parts: { placement: place(a, 3) } });
    const vm = await world.put("vm", vmWith([{ name: "root", volume }]), { ...beforeRestore, parts: { placement: place(a, 1) } });
    const site = await open();
    await site.heard(a, [{ id: vm, epoch: 1, incarnation: old }]);
    await site.heard(b, [{ id: vm, epoch: 2, incarnation: old }]);
    assert.deepEqual([world.cache.get("vm", vm)?.placement?.host, world.cache.get("vm", vm)?.placement?.epoch], [b, 2]);
    const disk = world.cache.get("volume", volume)?.placement;
    assert.deepEqual([disk?.host, disk?.epoch, disk?.incarnation], [b, 4, world.store.incarnation]);
    site.close();
  });

  it("a machine that has moved since and come back is held under the newer epoch: its host goes by no older one", async () => {
    const vm = await world.put("vm", vmWith(), { ...beforeRestore, parts: { placement: place(a, 2) } });
    const site = await open();
    await site.heard(a, [{ id: vm, epoch: 4, incarnation: old }]);
    assert.deepEqual([world.cache.get("vm", vm)?.placement?.host, world.cache.get("vm", vm)?.placement?.epoch], [a, 4]);
    site.close();
  });

  it("a copy that a migration prepared is no claim: the machine is its source's, whoever is heard first", async () => {
    const vm = await world.put("vm", vmWith(), { ...beforeRestore, parts: { placement: place(a, 1) } });
    const site = await open();
    await site.heard(b, [{ id: vm, epoch: 2, incarnation: old, incoming: true }]);
    assert.deepEqual([world.cache.get("vm", vm)?.placement?.host, world.cache.get("vm", vm)?.placement?.epoch], [a, 1]);
    assert.deepEqual([...site.all()], [[b, []]], "nor for other servers");
    site.close();
  });

  it("believes no claim on what was decided since, and none once the site is settled", async () => {
    const decided = await world.put("vm", vmWith(), { ...beforeRestore, parts: { placement: world.placement(a) } });
    const pending = await world.put("vm", vmWith(), beforeRestore);
    const site = await open();
    await site.heard(a, []);
    await site.heard(b, [{ id: decided, epoch: 99, incarnation: old }]);
    assert.equal(world.cache.get("vm", decided)?.placement?.host, a);
    await site.heard(b, [{ id: pending, epoch: 99, incarnation: old }]);
    assert.equal(world.cache.get("vm", pending)?.placement, undefined);
    site.close();
  });
});
