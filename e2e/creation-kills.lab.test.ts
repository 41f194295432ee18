/** Two hundred creations at once and a kill among them: of the server, an agent, libvirtd, and a host's power. The soak repeats it (soak/creation-kills.ts). */
import { after, before, test } from "node:test";
import { seededRandom } from "@sheaf/base";
import { playCreationRound } from "../soak/creation-kills.ts";
import { openSite, type Site } from "./site.ts";

let site: Site;
before(
  async () => {
    site = await openSite({ hosts: 3, port: 17_663 });
  },
  { timeout: 180_000 },
);
after(() => site?.close(), { timeout: 60_000 });

const seed = Number(process.env["SHEAF_TEST_SEED"] ?? Date.now() % 2 ** 32);

test("kill -9 of the server amid 200 creations loses none that was acknowledged and makes none twice", { timeout: 300_000 }, (context) => {
  context.diagnostic(`seed ${seed}`);
  return playCreationRound(site, {
    victim: "server",
    kills: 1,
    machines: { runs: 6, stopped: 14, "too-large": 180 },
    random: seededRandom(seed),
    log: (text) => context.diagnostic(text),
    stop: context.signal,
  });
});

for (const [index, victim] of (["agent", "libvirtd", "host"] as const).entries()) {
  test(
    `the same when ${victim === "host" ? "a host loses its power" : `kill -9 hits ${victim === "agent" ? "an agent" : "a libvirtd"}`}`,
    { timeout: 300_000 },
    (context) => {
      context.diagnostic(`seed ${seed + index + 1}`);
      return playCreationRound(site, {
        victim,
        kills: 1,
        machines: { runs: 6, stopped: 14, "too-large": 180 },
        random: seededRandom(seed + index + 1),
        log: (text) => context.diagnostic(text),
        stop: context.signal,
      });
    },
  );
}
