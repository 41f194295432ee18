import assert from "node:assert/strict";
import { test } from "node:test";
import { silentLogger, SimulatedClock } from "@sheaf/base";
import type { AgentMethod } from "@sheaf/contract";
import { SheafError } from "@sheaf/model";
import { CallDispatch, type CallHandlers } from "./call-dispatch.ts";
import { HypervisorError } from "./ports.ts";

const never = (): Promise<never> => new Promise(() => {});

/** Only the method under test is ever called. */
const dispatchWith = (clock: SimulatedClock, handler: CallHandlers["vm.probe"]): CallDispatch =>
  new CallDispatch({ clock, logger: silentLogger, handlers: { "vm.probe": handler } as CallHandlers });
const call = (id = 1, method: AgentMethod = "vm.probe") => ({ id, method, parameters: { vmId: "x" }, timeoutMs: 1000 });
const problem = async (reply: ReturnType<CallDispatch["run"]>) => {
  const answer = await reply;
  return answer.ok ? null : answer.problem;
};

test("each call is answered with its result, or with a problem of the closed list", async () => {
  const clock = new SimulatedClock();
  const state = { state: "running", migrating: false } as const;
  assert.deepEqual(await dispatchWith(clock, async () => state).run(call()), { type: "reply", id: 1, ok: true, result: state });
  const failing = (error: Error) => problem(dispatchWith(clock, () => Promise.reject(error)).run(call()));
  assert.deepEqual(await failing(new SheafError("state-refused", "no", { next: "wait" })), { code: "state-refused", message: "no", next: "wait" });
  assert.equal((await failing(new HypervisorError("refused", "QEMU says no")))?.code, "hypervisor-failed");
  assert.equal((await failing(new HypervisorError("timed-out", "no answer")))?.code, "timed-out");
  assert.equal((await failing(new HypervisorError("unknown-domain", "none")))?.code, "not-found");
  assert.equal((await failing(new TypeError("a defect")))?.code, "internal");
});

test("a call that hangs is answered at its deadline, a cancelled one at once, an unknown one with what to do", async () => {
  const clock = new SimulatedClock();
  const dispatch = dispatchWith(clock, never);
  const late = problem(dispatch.run(call(1)));
  const cancelled = problem(dispatch.run(call(2)));
  dispatch.cancel(2);
  assert.equal((await cancelled)?.code, "cancelled");
  await clock.advance(1000);
  assert.equal((await late)?.code, "timed-out");
  // A newer server's method.
  const unknown = await problem(dispatch.run(call(3, "constructor" as AgentMethod)));
  assert.match(unknown?.message ?? "", /does not know the call constructor: update the agent/);
  assert.equal(clock.pendingTimers, 0);
});

test("a server cannot pile up calls without end", async () => {
  const clock = new SimulatedClock();
  const dispatch = dispatchWith(clock, never);
  for (let id = 0; id < 256; id += 1) void dispatch.run(call(id));
  assert.equal((await problem(dispatch.run(call(999))))?.code, "throttled");
});
