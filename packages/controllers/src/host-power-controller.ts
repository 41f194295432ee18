/**
 * Puts hosts to sleep and wakes them: carries out tasks with verbs sleep and wake of a host. Sole writer of the hosts' part `status/power` and of
 * these tasks' `status/controller`. Asks planning/power what to do; asks the host's agent to be quiet, and the devices that switch its power.
 */
import { deadline } from "@sheaf/base";
import { fencingMethodName, partKey, powerFences, SheafError, wakeMethods, type HostPower, type RecordOf, type WakeMethod } from "@sheaf/model";
import {
  afterWakeAttempt,
  asleep,
  hasEnded,
  planHostPower,
  powerLookMs,
  shuttingDown,
  type HostPowerInput,
  type HostPowerPlan,
} from "@sheaf/planning";
import type { SnapshotIndex } from "@sheaf/scheduling";
import type { Operation } from "@sheaf/store";
import { powerOf } from "./cluster-problem.ts";
import { commit, Overtaken } from "./commit.ts";
import type { ControllerContext } from "./context.ts";
import type { Controller } from "./controller.ts";
import { put } from "./packed-commit.ts";
import { clusterOf } from "./records.ts";
import type { SiteIndex } from "./site-index.ts";
import { holdsServer, sleepHindrance } from "./sleep-hindrance.ts";

type Host = RecordOf<"host">;
type Task = RecordOf<"task">;

/** Its agent looks at the domains of its host. */
const quietCallMs = 20_000;
/** Hosts that are asked to send a magic packet. */
const neighbours = 3;

export function hostPowerController(context: ControllerContext, index: SiteIndex, snapshot: SnapshotIndex): Controller {
  const { agents, cache, clock, store, fencing: devices, settings, logger } = context;
  return {
    name: "host-power",
    reads: ["host", "task", "vm"],
    writes: ["host/status/power", "task/status/controller (sleep, wake)"],
    // Devices are slow.
    concurrency: 16,
    initialKeys: () => [
      ...[...cache.all("host")].filter(({ status }) => status.power !== undefined).map(({ id }) => id),
      // Asked for while no server led.
      ...[...cache.all("task")].filter(isWish).map(({ spec }) => spec.target.id),
    ],
    *keysFor({ kind, id, record, previous }) {
      if (kind === "host") {
        const host = record as Host | undefined; // the kind says so
        const before = (previous as Host | undefined)?.status.power; // as above
        if (host === undefined || ((host.status.power ?? before) !== undefined && host.status !== previous?.status)) yield id;
      } else if (kind === "task" && record && isWish(record as Task)) yield (record as Task).spec.target.id; // the kind says so
      else if (kind === "vm") {
        const at = (record as RecordOf<"vm"> | undefined)?.placement?.host; // the kind says so
        if (at !== undefined && cache.get("host", at)?.status.power?.state === "falling-asleep") yield at;
      }
    },
    begin: (enqueue) => agents.subscribe(({ hostId }) => cache.get("host", hostId)?.status.power && enqueue(hostId)),
    async reconcile(hostId, signal) {
      const host = cache.get("host", hostId);
      const wishes = [...index.openTasks(hostId)].flatMap((id) => cache.get("task", id) ?? []).filter(isWish);
      if (!host) return endWishes(wishes, "cancelled", "the host was removed");
      const old = wishes.filter((task) => context.heldBack?.(task));
      if (old.length > 0) {
        await endWishes(old, "failed", `a backup was restored since this was asked for ${host.name}: ask again where it still holds`);
        return 0;
      }
      const due = wishesDue(host, wishes);
      const plan = planHostPower(await inputOf(host, due));
      return act(host, due, plan, signal);
    },
  };

  async function act(host: Host, wishes: readonly Task[], plan: HostPowerPlan, signal: AbortSignal): Promise<number | undefined> {
    const { power } = host.status;
    switch (plan.do) {
      case "nothing":
        return plan.lookAgainMs;
      case "answer":
        await endWishes(wishes, plan.ends, `${host.name}: ${plan.why}`);
        return 0;
      case "enter":
        await enter(host, plan.power, wishes, plan.ends);
        return 0;
      case "release":
        await release(host, plan, wishes);
        return undefined;
      case "quiet":
        return quiet(host, power, wishes);
      case "look":
        if (!(await isOff(host, signal))) return powerLookMs;
        await enter(host, asleep(mustBe(power), clock.now()), wishes, "succeeded");
        return 0;
      case "cut":
        return cut(host, mustBe(power), wishes, signal);
      case "wake":
        await wake(host, mustBe(power), plan.method, signal);
        return 0;
    }
  }

  async function inputOf(host: Host, wishes: readonly Task[]): Promise<HostPowerInput> {
    const { power, liveness, agent } = host.status;
    const wish = wishes.find(({ spec }) => spec.cancelRequestedAt === undefined) ?? wishes[0];
    const begins = power === undefined && wish?.spec.verb === "sleep";
    const server = begins && (await holdsServer(host, store)) ? "a Sheaf server runs there" : null;
    const cancelled = wish?.spec.cancelRequestedAt === undefined ? null : "it was cancelled";
    return {
      power,
      liveness,
      answersInBoot: agents.connected(host.id) ? (agents.bootId(host.id) ?? agent?.bootId) : undefined,
      bootId: agent?.bootId ?? "",
      // The schema of the verbs' tasks: these two, and the reason is text.
      wish: wish && {
        verb: wish.spec.verb as "sleep" | "wake",
        by: wish.spec.requestedBy,
        reason: String(wish.spec.parameters["reason"] ?? askedBy(wish)),
      },
      hindrance: () => cancelled ?? server ?? sleepHindrance(host, { cache, snapshot }),
      occupied: (snapshot.usage(host.id)?.machines ?? 0) > 0,
      wakeMethods: wakeMethods(host.spec).map(wakeMethodName),
      switched: powerFences(host.spec.fencing).length > 0,
      times: { sleepWithinMs: settings.sleepWithinMs, cutAfterMs: settings.cutAfterMs, wakeWithinMs: wakeWithinMs(host) },
      now: clock.now(),
    };
  }

  function wakeWithinMs(host: Host): number {
    const cluster = clusterOf(host, cache);
    return (cluster ? powerOf(cluster).wakeMinutes : 10) * 60_000;
  }

  async function quiet(host: Host, power: HostPower | undefined, wishes: readonly Task[]): Promise<number> {
    const answer = await askToBeQuiet(host, mustBe(power));
    if (answer === "unknown") return powerLookMs;
    if ("refused" in answer) await release(host, { why: answer.refused, ends: "failed" }, wishes);
    else if (!answer.shutsDown && powerFences(host.spec.fencing).length === 0)
      await release(host, { why: "its agent cannot shut it down, and no device switches its power", ends: "failed" }, wishes);
    else await enter(host, shuttingDown(mustBe(power), answer.shutsDown, clock.now()), wishes);
    return 0;
  }

  async function askToBeQuiet(host: Host, { bootId }: HostPower): Promise<{ shutsDown: boolean } | { refused: string } | "unknown"> {
    try {
      return await agents.call(host.id, "host.sleep", { bootId }, { timeoutMs: quietCallMs });
    } catch (error) {
      if (!(error instanceof SheafError) || error.code === "host-unreachable" || error.code === "timed-out") return "unknown";
      return { refused: error.message };
    }
  }

  async function isOff(host: Host, signal: AbortSignal): Promise<boolean> {
    const methods = powerFences(host.spec.fencing);
    const answers = await Promise.all(
      methods.map((method) => within(method.timeoutMs, signal, (limit) => devices.isOff(method, limit)).catch(() => null)),
    );
    return answers.includes(true) && !answers.includes(false);
  }

  async function cut(host: Host, power: HostPower, wishes: readonly Task[], signal: AbortSignal): Promise<number> {
    if (await isOff(host, signal)) {
      await enter(host, asleep(power, clock.now()), wishes, "succeeded");
      return 0;
    }
    // A device that did not answer may do as it was told when nobody waits any more: from the first order on there is no way back.
    if (power.cutAt === undefined) {
      if ((snapshot.usage(host.id)?.machines ?? 0) > 0) await release(host, { why: "a machine was placed there meanwhile", ends: "failed" }, wishes);
      else await enter(host, { ...power, cutAt: clock.now() }, wishes);
      return 0;
    }
    // What it said before may be over: its agent says it again, just before. An earlier order may still be carried out: it stays as it is until that is over.
    if (agents.connected(host.id)) {
      const answer = await askToBeQuiet(host, power);
      if (answer === "unknown" || "refused" in answer) return powerLookMs;
    }
    for (const method of powerFences(host.spec.fencing)) {
      try {
        await within(method.timeoutMs, signal, (limit) => devices.off(method, limit));
        await enter(host, asleep(power, clock.now()), wishes, "succeeded");
        return 0;
      } catch (error) {
        signal.throwIfAborted();
        if (error instanceof Overtaken) throw error;
        logger.warn({ host: host.name, method: fencingMethodName(method), error: toldOf(error) }, "a host's power could not be switched off");
      }
    }
    return powerLookMs;
  }

  async function wake(host: Host, power: HostPower, position: number, signal: AbortSignal): Promise<void> {
    const method = wakeMethods(host.spec)[position];
    if (!method) throw new Overtaken(`host ${host.name} lost a way to be woken meanwhile`);
    const at = clock.now();
    const name = wakeMethodName(method);
    try {
      if (method.type === "wake-on-lan") await sendMagicPackets(host, method);
      else await within(method.timeoutMs, signal, (limit) => devices.on(method, limit));
      logger.info({ host: host.name, method: name, why: power.reason }, "a sleeping host is woken");
      await enter(host, afterWakeAttempt(power, { method: name, at, outcome: "sent", detail: "" }), []);
    } catch (error) {
      signal.throwIfAborted();
      if (error instanceof Overtaken) throw error;
      logger.warn({ host: host.name, method: name, error: toldOf(error) }, "a sleeping host could not be woken this way");
      await enter(host, afterWakeAttempt(power, { method: name, at, outcome: "failed", detail: toldOf(error) }), []);
    }
  }

  /** From here, and from hosts on the same network: packets that are broadcast pass no router. */
  async function sendMagicPackets(host: Host, { mac, port, broadcastAddress }: Extract<WakeMethod, { type: "wake-on-lan" }>): Promise<void> {
    const near = [...cache.all("host")]
      .filter((other) => other.id !== host.id && agents.connected(other.id) && sharesNetwork(host, other))
      .slice(0, neighbours);
    const sent = await Promise.allSettled([
      devices.wakeOnLan({ mac, port, ...(broadcastAddress === undefined ? {} : { broadcastAddress }) }),
      ...near.map((other) => agents.call(other.id, "host.wakeNeighbour", { mac, port }, { timeoutMs: quietCallMs })),
    ]);
    const failed = sent.find((one) => one.status === "rejected");
    if (failed !== undefined && sent.every((one) => one.status === "rejected")) throw failed.reason;
  }

  /** @param signal this server's lead @throws what the work throws, or SheafError `timed-out` */
  async function within<T>(limitMs: number, signal: AbortSignal, work: (limit: AbortSignal) => Promise<T>): Promise<T> {
    const limit = deadline(clock, limitMs, () => new SheafError("timed-out", `no answer within ${limitMs} ms`), signal);
    try {
      return await Promise.race([
        work(limit.signal),
        new Promise<never>((_resolve, reject) => limit.signal.addEventListener("abort", () => reject(limit.signal.reason), { once: true })),
      ]);
    } finally {
      limit.done();
    }
  }

  async function enter(host: Host, power: HostPower, wishes: readonly Task[], ends?: "succeeded" | "failed"): Promise<void> {
    const before = host.status.power;
    const then = [put(partKey("host", host.id, "status/power"), power)];
    if (ends) then.push(...wishes.map((task) => ended(task, ends, ends === "failed" ? power.reason : `${host.name} is asleep`)));
    else if (before?.state !== power.state || before.step !== power.step)
      then.push(...wishes.map((task) => running(task, `${host.name} is ${words(power)}`)));
    await write(host, then);
    if (before?.state !== power.state)
      logger.info({ host: host.name, from: before?.state ?? "awake", to: power.state, why: power.reason }, "a host's power changed");
  }

  async function release(
    host: Host,
    { why, ends, unexpected }: Omit<Extract<HostPowerPlan, { do: "release" }>, "do">,
    wishes: readonly Task[],
  ): Promise<void> {
    await write(host, [{ delete: partKey("host", host.id, "status/power") }, ...wishes.map((task) => ended(task, ends, `${host.name}: ${why}`))]);
    const fields = { host: host.name, from: host.status.power?.state, to: "awake", why };
    if (unexpected) logger.warn(fields, "a host that was put to sleep answers: do not trust the device that said it was off");
    else logger.info(fields, "a host's power changed");
  }

  async function write(host: Host, then: readonly Operation[]): Promise<void> {
    const key = partKey("host", host.id, "status/power");
    const seen = host.status.power;
    const result = await commit(context, {
      compare: [
        { key: partKey("host", host.id, "spec"), modRevision: host.specRevision },
        seen === undefined ? { key, modRevision: 0 } : { key, value: JSON.stringify(seen) },
      ],
      then,
    });
    if (!result.succeeded) throw new Overtaken(`host ${host.name} changed meanwhile`);
  }

  async function endWishes(wishes: readonly Task[], state: "succeeded" | "failed" | "cancelled", message: string): Promise<undefined> {
    if (wishes.length > 0)
      await commit(context, {
        compare: wishes.map((task) => ({ key: partKey("task", task.id, "spec"), modRevision: task.specRevision })),
        then: wishes.map((task) => ended(task, state, message)),
      });
    return undefined;
  }

  function ended(task: Task, state: "succeeded" | "failed" | "cancelled", message: string): Operation {
    return put(partKey("task", task.id, "status/controller"), {
      state,
      message,
      startedAt: task.status.controller?.startedAt ?? task.createdAt,
      endedAt: clock.now(),
      ...(state === "failed" ? { problem: { code: "state-refused", detail: message } } : {}),
    });
  }

  function running(task: Task, message: string): Operation {
    const startedAt = task.status.controller?.startedAt ?? task.createdAt;
    return put(partKey("task", task.id, "status/controller"), { state: "running", message, startedAt });
  }
}

const isWish = (task: Task): boolean => (task.spec.verb === "sleep" || task.spec.verb === "wake") && !hasEnded(task);
/** What is under way is ended first; else the newest wish decides. */
function wishesDue({ status: { power } }: Host, wishes: readonly Task[]): Task[] {
  const newest = wishes.toSorted((a, b) => b.createdAt - a.createdAt || (a.id < b.id ? 1 : -1))[0]?.spec.verb;
  const verb = power?.state === "falling-asleep" ? "sleep" : power?.state === "waking" ? "wake" : newest;
  return wishes.filter(({ spec }) => spec.verb === verb);
}

const askedBy = ({ spec }: Task): string => `asked for by ${spec.requestedBy}`;

export const wakeMethodName = (method: WakeMethod): string =>
  method.type === "wake-on-lan" ? `wake-on-lan ${method.mac}` : fencingMethodName(method);

const words = ({ state, step }: HostPower): string =>
  state === "falling-asleep" ? (step === "quieting" ? "asked to be quiet" : "shutting down") : state === "waking" ? "being woken" : state;

/** The plan names it only where it is there. */
function mustBe(power: HostPower | undefined): HostPower {
  if (power === undefined) throw new Overtaken("a host's power changed meanwhile");
  return power;
}

const toldOf = (error: unknown): string =>
  error instanceof SheafError ? [error.message, error.extra.cause].filter(Boolean).join(": ") : String(error);

/** IPv4 alone: what is broadcast there reaches the other. */
function sharesNetwork(one: Host, other: Host): boolean {
  const networks = networksOf(one);
  return networksOf(other).some((network) => networks.includes(network));
}

/** `10.0.3.0/24` of `10.0.3.17/24`, as a number and its length. */
function networksOf({ status: { agent } }: Host): string[] {
  return (agent?.interfaces ?? []).flatMap(({ addresses }) =>
    addresses.flatMap((address) => {
      const match = /^(\d+)\.(\d+)\.(\d+)\.(\d+)\/(\d+)$/.exec(address);
      if (!match || match[1] === "127") return [];
      const bits = match.slice(1, 5).reduce((sum, part) => sum * 256 + Number(part), 0);
      const size = 2 ** (32 - Number(match[5]));
      return [`${Math.floor(bits / size)}/${match[5]}`];
    }),
  );
}
