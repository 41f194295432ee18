/** The contract on a real etcd of one member. */
import { after, test } from "node:test";
import { sleep } from "@sheaf/base";
import { SystemClock } from "@sheaf/adapters";
import { startEtcd } from "@sheaf/lab";
import { openPlace } from "./testing/etcd-place.ts";
import { agreesWithModel } from "./testing/store-model.ts";
import { storeConformance } from "./testing/conformance.ts";

const cluster = await startEtcd();
after(() => cluster.dispose());

storeConformance("etcd", async () => {
  const { store, dispose } = await openPlace(cluster);
  return { store, dispose, pass: (ms) => sleep(new SystemClock(), ms) };
});

test("etcd agrees with the model", { timeout: 120_000 }, () => agreesWithModel(15, () => openPlace(cluster)));
