/**
 * Makes sure that a lost host runs nothing, by its fencing devices or a person's word. Sole writer of the hosts' part `status/fencing`
 * (and of its removal together with `status/return`), and of the tasks with verb fence and confirm-off. Asks planning/fence what to do.
 * Woken by hosts, by machines that come to need it, by such tasks, and by the time between tries.
 */
import {
  fencingMethodName,
  isAtRest,
  partKey,
  SheafError,
  type FencingAttempt,
  type HostFencing,
  type HostReturn,
  type RecordOf,
  type TaskProgress,
  type PowerFence,
} from "@sheaf/model";
import { afterAttempt, fencedByItself, hasEnded, heldAgain, planFence, wantsFailOver, type FenceInput } from "@sheaf/planning";
import { deadline } from "@sheaf/base";
import type { Compare, Operation } from "@sheaf/store";
import { commit, Overtaken } from "./commit.ts";
import type { ControllerContext } from "./context.ts";
import type { Controller } from "./controller.ts";
import { hostSilence } from "./host-silence.ts";
import { HostWitnesses, type Witness } from "./host-witness.ts";
import type { Listening } from "./listening.ts";
import { put } from "./packed-commit.ts";
import { clusterOf } from "./records.ts";
import { SelfFencing } from "./self-fencing.ts";
import type { SiteIndex } from "./site-index.ts";

type Host = RecordOf<"host">;
type Task = RecordOf<"task">;

const outageCountsForMs = 100;
/** While a host is only waited for, its pulse may be heard again. */
const waitingLookMs = 1000;

export function fencingController(context: ControllerContext, index: SiteIndex, listening: Listening): Controller {
  const { agents, cache, clock, store, fencing: devices, logger } = context;
  const witnesses = new HostWitnesses(context);
  const selfFencing = new SelfFencing(context, listening);
  const outages = new Map<string, { readonly at: number; readonly outage: FenceInput["outage"] }>();
  /** When (monotonic) this server began to cut a host off, and when it asked whether one that another server had begun with is off already. */
  const began = new Map<string, number>();
  const asked = new Map<string, number>();
  return {
    name: "fencing",
    reads: ["host", "vm", "cluster", "task"],
    writes: ["host/status/fencing", "host/status/return (removal)", "task/status/controller (fence, confirm-off)"],
    // Devices are slow, and a rack is lost at once.
    concurrency: 32,
    initialKeys: () => [...cache.all("host")].filter((host) => host.status.fencing !== undefined || isLost(host)).map((host) => host.id),
    *keysFor({ kind, id, record, previous }) {
      if (kind === "host") {
        const host = record as Host | undefined; // the kind says so
        if (host && (host.status !== previous?.status || host.spec !== previous.spec) && (isLost(host) || host.status.fencing)) yield id;
      } else if (kind === "vm") {
        const vm = record as RecordOf<"vm"> | undefined; // the kind says so
        const host = vm?.placement && cache.get("host", vm.placement.host);
        if (vm && host && isLost(host) && vm.spec !== previous?.spec) yield host.id;
      } else if (kind === "task" && record && isWish(record as Task)) yield (record as Task).spec.target.id; // the kind says so
    },
    begin: () => {
      selfFencing.begin();
      return listening.begin();
    },
    async reconcile(hostId, signal) {
      const host = cache.get("host", hostId);
      const wishes = [...index.openTasks(hostId)].flatMap((id) => cache.get("task", id) ?? []).filter(isWish);
      if (!host) return endWishes(wishes, "cancelled", "the host was removed");
      selfFencing.look(host);
      const old = wishes.filter((task) => context.heldBack?.(task));
      if (old.length > 0) {
        await endWishes(old, "failed", `a backup was restored since this was asked for ${host.name}: ask again where it still holds`);
        return 0;
      }
      const words = wishes.filter(({ spec }) => spec.verb === "confirm-off");
      const { silentMs, graceMs } = hostSilence(host, context, listening);
      const knocked = host.status.return !== undefined;
      if (isLost(host) && mayBegin(host) && !knocked && words.length === 0) {
        // The power may have been cut before that server ended: then nobody needs to wait.
        if (isInherited(host) && !sinceListening(asked, hostId)) {
          asked.set(hostId, clock.monotonic());
          const attempt = await isOffAlready(host, graceMs, signal);
          if (attempt) await enter(host, afterAttempt(inputOf(host, wishes, undefined), attempt), wishes, host.status.fencing?.bootId);
          return 0;
        }
        // What was concluded before this server listened, or before the agent knocked, is no reason to begin anything.
        // One that is held stays so meanwhile: what held it back (its pulse, others' silence) this server has not heard yet.
        if (silentMs < graceMs) return graceMs - silentMs;
      }
      if (words.length > 0 && agents.connected(hostId)) {
        await endWishes(words, "failed", `${host.name} is not off: its agent is connected`);
        return 0;
      }
      const witness = await witnessOf(host, wishes);
      if ("lookAgainMs" in witness) return witness.lookAgainMs;
      const input = inputOf(host, wishes, witness.says);
      const decidedAt = clock.monotonic();
      const plan = planFence(input);
      switch (plan.do) {
        case "nothing":
          if (host.status.liveness?.state === "ready") await endWishes(wishes, "failed", `${host.name} is connected and at work`);
          else if (host.status.fencing?.state === "fenced") await endWishes(wishes, "succeeded", `${host.name} is off`);
          return plan.lookAgainMs;
        case "enter":
          await enter(host, plan.fencing, wishes);
          if (plan.fencing.state === "fencing") began.set(hostId, decidedAt);
          return 0;
        case "release":
          await release(host, plan.why, plan.broken, wishes);
          return undefined;
        case "try": {
          if (host.spec.fencing[plan.method]?.type === "watchdog") return waitForItself(host, input, wishes);
          const attempt = await tryMethod(host, plan.method, signal);
          await enter(host, afterAttempt(input, attempt), wishes, attempt.outcome === "off" ? host.status.fencing?.bootId : undefined);
          return 0;
        }
      }
    },
  };

  /** Asked only where it can hold something back. */
  async function witnessOf(host: Host, wishes: readonly Task[]): Promise<Witness> {
    if (!isLost(host) || !mayBegin(host) || wishes.length > 0 || !isNeeded(host)) return { says: undefined };
    // Its lease is over: whoever sees it in a pool sees a host that has stopped its machines.
    return selfFencing.of(host).state === "over" ? { says: witnesses.heard(host.id) } : witnesses.ask(host);
  }

  /** The method `watchdog`: nothing is done, and a while later is certain. */
  async function waitForItself(host: Host, input: FenceInput, wishes: readonly Task[]): Promise<number> {
    const lives = wishes.length === 0 ? witnesses.heard(host.id) : undefined;
    const self = selfFencing.of(host);
    if (lives !== undefined && self.state !== "counts-not") await enter(host, heldAgain(input, lives), wishes);
    else if (self.state === "runs") return Math.min(self.leftMs, waitingLookMs);
    else {
      const over = self.state === "over";
      const attempt: FencingAttempt = { method: "watchdog", at: clock.now(), outcome: over ? "off" : "failed", detail: over ? "" : self.why };
      // None has begun that this server does not know of.
      const lease = { key: partKey("host", host.id, "status/lease"), value: JSON.stringify(host.status.lease) };
      if (over) await enter(host, fencedByItself(input, attempt), wishes, undefined, [lease]);
      else await enter(host, afterAttempt(input, attempt), wishes);
    }
    return 0;
  }

  function inputOf(host: Host, wishes: readonly Task[], witness: string | undefined): FenceInput {
    const { fencing, liveness, return: returned, agent } = host.status;
    const [wish] = wishes;
    return {
      liveness,
      fencing,
      returned,
      bootId: agent?.bootId,
      methods: host.spec.fencing.map(fencingMethodName),
      needed: isNeeded(host),
      inherited: isInherited(host),
      // The schema of the verbs' tasks: these two.
      wish: wish ? { verb: wish.spec.verb as "fence" | "confirm-off", by: wish.spec.requestedBy } : undefined,
      // Asked for only where it decides: when all hosts fall silent at once, each would count all others for nothing.
      get outage() {
        return outageOf(host);
      },
      witness,
      now: clock.now(),
    };
  }

  /** Nothing is under way to cut it off that this server began, and it is not off. */
  function mayBegin(host: Host): boolean {
    const state = host.status.fencing?.state;
    return state === undefined || state === "held" || state === "asking" || isInherited(host);
  }

  function isInherited({ id, status }: Host): boolean {
    return status.fencing?.state === "fencing" && !sinceListening(began, id);
  }

  function sinceListening(times: ReadonlyMap<string, number>, hostId: string): boolean {
    return (times.get(hostId) ?? Number.NEGATIVE_INFINITY) >= listening.since;
  }

  function isNeeded(host: Host): boolean {
    for (const id of index.vmsOnHost(host.id)) {
      const vm = cache.get("vm", id);
      if (vm && wantsFailOver(vm)) return true;
    }
    return false;
  }

  /** Counted once for all that ask at about the same time: thousands that are held look again every second. */
  function outageOf(host: Host): FenceInput["outage"] {
    const now = clock.monotonic();
    const known = outages.get(host.spec.cluster);
    if (known !== undefined && now - known.at < outageCountsForMs) return known.outage;
    const outage = countOutage(host);
    outages.set(host.spec.cluster, { at: now, outage });
    return outage;
  }

  /** O(hosts). A rack goes at once, but its hosts are not found lost at once: those half-way there count too. */
  function countOutage(host: Host): FenceInput["outage"] {
    const cluster = clusterOf(host, cache);
    let hosts = 0;
    let silent = 0;
    for (const other of cache.all("host")) {
      // Those that were cut off are accounted for, and those that sleep are silent as they are meant to be.
      if (other.spec.cluster !== host.spec.cluster || other.status.liveness === undefined) continue;
      if (other.status.fencing?.state === "fenced" || isAtRest(other.status.power)) continue;
      hosts += 1;
      const { silentMs, graceMs } = hostSilence(other, context, listening);
      if (isLost(other) || silentMs * 2 >= graceMs) silent += 1;
    }
    return { hosts, silent, wideOutagePercent: cluster?.spec.highAvailability.wideOutagePercent ?? 40 };
  }

  /** All are asked at once. @returns what one said that says so, where none says the opposite; `null`: nobody knows */
  async function isOffAlready(host: Host, limitMs: number, signal: AbortSignal): Promise<FencingAttempt | null> {
    const limit = deadline(clock, limitMs, () => new SheafError("timed-out", `no answer within ${limitMs} ms`), signal);
    // The host's own watchdog cannot be asked.
    const methods = host.spec.fencing.filter((method) => method.type !== "watchdog");
    const ask = (method: PowerFence): Promise<boolean | null> =>
      Promise.race([devices.isOff(method, limit.signal), aborted(limit.signal)]).catch(() => null);
    const answers = await Promise.all(methods.map(ask));
    limit.done();
    signal.throwIfAborted();
    const method = methods[answers.indexOf(true)];
    if (!method || answers.includes(false)) return null;
    return { method: fencingMethodName(method), at: clock.now(), outcome: "off", detail: "" };
  }

  async function tryMethod(host: Host, position: number, signal: AbortSignal): Promise<FencingAttempt> {
    const method = host.spec.fencing[position];
    if (!method || method.type === "watchdog") throw new Overtaken(`host ${host.name} lost a fencing method meanwhile`);
    const name = fencingMethodName(method);
    const limit = deadline(clock, method.timeoutMs, () => new SheafError("timed-out", `no answer within ${method.timeoutMs} ms`), signal);
    logger.warn({ host: host.name, method: name }, "a lost host's power is being cut");
    try {
      await Promise.race([devices.off(method, limit.signal), aborted(limit.signal)]);
      return { method: name, at: clock.now(), outcome: "off", detail: "" };
    } catch (error) {
      signal.throwIfAborted();
      const detail = error instanceof SheafError ? [error.message, error.extra.cause].filter(Boolean).join(": ") : String(error);
      logger.warn({ host: host.name, method: name, detail }, "a fencing method failed");
      return { method: name, at: clock.now(), outcome: "failed", detail };
    } finally {
      limit.done();
    }
  }

  /**
   * An agent that knocked meanwhile decides otherwise: it is part of the condition.
   * @param endedBoot a device has just ended it, and was asked afterwards: who knocked in it did so before
   */
  async function enter(
    host: Host,
    fencing: HostFencing,
    wishes: readonly Task[],
    endedBoot?: string,
    conditions: readonly Compare[] = [],
  ): Promise<void> {
    const key = partKey("host", host.id, "status/fencing");
    const returnKey = partKey("host", host.id, "status/return");
    const knocked = endedBoot === undefined ? null : await store.get(returnKey);
    const overcome = knocked !== null && (JSON.parse(knocked.value) as HostReturn).bootId === endedBoot; // written by the gate alone
    const ends = fencing.state === "fenced" || fencing.state === "asking";
    const [state, message] =
      fencing.state === "fenced" ? (["succeeded", `${host.name} is off: ${fencing.reason}`] as const) : (["failed", fencing.reason] as const);
    const result = await commit(context, {
      compare: [
        { key: partKey("host", host.id, "spec"), modRevision: host.specRevision },
        await unchanged(key, host.status.fencing),
        { key: returnKey, modRevision: overcome ? knocked.modRevision : 0 },
        ...conditions,
      ],
      then: [put(key, fencing), ...(overcome ? [{ delete: returnKey }] : []), ...(ends ? wishes.map((task) => ended(task, state, message)) : [])],
    });
    if (!result.succeeded) throw new Overtaken(`host ${host.name} changed meanwhile`);
    logger.warn({ host: host.name, from: host.status.fencing?.state ?? "none", to: fencing.state, why: fencing.reason }, "a host's fence changed");
  }

  /** A wish ends with it: a person's word that the host is off was given before it came back, and must not be taken for a new one. */
  async function release(host: Host, why: string, broken: boolean, wishes: readonly Task[]): Promise<void> {
    const key = partKey("host", host.id, "status/fencing");
    const result = await commit(context, {
      compare: [await unchanged(key, host.status.fencing)],
      then: [
        { delete: key },
        { delete: partKey("host", host.id, "status/return") },
        ...wishes.map((task) => ended(task, "failed", `${host.name} is not off: ${why}`)),
      ],
    });
    if (!result.succeeded) throw new Overtaken(`host ${host.name} changed meanwhile`);
    const fields = { host: host.name, was: host.status.fencing?.state, why };
    if (broken) logger.error(fields, "a fencing device said that a host was off, and it was not: do not trust that device");
    else logger.info(fields, "a host is let in again");
  }

  async function endWishes(wishes: readonly Task[], state: TaskProgress["state"], message: string): Promise<undefined> {
    if (wishes.length > 0)
      await commit(context, {
        compare: wishes.map((task) => ({ key: partKey("task", task.id, "spec"), modRevision: task.specRevision })),
        then: wishes.map((task) => ended(task, state, message)),
      });
    return undefined;
  }

  function ended(task: Task, state: TaskProgress["state"], message: string): Operation {
    return put(partKey("task", task.id, "status/controller"), {
      state,
      message,
      startedAt: task.status.controller?.startedAt ?? task.createdAt,
      endedAt: clock.now(),
      ...(state === "failed" ? { problem: { code: "fencing-failed", detail: message } } : {}),
    });
  }

  /** The part as it was looked at: by its text, because the record does not hold its revision. */
  async function unchanged(key: string, seen: HostFencing | undefined): Promise<Compare> {
    return seen === undefined ? { key, modRevision: 0 } : { key, value: JSON.stringify(seen) };
  }
}

const isLost = (host: Host): boolean => host.status.liveness?.state === "unreachable";
const isWish = (task: Task): boolean => (task.spec.verb === "fence" || task.spec.verb === "confirm-off") && !hasEnded(task);

function aborted(signal: AbortSignal): Promise<never> {
  return new Promise((_resolve, reject) => {
    if (signal.aborted) reject(signal.reason);
    else signal.addEventListener("abort", () => reject(signal.reason), { once: true });
  });
}
