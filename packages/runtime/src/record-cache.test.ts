import assert from "node:assert/strict";
import { test } from "node:test";
import fc from "fast-check";
import { seededRandom, SimulatedClock, silentLogger } from "@sheaf/base";
import { partKey, recordPrefix } from "@sheaf/model";
import { makeFaulty, openMemoryStore, type Operation, type Store } from "@sheaf/store";
import { RecordCache, type RecordChange } from "./record-cache.ts";

const id = (number: number): string => `0190a000-0000-7000-8000-00000000000${number}`;
const head = (number: number, name: string, extra: object = {}): string =>
  JSON.stringify({
    kind: "vm",
    id: id(number),
    name,
    project: "p1",
    labels: {},
    generation: 1,
    createdAt: 1,
    createdBy: "u",
    finalizers: [],
    spec: { power: "running" },
    ...extra,
  });
const put = (number: number, part: string, value: string): Operation => ({ put: partKey("vm", id(number), part), value });
const memory = (clock: SimulatedClock) => openMemoryStore({ clock, random: seededRandom(7) });
const write = (store: Store, ...then: Operation[]) => store.transact({ compare: [], then });

async function opened() {
  const clock = new SimulatedClock();
  const store = await memory(clock);
  const cache = await RecordCache.open({ store, clock, logger: silentLogger });
  return { clock, store, cache };
}

test("a record is put together from its parts, and its parts of one transaction are one change", async () => {
  const { store, cache } = await opened();
  const seen: (readonly RecordChange[])[] = [];
  cache.subscribe((_revision, changes) => seen.push(changes));
  const made = await write(store, put(1, "spec", head(1, "web")), put(1, "placement", '{"host":"h","epoch":1}'));
  const told = await write(
    store,
    put(1, "status/agent", '{"state":"running"}'),
    put(1, "status/hosts/h1", '{"state":"ready"}'),
    put(1, "status/hosts/h2", '{"state":"failed"}'),
  );
  await cache.waitFor(told.revision);
  assert.equal(seen.length, 2);
  assert.equal(seen[0]?.length, 1);
  const record = cache.byName("vm", "p1", "web");
  assert.equal(record?.specRevision, made.revision);
  assert.equal(record?.revision, told.revision);
  assert.deepEqual(record?.placement, { host: "h", epoch: 1 });
  assert.deepEqual(record?.status, { agent: { state: "running" }, hosts: { h1: { state: "ready" }, h2: { state: "failed" } } });
  assert.equal(seen[1]?.[0]?.previous?.revision, made.revision);
  assert.deepEqual(seen[0]?.[0]?.record?.status, {}, "records handed out are not changed afterwards");
});

test("a new spec replaces the whole head; a part that goes leaves the others", async () => {
  const { store, cache } = await opened();
  await write(store, put(1, "spec", head(1, "web", { displayName: "Web" })), put(1, "placement", '{"host":"h"}'), put(1, "status/hosts/h1", "{}"));
  await write(store, put(1, "spec", head(1, "shop")));
  const last = await write(store, { delete: partKey("vm", id(1), "placement") }, { delete: partKey("vm", id(1), "status/hosts/h1") });
  await cache.waitFor(last.revision);
  assert.equal(cache.byName("vm", "p1", "web"), undefined);
  const record = cache.byName("vm", "p1", "shop");
  assert.equal(record?.displayName, undefined);
  assert.equal(record?.placement, undefined);
  assert.deepEqual(record?.status, {});
  const gone = await write(store, { deletePrefix: recordPrefix("vm", id(1)) });
  await cache.waitFor(gone.revision);
  assert.equal(cache.count("vm"), 0);
});

test("the revision passes transactions that touch no record", async () => {
  const { store, cache } = await opened();
  const other = await write(store, { put: "s/session", value: "x" });
  await cache.waitFor(other.revision);
  assert.equal(cache.revision, other.revision);
});

test("status without a spec is no record, and a broken part does no harm", async () => {
  const { store, cache } = await opened();
  const last = await write(store, put(1, "status/agent", "{}"), put(2, "spec", "{"), put(3, "spec", head(3, "c")), put(3, "status/agent", "[1"));
  await cache.waitFor(last.revision);
  assert.deepEqual(
    [...cache.all("vm")].map((each) => each.name),
    ["c"],
  );
});

test("waiting for a revision that does not come ends with what happened", async () => {
  const { clock, cache } = await opened();
  const waiting = assert.rejects(cache.waitFor(99, 1000), { code: "timed-out" });
  await clock.advance(1001);
  await waiting;
});

test("after a gap that the store has forgotten, a part deleted meanwhile is gone, and what did not change is the same object", async () => {
  const clock = new SimulatedClock();
  const store = makeFaulty(await memory(clock), { clock, random: seededRandom(1) });
  await write(
    store,
    put(1, "placement", '{"host":"h"}'),
    put(1, "status/hosts/h1", "{}"),
    put(1, "status/hosts/h2", "{}"),
    put(2, "spec", head(2, "b")),
  );
  await write(store, put(1, "spec", head(1, "a")), put(3, "spec", head(3, "c")));
  const cache = await RecordCache.open({ store, clock, logger: silentLogger });
  const unchanged = cache.get("vm", id(2));
  const told: RecordChange[] = [];
  cache.subscribe((_revision, changes) => told.push(...changes));
  store.setFaults({ watchEnds: 1 });
  await write(store, put(4, "spec", head(4, "d")));
  await clock.advance(0);
  store.setFaults({});
  // The watch is away now. The newest part of the record stays as it is, only older ones go.
  await write(store, { delete: partKey("vm", id(1), "placement") }, { delete: partKey("vm", id(1), "status/hosts/h1") });
  await write(store, { deletePrefix: recordPrefix("vm", id(3)) });
  await store.compactNow();
  await clock.advance(1000);
  const record = cache.get("vm", id(1));
  assert.equal(record?.placement, undefined);
  assert.deepEqual(record?.status, { hosts: { h2: {} } });
  assert.equal(cache.get("vm", id(3)), undefined);
  assert.equal(cache.byName("vm", "p1", "c"), undefined);
  assert.equal(cache.get("vm", id(2)), unchanged);
  assert.deepEqual(
    told.map((change) => [change.previous?.name, change.record?.name]),
    [
      [undefined, "d"],
      ["c", undefined],
      ["a", "a"],
    ],
  );
  cache.close();
});

test("a watch that was only cut off goes on where it was, without another list", async () => {
  const clock = new SimulatedClock();
  const inner = await memory(clock);
  const store = makeFaulty(inner, { clock, random: seededRandom(1) });
  const cache = await RecordCache.open({ store, clock, logger: silentLogger });
  let lists = 0;
  const range = inner.range.bind(inner);
  inner.range = (input) => ((lists += 1), range(input));
  store.endWatches();
  const last = await write(store, put(1, "spec", head(1, "a")));
  await clock.advance(1000);
  assert.equal(cache.revision, last.revision);
  assert.equal(cache.byName("vm", "p1", "a")?.name, "a");
  assert.equal(lists, 0);
  cache.close();
});

test("the list is tried again for as long as the store is away", async () => {
  const clock = new SimulatedClock();
  const store = makeFaulty(await memory(clock), { clock, random: seededRandom(1) });
  const cache = await RecordCache.open({ store, clock, logger: silentLogger });
  await write(store, put(1, "spec", head(1, "a")));
  await store.compactNow();
  await write(store, put(1, "spec", head(1, "b")));
  await store.compactNow();
  store.setFaults({ unavailable: 1 });
  await clock.advance(5000);
  store.setFaults({});
  await clock.advance(1000);
  assert.equal(cache.byName("vm", "p1", "b")?.name, "b");
  cache.close();
});

test("whatever happens to the watch, the cache ends equal to a fresh one, and its changes tell the same story", async () => {
  const step = fc.oneof(
    fc.record({
      do: fc.constant("put" as const),
      number: fc.integer({ min: 1, max: 4 }),
      part: fc.constantFrom("spec", "placement", "status/agent", "status/hosts/h1"),
      value: fc.nat(5),
    }),
    fc.record({
      do: fc.constant("drop" as const),
      number: fc.integer({ min: 1, max: 4 }),
      part: fc.constantFrom("spec", "placement", "status/agent", "status/hosts/h1", "all"),
    }),
    fc.record({ do: fc.constant("end" as const) }),
    fc.record({ do: fc.constant("compact" as const) }),
    fc.record({ do: fc.constant("pause" as const) }),
  );
  await fc.assert(
    fc.asyncProperty(fc.array(step, { maxLength: 30 }), async (steps) => {
      const clock = new SimulatedClock();
      const store = makeFaulty(await memory(clock), { clock, random: seededRandom(1) });
      const cache = await RecordCache.open({ store, clock, logger: silentLogger });
      const told = new Map<string, unknown>();
      cache.subscribe((_revision, changes) => {
        for (const change of changes) {
          assert.deepEqual(told.get(change.id), change.previous);
          if (change.record) told.set(change.id, change.record);
          else told.delete(change.id);
        }
      });
      for (const each of steps) {
        if (each.do === "put")
          await write(
            store,
            put(each.number, each.part, each.part === "spec" ? head(each.number, `n${each.value}`) : JSON.stringify({ value: each.value })),
          );
        else if (each.do === "drop")
          await write(
            store,
            each.part === "all" ? { deletePrefix: recordPrefix("vm", id(each.number)) } : { delete: partKey("vm", id(each.number), each.part) },
          );
        else if (each.do === "compact") await store.compactNow();
        else if (each.do === "end") store.endWatches();
        await clock.advance(each.do === "pause" ? 300 : 0);
      }
      await clock.advance(1000);
      const fresh = await RecordCache.open({ store, clock, logger: silentLogger });
      const content = (of: RecordCache) => [...of.all("vm")].map((each) => ({ ...each, revision: 0 })).toSorted((a, b) => (a.id < b.id ? -1 : 1));
      assert.deepEqual(content(cache), content(fresh));
      assert.deepEqual([...told.keys()].toSorted(), [...cache.all("vm")].map((each) => each.id).toSorted());
      cache.close();
      fresh.close();
    }),
    { numRuns: 300 },
  );
});
