/**
 * Power of hosts: those without machines may sleep (their power is off) until they are needed. How one is woken stands in its spec: by the
 * devices of its fencing methods, in their order, then by Wake-on-LAN. What came of it is the host's part `status/power`, whose sole writer is
 * the power controller; absent: it is awake.
 */
import { z } from "zod";
import type { FencingMethod, PowerFence } from "./fencing.ts";
import { IpAddress, MacAddress, Timestamp } from "./fields.ts";

/** A magic packet for this card: from neighbours on its network, and from the server. */
export const WakeOnLan = z.strictObject({
  mac: MacAddress,
  /** Where the server sends it: the host's directed broadcast where a router lets it through; absent: to its own networks. */
  broadcastAddress: IpAddress.optional(),
  port: z.int().min(1).max(65_535).default(9),
});
export type WakeOnLan = z.infer<typeof WakeOnLan>;

export const HostPowerSpec = z.strictObject({
  /** `never`: it stays on, whatever the cluster is set to. */
  sleep: z.enum(["allowed", "never"]).default("allowed"),
  wakeOnLan: WakeOnLan.optional(),
});

export const hostPowerStates = ["falling-asleep", "asleep", "waking", "not-woken"] as const;
/** `quieting`: its agent has not said yet that nothing runs there · `shutting-down`: it has, starts nothing any more, and the power goes off. */
export const fallingAsleepSteps = ["quieting", "shutting-down"] as const;

export const WakeAttempt = z.looseObject({
  /** `ipmi 10.0.0.7`, `wake-on-lan 52:54:00:00:00:01`. */
  method: z.string(),
  at: Timestamp,
  /** `sent`: whether it woke is seen when its agent joins again. */
  outcome: z.enum(["sent", "failed"]),
  detail: z.string(),
});
export type WakeAttempt = z.infer<typeof WakeAttempt>;

/**
 * `falling-asleep`: it takes no machines, and is being shut down · `asleep`: its power is off, as far as is known · `waking`: its power was
 * turned on, its agent has not joined yet · `not-woken`: it did not come back in time: a person has to look.
 */
export const HostPower = z.looseObject({
  state: z.enum(hostPowerStates),
  step: z.enum(fallingAsleepSteps).optional(),
  /** `shutting-down`: its agent shuts it down; else a device cuts its power. */
  byItself: z.boolean().optional(),
  /** A device was told to cut its power: it may do so at any moment from then on. */
  cutAt: Timestamp.optional(),
  /** Of this state. */
  since: Timestamp,
  /** Who asked for it: a person, or `system`. */
  by: z.string(),
  reason: z.string(),
  /** The boot that was put to sleep: another one is a host that woke. */
  bootId: z.string(),
  /** Since the last time it was woken; at most eight are kept. */
  attempts: z.array(WakeAttempt),
});
export type HostPower = z.infer<typeof HostPower>;

/** A way to turn a host's power on, in the order in which they are tried. */
export type WakeMethod = PowerFence | ({ readonly type: "wake-on-lan" } & WakeOnLan);

export const powerFences = (methods: readonly FencingMethod[]): PowerFence[] => methods.filter((method) => method.type !== "watchdog");

export function wakeMethods({
  fencing,
  power,
}: {
  readonly fencing: readonly FencingMethod[];
  readonly power?: { readonly wakeOnLan?: WakeOnLan | undefined };
}): WakeMethod[] {
  const lan = power?.wakeOnLan;
  return [...powerFences(fencing), ...(lan === undefined ? [] : [{ type: "wake-on-lan" as const, ...lan }])];
}

/** It is not there for machines, and that is as it is meant to be: not lost, never fenced, no cause for alarm. */
export const isAtRest = (power: HostPower | undefined): boolean =>
  power !== undefined && power.state !== "not-woken" && !(power.state === "falling-asleep" && power.step === "quieting");
