/**
 * The pulse beside the agent (packages/agent/src/pulse.ts). Wiring only. Started by the agent, or as a service of its own; it goes on when
 * the agent hangs, is killed or restarted.
 *
 *   pulse.ts DATA_DIRECTORY
 */
import { writeFileSync } from "node:fs";
import { createLogger, nodeWatchdogs, NodeFiles, runProgram, secureGet, sinceBoot, SystemClock } from "@sheaf/adapters";
import { readBootId, readIdentity, readServers, startPulse } from "@sheaf/agent";
import { agentPaths, type LeaseGrant } from "@sheaf/contract";
import { pulseNote, pulsePidFile, watchAgent } from "./pulse-process.ts";

const [, , dataDirectory = ""] = process.argv;
const logger = createLogger({ level: "info", fields: { program: "pulse" } });
const files = new NodeFiles();
const oneServerMs = 1500;
let lastServer = "";

const identity = await readIdentity(files, dataDirectory);
if (!identity) throw new Error("this host has not joined a site yet");
writeFileSync(pulsePidFile(dataDirectory), pulseNote(import.meta.dirname), { mode: 0o600 });
const pulse = startPulse(
  {
    clock: new SystemClock(),
    logger,
    files,
    agent: watchAgent(dataDirectory),
    processes: { run: (program, words, options) => runProgram(program, words, options) },
    watchdogs: nodeWatchdogs,
    sinceBoot,
    async tell(message, limitMs, agentsServer) {
      const whole = AbortSignal.timeout(limitMs);
      // Asked each time: certificates are renewed.
      const now = (await readIdentity(files, dataDirectory)) ?? identity;
      const servers = [...new Set([...(await readServers(files, dataDirectory)), now.serverUrl])];
      // The one that the agent talks to, then the one that answered last; the next is asked only where one does not.
      const first = Math.max(0, servers.indexOf(lastServer));
      const inTurn = [...servers.slice(first), ...servers.slice(0, first)];
      let failure: unknown;
      for (const server of agentsServer === undefined ? inTurn : new Set([agentsServer, ...inTurn])) {
        try {
          const limit = AbortSignal.any([whole, AbortSignal.timeout(oneServerMs)]);
          const { body } = await secureGet({
            ...now,
            url: `${server}${agentPaths.pulse(message)}`,
            offset: 0,
            idleTimeoutMs: oneServerMs,
            signal: limit,
          });
          const chunks: Uint8Array[] = [];
          for await (const chunk of body) chunks.push(chunk);
          lastServer = server;
          const text = Buffer.concat(chunks).toString();
          // The server is authenticated; one of the version before answers with nothing.
          return text === "" ? null : (JSON.parse(text) as LeaseGrant);
        } catch (error) {
          failure = error;
        }
      }
      throw failure;
    },
  },
  { dataDirectory, hostId: identity.hostId, bootId: await readBootId(files) },
);

const end = (): void => {
  pulse.stop();
  process.exit(0);
};
process.on("SIGTERM", end);
process.on("SIGINT", end);
