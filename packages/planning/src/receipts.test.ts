import assert from "node:assert/strict";
import { test } from "node:test";
import fc from "fast-check";
import { vmAgentStates } from "@sheaf/model";
import { ids, placedOn, record, seen, task, vm, volume } from "./record.test-support.ts";
import { planReceipt, type ReceiptInput } from "./receipts.ts";

const plan = (one: ReceiptInput["task"], target: ReceiptInput["target"], rest: Partial<ReceiptInput> = {}) =>
  planReceipt({ task: one, target, volumes: [], hostExists: true, now: 1500, quietMs: 2000, ...rest });
const machine = vm();
const placed = { placement: placedOn(ids.host) };

test("a creation ends when its host's agent has seen it and it runs", () => {
  const { write } = plan(task("create", machine), vm({}, { ...placed, status: { agent: seen("running") } }));
  assert.equal(write?.state, "succeeded");
  assert.equal(write?.percent, 100);
  assert.deepEqual(
    write?.steps?.map((step) => step.state),
    ["done", "done", "done"],
  );
  assert.equal(write?.endedAt, 1500);
});

test("what is under way is not written while it is young, and then once", () => {
  const under = vm({}, { ...placed, status: { agent: seen("preparing", { reason: "copying the image" }) } });
  assert.deepEqual(plan(task("create", machine), under), { lookAgainMs: 1500 });
  const { write } = plan(task("create", machine), under, { now: 3000 });
  assert.equal(write?.message, "copying the image");
  assert.ok(write);
  assert.deepEqual(plan(task("create", machine, { status: { controller: write } }), under, { now: 9000 }), {});
});

test("waiting for capacity is told at once, with the reason", () => {
  const pending = vm({}, { status: { placement: { pending: { reason: "no host fits: 1 is cordoned", since: 0 } } } });
  assert.equal(plan(task("create", machine), pending).write?.message, "no host fits: 1 is cordoned");
});

test("a failure carries the agent's words", () => {
  const { write } = plan(task("start", machine), vm({}, { ...placed, status: { agent: seen("failed", { problem: "KVM is gone" }) } }));
  assert.equal(write?.state, "failed");
  assert.equal(write?.problem?.detail, "KVM is gone");
});

test("a disk that could not be made fails the creation", () => {
  const broken = volume({
    status: {
      agent: { state: "failed", host: ids.host, path: "/p", sizeBytes: 0, allocatedBytes: 0, observedGeneration: 1, problem: "the pool is full" },
    },
  });
  const { write } = plan(task("create", machine), vm({}, placed), { volumes: [broken] });
  assert.match(write?.message ?? "", /the pool is full/);
});

test("words under an older epoch say nothing about where it is now", () => {
  const moved = vm({}, { placement: placedOn(ids.otherHost, 2), status: { agent: seen("running", { epoch: 1 }) } });
  assert.equal(plan(task("start", machine), moved).write, undefined);
});

test("a pause of a machine whose guest shut itself down meanwhile has failed: nothing will pause it", () => {
  const gone = vm({ power: "paused" }, { ...placed, status: { agent: seen("stopped", { stoppedBy: "guest" }) } });
  const { write } = plan(task("pause", machine), gone);
  assert.deepEqual([write?.state, write?.problem?.code], ["failed", "state-refused"]);
  assert.match(write?.message ?? "", /the guest shut itself down/);
  // The one before: a start may still be on its way.
  const started = vm({ power: "paused", startRequest: 1 }, { ...placed, status: { agent: seen("stopped", { stoppedBy: "guest" }) } });
  assert.notEqual(plan(task("pause", machine), started, { now: 9000 }).write?.state, "failed");
});

test("a stop is not done while it runs, and is done when it is stopped", () => {
  const stopping = vm({ power: "stopped" }, { ...placed, status: { agent: seen("stopping") } });
  assert.equal(plan(task("stop", machine), stopping).write, undefined);
  const stopped = vm({ power: "stopped" }, { ...placed, status: { agent: seen("stopped") } });
  assert.equal(plan(task("stop", machine), stopped).write?.state, "succeeded");
});

test("a start whose machine was stopped since is overtaken, not waited for", () => {
  const later = vm({ power: "stopped" }, { ...placed, generation: 2, status: { agent: seen("stopped", { observedGeneration: 2 }) } });
  assert.equal(plan(task("start", machine), later).write?.message, "overtaken by a newer change");
});

test("a deletion ends when the record is gone; other tasks are then cancelled", () => {
  assert.equal(plan(task("delete", machine), undefined).write?.state, "succeeded");
  assert.equal(plan(task("start", machine), undefined).write?.state, "cancelled");
  assert.equal(plan(task("start", machine), vm({}, { ...placed, deletedAt: 5 })).write?.state, "cancelled");
});

test("changes that wait for the next start are told", () => {
  const waiting = vm({}, { ...placed, status: { agent: seen("running", { pendingChanges: ["4 vCPUs"] }) } });
  assert.match(plan(task("change", machine), waiting).write?.message ?? "", /at the next start: 4 vCPUs/);
});

test("stopping what has no host is done, and so is changing it", () => {
  const pending = vm({ power: "stopped" }, { generation: 2 });
  assert.equal(plan(task("stop", machine, {}, { generation: 2 }), pending).write?.state, "succeeded");
  assert.equal(plan(task("change", machine, {}, { generation: 2 }), pending).write?.state, "succeeded");
  assert.equal(plan(task("start", machine, {}, { generation: 2 }), pending).write, undefined);
});

test("an agent's work is left to it, unless it will never do it", () => {
  const reboot = task("reboot", machine, {}, { host: ids.host });
  const here = vm({}, { ...placed, status: { agent: seen("running") } });
  assert.deepEqual(plan(reboot, here, { now: 90_000 }), {});
  assert.equal(plan(reboot, undefined).write?.state, "cancelled");
  assert.equal(plan(reboot, vm({}, { placement: placedOn(ids.otherHost, 2) })).write?.problem?.code, "state-refused");
  assert.equal(plan(reboot, here, { hostExists: false }).write?.state, "failed");
});

test("an image's import follows the library", () => {
  const image = record("image", ids.image, {
    source: { upload: true },
    type: "disk",
    operatingSystem: "linux",
    firmware: "any",
    minimumMemoryBytes: 0,
    public: false,
    protected: false,
  });
  const with_ = (state: "ready" | "failed") => ({ ...image, status: { library: { state, receivedBytes: 1, at: 0, problem: "checksum differs" } } });
  assert.equal(plan(task("import", image), with_("ready")).write?.state, "succeeded");
  assert.equal(plan(task("import", image), with_("failed")).write?.problem?.detail, "checksum differs");
  assert.equal(plan(task("import", image), with_("failed")).write?.problem?.code, "image-refused");
  const large = { ...image, status: { library: { state: "failed" as const, receivedBytes: 1, at: 0, problem: "a bomb", code: "too-large" } } };
  assert.equal(plan(task("import", image), large).write?.problem?.code, "too-large");
});

test("an ended task is never written again, and what is written is never written twice", () => {
  const states = fc.constantFrom(...vmAgentStates);
  const verbs = fc.constantFrom("create", "start", "stop", "pause", "resume", "change", "delete");
  fc.assert(
    fc.property(states, verbs, fc.nat(3), fc.boolean(), fc.nat(20_000), (state, verb, observedGeneration, isPlaced, now) => {
      const target = vm({}, { ...(isPlaced ? placed : {}), generation: 2, status: { agent: seen(state, { observedGeneration }) } });
      const first = plan(task(verb, machine), target, { now: 1000 + now });
      if (!first.write) return;
      const second = plan(task(verb, machine, { status: { controller: first.write } }), target, { now: 50_000 });
      assert.equal(second.write, undefined);
    }),
  );
});
