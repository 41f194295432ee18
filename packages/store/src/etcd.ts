/**
 * The store on etcd, for two servers and more: any cluster of etcd version 3.4 or later. Opened by the server's `main.ts`. What talks
 * gRPC is loaded only when such a store is opened.
 */
import type { Clock, Logger, Random } from "@sheaf/base";
import type { EtcdTls } from "./etcd/connection.ts";
import type { PlaceState, Purpose } from "./etcd/identity.ts";
import type { DurableStore, StoreError } from "./store.ts";

export type { EtcdTls } from "./etcd/connection.ts";

export interface EtcdStoreOptions {
  /** `host:port` of each member's client address. */
  readonly endpoints: readonly string[];
  /** Everything lies under this; ends with `/`. Default `sheaf/`. */
  readonly prefix?: string;
  /** Absent: without encryption. Called for each connection anew. */
  readonly tls?: () => Promise<EtcdTls>;
  readonly clock: Clock;
  readonly random: Random;
  readonly logger?: Logger;
  /** History is forgotten beyond any of these. Defaults: 100,000 revisions, 1 hour. */
  readonly historyRevisions?: number;
  readonly historyAgeMs?: number;
  /** After this long a commit without an answer is `uncertain`, and a read `unavailable`. Default 5,000. */
  readonly answerTimeoutMs?: number;
  /** Called once when the store was restored or moved under this server: the process should end and be started again. */
  readonly failed?: (error: StoreError) => void;
  /** `serve` by default; the others are for those who copy stores: see `claimPlace`. */
  readonly purpose?: Purpose;
}

export interface EtcdStore extends DurableStore {
  /** For those who copy stores: a place that was filled becomes ready, one that was copied away is closed for everybody. */
  setState(state: PlaceState): Promise<void>;
}

/** @throws StoreError `unavailable`, `invalid` (half filled, moved away), `newer-schema`, `corrupt` */
export async function openEtcdStore(options: EtcdStoreOptions): Promise<EtcdStore> {
  const { connectEtcdStore } = await import("./etcd/etcd-store.ts");
  return connectEtcdStore(options);
}
