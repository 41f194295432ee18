/**
 * What a simulated server has where others share its store, put together as `apps/server` does: links to the others, their agents as its
 * own, agents handed over and spread. Made and ended by `simulated-server.ts`.
 */
import type { Clock, Logger } from "@sheaf/base";
import {
  AgentSpread,
  type AgentsGateway,
  HandOver,
  PeerService,
  type RestoredSite,
  type ServerDirectory,
  SiteAgents,
  type TaskLogs,
} from "@sheaf/server";
import type { Life } from "./life.ts";
import { nodeOf } from "./server-nodes.ts";
import type { SimulatedNetwork, SimulatedSocket } from "./simulated-network.ts";

export interface PeersOptions {
  readonly node: string;
  readonly life: Life;
  readonly network: SimulatedNetwork;
  readonly clock: Clock;
  readonly logger: Logger;
  readonly directory: ServerDirectory;
  readonly gateway: AgentsGateway;
  readonly restored: RestoredSite;
  readonly tasks: TaskLogs;
}

export interface SimulatedPeers {
  readonly agents: SiteAgents;
  /** Another server has dialled. */
  accept(socket: SimulatedSocket): void;
  close(): Promise<void>;
}

export function linkServers({ node, life, network, clock, logger, directory, gateway, restored, tasks }: PeersOptions): SimulatedPeers {
  const service = new PeerService({ agents: gateway, tasks, held: restored, storeSilentMs: () => directory.storeSilentMs, clock, logger });
  const agents = new SiteAgents({
    own: gateway,
    directory,
    dial: ({ agentUrl }, signal) => life.gate(network.dial(node, nodeOf(agentUrl), life, signal)),
    ...{ clock, logger, tasks },
    // Where it fails, the agent comes again.
    held: (hostId, machines) => void restored.learned(hostId, machines).catch(() => {}),
  });
  const handOver = new HandOver({ own: directory, others: agents, release: () => gateway.release(), clock, logger });
  const spread = new AgentSpread({ own: gateway, store: directory, others: agents, clock, logger });
  return {
    agents,
    accept: (socket) => service.accept(socket),
    async close() {
      handOver.close();
      spread.close();
      await directory.close();
      agents.close();
      service.close();
    },
  };
}
