/**
 * What to do next about one machine: a pure function of what is wanted, what is seen and what is remembered. Called by the machine
 * reconciler at every look; it acts on the steps, in their order, then looks again. Never reads a clock, never does anything.
 *
 * The rules that keep a machine from running twice stand here: `mayStart` and `mayDestroy`.
 */
import { type RecordOf, type VmObservation, type VmYield } from "@sheaf/model";
import type { Welcome } from "./kept-state.ts";
import { historyLength, type MachineMemory, newMachineMemory } from "./machine-memory.ts";
import type { Domain } from "./ports.ts";

export type Step =
  | { readonly do: "define" }
  | { readonly do: "mark" }
  /** A domain that was here before Sheaf gets Sheaf's mark; nothing of it is changed. */
  | { readonly do: "take-over" }
  | { readonly do: "seed" }
  | { readonly do: "start"; readonly paused: boolean }
  | { readonly do: "press-power" }
  | { readonly do: "destroy"; readonly why: string }
  | { readonly do: "suspend" }
  | { readonly do: "resume" }
  | { readonly do: "apply-live" }
  | { readonly do: "undefine" }
  | { readonly do: "remove-seed" }
  /** The machine is no more this host's: drop document and memory. */
  | { readonly do: "forget" };

/** What a machine needs before it can start: its disks, networks, images. */
export type Needs = { readonly state: "ready" } | { readonly state: "waiting" | "failed"; readonly why: string };

export interface Situation {
  readonly now: number;
  readonly hostId: string;
  readonly bootId: string;
  readonly welcome: Welcome | null;
  /** A `sync` was heard since this agent started: documents are not merely what the disk remembers. */
  readonly synced: boolean;
  /** Its document is what the server says now, or the server cannot be heard; else one that may have been overtaken. */
  readonly isCurrent: boolean;
  /** For highly available machines: the server has been heard within the host's lease. */
  readonly leaseHolds: boolean;
  /** The host is about to sleep. */
  readonly quiet: boolean;
  /** Servers count on it for all machines: this host fences itself. */
  readonly leaseForAll: boolean;
  readonly vm: RecordOf<"vm"> | undefined;
  readonly memory: MachineMemory | undefined;
  readonly domain: Domain | null;
  readonly needs: Needs;
  /** All that its domain is described by is known, whether or not it is there. */
  readonly definable: boolean;
  /** What the domain will start with next differs from what is wanted. */
  readonly definitionOutdated: boolean;
  /** The running domain differs from what is wanted in something that can be changed while it runs and was not tried yet. */
  readonly liveOutdated: boolean;
  /** A change was asked for and the guest has not answered yet: unplugging, the balloon. */
  readonly liveWaiting: boolean;
  /** What waits for the next start, in sentences. */
  readonly pendingChanges: readonly string[];
  /** The seed image is not there, or holds something else. */
  readonly seedOutdated: boolean;
  /** A `migrate.*` call holds a session with libvirt for this machine. */
  readonly migrating: boolean;
}

export interface Plan {
  readonly steps: readonly Step[];
  /** To be kept before the first step. `null`: nothing to remember. */
  readonly memory: MachineMemory | null;
  /** Look again by then even when nothing happens, ms. */
  readonly againAfterMs?: number;
  /** Whether this host may speak for the machine. */
  readonly report: boolean;
}

/** Tries are counted within this time (model: `restart.maximumTries`). */
export const failureWindowMs = 600_000;
/** A guest may miss a press of the power button while it boots. */
export const pressAgainMs = 10_000;
/** What a machine needs and this host cannot give may come by itself: a bridge, space, an image. */
const needsAgainMs = 30_000;
/** A guest that QEMU paused because its disk failed is let go on this often. */
export const resumeAgainMs = 30_000;
/** A start takes seconds. After this long nobody is at it any more: libvirtd was killed half-way, and leaves the guest so for ever. */
export const halfStartedMs = 30_000;

const nothing: Plan = { steps: [], memory: null, report: false };

export function planMachine(it: Situation): Plan {
  const { vm, domain } = it;
  // A domain of this very UUID that does not carry Sheaf's mark is somebody else's, unless the server says that it was adopted here.
  if (domain && !domain.mark) return !vm || !isOurs(it) ? nothing : isAdoptedHere(vm) ? takeOver(it, vm, domain) : foreign(it);
  if (handsOff(it)) return onTheMove(it);
  if (domain && it.memory?.migration?.role === "target" && !it.memory.migration.mayHaveRun && !isOurs(it)) {
    // A copy that came to nothing: its CPUs never started here, and the machine is elsewhere.
    return { ...nothing, memory: it.memory, steps: [...dismantle(domain, "its migration to this host was given up"), { do: "forget" }] };
  }
  const settled = it.memory?.migration ? { ...it, memory: { ...it.memory, migration: undefined } } : it;
  if (settled.memory?.removal) return letGo(settled, settled.memory);
  if (!vm)
    return domain || !settled.memory
      ? { ...nothing, memory: settled.memory ?? null }
      : { ...nothing, steps: [{ do: "remove-seed" }, { do: "forget" }] };
  if (!isOurs(settled)) return elsewhere(settled);
  return ours(settled, vm);
}

const isOurs = (it: Situation): boolean => it.vm?.placement?.host === it.hostId;

/** A migration's calls alone touch its machine. What an interrupted one left is settled by the server; its end is told by a document without migration. */
function handsOff(it: Situation): boolean {
  if (it.migrating || it.vm?.status.migration) return true;
  return it.memory?.migration !== undefined && !it.synced;
}

function onTheMove(it: Situation): Plan {
  const memory = it.memory ?? newMachineMemory(it.now);
  if (!isOurs(it)) return { ...nothing, memory: it.memory ?? null };
  const state = it.domain?.state === "running" || it.domain?.state === "paused" ? "running" : (it.memory?.state ?? "preparing");
  return { steps: [], memory: entered(memory, state, it.now, "it is moving"), report: true };
}

function foreign(it: Situation): Plan {
  const problem =
    "the hypervisor has a domain with this machine's id that Sheaf did not make: rename or remove it, then change the machine to try again";
  return { steps: [], memory: { ...entered(it.memory ?? newMachineMemory(it.now), "failed", it.now), problem }, report: true };
}

/** An adoption gives the first placement; no later one is of that host's domain, whatever it says. */
const isAdoptedHere = ({ placement }: Vm): boolean => placement?.adoption !== undefined && placement.epoch === 1;

/** Looked at again with the mark: only then is anything done with it. Not told before, so that its report means that it is done. */
function takeOver(it: Situation, vm: Vm, domain: Domain): Plan {
  const memory = takeHold(it, vm, it.memory ?? newMachineMemory(it.now));
  if (!holds(it, vm, memory)) return { ...nothing, memory: it.memory ?? null };
  // A guest that shut itself down after it was looked at is not fought.
  const stoppedBy = domain.state === "stopped" && domain.reason === "shutdown" ? "guest" : memory.stoppedBy;
  return { steps: [{ do: "take-over" }], memory: { ...memory, stoppedBy }, report: false };
}

/**
 * Whether the copy here may be destroyed because the machine is elsewhere or deleted. Only a decision of the store's present life
 * counts, or a later epoch of the same life: a store restored from an old backup remembers places that are no longer true.
 */
export function mayDestroy(
  mark: { readonly epoch: number; readonly incarnation: string },
  present: string,
  placement?: { readonly epoch: number; readonly incarnation: string },
): boolean {
  if (!placement) return mark.incarnation === present;
  if (placement.incarnation === mark.incarnation) return placement.epoch > mark.epoch;
  return placement.incarnation === present;
}

function dismantle(domain: Domain | null, why: string): Step[] {
  if (!domain) return [{ do: "remove-seed" }];
  const active = domain.state !== "stopped";
  return [...(active ? [{ do: "destroy", why } as const] : []), ...(domain.persistent ? [{ do: "undefine" } as const] : []), { do: "remove-seed" }];
}

function letGo(it: Situation, memory: MachineMemory): Plan {
  const { domain } = it;
  const { removal } = memory;
  const allowed = !domain?.mark || (removal && mayDestroy(domain.mark, removal.incarnation, removal.placement));
  if (!allowed) return { ...nothing, memory };
  const why = removal?.gone ? "the machine was deleted" : "the machine is on another host";
  return { ...nothing, memory, steps: [...dismantle(domain, why), { do: "forget" }] };
}

function elsewhere(it: Situation): Plan {
  const { domain, vm, welcome } = it;
  const placement = vm?.placement;
  if (!domain?.mark) return { ...nothing, steps: [{ do: "remove-seed" }, { do: "forget" }] };
  if (!placement || !welcome || !mayDestroy(domain.mark, welcome.incarnation, placement)) return { ...nothing, memory: it.memory ?? null };
  return {
    ...nothing,
    memory: it.memory ?? null,
    steps: [...dismantle(domain, "the machine is on another host, with a newer epoch"), { do: "forget" }],
  };
}

type Vm = RecordOf<"vm">;

function ours(it: Situation, vm: Vm): Plan {
  const { domain } = it;
  const before = it.memory ?? newMachineMemory(it.now);
  // A document older than what this host was given already: it was overtaken on its way.
  if (before.held && vm.placement && before.held.incarnation === vm.placement.incarnation && vm.placement.epoch < before.held.epoch)
    return { ...nothing, memory: before };
  if (domain && leftBehind(domain, vm)) return { steps: [{ do: "destroy", why: leftBehindWhy }], memory: before, report: true };
  const memory = { ...noticeStop(it, vm, takeHold(it, vm, before)), awaitsTurn: undefined, gaveWay: yieldOf(vm)?.since };
  if (vm.deletedAt !== undefined) return deletion(it, memory, vm);
  const plan = vm.spec.power === "stopped" || yieldOf(vm) !== undefined ? wantStopped(it, vm, memory) : wantRunning(it, vm, memory);
  const remark = domain?.mark && vm.placement && (domain.mark.epoch !== vm.placement.epoch || domain.mark.incarnation !== vm.placement.incarnation);
  const first = plan.steps[0];
  return remark && first?.do !== "define" && domain && mayMark(it, vm, memory) ? { ...plan, steps: [{ do: "mark" }, ...plan.steps] } : plan;
}

/** It is to give way to another machine, as long as it is placed as it was then. */
const yieldOf = ({ placement, status }: Vm): VmYield | undefined => (status.yield?.epoch === placement?.epoch ? status.yield : undefined);

const leftBehindWhy = "a migration left it here paused, and the machine has been elsewhere since: its memory is older than its disks";

/**
 * A copy whose memory has left, on a host to which the machine has come back: it must never run again. Where it is not known whether the
 * machine ran elsewhere (its epoch moved there and back), its disks are trusted and not this memory.
 */
function leftBehind(domain: Domain, vm: Vm): boolean {
  const { mark } = domain;
  const { placement } = vm;
  const left = domain.state === "paused" && (domain.reason === "migration" || domain.reason === "post-copy" || domain.reason === "post-copy-failed");
  return left && mark !== undefined && placement !== undefined && placement.incarnation === mark.incarnation && placement.epoch > mark.epoch;
}

/** The new placement is written into the domain only when it counts: given in the store's present life, or held before. */
const mayMark = (it: Situation, vm: Vm, memory: MachineMemory): boolean => holds(it, vm, memory);

const holds = (it: Situation, vm: Vm, memory: MachineMemory): boolean =>
  vm.placement !== undefined &&
  (vm.placement.incarnation === it.welcome?.incarnation ||
    (memory.held?.epoch === vm.placement.epoch && memory.held.incarnation === vm.placement.incarnation));

/** From now on this host answers for the machine under this placement. */
function takeHold(it: Situation, vm: Vm, memory: MachineMemory): MachineMemory {
  const { placement } = vm;
  if (!placement) return memory;
  const mark = it.domain?.mark;
  const proven = placement.incarnation === it.welcome?.incarnation || (mark?.epoch === placement.epoch && mark.incarnation === placement.incarnation);
  if (!proven || (memory.held?.epoch === placement.epoch && memory.held.incarnation === placement.incarnation)) return memory;
  return { ...memory, held: { epoch: placement.epoch, incarnation: placement.incarnation } };
}

/** Finds out who ended a machine that was running when it was last seen, and notes that one runs. */
function noticeStop(it: Situation, vm: Vm, memory: MachineMemory): MachineMemory {
  const { domain, now, bootId } = it;
  const active = domain !== null && (domain.state === "running" || domain.state === "paused" || domain.state === "stopping");
  if (active) {
    if (memory.expectRunning && memory.runningBoot === bootId) return memory;
    return { ...memory, expectRunning: true, runningBoot: bootId, startedAt: memory.expectRunning ? memory.startedAt : now, stoppedBy: undefined };
  }
  if (!memory.expectRunning) return memory;
  const stoppedBy = whoStopped(memory, domain, bootId);
  const failures = stoppedBy === "crash" ? [...recentFailures(memory.failures, now), now] : memory.failures;
  // The end of a machine is told apart from its earlier states even when nobody looked in between.
  const ended = entered(memory, stoppedBy === "crash" ? "crashed" : "stopped", now, endReason(stoppedBy, vm));
  return {
    ...ended,
    expectRunning: false,
    stoppedBy,
    lastEnd: { at: now, by: stoppedBy },
    failures,
    stopAskedAt: undefined,
    stopPressedAt: undefined,
    pendingChanges: [],
  };
}

function whoStopped(memory: MachineMemory, domain: Domain | null, bootId: string): NonNullable<MachineMemory["stoppedBy"]> {
  if (memory.runningBoot !== undefined && memory.runningBoot !== bootId) return "host";
  if (memory.stopAskedAt !== undefined) return "user";
  if (domain?.state === "crashed") return "crash";
  switch (domain?.reason) {
    case "shutdown":
      return "guest";
    case "crashed":
    case "failed":
      return "crash";
    default:
      return "host";
  }
}

function endReason(stoppedBy: MachineMemory["stoppedBy"], vm: Vm): string {
  switch (stoppedBy) {
    case "guest":
      return vm.spec.restart.onGuestShutdown === "stay" ? "the guest shut itself down; start it to have it back" : "the guest shut itself down";
    case "crash":
      return "the guest or its QEMU crashed";
    case "host":
      return "the host restarted, or somebody there cut its power";
    case "user":
    case undefined:
      return "it was stopped";
  }
}

export const recentFailures = (failures: readonly number[], now: number): number[] =>
  failures.filter((at) => at > now - failureWindowMs && at <= now);

function deletion(it: Situation, memory: MachineMemory, vm: Vm): Plan {
  if (it.domain) {
    if (!it.welcome || !holds(it, vm, memory))
      return { steps: [], memory: waiting(it, memory, "its deletion waits: its placement is older than the store's present life"), report: true };
    return {
      steps: dismantle(it.domain, "the machine is being deleted"),
      memory: entered(memory, "stopping", it.now, "it is being deleted"),
      report: true,
    };
  }
  const gone = { ...entered(memory, "gone", it.now), problem: undefined, observedGeneration: vm.generation };
  return { steps: memory.state === "gone" ? [] : [{ do: "remove-seed" }], memory: gone, report: true };
}

function wantStopped(it: Situation, vm: Vm, memory: MachineMemory): Plan {
  const { domain, now } = it;
  const seen = { ...memory, startRequestSeen: vm.spec.startRequest, givenUp: undefined };
  if (domain && (domain.state === "running" || domain.state === "paused" || domain.state === "stopping")) return stopIt(it, vm, seen, domain);
  if (it.needs.state !== "ready" && !domain) return prepare(it, vm, seen);
  const steps: Step[] = !domain || it.definitionOutdated ? [{ do: "define" }] : [];
  const state = memory.state === "crashed" ? "crashed" : "stopped";
  const done = steps.length === 0;
  const rest = entered(seen, state, now, yieldOf(vm)?.reason ?? (memory.stoppedBy ? endReason(memory.stoppedBy, vm) : undefined));
  return { steps, memory: { ...rest, pendingChanges: [], ...(done ? { problem: undefined, observedGeneration: vm.generation } : {}) }, report: true };
}

const graceOf = ({ spec }: Vm): number => spec.stopGraceOnceMs ?? spec.stopGraceMs;

function stopIt(it: Situation, vm: Vm, memory: MachineMemory, domain: Domain): Plan {
  const { now } = it;
  const askedAt = memory.stopAskedAt ?? now;
  const asked = { ...entered(memory, "stopping", now), stopAskedAt: askedAt };
  const graceMs = graceOf(vm);
  const leftMs = askedAt + graceMs - now;
  if (leftMs <= 0) {
    const why = graceMs === 0 ? "its power is to be cut at once" : `it did not shut down within ${graceMs} ms`;
    return { steps: [{ do: "destroy", why }], memory: { ...asked, reason: why }, report: true };
  }
  // A guest whose CPUs stand still sees no power button.
  const wake: Step[] = domain.state === "paused" ? [{ do: "resume" }] : [];
  const pressed = memory.stopPressedAt;
  if (pressed !== undefined && now - pressed < pressAgainMs && pressed <= now) {
    return { steps: [], memory: asked, againAfterMs: Math.min(leftMs, pressed + pressAgainMs - now), report: true };
  }
  return {
    steps: [...wake, { do: "press-power" }],
    memory: { ...asked, stopPressedAt: now },
    againAfterMs: Math.min(leftMs, pressAgainMs),
    report: true,
  };
}

function wantRunning(it: Situation, vm: Vm, memory: MachineMemory): Plan {
  const { domain } = it;
  if (domain?.state === "running" || domain?.state === "paused") return keepRunning(it, vm, memory, domain);
  if (domain?.state === "stopping") return { steps: [], memory: entered(memory, "stopping", it.now), againAfterMs: pressAgainMs, report: true };
  const verdict = wantsStart(it, vm, memory);
  if (!verdict.start) {
    const held = entered(memory, verdict.state, it.now, verdict.reason);
    const settled = verdict.againAfterMs === undefined ? { observedGeneration: vm.generation } : {};
    const steps: Step[] = domain && it.definitionOutdated ? [{ do: "define" }] : [];
    const giveUp = verdict.state === "failed" ? { givenUp: memory.givenUp ?? { generation: vm.generation, startRequest: vm.spec.startRequest } } : {};
    const problem = verdict.problem ? { problem: verdict.problem } : {};
    return { steps, memory: { ...held, ...settled, ...giveUp, ...problem }, ...again(verdict.againAfterMs), report: true };
  }
  // For a moment: nothing is said of it meanwhile.
  if (!it.isCurrent) return { ...nothing, memory };
  const refusal = mayStart(it, vm, memory);
  if (refusal !== null) return { steps: [], memory: waiting(it, memory, refusal), report: true };
  // Its domain is defined while its disks are made. One that is to stay stopped waits: defined means ready there.
  const turnMs = untilTurnMs(it, vm, memory);
  const turned = turnMs > 0 ? { ...memory, awaitsTurn: true } : memory;
  if (it.needs.state !== "ready") return prepare(it, vm, turned, it.definable ? define(it) : []);
  if (turnMs > 0) {
    const { order } = vm.status;
    const why = order?.state === "waiting" && order.bootId === it.bootId ? order.reason : "it is started after other machines (restart.after)";
    return { steps: define(it), memory: entered(turned, "stopped", it.now, why), againAfterMs: turnMs, report: true };
  }
  const asked = vm.spec.startRequest > memory.startRequestSeen;
  const automatic = !asked && memory.stoppedBy !== undefined && memory.stoppedBy !== "user";
  const next: MachineMemory = {
    ...entered(memory, "starting", it.now),
    startRequestSeen: vm.spec.startRequest,
    restarts: asked ? 0 : memory.restarts + (automatic ? 1 : 0),
    failures: asked || newer(vm, memory) ? [] : recentFailures(memory.failures, it.now),
    givenUp: undefined,
    stopAskedAt: undefined,
    stopPressedAt: undefined,
    pendingChanges: [],
  };
  // QEMU may be kept after a crash, for a look at it.
  const clear: Step[] = domain?.state === "crashed" ? [{ do: "destroy", why: "what is left of the crash is cleared away" }] : [];
  return { steps: [...clear, ...define(it), ...seed(it), { do: "start", paused: vm.spec.power === "paused" }], memory: next, report: true };
}

/**
 * Of a machine that ran when its host went down: how long it waits for others at most (`restart.after`). The server gives the word; without
 * one it is started all the same. @returns 0: it is its turn
 */
function untilTurnMs({ now, bootId }: Situation, vm: Vm, memory: MachineMemory): number {
  const { after } = vm.spec.restart;
  const { order } = vm.status;
  if (after === undefined || vm.spec.startRequest > memory.startRequestSeen) return 0;
  if (memory.stoppedBy !== "host" || memory.runningBoot === bootId) return 0;
  if (order?.state === "go" && order.bootId === bootId && order.epoch === vm.placement?.epoch) return 0;
  const leftMs = (memory.lastEnd?.at ?? 0) + after.maximumWaitMs - now;
  // A clock that was set back says nothing of how long was waited.
  return leftMs > after.maximumWaitMs ? 0 : leftMs;
}

const define = (it: Situation): Step[] => (!it.domain || it.definitionOutdated ? [{ do: "define" }] : []);
const seed = (it: Situation): Step[] => (it.seedOutdated ? [{ do: "seed" }] : []);

const again = (ms: number | undefined): { readonly againAfterMs?: number } => (ms === undefined ? {} : { againAfterMs: ms });

const newer = (vm: Vm, memory: MachineMemory): boolean =>
  memory.givenUp !== undefined && (vm.generation > memory.givenUp.generation || vm.spec.startRequest > memory.givenUp.startRequest);

type Verdict =
  | { readonly start: true }
  | {
      readonly start: false;
      readonly state: "stopped" | "crashed" | "failed";
      readonly reason: string;
      readonly problem?: string;
      readonly againAfterMs?: number;
    };

/** Whether a machine that is to run and does not is to be started: what the policies say, not whether it is safe. */
function wantsStart(it: Situation, vm: Vm, memory: MachineMemory): Verdict {
  const { restart, startRequest } = vm.spec;
  if (startRequest > memory.startRequestSeen || newer(vm, memory)) return { start: true };
  const ended = endReason(memory.stoppedBy, vm);
  if (memory.stoppedBy === "guest") {
    if (restart.onGuestShutdown !== "restart") return { start: false, state: "stopped", reason: ended };
    const waitMs = memory.since + restart.delayMs - it.now;
    return waitMs > 0 && waitMs <= restart.delayMs
      ? { start: false, state: "stopped", reason: `${ended}; it is started again`, againAfterMs: waitMs }
      : { start: true };
  }
  const failures = recentFailures(memory.failures, it.now);
  const last = failures.at(-1);
  if (memory.givenUp || failures.length > restart.maximumTries) {
    const problem = memory.problem ?? `it crashed ${failures.length} times within ten minutes and is left alone: look at its console, then start it`;
    return { start: false, state: "failed", reason: "it was given up after too many failures", problem };
  }
  if (memory.stoppedBy === "crash" && restart.onCrash === "stay")
    return { start: false, state: "crashed", reason: `${ended}; its policy says that it stays so` };
  if (last === undefined) return { start: true };
  const waitMs = last + restart.delayMs - it.now;
  if (waitMs <= 0) return { start: true };
  return { start: false, state: "crashed", reason: `${ended}; it is started again`, againAfterMs: waitMs };
}

/**
 * The rule that keeps a machine from running twice: the newest epoch, told by the server since this boot of the host, and no document that
 * the server is about to replace; after a restore of the store only what this host has held all along, and not before every host was heard;
 * highly available ones only while the host's lease holds. And none on a host that has said that it sleeps.
 * @returns `null` when it may start, else why not
 */
export function mayStart(it: Situation, vm: Vm, memory: MachineMemory): string | null {
  if (!it.welcome || it.welcome.bootId !== it.bootId)
    return "it waits for the server: after a restart of the host nothing starts before the server has been heard";
  if (!it.isCurrent) return "it waits for what the server has to say of it";
  if (it.welcome.restoring && vm.placement?.incarnation !== it.welcome.incarnation)
    return "it waits for the other hosts: the store was restored from a backup, and until every host has been heard, cut off or removed it may run elsewhere";
  if (!holds(it, vm, memory))
    return "it is not started: its placement is older than the store, which was restored from a backup, and it has not run here; place it anew";
  if (vm.spec.highlyAvailable && !it.leaseHolds) return "it waits for the server: it is highly available, and may run on another host by now";
  if (it.quiet) return "it waits for another host, or for this one to be awake: this one is about to sleep";
  if (it.leaseForAll && !it.leaseHolds) return "it waits for the server: this host fences itself, and its lease is over";
  return null;
}

function waiting(it: Situation, memory: MachineMemory, why: string): MachineMemory {
  const state = memory.state === "crashed" || memory.state === "stopped" ? memory.state : memory.stoppedBy === "crash" ? "crashed" : "stopped";
  return entered(memory, state, it.now, why);
}

/** Nothing can be done before its disks are there. */
function prepare(it: Situation, vm: Vm, memory: MachineMemory, meanwhile: readonly Step[] = []): Plan {
  if (it.needs.state === "ready") return nothing;
  const failed = it.needs.state === "failed";
  const state = failed ? "failed" : memory.stoppedBy === undefined ? "preparing" : "starting";
  const next = { ...entered(memory, state, it.now, it.needs.why), problem: failed ? it.needs.why : memory.problem };
  // The seed is made while the disks are, and what else can be: all take a moment.
  const retry = again(failed ? needsAgainMs : undefined);
  return {
    steps: failed ? [] : [...seed(it), ...meanwhile],
    ...retry,
    memory: failed ? { ...next, observedGeneration: vm.generation } : next,
    report: true,
  };
}

function keepRunning(it: Situation, vm: Vm, memory: MachineMemory, domain: Domain): Plan {
  const { now } = it;
  const seen: MachineMemory = {
    ...memory,
    startRequestSeen: vm.spec.startRequest,
    stopAskedAt: stillStopping(vm, memory, now),
    givenUp: undefined,
    stopPressedAt: undefined,
    pendingChanges: [...it.pendingChanges],
  };
  const change: Step[] = it.liveOutdated || it.definitionOutdated ? [{ do: "apply-live" }] : [];
  const wanted = vm.spec.power === "paused" ? "paused" : "running";
  if (domain.state === "paused" && domain.reason === "starting-up") return halfStarted(now, seen);
  if (domain.state === wanted) {
    // A disk to be added that is still being made: the change has not come about yet.
    const done =
      change.length === 0 && !it.liveWaiting && it.needs.state !== "waiting" ? { problem: undefined, observedGeneration: vm.generation } : {};
    return { steps: change, memory: { ...entered(seen, wanted, now), ...done }, ...again(it.liveWaiting ? 2000 : undefined), report: true };
  }
  if (wanted === "paused") return { steps: [...change, { do: "suspend" }], memory: seen, report: true };
  switch (domain.reason) {
    case "io-error": {
      const problem =
        "QEMU stopped it because its disk could not be read or written (is the storage full or gone?); it goes on by itself when that is mended";
      const pausedForMs = memory.state === "paused" ? now - memory.since : 0;
      if (pausedForMs < resumeAgainMs)
        return {
          steps: [],
          memory: { ...entered(seen, "paused", now, "disk error"), problem },
          againAfterMs: resumeAgainMs - pausedForMs,
          report: true,
        };
      return {
        steps: [{ do: "resume" }],
        memory: { ...seen, state: "paused", since: now, reason: "disk error", problem },
        againAfterMs: resumeAgainMs,
        report: true,
      };
    }
    case "migration":
    case "post-copy":
    case "post-copy-failed":
      return { steps: [], memory: entered(seen, "paused", now, "QEMU is at work on it"), againAfterMs: 1000, report: true };
    default:
      return { steps: [{ do: "resume" }, ...change], memory: seen, report: true };
  }
}

/** Its CPUs have never run and it may lack what is plugged in last, such as its network: it is started anew rather than let go on. */
function halfStarted(now: number, memory: MachineMemory): Plan {
  const leftMs = memory.state === "paused" ? memory.since + halfStartedMs - now : halfStartedMs;
  if (leftMs > 0)
    return { steps: [], memory: entered(memory, "paused", now, "QEMU is at work on it"), againAfterMs: Math.min(leftMs, 1000), report: true };
  return { steps: [{ do: "destroy", why: "its start was broken off half-way" }], memory, report: true };
}

/** A guest that was asked to shut down and may still do so although it is to run again: its end is then no decision of its own. */
const stillStopping = (vm: Vm, memory: MachineMemory, now: number): number | undefined =>
  memory.stopAskedAt !== undefined && now - memory.stopAskedAt < Math.max(graceOf(vm), pressAgainMs) ? memory.stopAskedAt : undefined;

function entered(memory: MachineMemory, state: VmObservation["state"], now: number, reason?: string): MachineMemory {
  if (memory.state === state && memory.reason === reason) return memory;
  if (memory.state === state) return { ...memory, reason };
  const history = [...(memory.history ?? []), { at: now, state, ...(reason === undefined ? {} : { reason }) }].slice(-historyLength);
  return { ...memory, state, since: now, reason, history };
}

/** After a step that the hypervisor refused: counts as a failed try where it was part of a start, is kept as the problem in any case. */
export function afterRefusal(it: Pick<Situation, "now">, vm: Vm, memory: MachineMemory, step: Step, why: string): MachineMemory {
  const next = { ...memory, problem: why };
  // What is defined anew may also be a machine that is to stay stopped, or that waits for its turn.
  const isTry = step.do === "start" || (memory.state === "starting" && (step.do === "define" || step.do === "seed"));
  if (!isTry) return next;
  const failures = [...recentFailures(memory.failures, it.now), it.now];
  const givenUp = failures.length > vm.spec.restart.maximumTries ? { generation: vm.generation, startRequest: vm.spec.startRequest } : undefined;
  const after = givenUp
    ? entered(next, "failed", it.now, "it was given up after too many failures")
    : entered(next, "starting", it.now, "its start failed and is tried again");
  return {
    ...after,
    failures,
    givenUp,
    since: it.now,
    ...(givenUp ? { observedGeneration: vm.generation } : {}),
  };
}
