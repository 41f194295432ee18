/**
 * Live migration as a table: in each state what is done, and for each way it can end which state follows. Called by the migration
 * controller, which persists a state before it does what belongs to it; enumerated by tests, here against a model of two hosts, in
 * the lab against real ones. Pure. Must never hold a rule about hosts or libvirt that is not in the table.
 *
 * The one idea: until the epoch has moved the source owns the machine and everything ends with the source running; from then on
 * the target owns it and everything ends there. The only way back is the target's word that the guest's CPUs never started.
 * (libvirt's managed migration, version 3: https://libvirt.org/migration.html and procedures 302–307 of its protocol.)
 */

export const migrationStates = [
  "requested",
  "begun",
  "prepared",
  "performed",
  "switched",
  "settling",
  "finished",
  "confirmed",
  "aborting",
  "withdrawing",
  "restoring",
  "undone",
  "refused",
] as const;
/** Named after the step that is under way or has just been asked for, so that a state that was read back may or may not have been acted on. */
export type MigrationState = (typeof migrationStates)[number];

/** What a state does. `call` names the agent's method and the side it runs on. */
export type MigrationAct =
  | { readonly does: "check" }
  | {
      readonly does: "call";
      readonly method: "migrate.begin" | "migrate.perform" | "migrate.confirm" | "migrate.abort";
      readonly on: "source";
      readonly cancelled: boolean;
    }
  | { readonly does: "call"; readonly method: "migrate.prepare" | "migrate.finish" | "vm.probe"; readonly on: "target"; readonly cancelled: boolean }
  | { readonly does: "end"; readonly outcome: "moved" | "stayed" };

/**
 * How a step ended. `done`: the answer says so. `failed`: the answer says it was not done. `unknown`: no answer in time, perhaps done.
 * `lost`: the host cannot be reached. `cancel`: a person or the deadline. `restarted`: the state was read back by a server that does not
 * know whether the step was begun. `never-ran`, `absent`, `waiting`: what the target says of the guest, see the rows. `fenced`: the host
 * that the step belongs to is off for certain, and whatever was there is gone.
 */
export const migrationFaults = ["failed", "unknown", "lost", "cancel", "restarted"] as const;
export type MigrationFault = (typeof migrationFaults)[number];
export type MigrationEvent = "done" | "never-ran" | "absent" | "waiting" | "fenced" | MigrationFault;

export type MigrationNext =
  /** `placement` moves in the same transaction as the state. */
  | { readonly to: MigrationState; readonly placement?: "target" | "source" }
  /** Do it again: at once after a restart, else after a pause; where `atMost` is set, `then` after so many tries. */
  | { readonly again: true; readonly atMost?: number; readonly then?: MigrationState }
  /** Too late, or of no matter: what is under way goes on. */
  | { readonly ignore: true };

interface Row {
  readonly act: MigrationAct;
  readonly on: Readonly<Record<"done" | MigrationFault, MigrationNext>> & Readonly<Partial<Record<MigrationEvent, MigrationNext>>>;
}

const to = (state: MigrationState): MigrationNext => ({ to: state });
const again: MigrationNext = { again: true };
const ignore: MigrationNext = { ignore: true };
const all = (done: MigrationState, fault: MigrationNext): Record<"done" | MigrationFault, MigrationNext> => ({
  done: to(done),
  failed: fault,
  unknown: fault,
  lost: fault,
  cancel: fault,
  restarted: fault,
});
/** A connection that breaks does not end the work: the agent is asked again, and answers how it stands. */
const joinAgain: MigrationNext = { again: true, atMost: 8, then: "aborting" };
const ended = { done: ignore, failed: again, unknown: again, lost: again, cancel: ignore, restarted: again };

export const migrationTable: Readonly<Record<MigrationState, Row>> = {
  // Nothing is written on the machine yet; the task is there.
  requested: { act: { does: "check" }, on: { ...all("begun", to("refused")), restarted: again } },

  // The source owns the machine.
  begun: { act: { does: "call", method: "migrate.begin", on: "source", cancelled: false }, on: all("prepared", to("restoring")) },
  prepared: { act: { does: "call", method: "migrate.prepare", on: "target", cancelled: false }, on: all("performed", to("withdrawing")) },
  // Asked again after a restart or a lost connection: the agent joins what is under way, or says how it ended. A guest in post-copy could not be called back.
  performed: {
    act: { does: "call", method: "migrate.perform", on: "source", cancelled: false },
    on: {
      ...all("switched", to("aborting")),
      done: { to: "switched", placement: "target" },
      lost: joinAgain,
      unknown: joinAgain,
      // There is nothing to join any more, and the machine waits to be started elsewhere.
      fenced: to("aborting"),
      restarted: again,
    },
  },

  // The target owns the machine: no cancelling any more.
  switched: {
    act: { does: "call", method: "migrate.finish", on: "target", cancelled: false },
    on: {
      done: to("finished"),
      "never-ran": { to: "restoring", placement: "source" },
      failed: to("settling"),
      unknown: to("settling"),
      lost: again,
      // Whether it ran there for a moment nobody can say any more: it starts anew from its disks.
      fenced: to("finished"),
      cancel: ignore,
      restarted: to("settling"),
    },
  },
  // libvirt's truth at the target. `waiting`: all of it is there but its CPUs were not started. `absent`: it ran and is gone, or was lost
  // with its host: its agent starts it anew from its disks, the memory that the source still holds is too old to be used.
  settling: {
    act: { does: "call", method: "vm.probe", on: "target", cancelled: false },
    on: {
      done: to("finished"),
      waiting: to("switched"),
      absent: to("finished"),
      failed: again,
      unknown: again,
      lost: again,
      fenced: to("finished"),
      cancel: ignore,
      restarted: again,
    },
  },
  // The source's copy is paused and no longer the machine. An agent that learns of the newer epoch removes its copy by itself.
  finished: {
    act: { does: "call", method: "migrate.confirm", on: "source", cancelled: false },
    on: {
      done: to("confirmed"),
      failed: { again: true, atMost: 3, then: "confirmed" },
      unknown: { again: true, atMost: 3, then: "confirmed" },
      lost: to("confirmed"),
      cancel: ignore,
      restarted: again,
    },
  },
  confirmed: { act: { does: "end", outcome: "moved" }, on: ended },

  // The way back, the source owning the machine. What the target says does not matter: without the epoch it never starts a guest, and it
  // gives up by itself what is not placed there.
  aborting: {
    act: { does: "call", method: "migrate.abort", on: "source", cancelled: true },
    on: { ...all("withdrawing", to("withdrawing")), cancel: ignore, restarted: again },
  },
  withdrawing: {
    act: { does: "call", method: "migrate.finish", on: "target", cancelled: true },
    on: { ...all("restoring", to("restoring")), cancel: ignore, restarted: again },
  },
  // The source must answer: it may hold the guest paused. `failed` at last: nothing of the migration is left there, its agent starts it if need be.
  restoring: {
    act: { does: "call", method: "migrate.confirm", on: "source", cancelled: true },
    on: {
      done: to("undone"),
      failed: { again: true, atMost: 3, then: "undone" },
      unknown: again,
      lost: again,
      fenced: to("undone"),
      cancel: ignore,
      restarted: again,
    },
  },
  undone: { act: { does: "end", outcome: "stayed" }, on: ended },
  refused: { act: { does: "end", outcome: "stayed" }, on: ended },
};

export interface MigrationStep {
  readonly state: MigrationState;
  readonly placement?: "target" | "source";
  /** The same step is due again, after a pause that grows with `tries`. */
  readonly again: boolean;
  /** Tries of this state that have failed so far. */
  readonly tries: number;
}

/**
 * @param tries how often this state has ended in `again` before
 * @throws RangeError for an event that the state's row does not know: a defect of the caller
 */
export function nextMigrationStep(state: MigrationState, event: MigrationEvent, tries = 0): MigrationStep {
  const next = migrationTable[state].on[event];
  if (next === undefined) throw new RangeError(`a migration in state ${state} knows no ${event}`);
  if ("ignore" in next) return { state, again: false, tries };
  if ("to" in next) return { state: next.to, ...(next.placement ? { placement: next.placement } : {}), again: false, tries: 0 };
  const failedTries = event === "restarted" ? tries : tries + 1;
  if (next.atMost !== undefined && next.then !== undefined && failedTries >= next.atMost) return { state: next.then, again: false, tries: 0 };
  return { state, again: true, tries: failedTries };
}

/** What a step that did not reach its host comes to when that host is off for certain. */
export const lostOrFenced = (state: MigrationState, hostIsFenced: boolean): "lost" | "fenced" =>
  hostIsFenced && migrationTable[state].on.fenced !== undefined ? "fenced" : "lost";

/** Until when `cancel` has an effect: people are told, and the API refuses by it. */
export const migrationCanBeCancelled = (state: MigrationState): boolean => !("ignore" in migrationTable[state].on.cancel);

export const isMigrationState = (text: string): text is MigrationState => (migrationStates as readonly string[]).includes(text); // widened to search with any text

/** Who owns the machine while its migration is in this state: where its placement points. */
export function ownerOf(state: MigrationState): "source" | "target" {
  return state === "switched" || state === "settling" || state === "finished" || state === "confirmed" ? "target" : "source";
}

/** What people read while it is under way. */
export const migrationMessages: Readonly<Record<MigrationState, string>> = {
  requested: "checking",
  begun: "asking the source",
  prepared: "preparing the target",
  performed: "copying memory",
  switched: "starting at the target",
  settling: "looking whether the target runs it",
  finished: "clearing up at the source",
  confirmed: "moved",
  aborting: "stopping the copying",
  withdrawing: "clearing up at the target",
  restoring: "making sure that the source runs it",
  undone: "not moved",
  refused: "refused",
};
