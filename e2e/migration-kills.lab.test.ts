/** A live migration hit at every transition of its table, victims taking turns. The soak plays every victim at each (soak/migration-kills.ts). */
import { after, before, test } from "node:test";
import { seededRandom } from "@sheaf/base";
import { rotatedKillPoints } from "../soak/kill-points.ts";
import { createMovers, killPointName, openMigrationSite, playKillPoint, removeMovers, type MigrationSite } from "../soak/migration-kills.ts";

let opened: MigrationSite;
before(
  async () => {
    opened = await openMigrationSite();
    await createMovers(opened);
  },
  { timeout: 180_000 },
);
after(() => opened?.close(), { timeout: 60_000 });

const seed = Number(process.env["SHEAF_TEST_SEED"] ?? 1);

for (const [index, point] of rotatedKillPoints(seed).entries()) {
  test(`one copy runs in the end: ${killPointName(point)}`, { timeout: 200_000 }, (context) =>
    playKillPoint(opened, point, { random: seededRandom(seed + index), log: (text) => context.diagnostic(text) }),
  );
}

test("nothing of all that is left", { timeout: 120_000 }, () => removeMovers(opened));
