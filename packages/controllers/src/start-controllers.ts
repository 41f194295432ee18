/**
 * Runs the controllers while this server leads: a keyed queue each, fed by the cache's changes. Called by `apps/server`, the simulator and tests.
 * Must never run two terms of leadership at once: a new one begins when the work of the old one has ended.
 */
import { kinds, type Kind } from "@sheaf/model";
import { KeyedQueue, Leadership } from "@sheaf/runtime";
import { StoreError } from "@sheaf/store";
import type { UseBook } from "@sheaf/planning";
import type { SnapshotIndex } from "@sheaf/scheduling";
import type { ClusterFigures } from "./balance-figures.ts";
import { Overtaken } from "./commit.ts";
import type { ControllerContext, RecordChange } from "./context.ts";
import type { Controller } from "./controller.ts";
import { createControllers } from "./create-controllers.ts";
import { HabitKeeper, type UseHistory } from "./habit-keeper.ts";

export interface StartOptions extends Omit<ControllerContext, "leadership"> {
  /** This server, for people. */
  readonly identity: string;
  readonly leaseMs?: number;
  /** Figures kept over time; absent: none, then the present alone is planned for. */
  readonly history?: UseHistory;
  /** Further work that only the leader does. `ended` resolves when no more of it is done. */
  readonly leading?: { began(): void; ended(): Promise<void> };
}

export interface RunningControllers {
  /** The scheduler's picture, kept up to date whether or not this server leads: for ranking hosts on request. */
  readonly snapshot: SnapshotIndex;
  /** What hosts and machines use, smoothed; on every server. */
  readonly book: UseBook;
  /** How evenly each cluster's hosts are used now, by its id; on every server. */
  readonly clusterFigures: () => ReadonlyMap<string, ClusterFigures>;
  readonly leads: boolean;
  /** Resolves when no controller is at work any more and the lead is given up. */
  stop(): Promise<void>;
}

interface Term {
  readonly queues: ReadonlyMap<Controller, KeyedQueue>;
  /** Who reads records of a kind: a change wakes nobody else. */
  readonly readers: ReadonlyMap<Kind, readonly (readonly [Controller, KeyedQueue])[]>;
  readonly abort: AbortController;
  readonly ends: readonly (() => void)[];
}

export function startControllers(options: StartOptions): RunningControllers {
  const { cache, clock, random, logger, store, identity, leaseMs } = options;
  let term: Term | null = null;
  /** Turns of beginning and ending, one after the other. */
  let turns: Promise<unknown> = Promise.resolve();
  const leadership = new Leadership({
    store,
    clock,
    logger,
    name: "controllers",
    identity,
    ...(leaseMs === undefined ? {} : { leaseMs }),
    began: () => {
      turns = turns.then(() => {
        if (!leadership.leads || term !== null) return;
        term = begin();
        options.leading?.began();
      });
    },
    ended: () => {
      const ending = term;
      term = null;
      if (ending) turns = Promise.all([turns, end(ending), options.leading?.ended()]);
    },
  });
  const set = createControllers({ ...options, leadership: () => leadership.conditions() });
  const habits = options.history && new HabitKeeper({ clock, logger, cache, book: set.book, history: options.history });
  const unsubscribe = cache.subscribe((_revision, changes) => {
    if (term) for (const change of changes) wake(term, change);
  });
  leadership.start();

  function begin(): Term {
    const abort = new AbortController();
    const queues = new Map<Controller, KeyedQueue>();
    const ends: (() => void)[] = [];
    for (const controller of set.controllers) {
      const queue = new KeyedQueue({
        clock,
        random,
        concurrency: controller.concurrency ?? 4,
        work: (key) => controller.reconcile(key, abort.signal),
        failed: (key, error, failures, pauseMs) => {
          const fields = { controller: controller.name, key, error: String(error), failures, pauseMs };
          // Being overtaken, and a store that is away for a moment, are everyday things.
          if (error instanceof Overtaken || error instanceof StoreError || abort.signal.aborted) logger.debug(fields, "a look is repeated");
          else logger.warn({ ...fields, stack: error instanceof Error ? error.stack : undefined }, "a controller failed; it is tried again");
        },
      });
      queues.set(controller, queue);
    }
    for (const [controller, queue] of queues) {
      const stop = controller.begin?.((key, afterMs) => queue.add(key, afterMs));
      if (stop) ends.push(stop);
      for (const key of controller.initialKeys()) queue.add(key);
    }
    const readers = new Map(kinds.map((kind) => [kind, [...queues].filter(([{ reads }]) => reads.includes(kind))]));
    return { queues, readers, abort, ends };
  }

  return {
    snapshot: set.snapshot,
    book: set.book,
    clusterFigures: set.clusterFigures,
    get leads() {
      return leadership.leads;
    },
    async stop() {
      unsubscribe();
      habits?.close();
      await leadership.stop();
      await turns;
      set.close();
    },
  };
}

function wake({ readers }: Term, change: RecordChange): void {
  for (const [controller, queue] of readers.get(change.kind) ?? []) for (const key of controller.keysFor(change)) queue.add(key);
}

async function end({ queues, abort, ends }: Term): Promise<void> {
  abort.abort(new Error("this server leads no more"));
  for (const stop of ends) stop();
  await Promise.all([...queues.values()].map((queue) => queue.stop()));
}
