/**
 * Whether and how a lost host is cut off: (what is known of it, what a person said, now) → the next act of the fencing controller. Pure.
 *
 * The one promise: `fenced` is concluded from a device that said "off" when it was asked afterwards, from a lease that ended where a hardware
 * watchdog enforces its end, or from a person's word, and from nothing else. Silence, another expired lease or a failed call never are such a word.
 */
import type { FencingAttempt, HostFencing, HostLiveness, HostReturn } from "@sheaf/model";

export interface FenceInput {
  readonly liveness: HostLiveness | undefined;
  readonly fencing: HostFencing | undefined;
  /** Its agent knocks again. */
  readonly returned: HostReturn | undefined;
  /** The boot that its agent told last. */
  readonly bootId: string | undefined;
  /** Names of its methods, in the order in which they are tried. */
  readonly methods: readonly string[];
  /** Something waits for it to be off: highly available machines that are to run. */
  readonly needed: boolean;
  /** A person's wish that has not been answered yet. */
  readonly wish: { readonly verb: "fence" | "confirm-off"; readonly by: string } | undefined;
  readonly outage: Outage;
  /**
   * What the fence says was begun by a server that listens no more, or before this one was paused, or before a backup was restored: the
   * host may live again. Counts as not begun.
   */
  readonly inherited: boolean;
  /** Somebody else than its agent has just seen the host live: who and how, as a clause. Nothing is cut off then but on a person's wish. */
  readonly witness: string | undefined;
  readonly now: number;
}

/** The host's cluster, itself included. */
export interface Outage {
  readonly hosts: number;
  readonly silent: number;
  readonly wideOutagePercent: number;
}

export type FencePlan =
  | { readonly do: "nothing"; readonly lookAgainMs?: number }
  /** Persisted before anything that belongs to it is done. */
  | { readonly do: "enter"; readonly fencing: HostFencing }
  /** `method`: its place among the methods. */
  | { readonly do: "try"; readonly method: number }
  /** The host is let in again. `broken`: it answers under the very boot that was said to be off. */
  | { readonly do: "release"; readonly why: string; readonly broken: boolean };

/** After every method has failed, all are tried again so much later. */
export const fenceAgainMs = 30_000;
/** A wide outage may end by itself (a switch that restarts), and a host that is seen to live may stop. */
const heldLookMs = 1000;
const attemptsKept = 8;

export function planFence(input: FenceInput): FencePlan {
  const { liveness, fencing, returned, wish, now } = input;
  if (fencing && returned) {
    const broken = fencing.state === "fenced" && fencing.byItself !== true && returned.bootId === fencing.bootId;
    return { do: "release", broken, why: broken ? "its agent answers under the very boot that was cut off" : "its agent is back" };
  }
  const lost = liveness?.state === "unreachable";
  if (fencing && fencing.state !== "fenced" && !lost) return { do: "release", broken: false, why: "its agent is heard again" };
  if (fencing?.state === "fenced" || (!fencing && !lost)) return { do: "nothing" };
  if (wish?.verb === "confirm-off") return confirmed(input, wish.by);

  if (!fencing) return input.needed || wish ? beginOrHold(input) : { do: "nothing" };
  switch (fencing.state) {
    case "held": {
      const why = wish ? null : holding(input);
      if (why === null) return wish || input.needed ? begin(input) : { do: "nothing" };
      return tellsTheSame(why, fencing.reason) ? { do: "nothing", lookAgainMs: heldLookMs } : { do: "enter", fencing: { ...fencing, reason: why } };
    }
    case "asking": {
      const waitMs = fencing.since + fenceAgainMs - now;
      if (wish || (waitMs <= 0 && input.methods.length > 0 && holding(input) === null)) return begin(input);
      return input.methods.length === 0 ? { do: "nothing" } : { do: "nothing", lookAgainMs: Math.max(waitMs, heldLookMs) };
    }
    case "fencing": {
      if (input.inherited) return input.needed || wish ? beginOrHold(input) : { do: "enter", fencing: entered(input, "held", nothingWaits) };
      const tried = triesOfThisRound(fencing);
      return tried < input.methods.length ? { do: "try", method: tried } : { do: "enter", fencing: entered(input, "asking", askingReason(input)) };
    }
  }
}

/** What follows from one try. */
export function afterAttempt(input: FenceInput, attempt: FencingAttempt): HostFencing {
  const before = input.fencing ?? entered(input, "fencing", "");
  const attempts = [...before.attempts, attempt].slice(-attemptsKept);
  return attempt.outcome === "off" ? { ...entered(input, "fenced", `${attempt.method} says that it is off`), attempts } : { ...before, attempts };
}

/** Its lease is over, and so is the time in which its hardware watchdog would have reset it, had it not stopped its machines. */
export function fencedByItself(input: FenceInput, attempt: FencingAttempt): HostFencing {
  const reason = "its lease is over, and its watchdog has reset it if it had not stopped its machines";
  return { ...afterAttempt(input, attempt), reason, byItself: true };
}

/** It is seen to live while it is only waited for: nothing was done to it, and nothing is. */
export const heldAgain = (input: FenceInput, witness: string): HostFencing => entered(input, "held", livesReason(witness));

/** Silence of so many at once says more of the network, or of this server, than of the hosts. One host alone is never a wide outage. */
export const isWide = ({ hosts, silent, wideOutagePercent }: Outage): boolean => silent > 1 && silent * 100 > hosts * wideOutagePercent;

const wideWords = "hosts are silent at once: nothing is done until fewer are, or a person asks for it";
const wideReason = ({ hosts, silent }: Outage): string => `${silent} of the cluster's ${hosts} ${wideWords}`;

/** The count moves with every host that falls silent or comes back: written anew for each that is held, it would flood the store just then. */
const tellsTheSame = (why: string, told: string): boolean => why === told || (why.endsWith(wideWords) && told.endsWith(wideWords));

const livesReason = (witness: string): string => `it lives: ${witness}. Its machines are left alone`;

/** Why nothing is done by itself; `null`: nothing speaks against it. */
const holding = ({ witness, outage }: FenceInput): string | null =>
  witness !== undefined ? livesReason(witness) : isWide(outage) ? wideReason(outage) : null;

const begin = (input: FenceInput): FencePlan => ({
  do: "enter",
  fencing: entered(input, "fencing", input.wish ? `asked for by ${input.wish.by}` : "its highly available machines are to run elsewhere"),
});

function confirmed(input: FenceInput, by: string): FencePlan {
  const attempt: FencingAttempt = { method: `a person (${by})`, at: input.now, outcome: "off", detail: "" };
  const attempts = [...(input.fencing?.attempts ?? []), attempt].slice(-attemptsKept);
  return { do: "enter", fencing: { ...entered(input, "fenced", `${by} says that it is off`), attempts } };
}

function beginOrHold(input: FenceInput): FencePlan {
  const why = input.wish ? null : holding(input);
  return why === null ? begin(input) : { do: "enter", fencing: entered(input, "held", why) };
}

const nothingWaits = "nothing waits any more for it to be off";

function entered(input: FenceInput, state: HostFencing["state"], reason: string): HostFencing {
  return {
    state,
    since: input.now,
    reason,
    ...(input.bootId === undefined ? {} : { bootId: input.bootId }),
    attempts: input.fencing?.attempts ?? [],
  };
}

const triesOfThisRound = (fencing: HostFencing): number => fencing.attempts.filter((attempt) => attempt.at >= fencing.since).length;

function askingReason(input: FenceInput): string {
  if (input.methods.length === 0) return "no fencing method is configured: say `sheaf host confirm-off` when it is certainly off";
  const last = input.fencing?.attempts.at(-1);
  return `no method could make sure that it is off${last ? ` (${last.method}: ${last.detail})` : ""}: cut its power, then say \`sheaf host confirm-off\``;
}
