import assert from "node:assert/strict";
import { test } from "node:test";
import { VmSpec, type AvailabilityAccount, type RecordOf, type VmObservation } from "@sheaf/model";
import fc from "fast-check";
import { countMigration, nextAccount, serviceOf } from "./availability.ts";
import { monthBounds } from "./availability-months.ts";
import { accountMonth, figuresOf, leaveAccount, sumMonths } from "./availability-sum.ts";

type Vm = RecordOf<"vm">;
type Host = RecordOf<"host">;
const base = Date.UTC(2026, 10, 27, 12);
const minute = 60_000;

/** Follows one machine as the controller does. `at`s are ms after `base`. */
class Story {
  account: AvailabilityAccount | undefined;
  #vm: Vm;
  #host: Host;

  constructor() {
    const head = { labels: {}, generation: 1, createdAt: base, createdBy: "x", finalizers: [], revision: 1, specRevision: 1 };
    this.#vm = {
      ...head,
      kind: "vm",
      id: "0199a000-0000-7000-8000-000000000001",
      name: "web",
      project: "p",
      spec: VmSpec.parse({}),
      status: {},
    };
    this.#host = { ...head, kind: "host", id: "h1", name: "h1", spec: {}, status: {} } as unknown as Host; // only its status is looked at
  }

  vm(at: number, change: Partial<Vm>): this {
    this.#vm = { ...this.#vm, ...change };
    return this.look(at);
  }
  agent(at: number, state: VmObservation["state"], rest: Partial<VmObservation> = {}): this {
    const epoch = this.#vm.placement?.epoch ?? 1;
    const agent = {
      state,
      epoch,
      host: "h1",
      bootId: "b",
      observedGeneration: 1,
      since: base + at,
      startRequestSeen: 0,
      restarts: 0,
      pendingChanges: [],
      ...rest,
    };
    return this.vm(at, { status: { ...this.#vm.status, agent } });
  }
  placed(at: number, epoch: number): this {
    return this.vm(at, { placement: { host: epoch === 1 ? "h1" : "h2", epoch, incarnation: "i", at: base + at } });
  }
  running(at: number, startedAt = at, rest: Partial<VmObservation> = {}): this {
    return this.agent(at, "running", { startedAt: base + startedAt, ...rest });
  }
  host(at: number, status: Host["status"]): this {
    this.#host = { ...this.#host, status };
    return this.look(at);
  }
  silent(at: number): this {
    return this.host(at, { liveness: { state: "unreachable", since: base + at, reason: "silent", heardAt: base + at - 10_000 } });
  }
  heard(at: number): this {
    return this.host(at, { liveness: { state: "ready", since: base + at, reason: "" } });
  }
  look(at: number): this {
    this.account = nextAccount(this.account, this.#vm, serviceOf(this.#vm, this.#host), base + at);
    return this;
  }
  power(at: number, power: VmSpec["power"]): this {
    return this.vm(at, { spec: { ...this.#vm.spec, power } });
  }
  month(at: number, month = "2026-11") {
    assert.ok(this.account);
    const found = accountMonth(this.account, month, base + at);
    assert.ok(found);
    const { upMs, downMs, offMs, unknownMs, outages } = found;
    return {
      up: upMs,
      down: downMs,
      off: offMs,
      unknown: unknownMs,
      outages: outages.map((one) => [one.cause, one.from - base, one.to && one.to - base]),
    };
  }
}
const running = () => new Story().placed(0, 1).running(0);

test("a machine that merely runs stays the same account, whatever is looked at", () => {
  const story = running();
  const { account } = story;
  story
    .look(minute)
    .running(2 * minute, 0)
    .agent(3 * minute, "stopping", { startedAt: base })
    .running(4 * minute, 0);
  assert.equal(story.account, account);
  assert.deepEqual(story.month(5 * minute), { up: 5 * minute, down: 0, off: 0, unknown: 0, outages: [] });
});

test("what is being made for the first time is no outage; what fits nowhere is one", () => {
  const story = new Story().placed(0, 1).agent(1, "preparing").agent(2, "starting");
  assert.equal(story.account, undefined);
  const pending = new Story().vm(0, { status: { placement: { pending: { reason: "no host fits", since: base } } } });
  pending
    .vm(minute, { status: {} })
    .placed(minute, 1)
    .running(2 * minute);
  assert.deepEqual(pending.month(3 * minute), { up: minute, down: 2 * minute, off: 0, unknown: 0, outages: [["capacity", 0, 2 * minute]] });
});

test("a crash lasts from the crash to the next start", () => {
  const story = running()
    .agent(minute, "crashed", { stoppedBy: "crash" })
    .agent(minute + 1000, "starting");
  assert.deepEqual(story.month(minute + 2000).outages, [["crash", minute, undefined]]);
  story.running(minute + 3000);
  assert.deepEqual(story.month(2 * minute), { up: 2 * minute - 3000, down: 3000, off: 0, unknown: 0, outages: [["crash", minute, minute + 3000]] });
});

test("a crash that nobody saw follows from the new guest and the agent's word of the last end", () => {
  const story = running().running(2 * minute, minute + 500, { lastEnd: { at: base + minute, by: "crash" } });
  assert.deepEqual(story.month(2 * minute), { up: 2 * minute - 500, down: 500, off: 0, unknown: 0, outages: [["crash", minute, minute + 500]] });
});

test("a guest that shuts itself down, and a machine that a user stops, are off and not down", () => {
  const guest = running()
    .agent(minute, "stopped", { stoppedBy: "guest" })
    .running(3 * minute);
  assert.deepEqual(guest.month(4 * minute), { up: 2 * minute, down: 0, off: 2 * minute, unknown: 0, outages: [] });
  const user = running()
    .power(minute, "stopped")
    .agent(minute + 5000, "stopped", { stoppedBy: "user" })
    .power(2 * minute, "running");
  user.running(2 * minute + 4000);
  assert.deepEqual(user.month(3 * minute), { up: minute + 56_000, down: 0, off: 64_000, unknown: 0, outages: [] });
});

test("a host that was silent and is heard again with the same guest: it ran all along", () => {
  const story = running().silent(minute);
  assert.deepEqual(story.month(2 * minute), { up: 50_000, down: 0, off: 0, unknown: 70_000, outages: [] });
  story.heard(3 * minute);
  assert.deepEqual(story.month(3 * minute), { up: 3 * minute, down: 0, off: 0, unknown: 0, outages: [] });
});

test("a host that restarted unseen: down from its last word until the guest's start", () => {
  const story = running()
    .silent(minute)
    .running(3 * minute, 2 * minute, { lastEnd: { at: base + 2 * minute - 1000, by: "host" } });
  story.heard(3 * minute);
  assert.deepEqual(story.month(3 * minute), { up: 50_000 + minute, down: 70_000, off: 0, unknown: 0, outages: [["host", 50_000, 2 * minute]] });
});

test("a lost host: down from its last word until the machine runs elsewhere", () => {
  const story = running().silent(minute);
  story.host(minute + 2000, {
    liveness: { state: "unreachable", since: base, reason: "" },
    fencing: { state: "fenced", since: base, reason: "off", attempts: [] },
  });
  // Certain from here on, whether or not it is to run elsewhere.
  assert.deepEqual(story.month(minute + 2500).outages, [["host", 50_000, undefined]]);
  story.vm(minute + 3000, { status: { failover: { state: "moved", from: "h1", to: "h2", reason: "", since: base + minute + 3000 } } });
  story
    .host(minute + 3000, {})
    .placed(minute + 3000, 2)
    .agent(minute + 4000, "starting");
  assert.deepEqual(story.month(minute + 5000).outages, [["host", 50_000, undefined]]);
  story.running(minute + 8000);
  assert.deepEqual(story.month(2 * minute), { up: 102_000, down: 18_000, off: 0, unknown: 0, outages: [["host", 50_000, minute + 8000]] });
});

test("a host said to be off that answers with its guests: no outage", () => {
  const story = running().silent(minute);
  const fencing = { state: "fenced" as const, since: base, reason: "a lie", attempts: [] };
  story.host(minute + 2000, { liveness: { state: "unreachable", since: base, reason: "" }, fencing }).heard(2 * minute);
  assert.deepEqual(story.month(3 * minute), { up: 3 * minute, down: 0, off: 0, unknown: 0, outages: [] });
});

test("a live migration costs its pause, once, and back to a host it was once moved to by fail-over as well", () => {
  const story = running();
  story.vm(10_000, { status: { failover: { state: "moved", from: "h0", to: "h2", reason: "", since: base - minute } } });
  story.placed(minute, 2).running(minute + 100);
  assert.ok(story.account);
  story.account = countMigration(story.account, "task-1", base + minute, 40);
  story.account = countMigration(story.account, "task-1", base + minute, 40);
  assert.deepEqual(story.month(2 * minute), { up: 2 * minute - 40, down: 40, off: 0, unknown: 0, outages: [] });
  assert.deepEqual(accountMonth(story.account, "2026-11", base + 2 * minute)?.causes, { migration: { count: 1, ms: 40 } });
});

test("months are cut at their ends (UTC); percent and target arithmetic; what is gone is kept with the project", () => {
  const end = monthBounds("2026-11").to - base;
  const story = running()
    .agent(end - minute, "crashed", { stoppedBy: "crash" })
    .running(end + minute);
  assert.deepEqual(story.month(end + 2 * minute).outages, [["crash", end - minute, end]]);
  assert.deepEqual(story.month(end + 2 * minute, "2026-12"), {
    up: minute,
    down: minute,
    off: 0,
    unknown: 0,
    outages: [["crash", end, end + minute]],
  });
  assert.equal(figuresOf({ month: "", upMs: 9999, downMs: 1, offMs: 7, unknownMs: 0, causes: {} }).percent, 99.99);
  assert.equal(figuresOf({ month: "", upMs: 0, downMs: 0, offMs: 7, unknownMs: 0, causes: {} }).percent, null);
  assert.equal(figuresOf({ month: "", upMs: 50, downMs: 0, offMs: 0, unknownMs: 50, causes: {} }).lowestPercent, 50);
  assert.ok(story.account);
  let gone = leaveAccount(undefined, story.account, base + end + 2 * minute);
  gone = leaveAccount(gone, story.account, base + end + 2 * minute);
  assert.deepEqual(
    gone.months.map(({ month, upMs, machines, causes }) => [month, upMs, machines, causes.crash?.count]),
    [
      ["2026-11", 2 * (end - minute), 2, 2],
      ["2026-12", 2 * minute, 2, 2],
    ],
  );
});

test("whatever happens, and however clocks are off: every ms is booked exactly once, in one state", () => {
  const events = fc.array(
    fc.tuple(
      fc.nat(3_600_000),
      fc.integer({ min: -90_000, max: 90_000 }),
      fc.constantFrom("run", "same", "crash", "guest", "stop", "start", "silent", "heard", "fenced", "move", "failed", "io", "seen"),
    ),
    { maxLength: 40 },
  );
  fc.assert(
    fc.property(events, (list) => {
      const story = running();
      let at = 0;
      let started = 0;
      let epoch = 1;
      for (const [pause, skew, what] of list) {
        at += pause;
        const began = story.account?.since;
        switch (what) {
          case "run":
            story.running(at, (started = at + skew), { lastEnd: { at: base + at - 2000 + skew, by: skew % 2 === 0 ? "crash" : "guest" } });
            break;
          case "same":
            story.running(at, started);
            break;
          case "crash":
          case "guest":
            story.agent(at, "stopped", { stoppedBy: what, since: base + at + skew });
            break;
          case "stop":
            story.power(at, "stopped");
            break;
          case "start":
            story.power(at, "running");
            break;
          case "silent":
            story.silent(at);
            break;
          case "heard":
            story.heard(at);
            break;
          case "fenced":
            story.host(at, { fencing: { state: "fenced", since: base, reason: "", attempts: [] } });
            break;
          case "move":
            story.placed(at, (epoch += 1)).running(at, (started = at + skew));
            break;
          case "failed":
            story.agent(at, "failed");
            break;
          case "io":
            story.agent(at, "paused", { problem: "disk" });
            break;
          default:
            story.look(at);
        }
        assert.ok(story.account && began !== undefined && story.account.since >= base && story.account.since <= base + at);
      }
      at += 1000;
      assert.ok(story.account);
      const { account } = story;
      const months = ["2026-11", "2026-12", "2027-01"].flatMap((month) => accountMonth(account, month, base + at) ?? []);
      const sum = sumMonths(months, "");
      assert.equal(sum.upMs + sum.downMs + sum.offMs + sum.unknownMs, at);
      for (const month of months) assert.ok([month.upMs, month.downMs, month.offMs, month.unknownMs].every((ms) => ms >= 0));
      const caused = Object.values(sum.causes).reduce((ms, cause) => ms + cause.ms, 0);
      assert.equal(caused, sum.downMs);
      assert.equal(nextAccount(account, { ...recordOf(story) }, { state: "asBefore" }, base + at), account);
    }),
    { numRuns: 400 },
  );
});
const recordOf = ({ account }: Story): Vm => ({ name: account?.name }) as Vm; // only its name is looked at
