/**
 * Random transactions against a model that is nothing but copies of a Map: every revision, every watch and every page must agree.
 * Called by the test files of the backends.
 */
import assert from "node:assert/strict";
import fc from "fast-check";
import { recorder, until } from "./conformance-kit.ts";
import { compareKeys } from "../key-order.ts";
import { StoreError } from "../store.ts";
import type { Compare, Entry, Operation, Store, TransactionInput } from "../store.ts";

type State = ReadonlyMap<string, Entry>;

const key = fc.constantFrom("a", "a/", "a/1", "a/2", "a/é", "a/😀", "a/\uffee", "b", "b/1", "b/1/x", "c");
const revision = fc.integer({ min: 0, max: 12 });
const compare: fc.Arbitrary<Compare> = fc.oneof(
  fc.record({ key, modRevision: revision }),
  fc.record({ key, createRevision: fc.oneof(fc.constant(0), revision) }),
  fc.record({ key, value: fc.constantFrom("", "x", "y") }),
);
const operation: fc.Arbitrary<Operation> = fc.oneof(
  { weight: 5, arbitrary: fc.record({ put: key, value: fc.constantFrom("", "x", "y", "zzz") }) },
  { weight: 2, arbitrary: fc.record({ delete: key }) },
  { weight: 1, arbitrary: fc.record({ deletePrefix: fc.constantFrom("a/", "b", "b/", "nothing/") }) },
);
const transaction: fc.Arbitrary<TransactionInput> = fc.record(
  { compare: fc.array(compare, { maxLength: 2 }), then: fc.array(operation, { maxLength: 4 }), else: fc.array(operation, { maxLength: 2 }) },
  { requiredKeys: ["compare", "then"] },
);
const step = fc.oneof(
  { weight: 12, arbitrary: fc.record({ transaction }) },
  { weight: 1, arbitrary: fc.record({ compactBack: fc.integer({ min: 0, max: 5 }) }) },
);

/** The model: what the state is after the transaction, or the refusal's code. */
function expected(state: State, now: number, input: TransactionInput): { state: State; succeeded: boolean; revision: number } | "duplicate-key" {
  for (const branch of [input.then, input.else ?? []]) if (touchesTwice(branch)) return "duplicate-key";
  const succeeded = input.compare.every((condition) => {
    const entry = state.get(condition.key);
    if ("value" in condition) return entry?.value === condition.value;
    if ("modRevision" in condition) return (entry?.modRevision ?? 0) === condition.modRevision;
    return (entry?.createRevision ?? 0) === condition.createRevision;
  });
  const next = new Map(state);
  let changed = false;
  for (const item of succeeded ? input.then : (input.else ?? [])) {
    if ("put" in item) {
      const old = state.get(item.put);
      const entry = {
        key: item.put,
        value: item.value,
        createRevision: old?.createRevision ?? now + 1,
        modRevision: now + 1,
        version: (old?.version ?? 0) + 1,
        lease: null,
      };
      next.set(item.put, entry);
      changed = true;
    } else if ("delete" in item) changed = next.delete(item.delete) || changed;
    else for (const name of state.keys()) if (name.startsWith(item.deletePrefix)) changed = next.delete(name) || changed;
  }
  return { state: next, succeeded, revision: changed ? now + 1 : now };
}

function touchesTwice(operations: readonly Operation[]): boolean {
  const texts = operations.map((item) =>
    "put" in item
      ? { text: item.put, prefix: false }
      : "delete" in item
        ? { text: item.delete, prefix: false }
        : { text: item.deletePrefix, prefix: true },
  );
  return texts.some((left, index) =>
    texts.some((right, other) => index !== other && (left.prefix ? right.text.startsWith(left.text) : !right.prefix && left.text === right.text)),
  );
}

const sorted = (state: State): Entry[] => [...state.values()].sort((left, right) => compareKeys(left.key, right.key));

async function agree(store: Store, steps: readonly ({ transaction: TransactionInput } | { compactBack: number })[], pageSize: number): Promise<void> {
  const states: State[] = [new Map()];
  let compacted = 0;
  const watched = recorder();
  store.watch({ prefix: "a", fromRevision: 1 }, watched);
  for (const item of steps) {
    const now = states.length - 1;
    const state = states[now] ?? new Map<string, Entry>();
    if ("compactBack" in item) {
      const target = Math.max(0, now - item.compactBack);
      await store.compact(target);
      compacted = Math.max(compacted, target);
      continue;
    }
    const model = expected(state, now, item.transaction);
    if (model === "duplicate-key") {
      await assert.rejects(store.transact(item.transaction), (error) => error instanceof StoreError && error.code === "duplicate-key");
      continue;
    }
    const result = await store.transact(item.transaction);
    assert.equal(result.succeeded, model.succeeded);
    assert.equal(result.revision, model.revision);
    if (!result.succeeded) for (const [name, entry] of result.current) assert.deepEqual(entry, state.get(name) ?? null);
    assert.deepEqual(
      [...result.current.keys()].sort(),
      result.succeeded ? [] : [...new Set(item.transaction.compare.map((condition) => condition.key))].sort(),
    );
    if (model.revision > now) states.push(model.state);
  }
  for (let at = 0; at < states.length; at += 1) {
    const wanted = sorted(states[at] ?? new Map());
    if (at < compacted)
      await assert.rejects(store.range({ prefix: "", revision: at }), (error) => error instanceof StoreError && error.code === "compacted");
    else assert.deepEqual(await pages(store, "", at, pageSize), wanted);
    if (at >= compacted)
      assert.deepEqual(
        await pages(store, "a/", at, pageSize),
        wanted.filter((entry) => entry.key.startsWith("a/")),
      );
  }
  const newest = states.length - 1;
  // A last transaction tells when the watch has told everything.
  await store.transact({ compare: [], then: [{ put: "a/last", value: "" }] });
  await until(() => watched.batches.at(-1)?.revision === newest + 1);
  const late = recorder();
  store.watch({ prefix: "a", fromRevision: compacted + 1 }, late);
  await until(() => late.batches.at(-1)?.revision === newest + 1);
  assert.deepEqual(
    late.batches,
    watched.batches.filter((batch) => batch.revision > compacted),
  );
  const told = new Map<string, Entry>();
  for (const batch of watched.batches.slice(0, -1)) {
    for (const event of batch.events) {
      assert.equal(event.entry.modRevision, batch.revision);
      if (event.type === "put") told.set(event.entry.key, event.entry);
      else assert.ok(told.delete(event.entry.key), `${event.entry.key} was deleted, but never there`);
    }
    assert.deepEqual(
      sorted(told),
      sorted(states[batch.revision] ?? new Map()).filter((entry) => entry.key.startsWith("a")),
    );
  }
}

async function pages(store: Store, prefix: string, at: number, limit: number): Promise<Entry[]> {
  const entries: Entry[] = [];
  for (let more = true; more;) {
    const after = entries.at(-1)?.key;
    const page = await store.range({ prefix, limit, revision: at, ...(after === undefined ? {} : { after }) });
    assert.equal(page.revision, at);
    entries.push(...page.entries);
    more = page.more;
  }
  return entries;
}

/** @param open a store of its own for each run */
export const agreesWithModel = (runs: number, open: () => Promise<{ store: Store; dispose: () => Promise<void> }>) =>
  fc.assert(
    fc.asyncProperty(fc.array(step, { maxLength: 25, size: "max" }), fc.integer({ min: 1, max: 4 }), async (steps, pageSize) => {
      const { store, dispose } = await open();
      try {
        await agree(store, steps, pageSize);
      } finally {
        await dispose();
      }
    }),
    { numRuns: runs },
  );
