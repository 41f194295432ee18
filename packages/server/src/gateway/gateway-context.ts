/** What the gateway is handed, and its times. Made by the start-up code. */
import type { Clock, Logger } from "@sheaf/base";
import type { Store } from "@sheaf/store";
import type { Telemetry } from "@sheaf/telemetry";
import type { RecordCache, Secrets } from "../context.ts";
import type { TaskLogs } from "./task-logs.ts";

export interface GatewaySettings {
  readonly version: string;
  /** Agents say every so often that they live, by their cluster's `detection`; after three of these in silence (at least 5 s) a connection is dead. */
  readonly heartbeatMs: Readonly<Record<"default" | "fast", number>>;
  /** Told to agents: highly available machines may be started so long after the last heartbeat that was answered. Hosts that fence themselves have their own. */
  readonly leaseMs: number;
  /** A host's clock that is further off than this is recorded with the host. */
  readonly skewToleratedMs: number;
}

export const defaultGatewaySettings = { heartbeatMs: { default: 5000, fast: 1000 }, leaseMs: 15_000, skewToleratedMs: 1000 } as const;

/** An attempt of an agent to do what it may not; counted together in the audit trail. */
export interface RefusedAgentAttempt {
  /** `agent:<host's name>` */
  readonly actor: string;
  readonly from: string;
  readonly action: string;
  readonly code: "not-allowed" | "unauthenticated";
}

export interface GatewayContext {
  readonly store: Store;
  readonly cache: RecordCache;
  readonly clock: Clock;
  readonly logger: Logger;
  readonly secrets: Secrets;
  readonly tasks: TaskLogs;
  readonly settings: GatewaySettings;
  readonly authority: {
    renewAgent(request: { certificateRequest: string; hostId: string; present: string; addresses: readonly string[] }): Promise<string>;
  };
  readonly revocations: { isRevoked(hostId: string, serial: string): boolean; onChange(listener: () => void): () => void };
  /** Absent: the store is taken to know where everything is. */
  readonly restored?: {
    heard(hostId: string, machines: readonly { id: string; epoch: number; incarnation: string; incoming?: boolean }[]): Promise<void>;
    /** Every host of the record was heard. */
    settled(): boolean;
    /** @returns the function that ends it */
    onSettled(listener: () => void): () => void;
  };
  /** Agents' ports of all servers, told to agents, and for how long the store has not answered this one; absent: there is this one only. */
  readonly servers?: { agentUrls(): readonly string[]; readonly storeSilentMs: number; subscribe(listener: () => void): () => void };
  /** Absent: figures over time are not kept, and agents not asked for them. */
  readonly telemetry?: Pick<Telemetry, "take" | "onDurable" | "durableUpTo">;
  readonly refused: (attempt: RefusedAgentAttempt) => void;
}
