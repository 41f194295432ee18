/** The pulse of a host as a process of its own: it goes on when the agent hangs, and ends with the host's power. */
import { type AgentWord, type Pulse, type PulsePorts, startPulse } from "@sheaf/agent";
import type { Clock, Logger } from "@sheaf/base";
import type { PulseMessage } from "@sheaf/contract";
import type { HostFiles } from "./host-files.ts";
import type { Life } from "./life.ts";

export interface SimulatedPulseOptions {
  readonly life: Life;
  readonly clock: Clock;
  readonly logger: Logger;
  readonly files: HostFiles;
  readonly hostId: string;
  readonly bootId: string;
  readonly dataDirectory: string;
  /** One request to the server. Rejects where it does not come through. */
  readonly tell: (message: PulseMessage) => Promise<void>;
  readonly agent: () => AgentWord;
}

export function startSimulatedPulse({ life, clock, logger, files, hostId, bootId, dataDirectory, tell, agent }: SimulatedPulseOptions): Pulse {
  const ports: PulsePorts = { clock, logger, files: life.port(files), tell: (message) => life.gate(tell(message)), agent };
  return startPulse(ports, { dataDirectory, hostId, bootId });
}
