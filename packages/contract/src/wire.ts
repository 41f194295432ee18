/**
 * What agent and server say to each other, over one WebSocket (mutual TLS) that the agent opens: JSON texts, except stream
 * data, which is binary. Agents and server may differ by one version: unknown fields are kept, unknown messages ignored and logged.
 *
 * Order of things: agent `hello` → server `welcome` → server `sync` (all that concerns this host) → afterwards `upsert`, `remove`.
 * Only after `welcome` since its boot may an agent start machines. `report` carries parts that the agent alone writes.
 */
import type { AdoptableDomain, AnyRecord, Kind, NumaPlacement } from "@sheaf/model";

export const wireVersion = 1;

/**
 * A record as an agent receives it, secrets in the clear for machines placed there. Which it gets: vm, volume placed on
 * its host (and, while a migration prepares, those coming to it) · image, network, pool that these use or that name the host ·
 * task whose `spec.host` it is · its own host record · its cluster.
 */
export type AgentDocument = AnyRecord;

export type AgentMessage =
  | {
      readonly type: "hello";
      readonly wireVersion: number;
      readonly agentVersion: string;
      readonly hostId: string;
      readonly bootId: string;
      /** Agent's wall clock, to measure skew. */
      readonly now: number;
      /** Machines this agent manages by its own disk: the server answers `remove` for those that are no longer its. */
      /** `incoming`: the copy that a migration prepared here, whose CPUs have not run: another host holds the machine. */
      readonly machines: readonly { readonly id: string; readonly epoch: number; readonly incarnation: string; readonly incoming?: boolean }[];
    }
  | {
      readonly type: "heartbeat";
      readonly sequence: number;
      readonly now: number;
      readonly load: HostLoad;
      /**
       * The host fences itself: all machines of Sheaf's are stopped when its lease ends, or its hardware watchdog, petted only until then,
       * resets it after so long. Absent: nothing can be relied on.
       */
      readonly watchdogMs?: number;
    }
  /** Part values this agent is the writer of; the server checks rights, writes by compare, answers `reported`. `vm` etc. by id. */
  | { readonly type: "report"; readonly sequence: number; readonly parts: readonly ReportedPart[] }
  | { readonly type: "reply"; readonly id: number; readonly ok: true; readonly result: unknown }
  | {
      readonly type: "reply";
      readonly id: number;
      readonly ok: false;
      readonly problem: { readonly code: string; readonly message: string; readonly cause?: string; readonly next?: string };
    }
  /** Every 10 s, and after a time without a server what has gathered, oldest first. The agent keeps rows until `sampled` says that they are on a disk. */
  | ({ readonly type: "samples" } & SampleBatch)
  /** Progress of a call or line of a task's log: fleeting, never stored. */
  | { readonly type: "progress"; readonly task: string; readonly fields: Record<string, unknown> }
  | { readonly type: "log"; readonly task: string; readonly at: number; readonly text: string }
  | { readonly type: "stream-end"; readonly stream: number; readonly reason?: string }
  | { readonly type: "renew-certificate"; readonly certificateRequest: string };

/** Figures in whole quanta (`metrics` of the model says of what), in the order of the names; `null`: not measured. */
export interface SampleBatch {
  readonly hostMetrics: readonly string[];
  readonly vmMetrics: readonly string[];
  readonly rows: readonly SampleRow[];
}
export interface SampleRow {
  /** Time in steps of 10 s since the epoch, by the host's clock. */
  readonly slot: number;
  readonly host: readonly (number | null)[];
  readonly vms: readonly { readonly id: string; readonly figures: readonly (number | null)[] }[];
}

export interface ReportedPart {
  readonly kind: Kind;
  readonly id: string;
  /** `status/agent` or `status/hosts/<own host id>`. */
  readonly part: string;
  /** `null` deletes the part. */
  readonly value: unknown;
}

export type ServerMessage =
  | {
      readonly type: "welcome";
      readonly wireVersion: number;
      readonly serverVersion: string;
      readonly incarnation: string;
      readonly heartbeatMs: number;
      /** HA machines may be started this long after the hello, or the last heartbeat that a `beat` answered. */ readonly leaseMs: number;
      readonly now: number;
      /** Agents' ports of the site's servers, `https://name:7444`: where to go when this one is gone. */
      readonly servers?: readonly string[];
      /**
       * The store came from a backup, and not every host has been heard since: what was placed before it may run elsewhere by now, and is not
       * started until a later welcome does not say so any more.
       */
      readonly restoring?: boolean;
      /** It keeps `samples`. */
      readonly samples?: boolean;
    }
  /** Other ones than the welcome told: a server has joined or left. */
  | { readonly type: "servers"; readonly servers: readonly string[] }
  /** This server carries more than its share: go to that one, as soon as it answers. */
  | { readonly type: "go-to"; readonly server: string }
  | ({ readonly type: "beat"; readonly sequence: number; readonly now: number } & Partial<LeaseGrant>)
  | { readonly type: "sync"; readonly revision: number; readonly documents: readonly AgentDocument[] }
  | { readonly type: "upsert"; readonly revision: number; readonly document: AgentDocument }
  /** No longer this host's: it stops managing it; `gone` says the record is deleted for good, else it moved away. */
  | {
      readonly type: "remove";
      readonly revision: number;
      readonly kind: Kind;
      readonly id: string;
      readonly gone: boolean;
      /** Of a machine or volume that is placed elsewhere: by this the agent tells a move from a restored store's old memories. Without it, it destroys only what it was given in the present incarnation. */
      readonly placement?: { readonly epoch: number; readonly incarnation: string };
    }
  | { readonly type: "reported"; readonly sequence: number; readonly refused: readonly { readonly index: number; readonly why: string }[] }
  /** All samples up to this slot are on the server's disk: the agent need not keep them. */
  | { readonly type: "sampled"; readonly slot: number }
  | { readonly type: "call"; readonly id: number; readonly method: AgentMethod; readonly parameters: unknown; readonly timeoutMs: number }
  | { readonly type: "cancel"; readonly id: number }
  | { readonly type: "stream-end"; readonly stream: number; readonly reason?: string }
  | { readonly type: "certificate"; readonly certificate: string };

/** Counts from when the host sent what it answers. */
export interface LeaseGrant {
  /** 0: the lease that the host has is not made longer. */
  readonly leaseMs: number;
  /** Servers take the host for one that fences itself, until it is told otherwise. */
  readonly relied: boolean;
}

/** Binary frames, both ways: u32 big-endian stream number, then bytes. Credit: at most 256 KiB unacknowledged are buffered, then the stream is closed. */
export const streamHeaderBytes = 4;

/** Share of each, 0 … 1, and bytes; at every heartbeat, kept in memory rings only. */
export interface HostLoad {
  readonly cpu: number;
  readonly memoryUsedBytes: number;
  readonly memoryTotalBytes: number;
  readonly vms: readonly VmLoad[];
}
export interface VmLoad {
  readonly id: string;
  /** CPUs used: 1.5 = one and a half. */
  readonly cpu: number;
  readonly memoryUsedBytes: number;
  readonly diskReadBytesPerSecond: number;
  readonly diskWriteBytesPerSecond: number;
  readonly netReceiveBytesPerSecond: number;
  readonly netTransmitBytesPerSecond: number;
}

/** Calls the server makes on an agent. Each is safe to repeat: it is keyed by what it names, and says what it found done. */
export interface AgentCalls {
  /** Pre-checks and `Begin3` at the source. Cookies are base64. */
  "migrate.begin": { in: MigrationCall; out: { cookie: string; xml: string } };
  /** At the target: makes the disks where storage is not shared, `Prepare3`. The epoch of the guest there is still the old one. */
  "migrate.prepare": {
    in: MigrationCall & {
      cookie: string;
      xml: string;
      /** Disks to make: they are copied over. */ copyVolumes: readonly { volumeId: string; sizeBytes: number; format: string; image?: string }[];
      ports: { migration?: number };
      /** The NUMA cells and CPUs that the guest has at the target; absent: it floats there. */
      numa?: NumaPlacement;
    };
    out: { cookie: string; uri: string; nbdPort?: number; certificateReady: boolean };
  };
  /** At the source: `Perform3`; long; progress comes as `progress` of the task. */
  "migrate.perform": {
    in: MigrationCall & {
      cookie: string;
      uri: string;
      copyVolumes: readonly string[];
      bandwidthBytesPerSecond: number;
      maximumDowntimeMs: number;
      autoConverge: boolean;
      nbdPort?: number;
    };
    out: { cookie: string; stats: MigrationStatistics };
  };
  /** At the target, after the epoch has moved: `Finish3` (resumes the guest) or, cancelled, gives the prepared guest up. */
  "migrate.finish": {
    in: MigrationCall & { cookie: string; cancelled: boolean; newEpoch: number };
    /**
     * `neverRan`: the agent knows (it noted on its disk before each `Finish3`) that this guest's CPUs never started here, and it has given
     * the guest up for good. Only then may the machine go back to the source, which still holds its memory.
     */
    out: { cookie: string; running: boolean; neverRan?: boolean };
  };
  /** At the source: `Confirm3`: forgets the guest, or lets it go on when cancelled. */
  "migrate.confirm": { in: MigrationCall & { cookie: string; cancelled: boolean }; out: { running: boolean; stats?: MigrationStatistics } };
  "migrate.abort": { in: MigrationCall; out: Record<string, never> };
  /** What runs of this machine here? The truth from libvirt, asked afresh: how an interrupted migration is settled. */
  "vm.probe": { in: { vmId: string }; out: { state: "absent" | "stopped" | "paused" | "running" | "incoming"; migrating: boolean } };
  "vm.screenshot": { in: { vmId: string }; out: { mime: string; base64: string } };
  "console.open": { in: { vmId: string; stream: number; type: "serial" | "vnc" }; out: Record<string, never> };
  /** What a domain that Sheaf did not make would be as a machine, or why it cannot be one. Changes nothing. */
  "vm.adopt": { in: AdoptionQuestion; out: AdoptableDomain };
  /** What another host's pulse wrote last into a shared pool, as this host sees it; `null`: nothing. */
  "pool.pulse": { in: { poolId: string; hostId: string }; out: { pulse: PulseMessage | null } };
  /** Take another version of the agent: answered once it is begun, or was before; how far it is comes with the host's own report. */
  "agent.upgrade": { in: UpgradeOrder; out: Record<string, never> };
  /**
   * Fall asleep: refused while any domain is active, whoever made it. From then on nothing is started here for a while; `shutsDown`: the host
   * shuts itself down. Asked again it is answered anew.
   */
  "host.sleep": { in: { bootId: string }; out: { shutsDown: boolean } };
  /** A magic packet for another host's card, to the broadcast address of each of this host's networks. */
  "host.wakeNeighbour": { in: { mac: string; port: number }; out: { sentTo: readonly string[] } };
  "host.logs": { in: { lines: number }; out: { lines: readonly string[] } };
}
export type AgentMethod = keyof AgentCalls;

export interface UpgradeOrder {
  /** Id of the task: the same order is taken once. */
  readonly order: string;
  readonly version: string;
  /** Of the archive, which its server gives out under this name. */
  readonly sha256: string;
  readonly sizeBytes: number;
}

export interface AdoptionQuestion {
  readonly uuid: string;
  /** Networks that may be used, by their bridge. */
  readonly networks: Readonly<Record<string, string>>;
  readonly acceptLosses: boolean;
}
export interface MigrationCall {
  readonly vmId: string;
  readonly taskId: string;
  /** Old placement. */
  readonly epoch: number;
  readonly sourceHost: string;
  readonly targetHost: string;
  /** Where QEMU at the target listens. */
  readonly targetAddress: string;
  /** All disks shared between both hosts. */
  readonly sharedStorage: boolean;
  /** Both hypervisors must know from the first call on: afterwards it is refused. */
  readonly postCopy?: boolean;
}

export interface MigrationStatistics {
  readonly totalMs: number;
  readonly downtimeMs: number;
  readonly memoryBytes: number;
  readonly diskBytes: number;
  readonly iterations: number;
}

/** What the process beside the agent says of its host, to the server and in a file of each shared pool. */
export interface PulseMessage {
  readonly bootId: string;
  /** Grows with every pulse of one process. */
  readonly sequence: number;
  /** How long the agent has not said that it works, ms. */
  readonly agentSilentMs: number;
}

/** @returns `null` for what is no pulse's path */
export function parsePulsePath(path: string): PulseMessage | null {
  const match = /^\/agent\/v1\/pulse\/([0-9a-f-]{1,64})\/(\d{1,15})\/(\d{1,15})$/.exec(path);
  return match ? { bootId: match[1] ?? "", sequence: Number(match[2]), agentSilentMs: Number(match[3]) } : null;
}

/** Paths on the agents' port (mutual TLS), besides the WebSocket itself. */
export const agentPaths = {
  socket: "/agent/v1/socket",
  /** `GET`: a prepared image's bytes, `Range` resumes. */ image: (imageId: string) => `/agent/v1/images/${imageId}`,
  /** `GET`: an archive of the agent. */ archive: (sha256: string) => `/agent/v1/archives/${sha256}`,
  /** `GET`: the host lives. Answered with a `LeaseGrant` in JSON, or nothing. */
  pulse: ({ bootId, sequence, agentSilentMs }: PulseMessage) => `/agent/v1/pulse/${bootId}/${sequence}/${agentSilentMs}`,
} as const;
