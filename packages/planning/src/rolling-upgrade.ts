/**
 * Upgrade of agents, a host after the other: (how far each is, what is seen, now) → who is told to take the new version, and how it stands.
 * Called by the rolling upgrade controller at every change. Pure.
 *
 * A host is through when its agent runs from the wanted archive, has proved itself, and has been connected without a break for the settling
 * time, and none of its machines has ended meanwhile. Nobody is begun with while another is not through, but for as many as were asked for.
 * The first failure ends the whole, with what is left untouched.
 */
import type { AgentInstallation, TaskProgress } from "@sheaf/model";

export const upgradePhases = ["waiting", "ordered", "settling", "done", "skipped", "gone"] as const;

export interface UpgradeHost {
  readonly id: string;
  readonly name: string;
  readonly phase: (typeof upgradePhases)[number];
  /** When the phase began, or it last came nearer to its end; 0: its turn has not come. */
  readonly since: number;
  /** `settling`: when the phase began. */
  readonly begunAt?: number;
  /** `settling`: how often it has lost its connection. */
  readonly breaks?: number;
  /** `settling`: it is not connected, or on trial: `since` counts from the end of that. */
  readonly unsettled?: "away" | "trial";
  /** `ordered`: what its agent told last. */
  readonly told?: string;
  /** `skipped`: why. */
  readonly why?: string;
}

/** What is seen of a host. */
export interface UpgradeSight {
  readonly version: string;
  readonly ready: boolean;
  /** It runs from the wanted archive. */
  readonly current: boolean;
  /** It has yet to prove itself. */
  readonly trial: boolean;
  /** Why it is left out: from source files, in maintenance, off. */
  readonly leaveOut: string | undefined;
  /** What its agent says of this very task's order. */
  readonly order: AgentInstallation["upgrade"];
  /** Its agent's answer to the order, where that was a refusal. */
  readonly refused: TaskProgress["problem"];
  /** Names of its machines that have ended by themselves since the order came. */
  readonly ended: readonly string[];
  /** Why it must not be begun with now: others of its cluster are being lost. */
  readonly against: string | undefined;
}

export interface UpgradeInput {
  readonly hosts: readonly UpgradeHost[];
  /** `undefined`: it has no record any more. */
  readonly look: (host: string) => UpgradeSight | undefined;
  readonly version: string;
  /** Hosts that may be under way at once. */
  readonly parallel: number;
  readonly settleMs: number;
  readonly cancelled: boolean;
  readonly now: number;
}

export interface UpgradePlan {
  readonly hosts: readonly UpgradeHost[];
  /** Hosts whose agents are to be told, if they have not been lately. */
  readonly order: readonly string[];
  readonly state: "running" | "succeeded" | "failed" | "cancelled";
  readonly message: string;
  readonly problem?: NonNullable<TaskProgress["problem"]>;
  readonly failedHost?: string;
  readonly lookAgainMs?: number;
}

/** A host that is not ready is waited for so long, then left out. */
export const unreadyPatienceMs = 120_000;
/** What does not come nearer to its end for so long has failed: an agent goes back by itself long before. */
export const orderPatienceMs = 300_000;
/** The same, for waiting until migrations on the host have ended. */
const migrationPatienceMs = 900_000;
const settlePatienceMs = 180_000;
const maximumBreaks = 3;
const lookAgainMs = 2000;

type Step = { readonly host: UpgradeHost; readonly message?: string; readonly order?: true; readonly problem?: UpgradePlan["problem"] };

export function planUpgrade(input: UpgradeInput): UpgradePlan {
  const { cancelled, parallel, version } = input;
  const hosts: UpgradeHost[] = [];
  const order: string[] = [];
  const words: string[] = [];
  let failed: { readonly host: UpgradeHost; readonly problem: NonNullable<UpgradePlan["problem"]> } | undefined;
  // Those under way first: only then is it known whether another may begin.
  const advanced = new Map(input.hosts.filter(isUnderWay).map((host) => [host.id, advance(input, host)]));
  let underWay = [...advanced.values()].filter(({ host }) => isUnderWay(host)).length;
  const failing = [...advanced.values()].some(({ problem }) => problem !== undefined);
  for (const before of input.hosts) {
    const step =
      advanced.get(before.id) ??
      (before.phase === "waiting" && !cancelled && !failing && underWay < parallel ? begin(input, before) : { host: before });
    if (!advanced.has(before.id) && (isUnderWay(step.host) || step.message !== undefined)) underWay += 1;
    hosts.push(step.host);
    if (step.message !== undefined) words.push(step.message);
    if (step.order) order.push(step.host.id);
    if (step.problem) failed ??= { host: step.host, problem: step.problem };
  }
  const through = hosts.filter(isThrough).length;
  if (failed) return { hosts, order: [], state: "failed", message: failed.problem.detail, problem: failed.problem, failedHost: failed.host.id };
  if (cancelled) {
    const going = hosts.filter(isUnderWay).map(({ name }) => name);
    const left = going.length === 0 ? "" : `; ${going.join(", ")} ${going.length === 1 ? "goes" : "go"} on`;
    return { hosts, order: [], state: "cancelled", message: `ended with ${through} of ${hosts.length} hosts through${left}` };
  }
  if (through < hosts.length)
    return { hosts, order, state: "running", message: `${words.join(", ")} (${through} of ${hosts.length} through)`, lookAgainMs };
  const done = hosts.filter(({ phase }) => phase === "done").length;
  const skipped = hosts.filter(({ phase }) => phase === "skipped").map(({ name, why }) => `${name} (${why ?? "left out"})`);
  const rest = skipped.length === 0 ? "" : `; left out: ${skipped.slice(0, 10).join(", ")}${skipped.length > 10 ? ", …" : ""}`;
  const message = `${done} of ${hosts.length} hosts ${done === 1 ? "has" : "have"} agent ${version}${rest}`;
  if (done > 0 || skipped.length === 0) return { hosts, order, state: "succeeded", message };
  return { hosts, order, state: "failed", message, problem: { code: "state-refused", detail: message } };
}

const isUnderWay = ({ phase }: UpgradeHost): boolean => phase === "ordered" || phase === "settling";
const isThrough = ({ phase }: UpgradeHost): boolean => phase === "done" || phase === "skipped" || phase === "gone";
const enter = ({ id, name }: UpgradeHost, phase: UpgradeHost["phase"], since: number): UpgradeHost => ({ id, name, phase, since });

/** @returns a step without a message where the next host may have its turn at once */
function begin(input: UpgradeInput, host: UpgradeHost): Step {
  const { now } = input;
  const { name } = host;
  const sight = input.look(host.id);
  if (!sight) return { host: enter(host, "gone", now) };
  const begun = host.since === 0 ? { ...host, since: now } : host;
  const leaveOut = (why: string): Step => ({ host: { ...enter(host, "skipped", now), why } });
  if (sight.current && !sight.trial && sight.ready) return { host: enter(host, "done", now) };
  if (sight.leaveOut !== undefined) return leaveOut(sight.leaveOut);
  if (!sight.ready) {
    if (now - begun.since >= unreadyPatienceMs) return leaveOut("its agent is not connected");
    return { host: begun, message: `${name} waits: its agent is not connected` };
  }
  if (sight.against !== undefined) return { host: begun, message: `${name} waits: ${sight.against}` };
  return { host: enter(host, "ordered", now), message: `${name} is told to take ${input.version}`, order: true };
}

function advance(input: UpgradeInput, host: UpgradeHost): Step {
  const sight = input.look(host.id);
  if (!sight) return { host: enter(host, "gone", input.now) };
  return host.phase === "ordered" ? ordered(input, host, sight) : settling(input, host, sight);
}

function ordered({ now, version }: UpgradeInput, host: UpgradeHost, sight: UpgradeSight): Step {
  const { name } = host;
  const { order, refused } = sight;
  if (sight.current) return { host: { ...enter(host, "settling", now), begunAt: now }, message: `${name} runs ${version} and is watched` };
  if (order?.state === "failed") return { host, problem: named(name, order.problem) };
  if (refused) return { host, problem: named(name, refused) };
  if (!order) {
    if (now - host.since >= orderPatienceMs) return { host, problem: late(host, "does not take the order") };
    return {
      host,
      message: sight.ready ? `${name} is told to take ${version}` : `${name} waits: its agent is not connected`,
      ...(sight.ready ? { order: true } : {}),
    };
  }
  const told = `${order.state} ${order.percent ?? ""}`;
  const after: UpgradeHost = told === host.told ? host : { ...host, told, since: now };
  const patienceMs = order.state === "waiting" ? migrationPatienceMs : orderPatienceMs;
  if (now - after.since >= patienceMs) return { host, problem: late(host, stuckWords[order.state]) };
  return { host: after, message: `${name} ${stateWords[order.state]}${order.percent === undefined ? "" : ` ${order.percent} %`}` };
}

function settling(input: UpgradeInput, host: UpgradeHost, sight: UpgradeSight): Step {
  const { now, version, settleMs } = input;
  const { name, begunAt = host.since, breaks = 0 } = host;
  if (!sight.current)
    return { host, problem: named(name, sight.order?.problem ?? { code: "upgrade-failed", detail: `it runs ${sight.version} again` }) };
  if (sight.ended.length > 0) {
    const names = `${sight.ended.slice(0, 5).join(", ")}${sight.ended.length > 5 ? ", …" : ""}`;
    return {
      host,
      problem: named(name, {
        code: "upgrade-failed",
        detail: `machines ended by themselves meanwhile: ${names}`,
        next: "Look why they ended before you go on: an upgrade does not end machines.",
      }),
    };
  }
  const unsettled = !sight.ready ? "away" : sight.trial ? "trial" : undefined;
  const lost = unsettled === "away" && host.unsettled !== "away" ? breaks + 1 : breaks;
  const since = unsettled === host.unsettled ? host.since : now;
  const watched: UpgradeHost = {
    ...enter(host, "settling", since),
    begunAt,
    ...(lost === 0 ? {} : { breaks: lost }),
    ...(unsettled ? { unsettled } : {}),
  };
  if (lost >= maximumBreaks) return { host: watched, problem: late(host, `has lost its connection ${lost} times since`) };
  if (unsettled) {
    if (now - begunAt >= settlePatienceMs)
      return { host: watched, problem: late(host, unsettled === "away" ? "has not come back" : "does not prove itself") };
    return { host: watched, message: `${name} runs ${version} ${unsettled === "away" ? "and is not connected" : "on trial"}` };
  }
  if (now - since >= settleMs) return { host: enter(host, "done", now) };
  return { host: watched, message: `${name} runs ${version} and is watched` };
}

type OrderState = NonNullable<UpgradeSight["order"]>["state"];
const stateWords: Record<OrderState, string> = {
  fetching: "fetches the new version",
  testing: "tries the new version",
  waiting: "waits for migrations to end",
  restarting: "restarts its agent",
  done: "reports",
  failed: "has failed",
};
const stuckWords: Record<OrderState, string> = {
  fetching: "does not get on with fetching",
  testing: "does not get on with its test",
  waiting: "waits in vain for migrations to end",
  restarting: "has not come back from its restart",
  done: "does not say what it runs",
  failed: "has failed",
};

const late = ({ name }: UpgradeHost, what: string): NonNullable<UpgradePlan["problem"]> => ({
  code: "upgrade-failed",
  detail: `${name}: its agent ${what}`,
  next: "Look at the host and at its agent's log (`sheaf host show`, `journalctl -u sheaf-agent`).",
});

function named(name: string, problem: TaskProgress["problem"]): NonNullable<UpgradePlan["problem"]> {
  const { code, detail, next, cause } = problem ?? { code: "upgrade-failed", detail: "it did not take the new version" };
  return { code, detail: `${name}: ${detail}`, ...(next === undefined ? {} : { next }), ...(cause === undefined ? {} : { cause }) };
}
