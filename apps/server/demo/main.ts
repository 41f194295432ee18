/**
 * The server of a demonstration: the real one, with a simulated data centre around it in the same process. Started by `npm start -- --demo N`
 * with hosts and pace before the words of the server's command line; tells its starter how far it is.
 */
import { readFile } from "node:fs/promises";
import { SystemClock, systemRandom } from "@sheaf/adapters";
import type { Logger } from "@sheaf/base";
import { DataCentre, Failures, playedLibrary } from "@sheaf/simulation";

import { until } from "../deployment/processes.ts";
import type { ServerFacts } from "../deployment/server-process.ts";
import { dataFolder } from "../wiring/data-folder.ts";
import { openStore } from "../wiring/open-store.ts";
import type { Simulation } from "../wiring/run-server.ts";
import { serverProgram } from "../wiring/server-program.ts";
import { People } from "./people.ts";

/** The same at each start: what is shown can be shown again. */
const seed = 1;
const machinesPerHost = 5;
const clock = new SystemClock();
const [hostsWord = "", paceWord = "", ...words] = process.argv.slice(2);
const hosts = Number(hostsWord);
const pace = Number(paceWord);
/** Pauses between two failures and between two deeds of people, on average. */
const paceMs = { failures: (hosts >= 200 ? 6000 : 20_000) / pace, people: (hosts >= 200 ? 1500 : 5000) / pace };

const tell = (text: string): void => void process.send?.({ progress: text });
// Nobody is there any more who would end it.
process.once("disconnect", () => process.kill(process.pid, "SIGTERM"));
let dataCentre: DataCentre | undefined;
let failures: Failures | undefined;
let people: People | undefined;

await serverProgram(
  openStore,
  {
    simulation: ({ logger }): Simulation => {
      const made = new DataCentre({ hosts, machinesPerHost, machines: "mixed", seed, clock, logger: logger.child({ part: "data-centre" }) });
      dataCentre = made;
      failures = new Failures(made, { clock, seed, everyMs: paceMs.failures, tell: (what) => logger.info({ part: "failures" }, what) });
      return {
        furnish: async (store) => {
          tell(`writing ${hosts} simulated hosts and ${hosts * machinesPerHost} machines`);
          await made.furnish(store, systemRandom);
        },
        listen: async (options) => {
          const close = made.listen(options);
          return { port: options.port, renew: () => {}, close: async () => close() };
        },
        fencing: made.bmcs,
        createLibrary: (context) => {
          const { port, stop } = playedLibrary(context);
          const serve = async () => ({ status: 404, headers: { "content-length": "0" } });
          return { ...port, start: () => {}, stop: async () => stop(), serve };
        },
      };
    },
    started: ({ logger, dataDirectory }) => {
      void live(dataDirectory, logger).catch((error: unknown) => logger.error({ reason: String(error) }, "the data centre does not come to life"));
    },
    stopping: () => {
      people?.stop();
      failures?.stop();
      dataCentre?.stop();
    },
  },
  words,
);

/** Hosts come first, then what goes wrong and who works there. */
async function live(dataDirectory: string, logger: Logger): Promise<void> {
  const centre = dataCentre;
  if (!centre) return;
  centre.startAgents();
  let told = 0;
  await until("the simulated hosts", 600_000, () => {
    const { connected } = centre;
    if (connected - told >= Math.max(1, hosts / 4) || connected === hosts) tell(`${(told = connected)} of ${hosts} hosts are connected`);
    return connected === hosts || undefined;
  });
  process.send?.({ ready: true });
  failures?.start();
  const facts = JSON.parse(await readFile(dataFolder(dataDirectory).facts, "utf8")) as ServerFacts; // written by this process
  people = await People.signIn(dataDirectory, facts, systemRandom, {
    ...{ clock, seed, machines: centre.machines },
    everyMs: paceMs.people,
    hosts: centre.hosts.map(({ name }) => name),
    tell: (what) => logger.info({ part: "people" }, what),
  });
  people.start();
}
