/**
 * Tasks whose work is this host's: reboot, reset, force-off. Each is begun once, noted on disk before; after an agent's restart one that
 * was begun is told as uncertain, never repeated by itself. Called under the task's key.
 */
import type { Clock } from "@sheaf/base";
import { deadline } from "@sheaf/base";
import { type RecordOf, SheafError, type TaskProgress } from "@sheaf/model";
import type { KeptState } from "./kept-state.ts";
import { type Hypervisor, HypervisorError } from "./ports.ts";

export interface TaskRunnerOptions {
  readonly hostId: string;
  readonly clock: Clock;
  readonly kept: KeptState;
  readonly hypervisor: Hypervisor;
  readonly withMachine: <T>(machineId: string, work: () => Promise<T>) => Promise<T>;
  readonly report: (taskId: string, value: TaskProgress) => void;
}

/** A guest that was asked to reboot and has not within this time does not listen. */
const rebootWithinMs = 120_000;

export class TaskRunner {
  readonly #options: TaskRunnerOptions;

  constructor(options: TaskRunnerOptions) {
    this.#options = options;
  }

  async run(taskId: string): Promise<void> {
    const { kept, hostId, clock, report } = this.#options;
    const task = kept.document("task", taskId);
    if (!task || task.spec.host !== hostId) return;
    const note = kept.task(taskId);
    if (note?.result !== undefined) return report(taskId, note.result as TaskProgress); // written below alone
    const ended = task.status.agent ?? task.status.controller;
    if (!note && ended && ended.state !== "running") return;
    const startedAt = note?.begunAt ?? clock.now();
    const end = async (result: TaskProgress): Promise<void> => {
      await kept.putTask({ id: taskId, begunAt: startedAt, result });
      report(taskId, result);
    };
    if (note) {
      const detail = "the agent was restarted while it did this: it may be done. Look at the machine before you repeat it";
      return end({ state: "failed", message: detail, startedAt, endedAt: clock.now(), problem: { code: "timed-out", detail } });
    }
    if (task.spec.cancelRequestedAt !== undefined)
      return end({ state: "cancelled", message: "it was cancelled before it began", startedAt, endedAt: clock.now() });
    await kept.putTask({ id: taskId, begunAt: startedAt });
    report(taskId, { state: "running", message: `${task.spec.verb} of ${task.spec.target.name}`, startedAt });
    try {
      await end({ state: "succeeded", message: await this.#do(task), startedAt, endedAt: clock.now() });
    } catch (error) {
      await end(failure(error, startedAt, clock.now()));
    }
  }

  async #do(task: RecordOf<"task">): Promise<string> {
    const { hypervisor, withMachine, kept, clock } = this.#options;
    const { verb, target } = task.spec;
    const domain = await hypervisor.domain(target.id);
    if (!domain?.mark) throw new SheafError("not-found", `machine ${target.name} is not on this host`);
    if (kept.document("vm", target.id)?.status.migration)
      throw new SheafError("state-refused", `machine ${target.name} is moving: try again when it has arrived`);
    switch (verb) {
      case "reboot":
        await this.#reboot(target.id);
        return "the guest has rebooted";
      case "reset":
        if (domain.state !== "running") throw new SheafError("state-refused", `machine ${target.name} does not run`);
        await hypervisor.reset(target.id);
        return "it was reset";
      case "force-off":
        return withMachine(target.id, async () => {
          const memory = kept.machine(target.id);
          // So that its end is known as asked for.
          if (memory) await kept.putMachine(target.id, { ...memory, stopAskedAt: clock.now() });
          await hypervisor.destroy(target.id);
          return "its power was cut";
        });
      default:
        throw new SheafError("invalid-input", `this host's agent cannot ${verb}: update the agent`);
    }
  }

  #reboot(machineId: string): Promise<void> {
    const { hypervisor, clock } = this.#options;
    const limit = deadline(
      clock,
      rebootWithinMs,
      () => new SheafError("timed-out", "the guest was asked to reboot and has not: reset it, or look at its console"),
    );
    let unsubscribe = (): void => {};
    const done = new Promise<void>((resolve, reject) => {
      limit.signal.addEventListener("abort", () => reject(limit.signal.reason), { once: true });
      unsubscribe = hypervisor.subscribe((event) => {
        if ("uuid" in event && event.uuid === machineId && event.type === "reboot") resolve();
      });
      hypervisor.reboot(machineId).catch(reject);
    });
    return done.finally(() => {
      unsubscribe();
      limit.done();
    });
  }
}

function failure(error: unknown, startedAt: number, endedAt: number): TaskProgress {
  const message = error instanceof Error ? error.message : String(error);
  const code =
    error instanceof SheafError ? error.code : error instanceof HypervisorError && error.kind === "refused" ? "hypervisor-failed" : "timed-out";
  return { state: "failed", message, startedAt, endedAt, problem: { code, detail: message } };
}
