/**
 * Removes records whose deletion was asked for, in the order planning/deletion says, with every key taken in their name and what they count
 * against their project's quota. Writes: `deletedAt` of disks that go with their machine, and the removal itself.
 */
import { addUsage, kinds, partKey, quotaUsageKey, quotaUsageOf, QuotaUsage, type AnyRecord, type Kind, type RecordOf } from "@sheaf/model";
import { planDeletion } from "@sheaf/planning";
import type { Compare, Operation } from "@sheaf/store";
import { commit, operationsPerTransaction, Overtaken } from "./commit.ts";
import type { ControllerContext } from "./context.ts";
import type { Controller } from "./controller.ts";
import { volumesOf } from "./records.ts";
import type { SiteIndex } from "./site-index.ts";
import { referredBy } from "./references.ts";

/** Others counting against the same quota at the same moment are quicker at most so often before the look is begun anew. */
const quotaTries = 8;

export function deletionController(context: ControllerContext, index: SiteIndex): Controller {
  const { cache, store, clock, logger } = context;
  return {
    name: "deletion",
    reads: kinds,
    writes: ["*/spec (deletedAt of disks, removal)"],
    concurrency: 32,
    initialKeys: () => [...index.deleting],
    *keysFor({ kind, id, record, previous }) {
      if (record?.deletedAt !== undefined) yield `${kind}/${id}`;
      const vm = kind === "volume" ? index.vmOfVolume.get(id) : undefined;
      if (vm !== undefined && cache.get("vm", vm)?.deletedAt !== undefined) yield `vm/${vm}`;
      // Something went: what was referred to by it may go too. (Disks are woken by their machine's own removal.)
      if (record !== undefined && record.deletedAt === previous?.deletedAt) return;
      for (const key of index.deleting) if (!key.startsWith("vm/") && !key.startsWith("volume/")) yield key;
      if (kind === "vm")
        for (const { volume } of disks(record ?? previous))
          if (volume !== undefined && index.deleting.has(`volume/${volume}`)) yield `volume/${volume}`;
    },
    async reconcile(key) {
      const [kind, id] = key.split("/") as [Kind, string]; // keys are made above
      const record = cache.get(kind, id) as AnyRecord | undefined; // the cache answers the kind that was asked for
      if (!record || record.deletedAt === undefined) return undefined;
      const placement = record.kind === "vm" || record.kind === "volume" ? record.placement : undefined;
      const plan = planDeletion({
        record,
        volumes: record.kind === "vm" ? volumesOf(record, cache) : [],
        hostExists: placement !== undefined && cache.get("host", placement.host) !== undefined,
        referredBy: referredBy(record, cache, index),
      });
      switch (plan.step) {
        case "wait":
          logger.debug({ record: key, for: plan.for }, "a deletion waits");
          return undefined;
        case "mark":
          await mark(record, plan.volumes);
          return undefined;
        case "remove":
          await clearTraces(record);
          await remove(record, plan.prefix, plan.keys);
          logger.info({ record: key, name: record.name }, "a record was removed");
          return undefined;
      }
    },
  };

  async function mark(vm: AnyRecord, volumes: readonly RecordOf<"volume">[]): Promise<void> {
    const compare: Compare[] = [unchanged(vm)];
    const then: Operation[] = [];
    for (const volume of volumes) {
      const entry = await store.get(partKey("volume", volume.id, "spec"));
      if (!entry) continue;
      compare.push({ key: entry.key, modRevision: entry.modRevision });
      const head = JSON.parse(entry.value) as Record<string, unknown>; // a spec part is an object; unknown fields are kept
      then.push({ put: entry.key, value: JSON.stringify({ ...head, deletedAt: clock.now(), generation: volume.generation + 1 }) });
    }
    const result = await commit(context, { compare, then });
    if (!result.succeeded) throw new Overtaken(`disks of ${vm.name} changed meanwhile`);
  }

  /** What other records hold about this one: a host's parts, a user's tokens, a project's usage. */
  async function clearTraces(record: AnyRecord): Promise<void> {
    const traces: Operation[] = [];
    if (record.kind === "host")
      for (const kind of ["pool", "network", "image"] as const)
        for (const other of cache.all(kind))
          if (other.status.hosts?.[record.id] !== undefined) traces.push({ delete: partKey(kind, other.id, `status/hosts/${record.id}`) });
    for (let start = 0; start < traces.length; start += operationsPerTransaction) {
      const result = await commit(context, { compare: [unchanged(record)], then: traces.slice(start, start + operationsPerTransaction) });
      if (!result.succeeded) throw new Overtaken(`${record.name} changed meanwhile`);
    }
    if (record.kind !== "user") return;
    for (const token of cache.all("token")) if (token.spec.user === record.id && token.deletedAt === undefined) await removeToken(token);
  }

  async function removeToken(token: RecordOf<"token">): Promise<void> {
    const record: AnyRecord = { ...token, kind: "token", deletedAt: clock.now() };
    const plan = planDeletion({ record, volumes: [], hostExists: false, referredBy: null });
    if (plan.step === "remove") await remove(record, plan.prefix, plan.keys);
  }

  async function remove(record: AnyRecord, prefix: string, keys: readonly string[]): Promise<void> {
    // Two operations are kept for the prefix and the quota. Nobody takes a key anew in the name of a record that is being deleted.
    const room = operationsPerTransaction - 2;
    const excess = keys.length > room ? keys.slice(room) : [];
    for (let start = 0; start < excess.length; start += operationsPerTransaction) {
      const result = await commit(context, { compare: [unchanged(record)], then: deletions(excess.slice(start, start + operationsPerTransaction)) });
      if (!result.succeeded) throw new Overtaken(`${record.name} changed meanwhile`);
    }
    const last = [{ deletePrefix: prefix }, ...deletions(keys.slice(0, room))];
    for (let tries = 0; tries < quotaTries; tries += 1) {
      const quota = await quotaChange(record);
      const result = await commit(context, { compare: [unchanged(record), ...quota.compare], then: [...last, ...quota.then] });
      if (result.succeeded) return;
      const spec = result.current.get(partKey(record.kind, record.id, "spec"));
      if (spec === null) return; // removed by an earlier try whose answer was lost
      if (spec !== undefined && spec.modRevision !== record.specRevision) break;
    }
    throw new Overtaken(`${record.name} or its project's usage changed meanwhile`);
  }

  async function quotaChange(record: AnyRecord): Promise<{ compare: Compare[]; then: Operation[] }> {
    if (record.kind === "project") return { compare: [], then: [{ delete: quotaUsageKey(record.id) }] };
    if (record.project === undefined) return { compare: [], then: [] };
    const key = quotaUsageKey(record.project);
    const entry = await store.get(key);
    const compare = [{ key, modRevision: entry?.modRevision ?? 0 }];
    if (!entry) return { compare, then: [] };
    const usage = addUsage(QuotaUsage.parse(JSON.parse(entry.value)), quotaUsageOf(record.kind, record.spec), -1);
    return { compare, then: [{ put: key, value: JSON.stringify(usage) }] };
  }
}

const unchanged = (record: AnyRecord): Compare => ({ key: partKey(record.kind, record.id, "spec"), modRevision: record.specRevision });
const deletions = (keys: readonly string[]): Operation[] => keys.map((key) => ({ delete: key }));
const disks = (vm: RecordOf<Kind> | undefined): RecordOf<"vm">["spec"]["disks"] => (vm as RecordOf<"vm"> | undefined)?.spec.disks ?? []; // asked for machines alone
