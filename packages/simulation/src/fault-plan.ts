/**
 * What goes wrong and what people do in one run, drawn from the seed before the run begins: plain lists, so that a failure can be told,
 * replayed and made smaller. Knows nothing of how it is done.
 */
import { Chance } from "./chance.ts";

export const faultKinds = [
  "agent-crash",
  "agent-hang",
  "power-loss",
  "reboot",
  "host-hang",
  "server-crash",
  "server-restart",
  "server-hang",
  "partition",
  "partition-to-host",
  "partition-from-host",
  "slow-network",
  "lossy-network",
  "clock-jump",
  "clock-drift",
  "server-clock-jump",
  "host-disk-full",
  "host-disk-slow",
  "store-slow",
  "store-full",
  "store-uncertain",
  "store-unavailable",
  "watches-end",
  "compaction",
  "libvirt-restart",
  "libvirt-refuses",
  "libvirt-lies",
  "guest-crash",
  "guest-shutdown",
  "guest-deaf",
  "answers-lost",
  "feed-loss",
  "wide-outage",
  "storage-cut",
  "bmc-fails",
  "bmc-slow",
  "bmc-denies",
] as const;
/** Drawn by themselves: what was acknowledged since the backup is lost, and may be. */
export const disasters = ["server-lost"] as const;
/** Between several servers, and their store. */
export const faultsOfSeveral = ["server-cut", "host-server-cut", "servers-cut", "store-cut", "server-isolated", "store-election"] as const;
/** What no site survives unharmed: for scenarios alone. */
export const deceptions = ["bmc-lies"] as const;
export type FaultKind = (typeof faultKinds)[number] | (typeof disasters)[number] | (typeof faultsOfSeveral)[number] | (typeof deceptions)[number];

export interface Fault {
  readonly type: "fault";
  readonly atMs: number;
  readonly kind: FaultKind;
  /** Which host, by number; of all. */
  readonly host: number;
  readonly forMs: number;
  /** A figure of that kind: steps until a crash, ms of a jump. */
  readonly amount: number;
  /** From `atMs` on it waits for a migration to get there, and strikes one side of it. */
  readonly moment?: { readonly phase: string; readonly side: "source" | "target"; readonly delayMs: number };
}

export const deedKinds = [
  "create",
  "create-many",
  "start",
  "stop",
  "force-off",
  "pause",
  "resume",
  "reboot",
  "reset",
  "migrate",
  "grow",
  "relabel",
  "delete",
  "drain",
  "drain-two",
  "activate",
  "delete-moving",
  "stop-moving",
  "cancel",
  "fence",
  "confirm-off",
] as const;
export type DeedKind = (typeof deedKinds)[number];

export interface Deed {
  readonly type: "deed";
  readonly atMs: number;
  readonly kind: DeedKind;
  /** Which machine or host, by number; of those there are then. */
  readonly pick: number;
  readonly amount: number;
}

export type PlannedEvent = Fault | Deed;

export type Severity = "none" | "light" | "heavy";

export interface PlanOptions {
  readonly seed: number;
  readonly hosts: number;
  readonly durationMs: number;
  readonly faults: Severity;
  /** Things that people ask for, in an hour. */
  readonly deedsPerHour: number;
  /** The server's machine is lost now and then, and a backup restored. */
  readonly disasters?: boolean;
  /** On one store. One unless said. */
  readonly servers?: number;
  /** Hosts are cut off for longer than their leases last. */
  readonly longCuts?: boolean;
}

/** For each host, an hour. */
const longCutsPerHour = 6;

/** Mean time between faults of one host, and of the server, hours. */
const betweenHours = { none: Number.POSITIVE_INFINITY, light: 2, heavy: 0.2 } as const;

/** Of each hour, and of each run that is shorter. */
const disasterShare = 0.3;

/** Share of deeds that meet a fault on their way. */
const nearDeeds = { none: 0, light: 0.02, heavy: 0.2 } as const;

/** Faults that strike in the middle of a migration, for each deed. */
const moments = { none: 0, light: 0.02, heavy: 0.4 } as const;
/** What strikes in the middle of a migration. */
const harsh = [
  "power-loss",
  "agent-crash",
  "agent-hang",
  "power-loss",
  "reboot",
  "server-crash",
  "server-hang",
  "partition",
  "partition-to-host",
  "partition-from-host",
  "store-uncertain",
  "libvirt-restart",
  "libvirt-lies",
  "host-hang",
  "feed-loss",
] as const;
const phases = [
  "begun",
  "prepared",
  "performed",
  "switched",
  "switched",
  "switched",
  "switched",
  "finished",
  "finished",
  "restoring",
  "withdrawing",
  "settling",
] as const;

const deedWeights: Readonly<Record<DeedKind, number>> = {
  create: 22,
  "create-many": 4,
  start: 12,
  stop: 8,
  "force-off": 3,
  pause: 3,
  resume: 4,
  reboot: 3,
  reset: 2,
  migrate: 60,
  grow: 3,
  relabel: 4,
  delete: 7,
  drain: 4,
  "drain-two": 1,
  activate: 10,
  "delete-moving": 2,
  "stop-moving": 2,
  cancel: 2,
  fence: 2,
  "confirm-off": 4,
};

/** The end of a run, in which only the store and its answers fail. */
export const lastPhaseMs = 120_000;
const ofStore = new Set<FaultKind>(["store-slow", "store-full", "store-uncertain", "store-unavailable", "answers-lost"]);

export function drawPlan({
  seed,
  hosts,
  durationMs,
  faults,
  deedsPerHour,
  disasters: wanted = false,
  longCuts = false,
  servers = 1,
}: PlanOptions): PlannedEvent[] {
  const events: PlannedEvent[] = [];
  const chance = new Chance(seed, "faults");
  const hours = durationMs / 3_600_000;
  // Some kinds are left out of each run, so that the others meet alone as well.
  const kinds = faultKinds.filter(() => chance.happens(0.7));
  const sources = hosts + 4;
  const count = faults === "none" ? 0 : Math.max(1, Math.round((hours * sources) / betweenHours[faults]));
  for (let index = 0; index < count && kinds.length > 0; index += 1) {
    events.push({
      type: "fault",
      atMs: chance.between(0, durationMs),
      kind: chance.pick(kinds),
      host: chance.between(0, hosts - 1),
      forMs: chance.pick([500, 3000, 12_000, 25_000, 60_000, 180_000]),
      amount: chance.between(1, 60),
    });
  }
  const people = new Chance(seed, "deeds");
  const weighted = deedKinds.flatMap((kind) => Array.from({ length: deedWeights[kind] }, () => kind));
  // Something to begin with.
  for (let index = 0; index < hosts * 2; index += 1)
    events.push({ type: "deed", atMs: people.between(0, 5000), kind: "create", pick: people.between(0, 1_000_000), amount: people.between(0, 1000) });
  for (let index = 0; index < Math.round(hours * deedsPerHour); index += 1) {
    events.push({
      type: "deed",
      atMs: people.between(0, durationMs),
      kind: people.pick(weighted),
      pick: people.between(0, 1_000_000),
      amount: people.between(0, 1000),
    });
  }
  // What goes wrong in the middle of something is worth more than what goes wrong at rest.
  const near = new Chance(seed, "faults near deeds");
  const deeds = events.filter((event) => event.type === "deed");
  for (const { atMs } of deeds) {
    if (kinds.length === 0 || !near.happens(nearDeeds[faults])) continue;
    events.push({
      type: "fault",
      atMs: atMs + near.between(0, 4000),
      kind: near.pick(kinds),
      host: near.between(0, hosts - 1),
      forMs: near.pick([200, 1000, 3000, 20_000, 40_000]),
      amount: near.between(1, 60),
    });
  }
  for (let index = 0; index < Math.round(deeds.length * moments[faults]) && kinds.length > 0; index += 1) {
    events.push({
      type: "fault",
      atMs: near.between(0, durationMs),
      kind: near.pick(harsh),
      host: near.between(0, hosts - 1),
      forMs: near.pick([200, 1000, 3000, 20_000, 40_000]),
      amount: near.between(1, 20),
      moment: { phase: near.pick(phases), side: near.happens(0.5) ? "source" : "target", delayMs: near.pick([0, 0, 0, 30, 100, 200, 400, 1500]) },
    });
  }
  if (servers > 1) {
    const between = new Chance(seed, "faults of several servers");
    const several = faults === "none" ? 0 : Math.max(1, Math.round((hours * 2 * servers) / betweenHours[faults]));
    for (let index = 0; index < several; index += 1)
      events.push({
        type: "fault",
        atMs: between.between(0, durationMs),
        // The leader's end, too: that is what several are for.
        kind: between.happens(0.3) ? between.pick(["server-crash", "server-hang", "server-restart"]) : between.pick(faultsOfSeveral),
        host: between.between(0, hosts - 1),
        forMs: between.pick([500, 3000, 6000, 12_000, 25_000, 60_000]),
        amount: between.between(1, 60),
      });
  }
  const rare = new Chance(seed, "disasters");
  for (let left = wanted ? Math.max(1, Math.round(hours)) : 0; left > 0; left -= 1) {
    if (!rare.happens(disasterShare)) continue;
    events.push({
      type: "fault",
      atMs: rare.between(0, durationMs),
      kind: rare.pick(disasters),
      host: 0,
      forMs: rare.pick([3000, 60_000, 600_000]),
      amount: rare.between(1, 60),
    });
  }
  const cuts = new Chance(seed, "long cuts");
  for (let left = longCuts && faults !== "none" ? Math.round(hours * hosts * longCutsPerHour) : 0; left > 0; left -= 1) {
    const atMs = cuts.between(0, durationMs);
    const host = cuts.between(0, hosts - 1);
    const forMs = cuts.pick([30_000, 60_000, 90_000, 150_000]);
    const kind = cuts.pick(["partition", "partition", "partition-to-host", "partition-from-host", "host-hang", "agent-hang"] as const);
    events.push({ type: "fault", atMs, kind, host, forMs, amount: 1 });
    // By clocks that are off as far as clocks go.
    if (cuts.happens(0.5))
      events.push({ type: "fault", atMs: Math.max(0, atMs - 5000), kind: "clock-drift", host, forMs: 180_000, amount: cuts.pick([1, 60]) });
  }
  // At the end hosts and network are well already while the store is not: what it loses then, no new connection brings again.
  const calmMs = durationMs - lastPhaseMs;
  const kept = events.filter((event) => event.type === "deed" || event.atMs < calmMs || ofStore.has(event.kind));
  if (faults === "heavy")
    for (const kind of ["store-uncertain", "store-unavailable"] as const)
      kept.push({ type: "fault", atMs: calmMs + near.between(5000, lastPhaseMs / 2), kind, host: 0, forMs: 30_000, amount: 1 });
  return kept.toSorted((a, b) => a.atMs - b.atMs);
}

export function eventText(event: PlannedEvent): string {
  return event.type === "deed"
    ? `${event.kind} (pick ${event.pick})`
    : `${event.kind} ${event.moment ? `${event.moment.delayMs} ms after the next ${event.moment.phase}, at its ${event.moment.side}` : `host ${event.host + 1}`} for ${event.forMs} ms (amount ${event.amount})`;
}
