/** Pages put together must be what sorting everything gives: nothing twice, nothing left out, whatever is equal, absent or in whichever order. */
import assert from "node:assert/strict";
import { test } from "node:test";
import { type RecordOf, VmSpec } from "@sheaf/model";
import fc from "fast-check";
import type { RecordCache } from "../context.ts";
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
      const context = { cache: cache as unknown as RecordCache }; // what lists ask of it
      const presenter = new Presenter({
        ...context,
        agents: { connected: () => true } as never,
        tasks: { lines: () => [], progress: () => undefined },
      });
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
