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
