/**
 * What is concluded of a host from whether its agent is heard: (what is, now) → the part `status/liveness`, and when to look again.
 * Called by the liveness controller. Pure; a host whose liveness did not change costs the store nothing.
 */
import type { HostLiveness } from "@sheaf/model";

export interface LivenessInput {
  readonly previous: HostLiveness | undefined;
  /** Whether its agent has ever reported what the host has. */
  readonly reported: boolean;
  readonly connected: boolean;
  /** Monotonic ms of the last word from its agent; `null` where this server has heard none. */
  readonly lastHeardAt: number | null;
  /** Monotonic ms. */
  readonly nowMonotonic: number;
  /** Monotonic ms at which this server began to listen: a host that was not heard yet has the whole grace from here. */
  readonly listeningSince: number;
  /** Silence that is put up with, ms. */
  readonly graceMs: number;
  /** It was put to sleep: its silence is as it is meant to be. */
  readonly atRest?: boolean;
  /** Wall clock, ms. */
  readonly now: number;
}

export interface LivenessPlan {
  /** Absent: what stands is right. */
  readonly write?: HostLiveness;
  /** ms from now after which silence would change the answer; absent: only an event can. */
  readonly lookAgainMs?: number;
}

/**
 * Silence that is put up with: the cluster's, and more where heartbeats have come unevenly lately (four times their mean deviation, as in
 * RFC 6298), at most twice as much. A slow link delays a verdict instead of bringing a false one.
 */
export const suspicionMs = (baseMs: number, jitterMs: number): number => baseMs + Math.min(baseMs, 4 * jitterMs);

export function planLiveness(input: LivenessInput): LivenessPlan {
  const { previous, connected, reported, lastHeardAt, nowMonotonic, listeningSince, graceMs } = input;
  const heardOrBegan = Math.max(lastHeardAt ?? listeningSince, listeningSince);
  const silentMs = nowMonotonic - heardOrBegan;
  const lookAgainMs = Math.max(1, graceMs - silentMs);

  if (connected && silentMs < graceMs) {
    // A host joins until it has said what it has: before that nothing can be placed on it.
    const write = reported
      ? state(input, "ready", "its agent is connected")
      : state(input, "joining", "its agent is connected and looks at the host");
    return { ...write, lookAgainMs };
  }
  if (silentMs < graceMs) return { ...(previous ? {} : state(input, "joining", "its agent has not been heard yet")), lookAgainMs };
  if (input.atRest) return state(input, "asleep", "it was put to sleep");
  if (!reported && !connected && lastHeardAt === null) return state(input, "joining", "its agent has not been heard yet");
  const seconds = Math.round(graceMs / 1000);
  if (!connected) return state(input, "unreachable", `its agent has not been heard for ${seconds} s`);
  // It may go on in the connection that it has: no event tells of that.
  return { ...state(input, "unreachable", `its agent is connected but has been silent for ${seconds} s`), lookAgainMs: silentLookMs };
}

/** While a host is silent in a connection that stands. */
const silentLookMs = 500;

function state(input: LivenessInput, name: HostLiveness["state"], reason: string): { write?: HostLiveness } {
  const { previous, now, nowMonotonic, lastHeardAt } = input;
  if (previous?.state === name) return {};
  const heard = name === "unreachable" && lastHeardAt !== null ? { heardAt: Math.round(now - (nowMonotonic - lastHeardAt)) } : {};
  return { write: { state: name, since: now, reason, ...heard } };
}
