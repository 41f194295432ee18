/** Columns must say what the records say, whatever came, went, changed or lost its host in between. */
import assert from "node:assert/strict";
import { test } from "node:test";
import { type Kind, type RecordOf, VmSpec } from "@sheaf/model";
import fc from "fast-check";
import { ageOf, ListTable } from "./list-table.ts";
import { compareKeys, compareValues } from "./sort-column.ts";
import { Presenter } from "./present.ts";

const idOf = (number: number): string => `01900000-0000-7000-8000-${String(number).padStart(12, "0")}`;

const vm = (number: number, cpus: number, host: string | undefined): RecordOf<"vm"> => ({
  kind: "vm",
  id: idOf(number),
  name: `vm-${number}`,
  project: "p",
  labels: {},
  generation: 1,
  createdAt: 0,
  createdBy: "test",
  finalizers: [],
  revision: 1,
  specRevision: 1,
  spec: VmSpec.parse({ cpu: { count: cpus } }),
  status: {
    agent: {
      state: "running",
      epoch: 1,
      host: host ?? "",
      bootId: "b",
      observedGeneration: 1,
      since: 0,
      startRequestSeen: 0,
      restarts: 0,
      pendingChanges: [],
    },
  },
  ...(host === undefined ? {} : { placement: { host, epoch: 1, incarnation: "i", at: 0 } }),
});

const change = fc.oneof(
  fc.record({
    do: fc.constant("put" as const),
    number: fc.nat(12),
    cpus: fc.integer({ min: 1, max: 4 }),
    host: fc.option(fc.constantFrom("h1", "h2"), { nil: undefined }),
  }),
  fc.record({ do: fc.constant("remove" as const), number: fc.nat(12) }),
  fc.record({ do: fc.constant("host" as const), host: fc.constantFrom("h1", "h2"), reachable: fc.boolean() }),
  fc.record({ do: fc.constant("list" as const) }),
);

test("after any changes, columns tell what the records tell", () => {
  fc.assert(
    fc.property(fc.array(change, { maxLength: 60 }), (changes) => {
      const reachable = new Set<string>(["h1"]);
      const presenter = new Presenter({
        cache: { get: () => undefined } as never, // hosts are known by their agents alone here
        agents: { connected: (host: string) => reachable.has(host) } as never,
        tasks: { lines: () => [], progress: () => undefined },
      });
      const records = new Map<string, RecordOf<"vm">>();
      const table = new ListTable(presenter, "vm", []);
      const look = (): void => {
        const states = table.column(["state"]);
        const cpus = table.sortColumn(["spec", "cpu", "count"]);
        assert.equal(table.rows.length, records.size);
        for (const [row, record] of table.rows.entries()) {
          assert.equal(record, records.get(record.id));
          assert.equal(states[row], presenter.state(record));
          assert.equal(cpus.values[row], (record as RecordOf<"vm">).spec.cpu.count);
          assert.equal(table.ages[row], ageOf(record.id));
        }
        for (const segments of [["spec", "cpu", "count"], ["state"], ["name"]]) {
          const { values, ordered } = table.sortColumn(segments);
          if (ordered === null) continue;
          for (let row = 1; row < values.length; row += 1) {
            const byKey = compareKeys(ordered.keys[row - 1] ?? Number.NaN, ordered.keys[row] ?? Number.NaN, 1);
            if (byKey !== 0 || ordered.exact)
              assert.equal(Math.sign(byKey), Math.sign(compareValues(values[row - 1] ?? null, values[row] ?? null, 1)));
          }
        }
        const two = table.select([{ segments: ["spec", "cpu", "count"], test: (value) => value === 2 }], null);
        assert.deepEqual(
          [...two].map((row) => table.rows[row]?.id).toSorted(),
          [...records.values()]
            .filter((record) => record.spec.cpu.count === 2)
            .map(({ id }) => id)
            .toSorted(),
        );
      };
      for (const each of changes) {
        if (each.do === "put") {
          const record = vm(each.number, each.cpus, each.host);
          records.set(record.id, record);
          table.update({ kind: "vm", id: record.id, record });
        } else if (each.do === "remove") {
          records.delete(idOf(each.number));
          table.update({ kind: "vm", id: idOf(each.number) });
        } else if (each.do === "host") {
          if (each.reachable) reachable.add(each.host);
          else reachable.delete(each.host);
          table.hostChanged(each.host);
        } else look();
      }
      look();
    }),
    { numRuns: 300 },
  );
});

test("fields that nobody asks for any more lose their columns, and come back when they are asked for", () => {
  const presenter = new Presenter({
    cache: {} as never,
    agents: { connected: () => true } as never,
    tasks: { lines: () => [], progress: () => undefined },
  }); // not asked
  const table = new ListTable(presenter, "vm", [vm(1, 1, undefined), vm(2, 3, undefined)] as RecordOf<Kind>[]);
  for (let label = 0; label < 100; label += 1) table.column(["labels", `l${label}`]);
  assert.deepEqual(table.column(["spec", "cpu", "count"]), [1, 3]);
  assert.deepEqual(table.column(["labels", "l0"]), [undefined, undefined]);
});

test("labels are usual that many records have, most frequent first", () => {
  const presenter = new Presenter({ cache: {} as never, agents: {} as never, tasks: { lines: () => [], progress: () => undefined } }); // not asked
  const labels = (number: number): Record<string, string> => ({
    ...(number % 2 === 0 ? { tier: "web" } : {}),
    owner: `team-${number}`,
    ...(number === 7 ? { rare: "x" } : {}),
    ...(number % 3 === 0 ? { ["__proto__x"]: "y" } : {}),
  });
  const records = Array.from({ length: 60 }, (_, number) => ({ ...vm(number, 1, undefined), labels: labels(number) }));
  const table = new ListTable(presenter, "vm", records as RecordOf<Kind>[]);
  assert.deepEqual(table.usualLabels(2), ["owner", "tier"]);
  assert.deepEqual(table.usualLabels(9), ["owner", "tier", "__proto__x"]);
});
