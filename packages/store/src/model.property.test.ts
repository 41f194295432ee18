import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { test } from "node:test";
import { seededRandom, SimulatedClock } from "@sheaf/base";
import { agreesWithModel } from "./testing/store-model.ts";
import { openMemoryStore } from "./memory.ts";
import { openSqliteStore } from "./sqlite.ts";

test("memory agrees with the model", () =>
  agreesWithModel(300, async () => {
    const store = await openMemoryStore({ clock: new SimulatedClock(), random: seededRandom(1) });
    return { store, dispose: () => store.close() };
  }));

test("sqlite agrees with the model", () =>
  agreesWithModel(30, async () => {
    const directory = await mkdtemp(join(tmpdir(), "sheaf-store-"));
    const store = await openSqliteStore({ path: join(directory, "store.db"), clock: new SimulatedClock(), random: seededRandom(1) });
    return {
      store,
      dispose: async () => {
        await store.close();
        await rm(directory, { recursive: true });
      },
    };
  }));
