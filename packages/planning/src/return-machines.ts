/**
 * Which machines go back to a host whose maintenance has ended: (what it had, where they are, room) → the moves to start now, and who stays
 * where it is, with why. Called by the maintenance controller at every change. Pure.
 */
import type { TargetChoice } from "./drain.ts";

export interface ReturningMachine {
  readonly id: string;
  /** Epoch of its placement when it had left the host; absent: it never left. */
  readonly leftEpoch?: number;
  /** Where it is now; absent: nowhere, or it is gone. */
  readonly placement?: { readonly host: string; readonly epoch: number };
  readonly moving: boolean;
  /** Why it cannot move as it stands; `null`: it can. */
  readonly refusal: string | null;
  /** Its move back was tried and failed: why, and whether it is tried again, later. */
  readonly failure?: { readonly why: string; readonly again: "now" | "later" | "never" };
}

export interface ReturnInput {
  readonly host: string;
  readonly machines: readonly ReturningMachine[];
  /** Whether it fits on the host now. Asked once a machine; a caller with a snapshot counts each answer in. */
  readonly choose: (machineId: string) => TargetChoice;
  readonly maximumParallel: number;
}

export interface ReturnPlan {
  readonly start: readonly string[];
  /** On their way, or in line. */
  readonly left: readonly string[];
  readonly back: number;
  readonly stay: readonly { readonly vm: string; readonly why: string }[];
  readonly done: boolean;
}

export function planReturn({ host, machines, choose, maximumParallel }: ReturnInput): ReturnPlan {
  const start: string[] = [];
  const left: string[] = [];
  const stay: { vm: string; why: string }[] = [];
  let back = 0;
  let slots = maximumParallel - machines.filter((machine) => machine.moving).length;
  for (const machine of machines) {
    const { id, placement, moving } = machine;
    if (moving) left.push(id);
    else if (placement?.host === host) back += 1;
    else if (placement) {
      const why = refusalOf(machine);
      if (why !== null) stay.push({ vm: id, why });
      else if (slots <= 0 || machine.failure?.again === "later") left.push(id);
      else {
        const choice = choose(id);
        if ("why" in choice) stay.push({ vm: id, why: choice.why });
        else {
          slots -= 1;
          start.push(id);
        }
      }
    }
  }
  return { start, left: [...left, ...start], back, stay, done: left.length + start.length === 0 };
}

function refusalOf({ leftEpoch, placement, refusal, failure }: ReturningMachine): string | null {
  if (leftEpoch !== placement?.epoch) return "it has been moved again since";
  return failure?.again === "never" ? failure.why : refusal;
}
