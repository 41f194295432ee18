import assert from "node:assert/strict";
import { test } from "node:test";
import fc from "fast-check";
import type { RecordOf } from "@sheaf/model";
import { type MachineMemory, newMachineMemory } from "./machine-memory.ts";
import {
  afterRefusal,
  failureWindowMs,
  halfStartedMs,
  mayDestroy,
  type Plan,
  planMachine,
  pressAgainMs,
  resumeAgainMs,
  type Situation,
} from "./plan-machine.ts";
import type { Domain } from "./ports.ts";
import { sampleDocument, sampleId } from "./simulated/sample-documents.ts";

const now = 1_800_000_000_000;
const us = sampleId(10);
const other = sampleId(11);
const id = sampleId(1);
const mark = { id, epoch: 1, incarnation: "i1", generation: 1, cpu: "qemu64", boot: ["disk" as const] };
const placement = { host: us, epoch: 1, incarnation: "i1" };

const machine = (spec: object = {}, options: object = {}): RecordOf<"vm"> => sampleDocument("vm", spec, { id, placement, ...options });
const domain = (state: Domain["state"], reason: Domain["reason"] = "unknown", over: object = {}): Domain => ({
  uuid: id,
  name: "sheaf-100-vm",
  state,
  reason,
  persistent: true,
  mark,
  ...over,
});
const remembered = (over: Partial<MachineMemory> = {}): MachineMemory => ({
  ...newMachineMemory(now - 1000),
  held: { epoch: 1, incarnation: "i1" },
  ...over,
});
const ran = (over: Partial<MachineMemory> = {}): MachineMemory =>
  remembered({ state: "running", expectRunning: true, runningBoot: "boot", startedAt: now - 1000, observedGeneration: 1, ...over });
const situation = (over: Partial<Situation> = {}): Situation => ({
  now,
  hostId: us,
  bootId: "boot",
  welcome: { incarnation: "i1", bootId: "boot" },
  synced: true,
  isCurrent: true,
  leaseHolds: true,
  quiet: false,
  leaseForAll: false,
  vm: machine(),
  memory: undefined,
  domain: null,
  needs: { state: "ready" },
  definable: true,
  definitionOutdated: false,
  liveOutdated: false,
  liveWaiting: false,
  pendingChanges: [],
  seedOutdated: true,
  migrating: false,
  ...over,
});
const steps = (plan: Plan): string => plan.steps.map((step) => (step.do === "start" && step.paused ? "start-paused" : step.do)).join(" ");

/** what is wanted × what is seen → steps and state. */
const table: readonly (readonly [string, Partial<Situation>, string, string | undefined])[] = [
  ["new and wanted running", {}, "define seed start", "starting"],
  ["new and wanted paused", { vm: machine({ power: "paused" }) }, "define seed start-paused", "starting"],
  ["new and wanted stopped", { vm: machine({ power: "stopped" }) }, "define", "stopped"],
  ["new, disks not there yet", { needs: { state: "waiting", why: "disk" } }, "seed define", "preparing"],
  ["new, disks not even known", { needs: { state: "waiting", why: "disk" }, definable: false }, "seed", "preparing"],
  ["defined, disks not there yet", { needs: { state: "waiting", why: "disk" }, domain: domain("stopped"), seedOutdated: false }, "", "preparing"],
  ["defined, seed there", { domain: domain("stopped"), seedOutdated: false }, "start", "starting"],
  ["new, disks cannot be made", { needs: { state: "failed", why: "disk" } }, "", "failed"],
  ["defined, wanted running", { domain: domain("stopped") }, "seed start", "starting"],
  ["defined otherwise, wanted running", { domain: domain("stopped"), definitionOutdated: true }, "define seed start", "starting"],
  ["runs as wanted", { domain: domain("running", "booted"), memory: ran() }, "", "running"],
  ["runs, found for the first time", { domain: domain("running", "booted") }, "", "running"],
  ["runs, differs", { domain: domain("running"), memory: ran(), liveOutdated: true }, "apply-live", "running"],
  ["runs, definition differs", { domain: domain("running"), memory: ran(), definitionOutdated: true }, "apply-live", "running"],
  ["runs, wanted paused", { vm: machine({ power: "paused" }), domain: domain("running"), memory: ran() }, "suspend", "running"],
  ["paused as wanted", { vm: machine({ power: "paused" }), domain: domain("paused", "user"), memory: ran() }, "", "paused"],
  ["paused, wanted running", { domain: domain("paused", "user"), memory: ran({ state: "paused" }) }, "resume", "paused"],
  [
    "left paused by a migration, back since with a newer epoch",
    { vm: machine({}, { placement: { ...placement, epoch: 3 } }), domain: domain("paused", "migration"), memory: ran() },
    "destroy",
    "running",
  ],
  ["paused by its migration, not moved", { domain: domain("paused", "migration"), memory: ran() }, "", "paused"],
  ["paused by QEMU at work", { domain: domain("paused", "starting-up"), memory: ran() }, "", "paused"],
  [
    "half started, and nobody goes on with it",
    { domain: domain("paused", "starting-up"), memory: ran({ state: "paused", since: now - halfStartedMs }) },
    "destroy",
    "paused",
  ],
  [
    "half started, wanted paused",
    {
      vm: machine({ power: "paused" }),
      domain: domain("paused", "starting-up"),
      memory: ran({ state: "paused", since: now - halfStartedMs }),
    },
    "destroy",
    "paused",
  ],
  ["paused by a disk error", { domain: domain("paused", "io-error"), memory: ran() }, "", "paused"],
  [
    "paused by a disk error, later",
    { domain: domain("paused", "io-error"), memory: ran({ state: "paused", since: now - resumeAgainMs }) },
    "resume",
    "paused",
  ],
  ["runs, wanted stopped", { vm: machine({ power: "stopped" }), domain: domain("running"), memory: ran() }, "press-power", "stopping"],
  [
    "paused, wanted stopped",
    { vm: machine({ power: "stopped" }), domain: domain("paused", "user"), memory: ran() },
    "resume press-power",
    "stopping",
  ],
  [
    "asked a moment ago",
    { vm: machine({ power: "stopped" }), domain: domain("running"), memory: ran({ stopAskedAt: now - 1, stopPressedAt: now - 1 }) },
    "",
    "stopping",
  ],
  [
    "asked some time ago",
    {
      vm: machine({ power: "stopped" }),
      domain: domain("running"),
      memory: ran({ stopAskedAt: now - pressAgainMs, stopPressedAt: now - pressAgainMs }),
    },
    "press-power",
    "stopping",
  ],
  [
    "grace is over",
    { vm: machine({ power: "stopped" }), domain: domain("running"), memory: ran({ stopAskedAt: now - 60_000 }) },
    "destroy",
    "stopping",
  ],
  ["no grace", { vm: machine({ power: "stopped", stopGraceMs: 0 }), domain: domain("running"), memory: ran() }, "destroy", "stopping"],
  ["no grace this time", { vm: machine({ power: "stopped", stopGraceOnceMs: 0 }), domain: domain("running"), memory: ran() }, "destroy", "stopping"],
  [
    "stopped as wanted",
    { vm: machine({ power: "stopped" }), domain: domain("stopped", "shutdown"), memory: ran({ stopAskedAt: now - 5 }) },
    "",
    "stopped",
  ],
  ["started again", { domain: domain("stopped", "shutdown"), memory: remembered({ state: "stopped", stoppedBy: "user" }) }, "seed start", "starting"],
  ["guest shut down", { domain: domain("stopped", "shutdown"), memory: ran() }, "", "stopped"],
  ["guest shut down, was asked to", { domain: domain("stopped", "shutdown"), memory: ran({ stopAskedAt: now - 5 }) }, "seed start", "starting"],
  [
    "guest shut down, start asked",
    { vm: machine({ startRequest: 1 }), domain: domain("stopped", "shutdown"), memory: remembered({ state: "stopped", stoppedBy: "guest" }) },
    "seed start",
    "starting",
  ],
  [
    "guest shut down, to be restarted",
    { vm: machine({ restart: { onGuestShutdown: "restart", delayMs: 0 } }), domain: domain("stopped", "shutdown"), memory: ran() },
    "seed start",
    "starting",
  ],
  ["crashed just now", { domain: domain("stopped", "crashed"), memory: ran() }, "", "crashed"],
  [
    "crashed, delay over",
    { domain: domain("stopped", "crashed"), memory: remembered({ state: "crashed", stoppedBy: "crash", failures: [now - 1000] }) },
    "seed start",
    "starting",
  ],
  ["crashed, to stay so", { vm: machine({ restart: { onCrash: "stay" } }), domain: domain("stopped", "crashed"), memory: ran() }, "", "crashed"],
  ["crashed too often", { domain: domain("stopped", "crashed"), memory: ran({ failures: [now - 3000, now - 2000, now - 1000] }) }, "", "failed"],
  [
    "crashed long ago",
    { domain: domain("stopped", "crashed"), memory: ran({ failures: [1, 2, 3].map((each) => now - failureWindowMs - each) }) },
    "",
    "crashed",
  ],
  [
    "given up, changed since",
    { vm: machine({}, { generation: 2 }), domain: domain("stopped"), memory: remembered({ givenUp: { generation: 1, startRequest: 0 } }) },
    "seed start",
    "starting",
  ],
  ["given up", { domain: domain("stopped"), memory: remembered({ givenUp: { generation: 1, startRequest: 0 } }) }, "", "failed"],
  ["crash remains of QEMU", { domain: domain("crashed"), memory: remembered({ stoppedBy: "crash" }) }, "destroy seed start", "starting"],
  ["host rebooted", { domain: domain("stopped"), memory: ran({ runningBoot: "earlier" }) }, "seed start", "starting"],
  ["power cut from outside", { domain: domain("stopped", "destroyed"), memory: ran() }, "seed start", "starting"],
  ["definition vanished", { memory: ran() }, "define seed start", "starting"],
  ["deleted, runs", { vm: machine({}, { deletedAt: 1 }), domain: domain("running"), memory: ran() }, "destroy undefine remove-seed", "stopping"],
  ["deleted, stopped", { vm: machine({}, { deletedAt: 1 }), domain: domain("stopped"), memory: remembered() }, "undefine remove-seed", "stopping"],
  ["deleted, gone", { vm: machine({}, { deletedAt: 1 }), memory: remembered() }, "remove-seed", "gone"],
  [
    "new epoch of the same place",
    { vm: machine({}, { placement: { ...placement, epoch: 2 } }), domain: domain("running"), memory: ran() },
    "mark",
    "running",
  ],
  [
    "elsewhere, newer",
    { vm: machine({}, { placement: { ...placement, host: other, epoch: 2 } }), domain: domain("running"), memory: ran() },
    "destroy undefine remove-seed forget",
    undefined,
  ],
  [
    "elsewhere, older",
    { vm: machine({}, { placement: { ...placement, host: other } }), domain: domain("running", "booted", { mark: { ...mark, epoch: 2 } }) },
    "",
    undefined,
  ],
  [
    "elsewhere, nothing here",
    { vm: machine({}, { placement: { ...placement, host: other } }), memory: remembered() },
    "remove-seed forget",
    undefined,
  ],
  ["no document, runs", { vm: undefined, domain: domain("running"), memory: ran() }, "", undefined],
  ["no document, nothing here", { vm: undefined, memory: remembered() }, "remove-seed forget", undefined],
  [
    "removed for good",
    { vm: undefined, domain: domain("running"), memory: ran({ removal: { gone: true, incarnation: "i1" } }) },
    "destroy undefine remove-seed forget",
    undefined,
  ],
  [
    "removed under an older store",
    { vm: undefined, domain: domain("running"), memory: ran({ removal: { gone: true, incarnation: "i2" } }) },
    "",
    undefined,
  ],
  [
    "removed, moved on",
    {
      vm: undefined,
      domain: domain("stopped"),
      memory: remembered({ removal: { gone: false, incarnation: "i2", placement: { epoch: 2, incarnation: "i1" } } }),
    },
    "undefine remove-seed forget",
    undefined,
  ],
  [
    "removed by an old memory",
    {
      vm: undefined,
      domain: domain("running"),
      memory: ran({ removal: { gone: false, incarnation: "i2", placement: { epoch: 1, incarnation: "i1" } } }),
    },
    "",
    undefined,
  ],
  ["overtaken document", { vm: machine(), domain: domain("stopped"), memory: remembered({ held: { epoch: 2, incarnation: "i1" } }) }, "", undefined],
  [
    "host not welcomed since boot",
    { welcome: { incarnation: "i1", bootId: "earlier" }, domain: domain("stopped"), memory: ran({ runningBoot: "earlier" }) },
    "",
    "stopped",
  ],
  ["never welcomed", { welcome: null }, "", "stopped"],
  ["its document may be overtaken", { isCurrent: false }, "", undefined],
  [
    "restored store, held before",
    { welcome: { incarnation: "i2", bootId: "boot" }, domain: domain("stopped"), memory: remembered() },
    "seed start",
    "starting",
  ],
  [
    "restored store, held before, other hosts still to be heard",
    { welcome: { incarnation: "i2", bootId: "boot", restoring: true }, domain: domain("stopped"), memory: remembered() },
    "",
    "stopped",
  ],
  [
    "restored store, placed since, other hosts still to be heard",
    { welcome: { incarnation: "i1", bootId: "boot", restoring: true } },
    "define seed start",
    "starting",
  ],
  ["restored store, never held", { welcome: { incarnation: "i2", bootId: "boot" } }, "", "stopped"],
  ["highly available, lease over", { vm: machine({ highlyAvailable: true }), leaseHolds: false }, "", "stopped"],
  ["the host is about to sleep", { quiet: true }, "", "stopped"],
  ["lease over, the host fences itself", { leaseHolds: false, leaseForAll: true }, "", "stopped"],
  ["foreign domain of this id", { domain: domain("running", "booted", { mark: undefined }) }, "", "failed"],
  [
    "on the move",
    {
      vm: machine({}, { status: { migration: { task: id, phase: "perform", source: us, target: other, since: 1 } } }),
      domain: domain("running"),
      memory: ran(),
    },
    "",
    "running",
  ],
  ["on the move, wanted stopped", { migrating: true, vm: machine({ power: "stopped" }), domain: domain("running"), memory: ran() }, "", "running"],
];

for (const [name, over, wantedSteps, wantedState] of table) {
  test(`plan: ${name} → ${wantedSteps || "nothing"}, ${wantedState ?? "no report"}`, () => {
    const plan = planMachine(situation(over));
    assert.equal(steps(plan), wantedSteps);
    assert.equal(plan.report ? plan.memory?.state : undefined, wantedState);
  });
}

test("a guest's own end is told apart from a user's, a crash's and the host's", () => {
  const by = (reason: Domain["reason"], over: Partial<MachineMemory> = {}) =>
    planMachine(situation({ vm: machine({ power: "stopped" }), domain: domain("stopped", reason), memory: ran(over) })).memory?.stoppedBy;
  assert.equal(by("shutdown"), "guest");
  assert.equal(by("shutdown", { stopAskedAt: now - 10 }), "user");
  assert.equal(by("destroyed", { stopAskedAt: now - 10 }), "user");
  assert.equal(by("destroyed"), "host");
  assert.equal(by("crashed"), "crash");
  assert.equal(by("failed"), "crash");
  assert.equal(by("shutdown", { runningBoot: "earlier" }), "host");
});

test("when and by whom a machine was ended is remembered beyond its next start", () => {
  const crashed = planMachine(situation({ domain: domain("stopped", "crashed"), memory: ran() })).memory;
  assert.deepEqual(crashed?.lastEnd, { at: now, by: "crash" });
  const again = planMachine(situation({ now: now + 9000, domain: domain("running"), memory: crashed ?? undefined })).memory;
  assert.deepEqual([again?.lastEnd, again?.stoppedBy, again?.startedAt], [{ at: now, by: "crash" }, undefined, now + 9000]);
});

test("restarts after crashes are counted, stop after the policy's tries, and a start by a person begins anew", () => {
  let memory = ran();
  let time = now;
  let starts = 0;
  for (let round = 0; round < 20; round += 1) {
    const plan = planMachine(situation({ now: time, domain: domain("stopped", "crashed"), memory }));
    memory = plan.memory ?? memory;
    if (steps(plan).includes("start")) {
      starts += 1;
      memory = planMachine(situation({ now: time, domain: domain("running"), memory })).memory ?? memory;
    }
    time += 1500;
  }
  assert.equal(starts, 3);
  assert.equal(memory.restarts, 3);
  assert.equal(memory.state, "failed");
  assert.match(memory.problem ?? "", /crashed 4 times/);
  assert.equal(
    steps(planMachine(situation({ now: time + 2 * failureWindowMs, domain: domain("stopped", "crashed"), memory }))),
    "",
    "it is left alone for good",
  );
  const again = planMachine(situation({ now: time, vm: machine({ startRequest: 1 }), domain: domain("stopped", "crashed"), memory }));
  assert.equal(steps(again), "seed start");
  assert.equal(again.memory?.restarts, 0);
});

test("refused starts count as tries and end as failed", () => {
  const vm = machine();
  let memory = remembered();
  for (let failure = 1; failure <= 4; failure += 1) {
    memory = afterRefusal({ now: now + failure }, vm, memory, { do: "start", paused: false }, "Failed to get write lock");
    assert.equal(memory.state, failure === 4 ? "failed" : "starting");
  }
  const plan = planMachine(situation({ now: now + 60_000, domain: domain("stopped"), memory }));
  assert.equal(steps(plan), "");
  assert.equal(plan.memory?.problem, "Failed to get write lock");
  assert.equal(plan.memory?.observedGeneration, 1);
});

test("a definition that is refused is a failed start only where it was one", () => {
  const refused = (memory: MachineMemory) => afterRefusal({ now }, machine(), memory, { do: "define" }, "define failed");
  for (const state of ["stopped", "preparing"] as const) {
    const { failures, problem, ...after } = refused(remembered({ state, awaitsTurn: true }));
    assert.deepEqual([after.state, after.awaitsTurn, problem, failures.length], [state, true, "define failed", 0]);
  }
  const { state, failures } = refused(remembered({ state: "starting" }));
  assert.deepEqual([state, failures.length], ["starting", 1]);
});

test("a generation counts as seen only when it was wholly acted on", () => {
  const vm = machine({}, { generation: 7 });
  const observed = (over: Partial<Situation>) => planMachine(situation({ vm, memory: ran(), ...over })).memory?.observedGeneration;
  assert.equal(observed({ domain: domain("running"), liveOutdated: true }), 1);
  assert.equal(observed({ domain: domain("running"), liveWaiting: true }), 1);
  assert.equal(observed({ domain: domain("running") }), 7);
  assert.equal(observed({ domain: domain("paused", "user") }), 1);
  assert.equal(observed({ needs: { state: "waiting", why: "disk" }, memory: remembered() }), 0);
});

const marks = fc.record({ epoch: fc.integer({ min: 1, max: 3 }), incarnation: fc.constantFrom("i1", "i2", "i3") });
const anySituation: fc.Arbitrary<Situation> = fc
  .record({
    spec: fc.record({
      power: fc.constantFrom("running", "stopped", "paused"),
      startRequest: fc.integer({ min: 0, max: 2 }),
      stopGraceMs: fc.constantFrom(0, 60_000),
      highlyAvailable: fc.boolean(),
      restart: fc.record({
        onGuestShutdown: fc.constantFrom("stay", "restart"),
        onCrash: fc.constantFrom("restart", "stay"),
        delayMs: fc.constantFrom(0, 1000),
      }),
    }),
    host: fc.constantFrom(us, other),
    place: marks,
    placed: fc.boolean(),
    document: fc.boolean(),
    deleted: fc.boolean(),
    migration: fc.boolean(),
    domain: fc.option(
      fc.record({
        state: fc.constantFrom("running", "paused", "stopping", "stopped", "crashed"),
        reason: fc.constantFrom("unknown", "user", "io-error", "shutdown", "destroyed", "crashed", "failed", "booted"),
        mark: fc.option(marks),
        persistent: fc.boolean(),
      }),
    ),
    memory: fc.option(
      fc.record({
        held: fc.option(marks),
        state: fc.constantFrom("running", "stopped", "crashed", "failed", "preparing", "stopping"),
        expectRunning: fc.boolean(),
        runningBoot: fc.constantFrom("boot", "earlier"),
        stoppedBy: fc.option(fc.constantFrom("user", "guest", "crash", "host")),
        removal: fc.option(fc.record({ gone: fc.boolean(), incarnation: fc.constantFrom("i1", "i2"), placement: fc.option(marks) })),
        failures: fc.array(fc.integer({ min: 0, max: 1000 }).map((ago) => now - ago)),
        migration: fc.boolean(),
      }),
    ),
    welcome: fc.option(
      fc.record(
        { incarnation: fc.constantFrom("i1", "i2"), bootId: fc.constantFrom("boot", "earlier"), restoring: fc.constant(true as const) },
        { requiredKeys: ["incarnation", "bootId"] },
      ),
    ),
    flags: fc.record({
      synced: fc.boolean(),
      isCurrent: fc.boolean(),
      leaseHolds: fc.boolean(),
      quiet: fc.boolean(),
      leaseForAll: fc.boolean(),
      migrating: fc.boolean(),
      definitionOutdated: fc.boolean(),
      liveOutdated: fc.boolean(),
    }),
  })
  .map((any) => {
    const { held, stoppedBy, removal, migration, ...rest } = any.memory ?? { held: null, stoppedBy: null, removal: null, migration: false };
    const vm = sampleDocument("vm", any.spec, {
      id,
      ...(any.placed ? { placement: { host: any.host, ...any.place } } : {}),
      ...(any.deleted ? { deletedAt: 1 } : {}),
      status: any.migration ? { migration: { task: id, phase: "perform", source: us, target: other, since: 1 } } : {},
    });
    return situation({
      ...any.flags,
      welcome: any.welcome,
      vm: any.document ? vm : undefined,
      domain: any.domain
        ? domain(any.domain.state, any.domain.reason, {
            persistent: any.domain.persistent,
            mark: any.domain.mark ? { ...mark, ...any.domain.mark } : undefined,
          })
        : null,
      memory: any.memory
        ? remembered({
            ...rest,
            held: held ?? undefined,
            stoppedBy: stoppedBy ?? undefined,
            ...(removal
              ? { removal: { gone: removal.gone, incarnation: removal.incarnation, ...(removal.placement ? { placement: removal.placement } : {}) } }
              : {}),
            ...(migration ? { migration: { taskId: id, role: "source", phase: "perform", epoch: 1, mayHaveRun: false } } : {}),
          })
        : undefined,
    });
  });

test("property: nothing starts without a welcome since boot, the newest epoch known, and a placement here that counts", () => {
  fc.assert(
    fc.property(anySituation, (it) => {
      const plan = planMachine(it);
      if (!plan.steps.some((step) => step.do === "start")) return;
      assert.equal(it.welcome?.bootId, it.bootId);
      assert.ok(it.isCurrent);
      const place = it.vm?.placement;
      assert.equal(place?.host, us);
      const held = it.memory?.held;
      if (held && held.incarnation === place?.incarnation) assert.ok(place.epoch >= held.epoch);
      if (place?.incarnation !== it.welcome?.incarnation) {
        const same = (one: { epoch: number; incarnation: string } | undefined) =>
          one?.epoch === place?.epoch && one?.incarnation === place?.incarnation;
        assert.notEqual(it.welcome?.restoring, true);
        assert.ok(same(held) || same(it.domain?.mark), "under a restored store only what was held here starts");
      }
      assert.equal(it.vm?.deletedAt, undefined);
      assert.ok(!it.quiet);
      if (it.vm?.spec.highlyAvailable || it.leaseForAll) assert.ok(it.leaseHolds);
    }),
    { numRuns: 20_000 },
  );
});

test("property: a domain without Sheaf's mark is never touched, and a machine on the move by nobody but its migration", () => {
  fc.assert(
    fc.property(anySituation, (it) => {
      const plan = planMachine(it);
      const touching = plan.steps.filter((step) => step.do !== "forget" && step.do !== "remove-seed");
      if (it.domain && !it.domain.mark) assert.deepEqual(touching, []);
      if (it.migrating || it.vm?.status.migration) assert.deepEqual(plan.steps, []);
    }),
    { numRuns: 20_000 },
  );
});

test("property: a copy is destroyed because of another host only for a newer epoch or a decision of the store's present life", () => {
  fc.assert(
    fc.property(anySituation, (it) => {
      const plan = planMachine(it);
      const placement = it.memory?.removal ? it.memory.removal.placement : it.vm?.placement;
      const here = it.vm?.placement?.host === us && !it.memory?.removal;
      if (here || !plan.steps.some((step) => step.do === "destroy" || step.do === "undefine")) return;
      const own = it.domain?.mark;
      assert.ok(own);
      const present = it.memory?.removal ? it.memory.removal.incarnation : it.welcome?.incarnation;
      if (placement) assert.ok(placement.incarnation === own.incarnation ? placement.epoch > own.epoch : placement.incarnation === present);
      else assert.equal(own.incarnation, present);
    }),
    { numRuns: 20_000 },
  );
});

const ordered = (over: object = {}) => machine({ restart: { after: { machines: [sampleId(5)], maximumWaitMs: 60_000 } } }, over);
const order = (state: "go" | "waiting", over: object = {}) => ({
  status: { order: { state, bootId: "boot", epoch: 1, reason: "it is started after db", since: now, waitsFor: [], ...over } },
});
/** It ran when the host went down; the host has been up for so long. */
const bootedFor = (ms: number): MachineMemory =>
  remembered({ state: "stopped", stoppedBy: "host", runningBoot: "earlier", lastEnd: { at: now - ms, by: "host" }, observedGeneration: 1 });

test("after a boot of its host a machine waits for its turn, for so long and no longer", () => {
  const look = (vm: RecordOf<"vm">, memory: MachineMemory) => planMachine(situation({ vm, memory, domain: domain("stopped"), seedOutdated: false }));
  const waits = look(ordered(), bootedFor(10_000));
  assert.deepEqual([steps(waits), waits.memory?.awaitsTurn, waits.memory?.state, waits.againAfterMs], ["", true, "stopped", 50_000]);
  assert.equal(waits.report, true);
  const found = planMachine(situation({ vm: ordered(), memory: ran({ runningBoot: "earlier" }), domain: domain("stopped") }));
  assert.deepEqual([steps(found), found.memory?.awaitsTurn, found.againAfterMs], ["", true, 60_000]);
  assert.match(look(ordered(order("waiting")), bootedFor(0)).memory?.reason ?? "", /after db/);
  const needs = { state: "waiting", why: "it waits for the hypervisor to answer" } as const;
  const unprepared = planMachine(situation({ vm: ordered(), memory: bootedFor(10_000), domain: domain("stopped"), needs }));
  assert.equal(unprepared.memory?.awaitsTurn, true, "also while what it needs is not there yet");
  const starts: readonly (readonly [string, RecordOf<"vm">, MachineMemory])[] = [
    ["it is given the word", ordered(order("go")), bootedFor(0)],
    ["it has waited long enough", ordered(order("waiting")), bootedFor(60_000)],
    ["the clock was set back", ordered(), bootedFor(-1)],
    ["its user starts it", machine({ ...ordered().spec, startRequest: 1 }), bootedFor(0)],
    ["it names no others", machine(), bootedFor(0)],
    ["it crashed", ordered(), { ...bootedFor(0), stoppedBy: "crash", runningBoot: "boot", failures: [now - 5000] }],
    ["somebody cut its power on the host, which has not booted", ordered(), { ...bootedFor(0), runningBoot: "boot" }],
    ["it has never run here", ordered(), remembered()],
  ];
  for (const [what, vm, memory] of starts) {
    const plan = look(vm, memory);
    assert.deepEqual([steps(plan), plan.memory?.awaitsTurn, plan.memory?.state], ["start", undefined, "starting"], what);
  }
  for (const old of [{ bootId: "earlier" }, { epoch: 0 }])
    assert.equal(steps(look(ordered(order("go", old)), bootedFor(0))), "", "a word of another boot or placement");
  const stopped = look(machine({ ...ordered().spec, power: "stopped" }), { ...bootedFor(0), awaitsTurn: true });
  assert.equal(stopped.memory?.awaitsTurn, undefined);
});

test("who is to give way is shut down as by a stop, says so, and starts again when it may", () => {
  const asked = (epoch = 1) => machine({}, { status: { yield: { epoch, to: other, reason: "it gave way to web", since: 5 } } });
  const look = (vm: RecordOf<"vm">, memory: MachineMemory, state: Domain["state"], reason: Domain["reason"] = "unknown") =>
    planMachine(situation({ vm, memory, domain: domain(state, reason) }));
  const stops = look(asked(), ran(), "running");
  assert.deepEqual([steps(stops), stops.memory?.state, stops.memory?.gaveWay], ["press-power", "stopping", 5]);
  const late = planMachine(situation({ now: now + 60_000, vm: asked(), memory: stops.memory ?? undefined, domain: domain("running") }));
  assert.equal(steps(late), "destroy", "after its grace time");
  const off = look(asked(), stops.memory ?? ran(), "stopped", "shutdown");
  assert.deepEqual([steps(off), off.memory?.state, off.memory?.gaveWay, off.memory?.reason], ["", "stopped", 5, "it gave way to web"]);
  assert.equal(off.memory?.stoppedBy, "user");
  const stays = look(asked(), off.memory ?? ran(), "stopped", "shutdown");
  assert.deepEqual([steps(stays), stays.memory?.state], ["", "stopped"]);
  const back = look(machine(), off.memory ?? ran(), "stopped", "shutdown");
  assert.deepEqual([steps(back), back.memory?.state, back.memory?.gaveWay], ["seed start", "starting", undefined]);
  const elsewhere = look(asked(0), ran(), "running");
  assert.deepEqual([steps(elsewhere), elsewhere.memory?.gaveWay], ["", undefined], "a word about an earlier placement");
});

test("mayDestroy: the table", () => {
  const own = { epoch: 2, incarnation: "i1" };
  assert.equal(mayDestroy(own, "i1"), true);
  assert.equal(mayDestroy(own, "i2"), false);
  assert.equal(mayDestroy(own, "i1", { epoch: 2, incarnation: "i1" }), false);
  assert.equal(mayDestroy(own, "i1", { epoch: 3, incarnation: "i1" }), true);
  assert.equal(mayDestroy(own, "i2", { epoch: 1, incarnation: "i2" }), true);
  assert.equal(mayDestroy(own, "i3", { epoch: 9, incarnation: "i2" }), false);
});

test("an unmarked domain is taken over where its placement was given by an adoption, and a present one, and nowhere else", () => {
  const { mark: _mark, ...unmarked } = domain("running");
  const plan = (given: object, over: Partial<Situation> = {}) =>
    planMachine(situation({ vm: machine({}, { placement: { ...placement, ...given } }), domain: unmarked, ...over }));
  const steps = (given: object, over: Partial<Situation> = {}) => plan(given, over).steps.map((step) => step.do);
  assert.deepEqual(steps({ adoption: sampleId(7) }), ["take-over"]);
  assert.equal(plan({ adoption: sampleId(7) }).report, false, "told when it is done");
  assert.deepEqual(steps({}), []);
  assert.deepEqual(steps({ adoption: sampleId(7), epoch: 2 }), []);
  assert.deepEqual(steps({ adoption: sampleId(7), host: other }), []);
  assert.deepEqual(steps({ adoption: sampleId(7), incarnation: "of a backup" }), []);
  assert.deepEqual(steps({ adoption: sampleId(7) }, { domain: domain("running"), memory: ran() }), []);
});
