/**
 * Keeps machines' accounts of availability (planning/availability). Sole writer of the keys under `av/`, which lie beside the records: nobody
 * who watches machines is woken. Every change of a machine is booked in memory as it comes, and written with others a moment later; what a
 * killed server had not written follows again from what agents report (`lastEnd`, `startedAt`).
 */
import {
  AvailabilityAccount,
  availabilityKey,
  availabilityPrefix,
  GoneAvailability,
  goneAvailabilityKey,
  taskProgress,
  type Kind,
  type RecordOf,
} from "@sheaf/model";
import { countMigration, leaveAccount, nextAccount, serviceOf } from "@sheaf/planning";
import { commit, operationsPerTransaction, Overtaken } from "./commit.ts";
import type { ControllerContext, RecordChange } from "./context.ts";
import type { Controller } from "./controller.ts";
import { commitAll, put } from "./packed-commit.ts";
import type { SiteIndex } from "./site-index.ts";

type Vm = RecordOf<"vm">;
type Task = RecordOf<"task">;

export function availabilityController(context: ControllerContext, index: SiteIndex): Controller {
  const { cache, clock, store, settings, logger } = context;
  /** Empty until this server leads and has read them. */
  let accounts = new Map<string, AvailabilityAccount>();
  let read = false;
  /** Booked and not written yet. */
  const unwritten = new Set<string>();
  /** Accounts of machines that are gone. */
  const left = new Set<string>();
  let gatherUntil = 0;
  return {
    name: "availability",
    reads: ["vm", "host", "task"],
    writes: ["availability"],
    initialKeys: () => {
      accounts = new Map();
      unwritten.clear();
      left.clear();
      read = false;
      return ["all"];
    },
    keysFor(change) {
      // Before the accounts are here, the first look takes everything as it is by then.
      if (!read) return [];
      const idle = unwritten.size + left.size === 0;
      note(change);
      if (unwritten.size + left.size === 0) return [];
      if (idle) gatherUntil = clock.monotonic() + settings.availabilityBatchMs;
      return ["all"];
    },
    async reconcile() {
      if (!read) await readAll();
      const waitMs = gatherUntil - clock.monotonic();
      if (waitMs > 0) return waitMs;
      await write();
      await fold();
      return undefined;
    },
  };

  async function readAll(): Promise<void> {
    const found = new Map<string, AvailabilityAccount>();
    let after: string | undefined;
    for (;;) {
      const page = await store.range({ prefix: availabilityPrefix, ...(after === undefined ? {} : { after }) });
      for (const entry of page.entries) {
        const account = readAccount(entry.key, entry.value);
        if (account) found.set(account.vm, account);
      }
      after = page.entries.at(-1)?.key;
      if (!page.more) break;
    }
    // From here on without a pause, so that no change is missed.
    accounts = found;
    read = true;
    for (const id of accounts.keys()) if (!cache.get("vm", id)) left.add(id);
    for (const vm of cache.all("vm")) book(vm);
    for (const task of [...cache.all("task")].toSorted((a, b) => (a.id < b.id ? -1 : 1))) bookMigration(task);
    gatherUntil = clock.monotonic();
  }

  function readAccount(key: string, value: string): AvailabilityAccount | undefined {
    const result = AvailabilityAccount.safeParse(JSON.parse(value));
    if (!result.success) logger.warn({ key }, "an account of availability is of a version that this server does not know; it begins anew");
    return result.data;
  }

  function note({ kind, id, record, previous }: RecordChange): void {
    switch (kind as Kind) {
      case "vm":
        if (record) book(record as Vm); // the kind says so
        else if (accounts.has(id)) left.add(id);
        return;
      case "host": {
        // The kind says so.
        const [now, before] = [record, previous] as (RecordOf<"host"> | undefined)[];
        if (now?.status.liveness === before?.status.liveness && now?.status.fencing === before?.status.fencing) return;
        for (const vmId of index.vmsOnHost(id)) {
          const vm = cache.get("vm", vmId);
          if (vm) book(vm);
        }
        return;
      }
      case "task":
        if (record) bookMigration(record as Task); // the kind says so
        return;
      default:
    }
  }

  function book(vm: Vm): void {
    const before = accounts.get(vm.id);
    const host = vm.placement ? cache.get("host", vm.placement.host) : undefined;
    keep(before, nextAccount(before, vm, serviceOf(vm, host), clock.now()));
  }

  function bookMigration({ id, spec, status }: Task): void {
    if (spec.verb !== "migrate" || status.controller?.state !== "succeeded") return;
    const before = accounts.get(spec.target.id);
    const progress = taskProgress(status);
    const downtimeMs = progress?.result?.["downtimeMs"];
    if (!before || typeof downtimeMs !== "number" || downtimeMs <= 0) return;
    keep(before, countMigration(before, id, progress?.endedAt ?? clock.now(), Math.round(downtimeMs)));
  }

  function keep(before: AvailabilityAccount | undefined, next: AvailabilityAccount | undefined): void {
    if (!next || next === before) return;
    accounts.set(next.vm, next);
    unwritten.add(next.vm);
  }

  async function write(): Promise<void> {
    const batch = [...unwritten].filter((id) => !left.has(id)).flatMap((id) => accounts.get(id) ?? []);
    await commitAll(
      context,
      batch.map((account) => ({ about: account, compare: [], then: [put(availabilityKey(account.project, account.vm), account)] })),
    );
    // What was booked meanwhile is written next.
    for (const account of batch) if (accounts.get(account.vm) === account) unwritten.delete(account.vm);
  }

  /** Accounts of machines that are gone become part of their project's: a site that makes and deletes many keeps few. */
  async function fold(): Promise<void> {
    const byProject = Map.groupBy(
      [...left].flatMap((id) => accounts.get(id) ?? []),
      (account) => account.project,
    );
    for (const [project, all] of byProject)
      for (let start = 0; start < all.length; start += operationsPerTransaction - 1) {
        const some = all.slice(start, start + operationsPerTransaction - 1);
        const key = goneAvailabilityKey(project);
        const entry = await store.get(key);
        let gone = entry ? GoneAvailability.parse(JSON.parse(entry.value)) : undefined;
        for (const account of some) gone = leaveAccount(gone, account, clock.now());
        const result = await commit(context, {
          compare: [{ key, modRevision: entry?.modRevision ?? 0 }],
          then: [put(key, gone), ...some.map((account) => ({ delete: availabilityKey(account.project, account.vm) }))],
        });
        if (!result.succeeded) throw new Overtaken("this server does not lead any more");
        for (const { vm } of some) {
          accounts.delete(vm);
          unwritten.delete(vm);
          left.delete(vm);
        }
      }
    for (const id of left) if (!accounts.has(id)) left.delete(id);
  }
}
