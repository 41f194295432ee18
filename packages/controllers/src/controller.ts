/** What a controller is: what it reads, what it alone writes, which keys a change concerns, and how one key is looked at. Values of this shape are run by `startControllers`. */
import type { Kind } from "@sheaf/model";
import type { RecordChange } from "./context.ts";

export interface Controller {
  readonly name: string;
  readonly reads: readonly Kind[];
  /** Parts as `kind/part`; the runtime's graph and a test hold that no part has two writers. */
  readonly writes: readonly string[];
  /** Keys at once. */
  readonly concurrency?: number;
  /** What is to be looked at when this server begins to lead. */
  initialKeys(): Iterable<string>;
  keysFor(change: RecordChange): Iterable<string>;
  /**
   * Looks at what is and acts. The same key is never at work twice at once. Throws to be tried again after a pause that grows.
   * @returns when to look again though nothing changes, ms
   */
  reconcile(key: string, signal: AbortSignal): Promise<number | undefined>;
  /** Other causes to look (connections, own timers). Called when this server begins to lead; @returns how they end. */
  begin?(enqueue: (key: string, afterMs?: number) => void): () => void;
}
