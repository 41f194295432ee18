import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { seededRandom } from "@sheaf/base";
import { storeConformance } from "./testing/conformance.ts";
import { openSqliteStore } from "./sqlite.ts";

storeConformance("sqlite", async (clock) => {
  const directory = await mkdtemp(join(tmpdir(), "sheaf-store-"));
  const store = await openSqliteStore({ path: join(directory, "store.db"), clock, random: seededRandom(1) });
  return {
    store,
    dispose: async () => {
      await store.close();
      await rm(directory, { recursive: true });
    },
  };
});
