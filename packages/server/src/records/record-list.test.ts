/** Pages put together must be what sorting everything gives: nothing twice, nothing left out, whatever is equal, absent or in whichever order. */
import assert from "node:assert/strict";
import { test } from "node:test";
import type { Agents } from "@sheaf/controllers";
import { type RecordOf, VmSpec } from "@sheaf/model";
import fc from "fast-check";
import type { RecordCache, RecordChange } from "../context.ts";
import type { Caller } from "../identity/rights.ts";
import { Presenter } from "./present.ts";
import { RecordLists } from "./record-list.ts";
import { compareValues, sortValue } from "./sort-column.ts";

const spec = VmSpec.parse({});
const caller = { rights: { everywhere: () => true } } as unknown as Caller; // sees everything; not asked for more

interface Seed {
  readonly cpus: number;
  readonly label: string | undefined;
  readonly createdAt: number;
}
const vm = ({ cpus, label, createdAt }: Seed, number: number): RecordOf<"vm"> => ({
  kind: "vm",
  // Some were made in the same millisecond, and beyond that only the ends of the ids differ.
  id: `01900000-${String(1000 + (number >> 2)).slice(0, 4)}-7000-8000-${String(number * 7919).padStart(12, "0")}`,
  name: `vm-${number % 5 === 0 ? "x" : ""}${number}`,
  project: "p",
  labels: label === undefined ? {} : { tier: label },
  generation: 1,
  createdAt,
  createdBy: "test",
  finalizers: [],
  revision: 1,
  specRevision: 1,
  spec: { ...spec, cpu: { ...spec.cpu, count: cpus } },
  status: {},
});

const seeds = fc.array(
  fc.record({
    cpus: fc.integer({ min: 1, max: 3 }),
    label: fc.option(fc.constantFrom("web", "db", "very-long-tier-a", "very-long-tier-b", "é"), { nil: undefined }),
    createdAt: fc.oneof(fc.integer({ min: 0, max: 3 }), fc.integer({ min: 1_764_000_000_000, max: 1_764_000_000_100 })),
  }),
  { maxLength: 300, size: "max" },
);
const sorts = {
  name: ({ name }: RecordOf<"vm">) => name,
  createdAt: ({ createdAt }: RecordOf<"vm">) => createdAt,
  "labels.tier": ({ labels }: RecordOf<"vm">) => labels["tier"],
  "spec.cpu.count": (record: RecordOf<"vm">) => record.spec.cpu.count,
  displayName: ({ displayName }: RecordOf<"vm">) => displayName,
  state: () => "pending",
};
const request = fc.record({
  sort: fc.constantFrom(...(Object.keys(sorts) as (keyof typeof sorts)[]) /* its keys */),
  down: fc.boolean(),
  filtered: fc.boolean(),
  limit: fc.integer({ min: 1, max: 120 }),
});

test("pages follow each other through all that was asked for, in order", () => {
  fc.assert(
    fc.property(seeds, fc.array(request, { minLength: 1, maxLength: 3 }), (some, requests) => {
      const records = some.map(vm);
      const cache = {
        revision: 1,
        all: (kind: string) => (kind === "vm" ? records : []),
        get: () => undefined,
        byName: () => undefined,
        subscribe: () => {},
      };
      const agents = { connected: () => true, subscribe: () => () => {} };
      const context = { cache: cache as unknown as RecordCache, agents: agents as unknown as Agents }; // what lists ask of them
      const presenter = new Presenter({ ...context, tasks: { lines: () => [], progress: () => undefined } });
      const lists = new RecordLists(context, presenter);
      for (const { sort, down, filtered, limit } of requests) {
        const direction = down ? -1 : 1;
        const wanted = records
          .filter((record) => !filtered || record.spec.cpu.count > 1)
          .toSorted(
            (left, right) =>
              compareValues(sortValue(sorts[sort](left)), sortValue(sorts[sort](right)), direction) || (left.id < right.id ? -direction : direction),
          )
          .map(({ name }) => name);
        const found: string[] = [];
        let cursor: string | undefined;
        do {
          const query = { sort: `${down ? "-" : ""}${sort}`, limit, fields: "name", cursor, ...(filtered ? { filter: "spec.cpu.count>1" } : {}) };
          const page = JSON.parse(lists.list(caller, "vm", query)) as { items: { name: string }[]; next?: string; total: number }; // a page
          assert.equal(page.total, wanted.length);
          assert.ok(page.items.length <= limit);
          found.push(...page.items.map(({ name }) => name));
          cursor = page.next;
        } while (cursor !== undefined);
        assert.deepEqual(found, wanted, JSON.stringify({ sort, down, filtered, limit }));
      }
    }),
    { numRuns: 150 },
  );
});

test("machines whose host comes or goes are listed as that makes them, without a change of theirs", () => {
  const connected = new Set<string>();
  let tell: (event: { hostId: string; connected: boolean }) => void = () => {};
  let change: (revision: number, changes: RecordChange[]) => void = () => {};
  const hosts = new Map<string, { status: { liveness: { state: string } } }>();
  const machines = ["h1", "h2"].map((host, number) => ({
    ...vm({ cpus: 1, label: undefined, createdAt: 0 }, number),
    placement: { host, epoch: 1, incarnation: "i", at: 0, reason: "" },
  }));
  const context = {
    cache: {
      revision: 1,
      all: (kind: string) => (kind === "vm" ? machines : []),
      get: (kind: string, id: string) => (kind === "host" ? hosts.get(id) : undefined),
      subscribe: (listener: typeof change) => (change = listener),
    } as unknown as RecordCache,
    agents: { connected: (id: string) => connected.has(id), subscribe: (listener: typeof tell) => (tell = listener) } as unknown as Agents,
  }; // what lists ask of them
  const lists = new RecordLists(context, new Presenter({ ...context, tasks: { lines: () => [], progress: () => undefined } }));
  const unreachable = (): number => (JSON.parse(lists.list(caller, "vm", { filter: "state=unreachable", limit: 9 })) as { total: number }).total; // a page
  assert.equal(unreachable(), 2);
  connected.add("h1");
  tell({ hostId: "h1", connected: true });
  assert.equal(unreachable(), 1);
  hosts.set("h2", { status: { liveness: { state: "ready" } } });
  change(2, [{ kind: "host", id: "h2" }]);
  assert.equal(unreachable(), 0);
  connected.delete("h1");
  tell({ hostId: "h1", connected: false });
  assert.equal(unreachable(), 1);
});
