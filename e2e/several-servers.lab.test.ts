/** Two servers and three members of etcd, broken in turn, as shortly as shows it; for a minute each in the soak (soak/several-servers.ts). */
import { after, before, test } from "node:test";
import { seededRandom } from "@sheaf/base";
import { playServerFaults } from "../soak/several-servers.ts";
import { TwoServers } from "./two-servers.ts";

let servers: TwoServers | undefined;
before(
  async () => {
    servers = await TwoServers.open(17_943);
  },
  { timeout: 180_000 },
);
after(() => servers?.close(), { timeout: 60_000 });

test(
  "nothing acknowledged is lost and nothing runs twice while members and servers are killed, frozen and cut off",
  { timeout: 480_000 },
  async (context) => {
    const seed = Number(process.env["SHEAF_TEST_SEED"] ?? Date.now() % 2 ** 32);
    context.diagnostic(`seed ${seed}`);
    if (!servers) throw new Error("the servers did not start");
    // The promised five seconds are the soak's to watch: here other tests may have left the machine busy.
    await playServerFaults(servers, {
      holdMs: 12_000,
      controlBackMs: 15_000,
      random: seededRandom(seed),
      log: (text) => context.diagnostic(text),
      measured: () => {},
    });
  },
);
