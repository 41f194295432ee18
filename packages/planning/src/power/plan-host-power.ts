/**
 * How one host falls asleep and wakes: (what stands in its record, what is seen of it, what is wanted, now) → the next act of the power
 * controller, which persists a state before it does what belongs to it. Pure.
 *
 * The one promise: power is cut only after the host's own agent has said, in this boot, that no machine runs there and that it starts none.
 */
import type { HostLiveness, HostPower, WakeAttempt } from "@sheaf/model";

export interface HostPowerInput {
  readonly power: HostPower | undefined;
  readonly liveness: HostLiveness | undefined;
  /** The boot that its connected agent tells; absent: it is not connected. */
  readonly answersInBoot: string | undefined;
  /** The boot that it reported last. */
  readonly bootId: string;
  readonly wish: PowerWish | undefined;
  /** Why it must not sleep; asked for only where it decides. */
  readonly hindrance: () => string | null;
  /** Machines are placed there, or on their way there. */
  readonly occupied: boolean;
  /** Names of the ways to wake it, in the order in which they are tried. */
  readonly wakeMethods: readonly string[];
  /** A device can say whether it is off, and cut its power. */
  readonly switched: boolean;
  readonly times: PowerTimes;
  readonly now: number;
}

export interface PowerWish {
  readonly verb: "sleep" | "wake";
  readonly by: string;
  readonly reason: string;
}

export interface PowerTimes {
  /** From the wish to the power being off. */
  readonly sleepWithinMs: number;
  /** A host that shuts itself down is cut off after so long. */
  readonly cutAfterMs: number;
  /** From the first try to the agent's return. */
  readonly wakeWithinMs: number;
}

export type HostPowerPlan =
  | { readonly do: "nothing"; readonly lookAgainMs?: number }
  /** Persisted before anything that belongs to it is done. `ends`: with it the wish has come true, or has failed. */
  | { readonly do: "enter"; readonly power: HostPower; readonly ends?: "succeeded" | "failed" }
  /** It is awake, and counts again. */
  | { readonly do: "release"; readonly why: string; readonly ends: "succeeded" | "failed"; readonly unexpected?: boolean }
  | { readonly do: "answer"; readonly ends: "succeeded" | "failed"; readonly why: string }
  /** Its agent says that nothing runs there, starts nothing from now on, and shuts the host down where it can. */
  | { readonly do: "quiet" }
  /** Is it off? */
  | { readonly do: "look" }
  /** Its agent says once more what it said where it is connected; then the power goes. */
  | { readonly do: "cut" }
  | { readonly do: "wake"; readonly method: number };

/** Between looks at what is under way. */
export const powerLookMs = 2000;
/** A magic packet may get lost, and a device may have taken an order while its host was still going off. */
const wakeAgainMs = { sent: 20_000, failed: 2000 } as const;
/** What a device was told it may still do so much later. No more is ordered meanwhile. */
const lateOrderMs = 300_000;
/** A host whose connection still stood when its power was cut is heard no more after so long. */
const connectionEndsMs = 60_000;
const attemptsKept = 8;

export function planHostPower(input: HostPowerInput): HostPowerPlan {
  const { power, liveness, wish } = input;
  if (power === undefined) {
    if (wish === undefined) return { do: "nothing" };
    if (wish.verb === "wake") {
      const awake = liveness?.state === "ready";
      return {
        do: "answer",
        ends: awake ? "succeeded" : "failed",
        why: awake ? "it is awake" : "it was not put to sleep by Sheaf: it is lost, not asleep",
      };
    }
    const why = input.hindrance();
    return why === null ? { do: "enter", power: fallingAsleep(input, wish) } : { do: "answer", ends: "failed", why };
  }
  if (input.answersInBoot !== undefined && input.answersInBoot !== power.bootId) return awake(input, power);
  switch (power.state) {
    case "falling-asleep":
      return goOnFallingAsleep(input, power);
    case "asleep":
      if (answersStill(input, power)) return neverOff;
      if (wish?.verb === "sleep") return { do: "answer", ends: "succeeded", why: "it is asleep" };
      if (wish) return { do: "enter", power: waking(input, power, wish) };
      return { do: "nothing", ...(input.answersInBoot === undefined ? {} : { lookAgainMs: powerLookMs }) };
    case "waking":
      return answersStill(input, power) ? neverOff : goOnWaking(input, power);
    case "not-woken":
      return wish?.verb === "wake" ? { do: "enter", power: waking(input, power, wish) } : answerSleep(wish);
  }
}

const neverOff: HostPowerPlan = {
  do: "release",
  why: "it answers in the boot that was put to sleep: it was never off",
  ends: "failed",
  unexpected: true,
};

const answerSleep = (wish: PowerWish | undefined): HostPowerPlan =>
  wish ? { do: "answer", ends: "failed", why: "it did not come back when it was woken: nothing is known of it" } : { do: "nothing" };

function goOnFallingAsleep(input: HostPowerInput, power: HostPower): HostPowerPlan {
  const { now, times, liveness, answersInBoot } = input;
  const connected = answersInBoot !== undefined;
  const sinceMs = now - power.since;
  if (power.step === "quieting") {
    if (input.occupied) return { do: "release", why: "a machine was placed there meanwhile", ends: "failed" };
    if (sinceMs > times.sleepWithinMs) return { do: "release", why: "its agent did not say in time that nothing runs there", ends: "failed" };
    if (connected) return { do: "quiet" };
    // Its answer may have been lost with it.
    if (liveness?.state !== "unreachable") return input.switched ? { do: "look" } : { do: "nothing", lookAgainMs: powerLookMs };
    return { do: "release", why: "it was lost before it slept", ends: "failed" };
  }
  if (sinceMs > times.sleepWithinMs) {
    // It would be cut off with the machines that it is given.
    if (power.cutAt !== undefined && sinceMs <= times.sleepWithinMs + lateOrderMs) return { do: "look" };
    return { do: "release", why: "its power did not go off in time", ends: "failed" };
  }
  if (!input.switched) {
    const gone = !connected && liveness?.state === "asleep";
    return gone ? { do: "enter", power: asleep(power, now), ends: "succeeded" } : { do: "nothing", lookAgainMs: powerLookMs };
  }
  // One that cannot shut itself down says again that nothing runs there, just before: so it must be there.
  const due = power.byItself === true ? sinceMs > times.cutAfterMs : connected;
  return due ? { do: "cut" } : { do: "look" };
}

function goOnWaking(input: HostPowerInput, power: HostPower): HostPowerPlan {
  const { now, times, wakeMethods } = input;
  if (now - power.since > times.wakeWithinMs || wakeMethods.length === 0) {
    const minutes = Math.round(times.wakeWithinMs / 60_000);
    const last = power.attempts.at(-1);
    const why =
      last === undefined ? "there is no way to wake it" : `the last try: ${last.method}${last.outcome === "failed" ? `, ${last.detail}` : ""}`;
    const reason = `it did not come back within ${minutes} min of being woken (${why}): look at its power and its console`;
    return { do: "enter", power: { ...power, state: "not-woken", since: now, reason }, ends: "failed" };
  }
  const last = power.attempts.findLast(({ at }) => at >= power.since);
  if (last === undefined) return { do: "wake", method: 0 };
  const leftMs = last.at + wakeAgainMs[last.outcome] - now;
  if (leftMs > 0) return { do: "nothing", lookAgainMs: leftMs };
  const tried = Math.max(0, wakeMethods.indexOf(last.method));
  return { do: "wake", method: last.outcome === "sent" ? tried : (tried + 1) % wakeMethods.length };
}

/** Under the very boot that was put to sleep, and not only because nobody has noticed yet that its connection is gone. */
function answersStill({ liveness, answersInBoot, now }: HostPowerInput, power: HostPower): boolean {
  if (answersInBoot === undefined || liveness?.state !== "ready") return false;
  return liveness.since > power.since || now - power.since > connectionEndsMs;
}

/** In a new boot. It counts again once it may be given machines: before that, others that could be woken would look nearer. */
function awake({ now, wish, liveness }: HostPowerInput, power: HostPower): HostPowerPlan {
  if (liveness?.state !== "ready") return { do: "nothing", lookAgainMs: powerLookMs };
  if (power.state === "waking") return { do: "release", why: `awake after ${Math.round((now - power.since) / 1000)} s`, ends: "succeeded" };
  return { do: "release", why: "it has booted without being woken by Sheaf", ends: wish?.verb === "wake" ? "succeeded" : "failed" };
}

const fallingAsleep = ({ now, bootId }: HostPowerInput, { by, reason }: PowerWish): HostPower => ({
  state: "falling-asleep",
  step: "quieting",
  since: now,
  by,
  reason,
  bootId,
  attempts: [],
});

/** Its agent has said that nothing runs there. @param byItself it shuts itself down */
export const shuttingDown = (power: HostPower, byItself: boolean, now: number): HostPower => ({
  ...power,
  step: "shutting-down",
  byItself,
  since: now,
});

export function asleep({ by, reason, bootId }: HostPower, now: number): HostPower {
  return { state: "asleep", since: now, by, reason, bootId, attempts: [] };
}

const waking = ({ now }: HostPowerInput, { bootId }: HostPower, { by, reason }: PowerWish): HostPower => ({
  state: "waking",
  since: now,
  by,
  reason,
  bootId,
  attempts: [],
});

/** One more of the same that was sent only moves its time on. */
export function afterWakeAttempt(power: HostPower, attempt: WakeAttempt): HostPower {
  const last = power.attempts.at(-1);
  const again = last !== undefined && last.method === attempt.method && last.outcome === attempt.outcome && last.detail === attempt.detail;
  return { ...power, attempts: [...(again ? power.attempts.slice(0, -1) : power.attempts), attempt].slice(-attemptsKept) };
}
