/** What the conformance suite's parts share: short forms of calls, a recorder of watches, waiting. Called by the store's tests only. */
import assert from "node:assert/strict";
import { test } from "node:test";
import { SimulatedClock } from "@sheaf/base";
import { StoreError } from "../store.ts";
import type { Entry, Operation, Store, StoreErrorCode, WatchBatch } from "../store.ts";

export interface StoreUnderTest {
  readonly store: Store;
  /** Called after the case; closes the store and removes what it left. */
  readonly dispose: () => Promise<void>;
  /** Lets time pass for the store's leases; by default the simulated clock's. */
  readonly pass?: (ms: number) => Promise<void>;
}

/** Opens an empty store whose leases follow the clock it is handed. */
export type OpenStore = (clock: SimulatedClock) => Promise<StoreUnderTest>;
export type Each = (title: string, run: (store: Store, pass: (ms: number) => Promise<void>) => Promise<void>) => void;

/** One test case a call, each with a store of its own. */
export function eachCase(open: OpenStore): Each {
  return (title, run) =>
    void test(title, async () => {
      const clock = new SimulatedClock();
      const { store, dispose, pass = (ms: number) => clock.advance(ms) } = await open(clock);
      try {
        await run(store, pass);
      } finally {
        await dispose();
      }
    });
}

export function put(store: Store, key: string, value: string, lease?: string) {
  return run(store, lease === undefined ? { put: key, value } : { put: key, value, lease });
}

export async function run(store: Store, ...operations: Operation[]) {
  const result = await store.transact({ compare: [], then: operations });
  assert.equal(result.succeeded, true);
  return result;
}

export async function keys(store: Store, prefix: string): Promise<string[]> {
  return (await store.range({ prefix })).entries.map(({ key }) => key);
}

export function entry(key: string, value: string, revision: number): Entry {
  return { key, value, createRevision: revision, modRevision: revision, version: 1, lease: null };
}

export function hasCode(code: StoreErrorCode): (error: unknown) => boolean {
  return (error) => {
    assert.ok(error instanceof StoreError, String(error));
    assert.equal(error.code, code);
    return true;
  };
}

export interface Recorder {
  readonly batches: WatchBatch[];
  error: StoreError | null;
  events(batch: WatchBatch): void;
  ended(error: StoreError): void;
}

/** Handlers that remember what they were told, and insist on the contract's order. */
export function recorder(): Recorder {
  const record: Recorder = {
    batches: [],
    error: null,
    events(batch) {
      assert.equal(record.error, null, "events after the end");
      assert.ok(batch.revision > (record.batches.at(-1)?.revision ?? 0), "revisions grow");
      record.batches.push(batch);
    },
    ended(error) {
      assert.equal(record.error, null, "ended once only");
      record.error = error;
    },
  };
  return record;
}

/** Waits, in real time, until `condition` holds; 10 s at most. */
export async function until(condition: () => boolean): Promise<void> {
  await untilAsync(async () => condition());
}

export async function untilAsync(condition: () => Promise<boolean>): Promise<void> {
  const deadline = performance.now() + 10_000;
  while (!(await condition())) {
    assert.ok(performance.now() < deadline, "waited 10 s in vain");
    await new Promise((resolve) => setImmediate(resolve));
  }
}
