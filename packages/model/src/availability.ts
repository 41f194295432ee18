/**
 * How long a machine served, by month: its account, kept under a key of its own (keys.ts, not a part of the machine's record: nothing that
 * watches machines is woken by it) and written by the availability controller alone, only when the machine came into another state.
 */
import { z } from "zod";
import { Timestamp } from "./fields.ts";

/** `up`: it served · `down`: it did not and was to · `off`: nobody wanted it to · `unknown`: nobody could see it. */
export const serviceStates = ["up", "down", "off", "unknown"] as const;

/**
 * `host`: its host was lost or restarted · `crash`: the guest or its QEMU · `hang`: the guest answered no more and was reset ·
 * `failed`: it could not be started · `storage`: QEMU paused it because its disk failed · `capacity`: it fitted nowhere ·
 * `migration`: the pause of a live migration.
 */
export const outageCauses = ["host", "crash", "hang", "failed", "storage", "capacity", "migration"] as const;
export type OutageCause = (typeof outageCauses)[number];

export const Outage = z.looseObject({
  from: Timestamp,
  /** Absent while it lasts. */
  to: Timestamp.optional(),
  cause: z.enum(outageCauses),
  detail: z.string(),
});
export type Outage = z.infer<typeof Outage>;

const Cause = z.looseObject({ count: z.int(), ms: z.int() });
export const AvailabilitySum = z.looseObject({
  /** `2026-11`, in UTC. */
  month: z.string(),
  upMs: z.int(),
  downMs: z.int(),
  offMs: z.int(),
  unknownMs: z.int(),
  /** Of `downMs`. */
  causes: z.partialRecord(z.enum(outageCauses), Cause),
});
export type AvailabilitySum = Readonly<z.infer<typeof AvailabilitySum>>;
export const AvailabilityMonth = AvailabilitySum.extend({
  /** The newest, oldest first; pauses of migrations are only counted. */
  outages: z.array(Outage),
});
export type AvailabilityMonth = Readonly<z.infer<typeof AvailabilityMonth>>;

export const AvailabilityAccount = z.looseObject({
  vm: z.string(),
  name: z.string(),
  project: z.string(),
  /** What it is in now, which `months` does not hold yet. */
  state: z.enum(serviceStates),
  since: Timestamp,
  cause: z.enum(outageCauses).optional(),
  detail: z.string().optional(),
  /** Of the guest that was seen last: another one means that it stopped in between. */
  startedAt: Timestamp.optional(),
  epoch: z.int().optional(),
  /** The newest migration that was counted. */
  migration: z.string().optional(),
  months: z.array(AvailabilityMonth),
});
export type AvailabilityAccount = Readonly<z.infer<typeof AvailabilityAccount>>;

/** What machines that are deleted by now have left to their project. */
export const GoneAvailability = z.looseObject({
  project: z.string(),
  months: z.array(AvailabilitySum.extend({ machines: z.int() })),
});
export type GoneAvailability = Readonly<z.infer<typeof GoneAvailability>>;
