/**
 * Which records concern which host: what its agent is given (contract/wire.ts, AgentDocument). Kept up to date from each change of the
 * cache at a cost of what changed, never of what there is: a change of one machine touches one host, whatever the size of the site.
 * Called by the gateway alone. Holds keys, no records.
 */
import { isDeepStrictEqual } from "node:util";
import { taskState, type Kind, type RecordOf } from "@sheaf/model";
import type { RecordCache, RecordChange } from "../context.ts";

export type RecordKey = `${Kind}/${string}`;
export const recordKey = (kind: Kind, id: string): RecordKey => `${kind}/${id}`;
export function parseRecordKey(key: RecordKey): { readonly kind: Kind; readonly id: string } {
  const slash = key.indexOf("/");
  return { kind: key.slice(0, slash) as Kind /* made by `recordKey` */, id: key.slice(slash + 1) };
}

const order: readonly Kind[] = ["cluster", "host", "network", "pool", "image", "volume", "vm", "task"];
/** What others refer to comes first: a host is told of a machine's disks before it is told of the machine. */
export function inTellingOrder(keys: Iterable<RecordKey>): RecordKey[] {
  const byKind = new Map<Kind, RecordKey[]>(order.map((kind) => [kind, []]));
  for (const key of keys) byKind.get(parseRecordKey(key).kind)?.push(key);
  return [...byKind.values()].flat();
}

export interface DocumentListener {
  /** What the host is to know of this record may have changed, or it begins or ceases to concern the host. */
  changed(hostId: string, key: RecordKey): void;
  /** The same, for every host. */
  changedForAll(key: RecordKey): void;
}

/** One reason for which a host is given a record. */
type Reason = readonly [hostId: string, key: RecordKey];

export class HostDocuments {
  readonly #cache: RecordCache;
  readonly #listener: DocumentListener;
  /** By host: how many reasons there are for each record. */
  readonly #byHost = new Map<string, Map<RecordKey, number>>();
  /** By record: its hosts. Mostly one; then it stands without a set, which 100,000 machines would feel. */
  readonly #byRecord = new Map<RecordKey, string | Set<string>>();
  readonly #forAll = new Set<RecordKey>();
  /** What machines on the move add for both their hosts; it depends on other records, so it is remembered. */
  readonly #moving = new Map<string, readonly Reason[]>();

  constructor(cache: RecordCache, listener: DocumentListener) {
    this.#cache = cache;
    this.#listener = listener;
    for (const kind of concerningKinds) for (const record of cache.all(kind)) this.apply({ kind, id: record.id, record });
  }

  concerns(hostId: string, key: RecordKey): boolean {
    return this.#forAll.has(key) || (this.#byHost.get(hostId)?.has(key) ?? false);
  }

  *of(hostId: string): Iterable<RecordKey> {
    yield* this.#forAll;
    for (const key of this.#byHost.get(hostId)?.keys() ?? []) if (!this.#forAll.has(key)) yield key;
  }

  apply(change: RecordChange): void {
    const { kind, id, record, previous } = change;
    const key = recordKey(kind, id);
    // Most changes are of what was seen: they move nothing, and are told to nobody.
    if (!hasSameReasons(change)) {
      this.#applyForAll(key, change);
      const before = previous ? reasonsOf(previous) : [];
      const after = record ? reasonsOf(record) : [];
      // Added first, so that what stays never looks as if it went.
      const moving = kind === "vm" ? this.#reasonsOfMove(id, record as RecordOf<"vm"> | undefined /* kind says so */) : noMove;
      for (const reason of [...after, ...moving.after]) this.#add(reason);
      for (const reason of [...before, ...moving.before]) this.#remove(reason);
    }
    if (!isWorthTelling(change)) return;
    if (this.#forAll.has(key)) this.#listener.changedForAll(key);
    else for (const hostId of this.#hostsOf(key)) this.#listener.changed(hostId, key);
  }

  #applyForAll(key: RecordKey, { record }: RecordChange): void {
    const forAll = record !== undefined && isForAll(record);
    if (forAll === this.#forAll.has(key)) return;
    if (forAll) this.#forAll.add(key);
    else this.#forAll.delete(key);
    this.#listener.changedForAll(key);
  }

  #reasonsOfMove(id: string, record: RecordOf<"vm"> | undefined): { before: readonly Reason[]; after: readonly Reason[] } {
    const before = this.#moving.get(id) ?? [];
    const after = record?.status.migration ? this.#partsOfMoving(record) : [];
    if (after.length > 0) this.#moving.set(id, after);
    else this.#moving.delete(id);
    return { before, after };
  }

  /** Pools and images of its volumes: the target needs them before anything is placed there. */
  #partsOfMoving(vm: RecordOf<"vm">): Reason[] {
    const reasons: Reason[] = [];
    for (const hostId of hostsOfVm(vm)) {
      for (const { volume } of vm.spec.disks) {
        const found = volume === undefined ? undefined : this.#cache.get("volume", volume);
        if (found) reasons.push(...partsOfVolume(hostId, found));
      }
    }
    return reasons;
  }

  #hostsOf(key: RecordKey): Iterable<string> {
    const hosts = this.#byRecord.get(key);
    if (hosts === undefined) return [];
    return typeof hosts === "string" ? [hosts] : [...hosts];
  }

  #add([hostId, key]: Reason): void {
    let records = this.#byHost.get(hostId);
    if (!records) this.#byHost.set(hostId, (records = new Map()));
    const count = records.get(key) ?? 0;
    records.set(key, count + 1);
    if (count > 0) return;
    const hosts = this.#byRecord.get(key);
    if (hosts === undefined) this.#byRecord.set(key, hostId);
    else if (typeof hosts === "string") this.#byRecord.set(key, new Set([hosts, hostId]));
    else hosts.add(hostId);
    this.#listener.changed(hostId, key);
  }

  #remove([hostId, key]: Reason): void {
    const records = this.#byHost.get(hostId);
    const count = records?.get(key);
    if (!records || count === undefined) return;
    if (count > 1) return void records.set(key, count - 1);
    records.delete(key);
    if (records.size === 0) this.#byHost.delete(hostId);
    const hosts = this.#byRecord.get(key);
    if (hosts instanceof Set) hosts.delete(hostId);
    if (hosts === hostId || (hosts instanceof Set && hosts.size === 0)) this.#byRecord.delete(key);
    this.#listener.changed(hostId, key);
  }
}

const concerningKinds = ["host", "cluster", "pool", "network", "image", "volume", "vm", "task"] as const satisfies readonly Kind[];
const noMove = { before: [], after: [] } as const;

/** Records are never changed in place: what is the same object says the same. */
function hasSameReasons({ kind, record, previous }: RecordChange): boolean {
  if (record === undefined || previous === undefined || record.spec !== previous.spec || record.placement !== previous.placement) return false;
  if (kind === "task") return record.status === previous.status;
  // A machine on the move: its reasons depend on other records too.
  return kind !== "vm" || ((record as RecordOf<"vm">).status.migration === undefined && (previous as RecordOf<"vm">).status.migration === undefined); // kind says so
}

/** Pools and networks that name no hosts are there on every host. */
function isForAll(record: RecordOf<Kind>): boolean {
  if (record.kind !== "pool" && record.kind !== "network") return false;
  return (record as RecordOf<"pool" | "network">).spec.hosts === undefined; // kind says so
}

/** Where it is, where it moves to, and where it moved from, until that is settled. */
export function hostsOfVm(vm: RecordOf<"vm">): ReadonlySet<string> {
  const { migration } = vm.status;
  return new Set([...(vm.placement ? [vm.placement.host] : []), ...(migration ? [migration.source, migration.target] : [])]);
}

/** Why which hosts are given this and other records, as far as this record alone tells. The casts follow `kind`. */
function reasonsOf(record: RecordOf<Kind>): Reason[] {
  const self = recordKey(record.kind, record.id);
  switch (record.kind) {
    case "host":
      return [
        [record.id, self],
        [record.id, recordKey("cluster", (record as RecordOf<"host">).spec.cluster)],
      ];
    case "pool":
    case "network":
      return ((record as RecordOf<"pool" | "network">).spec.hosts ?? []).map((hostId) => [hostId, self]);
    case "vm":
      return reasonsOfVm(record as RecordOf<"vm">, self);
    case "volume":
      return record.placement ? [[record.placement.host, self], ...partsOfVolume(record.placement.host, record as RecordOf<"volume">)] : [];
    case "task": {
      const task = record as RecordOf<"task">;
      const state = taskState(task.status);
      return task.spec.host !== undefined && (state === "waiting" || state === "running") ? [[task.spec.host, self]] : [];
    }
    default:
      return [];
  }
}

function reasonsOfVm(vm: RecordOf<"vm">, self: RecordKey): Reason[] {
  const reasons: Reason[] = [];
  for (const hostId of hostsOfVm(vm)) {
    reasons.push([hostId, self]);
    for (const { volume } of vm.spec.disks) if (volume !== undefined) reasons.push([hostId, recordKey("volume", volume)]);
    for (const { image } of vm.spec.cdroms) if (image !== null) reasons.push([hostId, recordKey("image", image)]);
    for (const { network } of vm.spec.nics) reasons.push([hostId, recordKey("network", network)]);
  }
  return reasons;
}

function partsOfVolume(hostId: string, { spec }: RecordOf<"volume">): Reason[] {
  const reasons: Reason[] = [[hostId, recordKey("pool", spec.pool)]];
  if (spec.source && "image" in spec.source) reasons.push([hostId, recordKey("image", spec.source.image)]);
  if (spec.source && "volume" in spec.source) reasons.push([hostId, recordKey("volume", spec.source.volume)]);
  return reasons;
}

/** Parts of status that agents act on. What they report themselves is not told back to them, nor what other hosts report. */
const tellingParts: Partial<Record<Kind, readonly string[]>> = {
  vm: ["migration", "order", "yield"],
  image: ["library"],
  task: ["controller"],
  cluster: ["baseline"],
};

function isWorthTelling({ kind, record, previous }: RecordChange): boolean {
  if (!record || !previous) return true;
  if (record.specRevision !== previous.specRevision && !isForPeopleAlone(record, previous)) return true;
  if (!isDeepStrictEqual(record.placement, previous.placement)) return true;
  return (tellingParts[kind] ?? []).some((part) => {
    const before = (previous.status as Record<string, unknown>)[part];
    const after = (record.status as Record<string, unknown>)[part];
    // How many hosts a CPU baseline was chosen from changes with each that comes; every agent would look at all its machines for that.
    if (kind === "cluster") return modelOf(before) !== modelOf(after);
    return before !== after && !isDeepStrictEqual(before, after);
  });
}

/** Labels and display names: no agent reads them, and each document that it is given makes it look at its thing. */
function isForPeopleAlone(record: RecordOf<Kind>, previous: RecordOf<Kind>): boolean {
  const rest = ({ labels: _labels, displayName: _name, status: _status, revision: _revision, specRevision: _spec, ...head }: RecordOf<Kind>) => head;
  return isDeepStrictEqual(rest(record), rest(previous));
}

const modelOf = (baseline: unknown): string | undefined => (baseline as { readonly model: string } | undefined)?.model; // the cluster's part
