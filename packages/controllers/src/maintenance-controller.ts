/**
 * Remembers what a host in maintenance had, and brings it back when the host is open again. Sole writer of the hosts' part
 * `status/maintenance` and of `status/controller` of tasks with verb activate; makes the tasks with verb migrate that bring machines back. The
 * drain controller empties the host, once the part is there. Asks planning/return-machines what to start.
 */
import { partKey, type HostMaintenance, type RecordOf, type TaskProgress } from "@sheaf/model";
import { planReturn, type ReturningMachine, type ReturnPlan } from "@sheaf/planning";
import type { PlacementRequest } from "@sheaf/scheduling";
import type { Operation } from "@sheaf/store";
import { commit, Overtaken } from "./commit.ts";
import type { ControllerContext } from "./context.ts";
import type { Controller } from "./controller.ts";
import type { MachineMoves } from "./machine-moves.ts";
import { put } from "./packed-commit.ts";
import type { SiteIndex } from "./site-index.ts";

type Host = RecordOf<"host">;
type Vm = RecordOf<"vm">;
type Task = RecordOf<"task">;

/** Of moving one machine back. */
const maximumTries = 3;

export function maintenanceController(context: ControllerContext, index: SiteIndex, moves: MachineMoves): Controller {
  const { cache, clock, agents, logger, settings } = context;
  return {
    name: "maintenance",
    reads: ["host", "vm", "task"],
    writes: ["host/status/maintenance", "task/spec (migrations of a return)", "task/status/controller (activate)"],
    initialKeys: () => [...cache.all("host")].filter(concerns).map((host) => host.id),
    *keysFor({ kind, id, record, previous }) {
      if (kind === "host" && record && concerns(record as Host)) yield id; // the kind says so
      if (kind === "vm") {
        // The kind says so.
        const [now, before] = [record, previous] as (Vm | undefined)[];
        if (now?.placement !== before?.placement || now?.status.migration !== before?.status.migration || !now) yield* remembering(id);
      }
      if (kind === "task") {
        const task = (record ?? previous) as Task; // the kind says so
        if (task.spec.verb === "activate") yield task.spec.target.id;
        if (task.spec.verb === "migrate") yield* remembering(task.spec.target.id);
      }
    },
    async reconcile(hostId) {
      const host = cache.get("host", hostId);
      if (!host || !concerns(host)) return undefined;
      const tasks = [...index.openTasks(hostId)].flatMap((id) => cache.get("task", id) ?? []).filter((task) => task.spec.verb === "activate");
      if (host.spec.maintenance) return remember(host, tasks);
      if (host.spec.schedulable !== "open") return undefined;
      return giveBack(host, tasks);
    },
  };

  function concerns(host: Host): boolean {
    return (
      host.spec.maintenance ||
      host.status.maintenance !== undefined ||
      [...index.openTasks(host.id)].some((id) => cache.get("task", id)?.spec.verb === "activate")
    );
  }

  /** Hosts that the machine belongs to: few are in maintenance at once. */
  function* remembering(vmId: string): Generator<string> {
    for (const id of index.inMaintenance) {
      const host = cache.get("host", id);
      if (host?.status.maintenance?.machines.some((machine) => machine.vm === vmId) || cache.get("vm", vmId)?.placement?.host === id) yield id;
    }
  }

  async function remember(host: Host, tasks: readonly Task[]): Promise<undefined> {
    const before = host.status.maintenance;
    const known = new Map(before?.machines.map((machine) => [machine.vm, machine]));
    const machines: HostMaintenance["machines"] = [];
    for (const id of new Set([...known.keys(), ...index.vmsOnHost(host.id)])) {
      const placement = cache.get("vm", id)?.placement;
      if (!placement) continue;
      const left = placement.host === host.id ? undefined : (known.get(id)?.epoch ?? placement.epoch);
      machines.push(left === undefined ? { vm: id } : { vm: id, epoch: left });
    }
    await write(host, { state: "emptying", since: before?.state === "emptying" ? before.since : clock.now(), machines, stay: [] }, tasks, {
      state: "cancelled",
      message: "the host is in maintenance again",
    });
  }

  async function giveBack(host: Host, tasks: readonly Task[]): Promise<number | undefined> {
    const part = host.status.maintenance;
    const [task] = tasks;
    if (!part || task?.spec.parameters["noReturn"] === true || task?.spec.cancelRequestedAt !== undefined) {
      const away = part?.machines.filter((machine) => machine.epoch !== undefined && !isOn(machine.vm, host)) ?? [];
      const stay = away.length === 0 ? "" : `; ${counted(away.length, "machine")} stay where they are`;
      await write(host, undefined, tasks, {
        state: task?.spec.cancelRequestedAt === undefined ? "succeeded" : "cancelled",
        message: `the host takes machines again${stay}`,
      });
      return undefined;
    }
    if (host.status.liveness?.state !== "ready" || !agents.connected(host.id)) {
      await write(host, part, tasks, { state: "running", message: `${counted(part.machines.length, "machine")} come back when the host is ready` });
      return settings.drainRetryMs;
    }
    const reserved: PlacementRequest[] = [];
    const plan = planReturn({
      host: host.id,
      machines: part.machines.map((machine) => returning(machine, host, part.since)),
      choose: (id) => {
        const vm = cache.get("vm", id);
        const source = vm?.placement && cache.get("host", vm.placement.host);
        return vm && source ? moves.choose(vm, source, reserved, host.id) : { why: "it has no host" };
      },
      maximumParallel: host.spec.maximumParallelMigrations,
    });
    try {
      // Said before anything moves, so that a failure of an earlier return is told apart from one of this.
      const since = part.state === "returning" ? part.since : clock.now();
      const machines = part.machines.filter((machine) => machine.epoch !== undefined && cache.get("vm", machine.vm) !== undefined);
      if (plan.done) return await ended(host, plan, tasks);
      await write(host, { state: "returning", since, machines, stay: [...plan.stay] }, tasks, progress(plan));
      for (const id of plan.start) await moves.start(id, host.id, task);
    } finally {
      for (const request of reserved) moves.release(request);
    }
    return settings.drainRetryMs;
  }

  function returning({ vm: id, epoch }: HostMaintenance["machines"][number], host: Host, since: number): ReturningMachine {
    const vm = cache.get("vm", id);
    if (!vm) return { id, moving: false, refusal: null };
    const { placement } = vm;
    const moving = moves.moving(vm);
    const failed = placement && moves.failure(id, placement.host);
    return {
      id,
      moving,
      refusal: moving || !placement ? null : moves.refusal(vm, placement.host),
      ...(epoch === undefined ? {} : { leftEpoch: epoch }),
      ...(placement ? { placement } : {}),
      ...(failed && failed.at >= since ? { failure: { why: failed.why, again: again(failed.count, failed.at) } } : {}),
    };
  }

  async function ended(host: Host, plan: ReturnPlan, tasks: readonly Task[]): Promise<undefined> {
    const names = plan.stay.map(({ vm, why }) => `${cache.get("vm", vm)?.name ?? vm} (${why})`);
    const stay = names.length === 0 ? "" : `; ${names.length} stay where they are: ${names.slice(0, 10).join(", ")}${names.length > 10 ? ", …" : ""}`;
    logger.info({ host: host.name, back: plan.back, stay: names.length }, "a host's machines are back");
    await write(host, undefined, tasks, {
      state: "succeeded",
      message: `the host takes machines again, ${counted(plan.back, "machine")} are back${stay}`,
      percent: 100,
      result: { back: plan.back, stay: plan.stay },
    });
  }

  function isOn(vmId: string, host: Host): boolean {
    return cache.get("vm", vmId)?.placement?.host === host.id;
  }

  function again(tries: number, failedAt: number): "now" | "later" | "never" {
    if (tries >= maximumTries) return "never";
    return clock.now() - failedAt >= settings.drainRetryMs ? "now" : "later";
  }

  /** @param part `undefined`: removed. The tasks end, or go on, with what is said. */
  async function write(
    host: Host,
    part: HostMaintenance | undefined,
    tasks: readonly Task[],
    said: Omit<TaskProgress, "startedAt" | "endedAt">,
  ): Promise<void> {
    const then: Operation[] = [];
    const key = partKey("host", host.id, "status/maintenance");
    if (!part && host.status.maintenance) then.push({ delete: key });
    if (part && JSON.stringify(part) !== JSON.stringify(host.status.maintenance)) then.push(put(key, part));
    for (const task of tasks) {
      const startedAt = task.status.controller?.startedAt ?? clock.now();
      if (task.status.controller?.message !== said.message || said.state !== "running")
        then.push(
          put(partKey("task", task.id, "status/controller"), { ...said, startedAt, ...(said.state === "running" ? {} : { endedAt: clock.now() }) }),
        );
    }
    if (then.length === 0) return;
    const compare = [host, ...tasks].map((record) => ({ key: partKey(record.kind, record.id, "spec"), modRevision: record.specRevision }));
    if (!(await commit(context, { compare, then })).succeeded) throw new Overtaken(`host ${host.name} changed meanwhile`);
  }
}

function progress(plan: ReturnPlan): Omit<TaskProgress, "startedAt"> {
  const stay = plan.stay.length === 0 ? "" : `, ${plan.stay.length} cannot`;
  const all = plan.back + plan.left.length + plan.stay.length;
  return {
    state: "running",
    message: `${counted(plan.left.length, "machine")} on their way back${stay}`,
    percent: Math.floor((100 * (all - plan.left.length)) / Math.max(1, all)),
  };
}

const counted = (count: number, noun: string): string => `${count} ${noun}${count === 1 ? "" : "s"}`;
