/**
 * Where a migration is hit: every transition of planning's table, just before it is persisted and just after, times four victims. For each
 * transition stands here how a migration comes to it on real hosts; a transition that the table gains and this lacks fails a test.
 */
import { migrationStates, migrationTable, type MigrationState } from "@sheaf/planning";

export interface MigrationTransition {
  readonly from: MigrationState;
  readonly to: MigrationState;
}
export type TransitionName = `${MigrationState} → ${MigrationState}`;
export const transitionName = ({ from, to }: MigrationTransition): TransitionName => `${from} → ${to}`;

/** Each pair of states that some event leads through, once. */
export function migrationTransitions(table: typeof migrationTable = migrationTable): MigrationTransition[] {
  return migrationStates.flatMap((from) => {
    const next = Object.values(table[from].on).flatMap((step) => ("to" in step ? [step.to] : "again" in step && step.then ? [step.then] : []));
    return [...new Set(next)].map((to) => ({ from, to }));
  });
}

export const migrationVictims = ["source host", "target host", "agent", "server"] as const;
export type MigrationVictim = (typeof migrationVictims)[number];
export const moments = ["before", "after"] as const;
export type Moment = (typeof moments)[number];

export interface KillPoint extends MigrationTransition {
  readonly moment: Moment;
  readonly victim: MigrationVictim;
}

/** What brings a migration off its straight way: done when it stands just before or after a transition. */
export interface Nudge {
  readonly at: TransitionName;
  readonly moment: Moment;
  /** Cordoned between its check and its beginning, the machine changed so that it is checked again: refused. */
  readonly does: "cancel" | "cordon the target" | "restart the server" | "restart the target's agent";
}

export interface Way {
  readonly nudge?: Nudge;
}

const cancelledAt = (at: TransitionName): Way => ({ nudge: { at, moment: "after", does: "cancel" } });

export const ways: Partial<Record<TransitionName, Way>> = {
  "requested → begun": {},
  "requested → refused": { nudge: { at: "requested → begun", moment: "before", does: "cordon the target" } },
  "begun → prepared": {},
  "begun → restoring": cancelledAt("requested → begun"),
  "prepared → performed": {},
  "prepared → withdrawing": cancelledAt("begun → prepared"),
  "performed → switched": {},
  "performed → aborting": cancelledAt("prepared → performed"),
  "switched → finished": {},
  "switched → settling": { nudge: { at: "performed → switched", moment: "after", does: "restart the server" } },
  // The session in which the target's libvirt held the guest ends with its agent: libvirt gives it up, and its CPUs never started.
  "switched → restoring": { nudge: { at: "performed → switched", moment: "after", does: "restart the target's agent" } },
  "settling → finished": { nudge: { at: "switched → finished", moment: "before", does: "restart the server" } },
  "settling → switched": { nudge: { at: "performed → switched", moment: "after", does: "restart the server" } },
  "finished → confirmed": {},
  "aborting → withdrawing": cancelledAt("prepared → performed"),
  "withdrawing → restoring": cancelledAt("begun → prepared"),
  "restoring → undone": cancelledAt("begun → prepared"),
};

/** Every kill point there is. */
export function killPoints(): KillPoint[] {
  return migrationTransitions().flatMap((transition) =>
    moments.flatMap((moment) => migrationVictims.map((victim) => ({ ...transition, moment, victim }))),
  );
}

/** Each transition once, victims and moments taking turns from `first` on: eight in a row cover all. */
export function rotatedKillPoints(first: number): KillPoint[] {
  return migrationTransitions().map((transition, index) => {
    const turn = first + index;
    return {
      ...transition,
      moment: moments[Math.floor(turn / migrationVictims.length) % moments.length] ?? "before",
      victim: migrationVictims[turn % migrationVictims.length] ?? "server",
    };
  });
}
