import assert from "node:assert/strict";
import { test } from "node:test";
import { SimulatedClock, silentLogger } from "@sheaf/base";
import { RecordCache } from "@sheaf/runtime";
import { openMemoryStore } from "@sheaf/store";
import { createControllers } from "./create-controllers.ts";
import { defaultControllerSettings } from "./settings.ts";
import { seededRandom } from "./world.test-support.ts";

test("no part has two writers, but placement, which migration moves on by compare-and-set", async () => {
  const clock = new SimulatedClock();
  const random = seededRandom(1);
  const store = await openMemoryStore({ clock, random });
  const cache = await RecordCache.open({ store, clock, logger: silentLogger });
  const agents = {
    connected: () => false,
    lastHeardAt: () => null,
    bootId: () => null,
    jitterMs: () => 0,
    pulse: () => null,
    load: () => null,
    call: () => Promise.reject(new Error("no agents")),
    subscribe: () => () => {},
  };
  const tasks = { append: () => {}, progress: () => {} };
  const none = () => Promise.reject(new Error("no devices"));
  const set = createControllers({
    store,
    cache,
    clock,
    random,
    logger: silentLogger,
    agents,
    fencing: { off: none, isOff: none, on: none, wakeOnLan: none },
    tasks,
    settings: defaultControllerSettings,
    leadership: () => [],
  });
  const writes = set.controllers.flatMap((controller) => controller.writes);
  assert.deepEqual(writes.toSorted(), [...new Set(writes)].toSorted());
  assert.equal(new Set(set.controllers.map((controller) => controller.name)).size, set.controllers.length);
  set.close();
  cache.close();
  await store.close();
});
