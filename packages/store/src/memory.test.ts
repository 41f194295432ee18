import { test } from "node:test";
import assert from "node:assert/strict";
import { seededRandom, SimulatedClock } from "@sheaf/base";
import { hasCode, recorder, until } from "./testing/conformance-kit.ts";
import { storeConformance } from "./testing/conformance.ts";
import { openMemoryStore } from "./memory.ts";

storeConformance("memory", async (clock) => {
  const store = await openMemoryStore({ clock, random: seededRandom(1) });
  return { store, dispose: () => store.close() };
});

test("history is bounded: what is older than the kept revisions is compacted by itself", async () => {
  const store = await openMemoryStore({ clock: new SimulatedClock(), random: seededRandom(1), historyRevisions: 100 });
  for (let step = 0; step < 300; step += 1) await store.transact({ compare: [], then: [{ put: "a", value: String(step) }] });
  await assert.rejects(store.get("a", { revision: 100 }), hasCode("compacted"));
  assert.equal((await store.get("a", { revision: 250 }))?.value, "249");
  const late = recorder();
  store.watch({ prefix: "", fromRevision: 100 }, late);
  await until(() => late.error?.code === "compacted");
  await store.close();
});
