/** A host cut off from its server, as shortly as shows it; for minutes in the soak (soak/cut-off.ts). */
import { after, before, test } from "node:test";
import { seededRandom } from "@sheaf/base";
import { playCutOff } from "../soak/cut-off.ts";
import { openSite, type Site } from "./site.ts";

let site: Site;
before(
  async () => {
    site = await openSite({ hosts: 2, port: 17_683 });
  },
  { timeout: 180_000 },
);
after(() => site?.close(), { timeout: 60_000 });

test("guests of a host that is cut off run on and restart by their policy; all converges on its return", { timeout: 300_000 }, (context) => {
  const seed = Number(process.env["SHEAF_TEST_SEED"] ?? Date.now() % 2 ** 32);
  context.diagnostic(`seed ${seed}`);
  return playCutOff(site, { cutMs: 20_000, random: seededRandom(seed), log: (text) => context.diagnostic(text), stop: context.signal });
});
