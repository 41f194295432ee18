/** The pulse of a host as a process of its own: it goes on when the agent hangs, and ends with the host's power. */
import { type AgentWord, type Pulse, type PulsePorts, SimulatedProcesses, startPulse } from "@sheaf/agent";
import type { Clock, Logger } from "@sheaf/base";
import type { LeaseGrant, PulseMessage } from "@sheaf/contract";
import type { HostFiles } from "./host-files.ts";
import type { Life } from "./life.ts";
import type { SimulatedWatchdog } from "./simulated-watchdog.ts";

export interface SimulatedPulseOptions {
  readonly life: Life;
  readonly clock: Clock;
  readonly logger: Logger;
  readonly files: HostFiles;
  readonly hostId: string;
  readonly bootId: string;
  readonly dataDirectory: string;
  /** One request to the server. Rejects where it does not come through. */
  readonly tell: (message: PulseMessage) => Promise<LeaseGrant | null>;
  readonly agent: () => AgentWord;
  readonly sinceBoot: () => number;
  readonly watchdog: SimulatedWatchdog;
}

export function startSimulatedPulse({
  life,
  clock,
  logger,
  files,
  hostId,
  bootId,
  dataDirectory,
  tell,
  agent,
  sinceBoot,
  watchdog,
}: SimulatedPulseOptions): Pulse {
  const ports: PulsePorts = {
    ...{ clock, logger, sinceBoot, agent },
    files: life.port(files),
    processes: life.port(new SimulatedProcesses(files)),
    watchdogs: watchdog.port(life),
    tell: (message) => life.gate(tell(message)),
  };
  return startPulse(ports, { dataDirectory, hostId, bootId });
}
