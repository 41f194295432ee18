/**
 * What the server's parts are handed: the ports of the outside and what they share. Made once by the start-up code, real ones by
 * `apps/server/main.ts`, simulated ones by tests and the simulator. Holds no logic; no part may reach around it.
 */
import type { Readable } from "node:stream";
import type { Clock, Logger, Random } from "@sheaf/base";
import type { Agents } from "@sheaf/controllers";
import type { Kind, RecordOf } from "@sheaf/model";
import type { MachineUse, UseBook } from "@sheaf/planning";
import type { SnapshotIndex } from "@sheaf/scheduling";
import type { Store } from "@sheaf/store";
import type { Series, SeriesQuestion, TopQuestion } from "@sheaf/telemetry";
import type { AuditFileLimits } from "./audit/audit-archive.ts";
import type { ServerMaterial } from "./servers/server-joining.ts";
import type { AuditFolder } from "./audit/audit-source.ts";

/** One record that changed. `record` is absent when it is gone for good, `previous` when it is new. Records are never changed in place. */
export interface RecordChange {
  readonly kind: Kind;
  readonly id: string;
  readonly record?: RecordOf<Kind>;
  readonly previous?: RecordOf<Kind>;
}

/** What the API and the gateway need of the cache in `@sheaf/runtime`: every record in memory, fed by one watch. */
export interface RecordCache {
  /** Newest revision of the store that the cache has seen. */
  readonly revision: number;
  get<K extends Kind>(kind: K, id: string): RecordOf<K> | undefined;
  /** @param scope the project's id, or `-` for kinds above projects */
  byName<K extends Kind>(kind: K, scope: string, name: string): RecordOf<K> | undefined;
  /** Every record of a kind, in no promised order. Must not be kept across an `await`. */
  all<K extends Kind>(kind: K): Iterable<RecordOf<K>>;
  count(kind: Kind): number;
  /** All changes of one revision at once, in order of revision. @returns the function that ends the subscription */
  subscribe(listener: (revision: number, changes: readonly RecordChange[]) => void): () => void;
  /** Resolves once the cache has seen that revision. @throws SheafError `timed-out` */
  waitFor(revision: number, timeoutMs?: number): Promise<void>;
}

/** Encryption under a key that lies outside the store. */
export interface Secrets {
  /** @returns `sealed:v1:<base64>` */
  seal(text: string): string;
  /** @throws SheafError `internal` where the text was not sealed with this key */
  open(sealed: string): string;
}

/** The site's own certificate authority. */
export interface Authority {
  /** Certificate of the authority, PEM. */
  readonly certificate: string;
  /** `sha256:<hex>` of the authority's certificate (DER): what joining hosts pin. */
  readonly fingerprint: string;
  /** @param addresses names and addresses that go into the certificate. @throws SheafError `invalid-input` for a broken request */
  signAgent(request: {
    readonly certificateRequest: string;
    readonly hostId: string;
    readonly hostname: string;
    readonly addresses: readonly string[];
  }): Promise<string>;
  /** From now on no certificate of that host is taken; its connection is cut. */
  revoke(hostId: string): Promise<void>;
}

/**
 * The server's image files. An image's record is made with the finaliser `library`: whoever implements this takes it off once
 * `deletedAt` is set and the files are gone.
 */
export interface ImageLibrary {
  /** Bytes of an upload that are safely there. */
  offset(imageId: string): Promise<number>;
  /**
   * Takes the bytes of an upload, from `offset` (must be what `offset()` says). Ends when the stream ends; complete at `totalBytes`.
   * @returns bytes there now. @throws SheafError `conflict` (other offset), `too-large`, `store-full`, `image-refused`
   */
  receive(imageId: string, stream: Readable, range: { readonly offset: number; readonly totalBytes?: number }): Promise<number>;
}

/** Fleeting side of tasks, as read by the API. */
export interface TaskLogReader {
  lines(taskId: string): readonly { readonly at: number; readonly text: string }[];
  /** Live figures, while the task runs. */
  progress(taskId: string): Readonly<Record<string, unknown>> | undefined;
}

/** The agent for one platform, as an archive that brings its own Node. */
export interface AgentArchive {
  /** `linux-x64` */
  readonly platform: string;
  readonly sha256: string;
  readonly sizeBytes: number;
}

/** What a host fetches before it has joined. None of it is secret. */
export interface JoinFiles {
  /** The script that the line of an invitation runs. */
  readonly script: string;
  /** Makes what is missing, which takes some seconds the first time. @throws SheafError `internal` */
  agents(): Promise<readonly AgentArchive[]>;
  /** @returns `undefined` for a platform of which there is no archive */
  open(platform: string): Promise<{ readonly sizeBytes: number; readonly stream: Readable } | undefined>;
  /** The same by its digest, as an agent asks for what it was told to take. */
  openDigest(sha256: string): Promise<{ readonly sizeBytes: number; readonly stream: Readable } | undefined>;
}

/** What only the program around the server can do. */
export interface Maintenance {
  backup(): Promise<{ readonly file: string; readonly bytes: number; readonly revision: number }>;
  /** Newest lines of the server's own log, oldest first. */
  logs(lines: number): readonly string[];
}

/** Limits and times of the API. All have defaults (`defaultLimits`). */
export interface Limits {
  readonly bodyBytes: number;
  readonly bodyDepth: number;
  readonly headerBytes: number;
  /** A session ends after this long without use. */
  readonly sessionIdleMs: number;
  readonly watchers: number;
  /** A watcher with more than this unread is closed. */
  readonly watcherBufferBytes: number;
  /** Requests a second without a valid token, by address. */
  readonly strangersPerSecond: number;
  /** Cost of scrypt (N) for new passwords, a power of two. */
  readonly passwordCost: number;
}

export const defaultLimits: Limits = {
  bodyBytes: 2 ** 20,
  bodyDepth: 32,
  headerBytes: 16 * 1024,
  sessionIdleMs: 12 * 3_600_000,
  watchers: 5000,
  watcherBufferBytes: 4 * 2 ** 20,
  strangersPerSecond: 200,
  passwordCost: 2 ** 15,
};

export interface Settings {
  readonly version: string;
  /** How people and agents reach this server: `https://name:7443`, without a slash at the end. */
  readonly publicAddress: string;
  readonly agentPort: number;
  readonly limits: Limits;
  /** Hosts and machines are simulated: every answer says so, and no real host may join. */
  readonly simulated?: boolean;
}

/** The servers on this store. */
export interface SiteServers {
  list(): Promise<
    readonly {
      readonly name: string;
      readonly url: string;
      readonly agentUrl: string;
      readonly version: string;
      readonly present: boolean;
      readonly leads: boolean;
      readonly agents?: number;
    }[]
  >;
  /** What a server that joins must have; `null`: this store is for one server. */
  material(): Promise<ServerMaterial | null>;
}

/** Whose machines may be among the greatest: those of these projects. */
export type TopScope = "everything" | readonly string[];

/** Figures of hosts and machines over time, on whichever server of the site they are. */
export interface SiteTelemetry {
  series(question: SeriesQuestion): Promise<Series>;
  /** Greatest first. */
  top(question: TopQuestion, scope: TopScope): Promise<readonly { readonly id: string; readonly value: number }[]>;
  /** What a machine has used over the last two weeks. */
  use(vmId: string): Promise<MachineUse>;
}

export interface ServerContext {
  readonly store: Store;
  /** This server among those on one store; it keeps it from one run to the next. An embedded store has one server, `local`. */
  readonly serverName: string;
  /** Where what is sealed of the audit trail goes. */
  readonly audit: AuditFolder & { readonly limits: AuditFileLimits };
  readonly cache: RecordCache;
  /** The scheduler's picture of the site. The controllers keep it up to date, before the API hears of a change. */
  readonly snapshot: SnapshotIndex;
  /** What hosts and machines use, smoothed. Kept by the controllers as well. */
  readonly book: UseBook;
  readonly clock: Clock;
  readonly random: Random;
  readonly logger: Logger;
  readonly secrets: Secrets;
  readonly agents: Agents;
  /** Absent: none are kept. */
  readonly telemetry?: SiteTelemetry;
  readonly tasks: TaskLogReader;
  readonly library: ImageLibrary;
  readonly authority: Authority;
  readonly maintenance: Maintenance;
  readonly joinFiles: JoinFiles;
  readonly servers: SiteServers;
  readonly settings: Settings;
}

/** What the audit trail needs of it. */
export type AuditContext = Pick<ServerContext, "store" | "serverName" | "audit" | "secrets" | "clock" | "random" | "logger">;
