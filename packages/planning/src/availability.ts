/**
 * A machine's account of availability: (account, what its record says, now) → the next account; the very same one where nothing changed, so
 * that a machine that merely runs costs nothing. Called by the availability controller at every change of the machine and of its host's
 * liveness. Pure.
 *
 * What could not be seen is `unknown`, and becomes `up` when the guest is seen again that was started before; another guest means an outage.
 */
import type { AvailabilityAccount, AvailabilityMonth, OutageCause, RecordOf } from "@sheaf/model";
import { addTime } from "./availability-months.ts";

type Vm = RecordOf<"vm">;

/** What its record says now. `asBefore`: on the way from one state to another. `at`: since when, where the record knows. */
export type Service =
  | { readonly state: "up"; readonly startedAt?: number; readonly epoch: number; readonly lastEnd?: LastEnd; readonly moved: boolean }
  | { readonly state: "down"; readonly cause: OutageCause; readonly detail: string; readonly at?: number; readonly seen: boolean }
  | { readonly state: "off"; readonly at?: number; readonly seen: boolean }
  | { readonly state: "unknown"; readonly at: number; readonly detail: string }
  | { readonly state: "asBefore" };
type LastEnd = NonNullable<NonNullable<Vm["status"]["agent"]>["lastEnd"]>;

/** @param host the one that it is placed on */
export function serviceOf(vm: Vm, host: RecordOf<"host"> | undefined): Service {
  const { placement, spec, status } = vm;
  const seen = status.agent;
  if (vm.deletedAt !== undefined) return { state: "off", at: vm.deletedAt, seen: false };
  const current = placement !== undefined && seen !== undefined && seen.epoch === placement.epoch;
  if (spec.power !== "running")
    return current && seen.state === "stopped" ? { state: "off", at: seen.since, seen: true } : { state: "off", seen: false };
  if (!placement) {
    const pending = status.placement?.pending;
    return pending ? { state: "down", cause: "capacity", detail: pending.reason, at: pending.since, seen: true } : { state: "asBefore" };
  }
  const { liveness, fencing } = host?.status ?? {};
  if (fencing?.state === "fenced") return { state: "down", cause: "host", detail: `its host was lost: ${fencing.reason}`, seen: false };
  if (liveness?.state === "unreachable") return { state: "unknown", at: liveness.heardAt ?? liveness.since, detail: liveness.reason };
  // By fail-over, and not by a later move: both are put on record together.
  const moved = status.failover?.state === "moved" && status.failover.since >= placement.at;
  if (!current) return moved ? { state: "down", cause: "host", detail: "its host was lost", seen: false } : { state: "asBefore" };
  switch (seen.state) {
    case "running":
    case "incoming":
      return {
        state: "up",
        epoch: seen.epoch,
        moved,
        ...(seen.startedAt === undefined ? {} : { startedAt: seen.startedAt }),
        ...(seen.lastEnd === undefined ? {} : { lastEnd: seen.lastEnd }),
      };
    case "paused":
      return seen.problem === undefined
        ? { state: "asBefore" }
        : { state: "down", cause: "storage", detail: seen.problem, at: seen.since, seen: true };
    case "crashed":
      return { state: "down", cause: "crash", detail: seen.reason ?? "it crashed", at: seen.since, seen: true };
    case "failed":
      return { state: "down", cause: "failed", detail: seen.problem ?? seen.reason ?? "it could not be started", at: seen.since, seen: true };
    case "stopped":
      return stopped(vm, seen);
    case "preparing":
    case "starting":
    case "stopping":
    case "gone":
      return { state: "asBefore" };
  }
}

function stopped(vm: Vm, seen: NonNullable<Vm["status"]["agent"]>): Service {
  switch (seen.stoppedBy) {
    case "guest":
    case "user":
      return vm.spec.startRequest > seen.startRequestSeen ? { state: "asBefore" } : { state: "off", at: seen.since, seen: true };
    case "crash":
      return { state: "down", cause: "crash", detail: seen.reason ?? "it crashed", at: seen.since, seen: true };
    case "host":
      return { state: "down", cause: "host", detail: seen.reason ?? "its host restarted", at: seen.since, seen: true };
    case undefined:
      return { state: "asBefore" };
  }
}

/** @param before `undefined`: it never ran, nor was it refused a place; @returns `undefined` while that is so */
export function nextAccount(before: AvailabilityAccount | undefined, vm: Vm, service: Service, now: number): AvailabilityAccount | undefined {
  if (!before) return first(vm, service, now);
  const named = before.name === vm.name ? before : { ...before, name: vm.name };
  switch (service.state) {
    case "asBefore":
      return named;
    case "up":
      return seenUp(named, service, now);
    case "down": {
      const unseen = named.state === "unknown" && !service.seen;
      if (named.state === "down") return named;
      // Not seen since its host was lost, and now known to be lost with it.
      const at = unseen ? named.since : within(named, service.at, now);
      return { ...entered(settled(named), at, "down", service.detail), cause: service.cause };
    }
    case "off": {
      if (named.state === "off") return named;
      return entered(service.seen ? settled(named) : named, within(named, service.at, now), "off");
    }
    case "unknown":
      return named.state === "up" ? entered(named, within(named, service.at, now), "unknown", service.detail) : named;
  }
}

/** A live migration's pause: it served at both ends of it. */
export function countMigration(before: AvailabilityAccount, task: string, endedAt: number, downtimeMs: number): AvailabilityAccount {
  if (before.migration !== undefined && before.migration >= task) return before;
  const counted = addTime(before.months, "down", endedAt - downtimeMs, endedAt, { cause: "migration" });
  // The same time is or becomes part of what it was up.
  return { ...before, migration: task, months: addTime(counted, "up", endedAt, endedAt - downtimeMs) };
}

function first(vm: Vm, service: Service, now: number): AvailabilityAccount | undefined {
  const head = { vm: vm.id, name: vm.name, project: vm.project ?? "", months: [] };
  switch (service.state) {
    case "up":
      return { ...head, state: "up", since: Math.min(service.startedAt ?? now, now), ...guestOf(service) };
    case "down":
      return { ...head, state: "down", since: Math.min(service.at ?? now, now), cause: service.cause, detail: service.detail };
    case "off":
    case "unknown":
    case "asBefore":
      return undefined;
  }
}

function seenUp(before: AvailabilityAccount, service: Service & { state: "up" }, now: number): AvailabilityAccount {
  const { startedAt, lastEnd, epoch } = service;
  const sameGuest = epoch === before.epoch ? startedAt === before.startedAt || startedAt === undefined : !service.moved;
  const at = startedAt !== undefined && startedAt > before.since ? within(before, startedAt, now) : now;
  switch (before.state) {
    case "up":
    case "unknown": {
      const ranOn = settled(before);
      if (sameGuest) {
        const same = before.state === "up" && epoch === before.epoch && startedAt === before.startedAt;
        return same ? before : { ...ranOn, ...guestOf(service) };
      }
      // It ended and started again unseen. When it ended is known from the host's agent, else it is taken to have ended at once.
      const knownEnd = lastEnd !== undefined && lastEnd.at >= before.since && lastEnd.at <= at && lastEnd.by !== "host" ? lastEnd.at : undefined;
      const from = knownEnd ?? (before.state === "unknown" ? before.since : at);
      const wanted = lastEnd !== undefined && knownEnd !== undefined && (lastEnd.by === "user" || lastEnd.by === "guest");
      const cause: OutageCause = service.moved || lastEnd === undefined || lastEnd.by === "host" ? "host" : lastEnd.by === "hang" ? "hang" : "crash";
      const ended = wanted ? entered(ranOn, from, "off") : { ...entered(ranOn, from, "down", unseenDetail[cause]), cause };
      return { ...entered(ended, at, "up"), ...guestOf(service) };
    }
    case "down":
      // It was taken to be lost with its host, and was not.
      if (before.cause === "host" && before.epoch === epoch && startedAt !== undefined && before.startedAt === startedAt)
        return { ...before, state: "up", cause: undefined, detail: undefined };
      return { ...entered(before, at, "up"), ...guestOf(service) };
    case "off":
      return { ...entered(before, at, "up"), ...guestOf(service) };
  }
}

const unseenDetail: Partial<Record<OutageCause, string>> = {
  host: "its host was lost or restarted",
  crash: "the guest or its QEMU crashed",
  hang: "the guest answered no more and was reset",
};

const guestOf = ({ startedAt, epoch }: Service & { state: "up" }) => ({ epoch, ...(startedAt === undefined ? {} : { startedAt }) });

/** It ran on while nobody saw it. */
const settled = (account: AvailabilityAccount): AvailabilityAccount =>
  account.state === "unknown" ? { ...account, state: "up", detail: undefined } : account;

/** Clocks of hosts differ, and jump: never before what is on record, never in the future. */
const within = ({ since }: AvailabilityAccount, at: number | undefined, now: number): number => Math.max(since, Math.min(at ?? now, now));

function entered(account: AvailabilityAccount, at: number, state: AvailabilityAccount["state"], detail?: string): AvailabilityAccount {
  return { ...account, months: withOpen(account, at), state, since: at, cause: undefined, detail };
}

/** What it has been in until `to` added to its months. */
export function withOpen(account: AvailabilityAccount, to: number): AvailabilityMonth[] {
  const { state, since, cause, detail } = account;
  return addTime(account.months, state, since, to, cause === undefined ? undefined : { cause, detail: detail ?? "" });
}
