/**
 * Which machines are started before which when a host was lost or has booted (`restart.after`): (machine, those it names, now) → go, or what
 * it waits for. Called by the fail-over controller before it moves a machine, and by the start-order controller for machines whose host has
 * booted. Pure.
 *
 * It orders starts, and nothing more: safety never hangs on it. So whatever is wrong with the others, a machine waits for
 * `maximumWaitMs` at most, and a circle, which the server refuses, would end in the same way.
 */
import type { RecordOf, RestartAfter } from "@sheaf/model";
import { hasShutItselfDown } from "./fail-over.ts";

type Vm = RecordOf<"vm">;

export interface StartOrderInput {
  readonly vm: Vm;
  /** Since when it could be started but for others. */
  readonly since: number;
  readonly now: number;
  readonly machine: (id: string) => Vm | undefined;
  /** Whether what is on record of this machine's run is true now: its host is heard, and has not booted since. */
  readonly isTrue: (vm: Vm) => boolean;
}

export type StartOrder =
  /** `without`: names of machines that did not come in time. */
  | { readonly go: true; readonly without: readonly string[] }
  | { readonly go: false; readonly waitsFor: readonly string[]; readonly reason: string; readonly lookAgainMs: number };

/** `since` may come from another server's clock. Later than this, the clock was set back, and how long was waited is not known. */
const clocksDifferMs = 60_000;

export function startOrder({ vm, since, now, machine, isTrue }: StartOrderInput): StartOrder {
  const { after } = vm.spec.restart;
  if (after === undefined) return { go: true, without: [] };
  const missing = after.machines.flatMap((id) => {
    const other = machine(id);
    const why = other === undefined || id === vm.id ? null : lacks(other, after.condition, isTrue);
    return other === undefined || why === null ? [] : [{ other, why }];
  });
  const leftMs = since - now > clocksDifferMs ? 0 : after.maximumWaitMs - Math.max(0, now - since);
  if (missing.length === 0 || leftMs <= 0) return { go: true, without: missing.map(({ other }) => other.name) };
  const reason = `it is started after ${missing.map(({ other, why }) => `${other.name} (${why})`).join(", ")}`;
  return { go: false, waitsFor: missing.map(({ other }) => other.id), reason, lookAgainMs: leftMs };
}

/** @returns what is missing for others to be started after it; `null`: nothing, or it will not come and nobody waits for it */
function lacks(vm: Vm, condition: RestartAfter["condition"], isTrue: (vm: Vm) => boolean): string | null {
  if (vm.deletedAt !== undefined || vm.spec.power !== "running" || staysStopped(vm)) return null;
  const { placement } = vm;
  const seen = vm.status.agent;
  if (!placement) return "it has no host yet";
  if (!seen || seen.epoch !== placement.epoch || seen.host !== placement.host || !isTrue(vm) || seen.state !== "running")
    return "it does not run yet";
  return condition === "guest-answers" && vm.spec.guestAgent && seen.guestAgent?.connected !== true ? "its guest does not answer yet" : null;
}

const staysStopped = (vm: Vm): boolean => hasShutItselfDown(vm) && vm.spec.restart.onGuestShutdown !== "restart";

/** A machine to be started, and how important that is: as much as the most important one that is started after it. */
export interface Ranked {
  readonly vm: Vm;
  readonly importance: number;
}

/**
 * The most important first; of equals the ones that were made first. Machines that others wait for are raised to those: else the others
 * would get the room, and wait for one that has none.
 */
export function inRestartOrder(machines: readonly Vm[]): Ranked[] {
  const known = new Map(machines.map((vm) => [vm.id, vm]));
  const importance = new Map<string, number>();
  const raise = (vm: Vm, to: number): void => {
    if ((importance.get(vm.id) ?? -1) >= to) return;
    importance.set(vm.id, to);
    for (const id of vm.spec.restart.after?.machines ?? []) {
      const other = known.get(id);
      if (other !== undefined) raise(other, to);
    }
  };
  for (const vm of machines) raise(vm, vm.spec.priority);
  return machines
    .map((vm) => ({ vm, importance: importance.get(vm.id) ?? vm.spec.priority }))
    .toSorted((a, b) => b.importance - a.importance || a.vm.createdAt - b.vm.createdAt || (a.vm.id < b.vm.id ? -1 : 1));
}
