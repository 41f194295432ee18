/** Who waits for a host is told why, whatever the store did meanwhile. */
import assert from "node:assert/strict";
import { test } from "node:test";
import { StoreError } from "@sheaf/store";
import { gib, World } from "./world.test-support.ts";

test("a reason that the store did not take is said again, though nothing changes on the hosts", async () => {
  const world = await World.make();
  await world.addHost("h1", { memoryBytes: 2 * gib });
  const waits = async (name: string): Promise<string> => {
    const { vm } = await world.addVm(name, { spec: { memory: { bytes: 8 * gib } } });
    await world.until(() => world.cache.get("vm", vm)?.status.placement?.pending !== undefined, `${name} is told why it waits`);
    return world.cache.get("vm", vm)?.status.placement?.pending?.reason ?? "";
  };
  // Once one waits and has been looked at again, only a change of capacity wakes those that wait.
  await waits("first");
  await world.clock.advance(5000);
  let refusals = 0;
  const transact = world.store.transact.bind(world.store);
  world.store.transact = (transaction) => {
    const tells = transaction.then.some((operation) => "put" in operation && operation.put.endsWith("/status/placement"));
    if (!tells || refusals >= 2) return transact(transaction);
    refusals += 1;
    return Promise.reject(new StoreError("unavailable", "the store does not answer"));
  };
  assert.match(await waits("second"), /no host fits: 1 lacks memory/);
  assert.equal(refusals, 2);
  await world.close();
});

test("a gang waits until all of it is there and has room, and then gets its hosts at once", async () => {
  const world = await World.make();
  await world.addHost("h1", { memoryBytes: 4 * gib });
  const spec = { memory: { bytes: 2 * gib }, placement: { gang: { name: "g", size: 3 } } };
  const ids: string[] = [];
  for (const name of ["a", "b"]) ids.push((await world.addVm(name, { spec })).vm);
  const reasons = () => ids.map((id) => world.cache.get("vm", id)?.status.placement?.pending?.reason);
  const say = (text: RegExp) => world.until(() => reasons().every((reason) => reason !== undefined && text.test(reason)), `they say ${text.source}`);
  await say(/2 of 3 are there/);
  ids.push((await world.addVm("c", { spec })).vm);
  await say(/2 of the 3 machines of gang g would fit/);
  await world.clock.advance(10_000);
  const placed = () => ids.filter((id) => world.cache.get("vm", id)?.placement !== undefined).length;
  assert.equal(placed(), 0);
  const seen: number[] = [];
  world.cache.subscribe(() => seen.push(placed()));
  await world.addHost("h2", { memoryBytes: 4 * gib });
  await world.until(() => placed() === 3, "all have hosts");
  assert.deepEqual([...new Set(seen)], [0, 3]);
  await world.close();
});
