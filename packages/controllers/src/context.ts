/** What every controller is handed. Made by `createControllers`; holds no logic of any controller. */
import type { Clock, Logger, Random } from "@sheaf/base";
import type { Kind, RecordOf } from "@sheaf/model";
import type { Compare, Store } from "@sheaf/store";
import type { Agents, FencingDevices, TaskLog } from "./ports.ts";
import type { ControllerSettings } from "./settings.ts";

/** One record that changed. `record` is absent when it is gone for good, `previous` when it is new. */
export interface RecordChange {
  readonly kind: Kind;
  readonly id: string;
  readonly record?: RecordOf<Kind>;
  readonly previous?: RecordOf<Kind>;
}

/** What controllers need of the cache in `@sheaf/runtime`: every record in memory, fed by one watch. */
export interface RecordCache {
  readonly revision: number;
  get<K extends Kind>(kind: K, id: string): RecordOf<K> | undefined;
  /** @param scope the project's id, or `-` for kinds above projects */
  byName<K extends Kind>(kind: K, scope: string, name: string): RecordOf<K> | undefined;
  /** In no promised order. Must not be kept across an `await`. */
  all<K extends Kind>(kind: K): Iterable<RecordOf<K>>;
  count(kind: Kind): number;
  subscribe(listener: (revision: number, changes: readonly RecordChange[]) => void): () => void;
  /** @throws SheafError `timed-out` */
  waitFor(revision: number, timeoutMs?: number): Promise<void>;
}

export interface ControllerContext {
  readonly store: Store;
  readonly cache: RecordCache;
  readonly clock: Clock;
  readonly random: Random;
  readonly logger: Logger;
  readonly agents: Agents;
  readonly fencing: FencingDevices;
  readonly tasks: TaskLog;
  readonly settings: ControllerSettings;
  /** After a restore: whether this must not be given a host yet. Absent: never. */
  readonly heldBack?: (record: { readonly createdAt: number }) => boolean;
  /** Conditions that hold only while this server leads: part of every transaction of a controller. */
  readonly leadership: () => readonly Compare[];
}
