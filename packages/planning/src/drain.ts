/**
 * How a host is emptied: (what is, now) → the moves to start now, and what cannot move with why. Called by the drain controller at every
 * change, so it keeps no memory; what is under way is in its input. Pure.
 */
import { vmRefusal, vmState, type RecordOf } from "@sheaf/model";
import { stoppedMoveRefusal } from "./migration-target.ts";

export interface DrainMachine {
  readonly id: string;
  readonly memoryBytes: number;
  /** It has an open migration, or a task that asks for one. */
  readonly moving: boolean;
  /** Why it cannot move as it stands (`it is paused: resume it first`); `null`: it can. */
  readonly refusal: string | null;
  /** Its last move from this host failed: why, and whether it is too early to try again. */
  readonly lastFailure?: { readonly why: string; readonly waits: boolean };
}

export type TargetChoice = { readonly host: string } | { readonly why: string };

export interface DrainInput {
  /** Machines placed on the host. */
  readonly machines: readonly DrainMachine[];
  /** Asked once a machine, in the order of the moves: a caller with a snapshot counts each answer in. */
  readonly choose: (machineId: string) => TargetChoice;
  readonly maximumParallel: number;
}

export interface DrainPlan {
  readonly start: readonly { readonly machineId: string; readonly host: string }[];
  readonly stuck: readonly { readonly vm: string; readonly why: string }[];
  readonly remaining: number;
  readonly done: boolean;
}

export function planDrain({ machines, choose, maximumParallel }: DrainInput): DrainPlan {
  const start: { machineId: string; host: string }[] = [];
  const stuck: { vm: string; why: string }[] = [];
  let slots = maximumParallel - machines.filter((machine) => machine.moving).length;
  // Largest first: spreads the load, and finds early what fits nowhere.
  const waiting = machines.filter((machine) => !machine.moving).toSorted((a, b) => b.memoryBytes - a.memoryBytes || (a.id < b.id ? -1 : 1));
  for (const machine of waiting) {
    if (machine.refusal !== null) {
      stuck.push({ vm: machine.id, why: machine.refusal });
      continue;
    }
    if (machine.lastFailure) stuck.push({ vm: machine.id, why: machine.lastFailure.why });
    if (machine.lastFailure?.waits || slots <= 0) continue;
    const choice = choose(machine.id);
    if ("why" in choice) {
      if (!machine.lastFailure) stuck.push({ vm: machine.id, why: choice.why });
      continue;
    }
    slots -= 1;
    start.push({ machineId: machine.id, host: choice.host });
  }
  return { start, stuck: stuck.toSorted((a, b) => (a.vm < b.vm ? -1 : 1)), remaining: machines.length, done: machines.length === 0 };
}

/** Why a machine cannot leave its host as it stands, whatever room there is elsewhere; `null`: it can. @param reachable its host's agent is connected */
export function moveRefusal(
  vm: RecordOf<"vm">,
  reachable: boolean,
  volumes: readonly RecordOf<"volume">[],
  pool: (id: string) => RecordOf<"pool"> | undefined,
): string | null {
  if (vm.deletedAt !== undefined) return "it is being deleted";
  const state = vmState(vm, reachable);
  return vmRefusal("migrate", state, vm.spec) ?? (state === "running" ? null : stoppedMoveRefusal(vm, volumes, pool));
}
