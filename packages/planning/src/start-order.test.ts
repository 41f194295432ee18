import assert from "node:assert/strict";
import { test } from "node:test";
import { VmSpec, type RecordOf } from "@sheaf/model";
import fc from "fast-check";
import { ids, placedOn, record, seen } from "./record.test-support.ts";
import { inRestartOrder, startOrder } from "./start-order.ts";

type Vm = RecordOf<"vm">;
const maximumWaitMs = 300_000;
const idOf = (number: number): string => `00000000-0000-7000-8000-${String(100 + number).padStart(12, "0")}`;

const machine = (number: number, spec: Record<string, unknown> = {}, rest: Partial<Vm> = {}): Vm =>
  record("vm", idOf(number), VmSpec.parse(spec), { name: `vm-${number}`, placement: placedOn(ids.host), createdAt: number, ...rest });
const runs = { status: { agent: seen("running") } };
const after = (numbers: readonly number[], rest: object = {}) => ({ restart: { after: { machines: numbers.map(idOf), ...rest } } });
const app = machine(0, after([1]));

const ask = (vm: Vm, others: readonly Vm[], over: { now?: number; since?: number; isTrue?: (vm: Vm) => boolean } = {}) =>
  startOrder({ vm, since: 1000, now: 1000, machine: (id) => [vm, ...others].find((one) => one.id === id), isTrue: () => true, ...over });

test("a machine without any order starts at once", () => {
  assert.deepEqual(ask(machine(0), []), { go: true, without: [] });
});

const cases: readonly (readonly [what: string, database: Vm | undefined, reason: string | null])[] = [
  ["it runs", machine(1, {}, runs), null],
  ["it has not been seen", machine(1), "it does not run yet"],
  ["it is starting", machine(1, {}, { status: { agent: seen("starting") } }), "it does not run yet"],
  ["it ran under an older placement", machine(1, {}, { placement: placedOn(ids.host, 2), ...runs }), "it does not run yet"],
  ["it ran on another host", machine(1, {}, { placement: placedOn(ids.otherHost), ...runs }), "it does not run yet"],
  ["it has no host", record("vm", idOf(1), VmSpec.parse({}), { name: "vm-1" }), "it has no host yet"],
  ["it has failed", machine(1, {}, { status: { agent: seen("failed") } }), "it does not run yet"],
  ["it is to be stopped", machine(1, { power: "stopped" }), null],
  ["it is to be paused", machine(1, { power: "paused" }), null],
  ["it is being deleted", machine(1, {}, { deletedAt: 5 }), null],
  ["it is gone", undefined, null],
  ["its guest shut itself down", machine(1, {}, { status: { agent: seen("stopped", { stoppedBy: "guest" }) } }), null],
  [
    "its guest shut itself down and is started again",
    machine(1, { restart: { onGuestShutdown: "restart" } }, { status: { agent: seen("stopped", { stoppedBy: "guest" }) } }),
    "it does not run yet",
  ],
  [
    "its guest shut itself down and somebody asked for it since",
    machine(1, { startRequest: 1 }, { status: { agent: seen("stopped", { stoppedBy: "guest" }) } }),
    "it does not run yet",
  ],
];
for (const [what, database, reason] of cases)
  test(`${reason === null ? "it goes on" : "it waits"} when of the machine to be started first ${what}`, () => {
    const order = ask(app, database ? [database] : []);
    if (reason === null) assert.deepEqual(order, { go: true, without: [] });
    else
      assert.deepEqual(order, {
        go: false,
        waitsFor: [idOf(1)],
        reason: `it is started after vm-1 (${reason})`,
        lookAgainMs: maximumWaitMs,
      });
  });

test("what was seen on a host that is not heard, or has booted since, does not count", () => {
  assert.equal(ask(app, [machine(1, {}, runs)], { isTrue: () => false }).go, false);
});

test("guest-answers waits for the guest's agent, where the machine has one", () => {
  const waits = machine(0, after([1], { condition: "guest-answers" }));
  const answering = (connected: boolean, guestAgent = true) =>
    ask(waits, [machine(1, { guestAgent }, { status: { agent: seen("running", { guestAgent: { connected } }) } })]).go;
  assert.deepEqual(ask(waits, [machine(1, {}, runs)]), {
    go: false,
    waitsFor: [idOf(1)],
    reason: "it is started after vm-1 (its guest does not answer yet)",
    lookAgainMs: maximumWaitMs,
  });
  assert.equal(answering(false), false);
  assert.equal(answering(true), true);
  assert.equal(answering(false, false), true);
});

test("it is started without the others when it has waited long enough, and says without whom", () => {
  assert.equal(ask(app, [machine(1)], { now: 1000 + maximumWaitMs - 1 }).go, false);
  assert.deepEqual(ask(app, [machine(1)], { now: 1000 + maximumWaitMs }), { go: true, without: ["vm-1"] });
});

test("a clock that was set back far does not prolong the wait; one that differs a little from another server's neither ends nor prolongs it", () => {
  assert.equal(ask(app, [machine(1)], { since: 100_000_000, now: 1000 }).go, true);
  const order = ask(app, [machine(1)], { since: 3000, now: 1000 });
  assert.equal(order.go ? 0 : order.lookAgainMs, maximumWaitMs);
});

test("the most important first, of equals the oldest; who is started first is as important as those that wait for it", () => {
  const names = (machines: readonly Vm[]): string =>
    inRestartOrder(machines)
      .map(({ vm }) => vm.name)
      .join(" ");
  assert.equal(names([machine(1), machine(2, { priority: 900 }), machine(3)]), "vm-2 vm-1 vm-3");
  assert.equal(names([machine(1, { priority: 300 }), machine(2), machine(3, { priority: 500, ...after([2]) })]), "vm-2 vm-3 vm-1");
  assert.deepEqual(
    inRestartOrder([machine(1, { priority: 500, ...after([2]) }), machine(2, { priority: 300 })]).map(({ importance }) => importance),
    [500, 500],
  );
  assert.equal(names([machine(1), machine(2, after([3])), machine(3, after([2]))]), "vm-1 vm-2 vm-3");
});

/** Machines that name each other in any way, circles included; some never come. */
const sites = fc.integer({ min: 1, max: 8 }).chain((count) =>
  fc.record({
    names: fc.array(fc.uniqueArray(fc.nat({ max: count - 1 }), { maxLength: 4 }), { minLength: count, maxLength: count }),
    waits: fc.array(fc.integer({ min: 1000, max: 600_000 }), { minLength: count, maxLength: count }),
    bootsMs: fc.array(fc.option(fc.integer({ min: 0, max: 400_000 }), { nil: undefined }), { minLength: count, maxLength: count }),
  }),
);

test("all are started in time, in their order but for those that waited long enough, whoever names whom and whoever never comes", () => {
  fc.assert(
    fc.property(sites, ({ names, waits, bootsMs }) => {
      const began = new Map<number, number>();
      const specs = names.map((others, number) => (others.length === 0 ? {} : after(others, { maximumWaitMs: waits[number] })));
      const at = (now: number): Vm[] =>
        specs.map((spec, number) => {
          const bootMs = bootsMs[number];
          const start = began.get(number);
          return machine(number, spec, start !== undefined && bootMs !== undefined && now >= start + bootMs ? runs : {});
        });
      let now = 0;
      for (let round = 0; began.size < names.length; round += 1) {
        assert.ok(round < 200, "a wait does not end");
        const machines = at(now);
        let nextMs = Infinity;
        for (const [number, vm] of machines.entries()) {
          if (began.has(number)) continue;
          const order = startOrder({ vm, since: 0, now, machine: (id) => machines.find((one) => one.id === id), isTrue: () => true });
          if (!order.go) {
            assert.ok(order.lookAgainMs > 0 && order.waitsFor.length > 0);
            nextMs = Math.min(nextMs, order.lookAgainMs);
            continue;
          }
          began.set(number, now);
          const missing = (names[number] ?? []).filter((other) => other !== number && machines[other]?.status.agent === undefined);
          assert.deepEqual(
            order.without,
            missing.map((other) => `vm-${other}`),
          );
          assert.ok(missing.length === 0 || now >= (waits[number] ?? 0), "it did not wait for those before it");
          assert.ok(now <= (waits[number] ?? 0), "it waited too long");
        }
        for (const [number, start] of began) {
          const bootMs = bootsMs[number];
          if (bootMs !== undefined && start + bootMs > now) nextMs = Math.min(nextMs, start + bootMs - now);
        }
        now += nextMs === Infinity ? 0 : nextMs;
      }
    }),
    { numRuns: 500 },
  );
});
