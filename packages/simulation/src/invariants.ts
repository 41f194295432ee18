/**
 * What must never be otherwise in the records, looked at after every commit: epochs only grow, no address and no MAC twice, no host
 * promised more than it has, every change of what is wanted audited once, in its own commit. And what must be so at the end.
 * Told by `RecordsWatch`; each look costs what the commit changed.
 */
import { hostOffer } from "@sheaf/model";
import type { Commit, Part, PartChange, RecordsWatch } from "./records-watch.ts";
import type { Truth } from "./truth.ts";

export class Invariants {
  readonly #records: RecordsWatch;
  readonly #broken: (what: string) => void;
  readonly #macs = new Map<string, string>();
  readonly #addresses = new Map<string, string>();
  /** Memory of the machines placed on each host. */
  readonly #promised = new Map<string, number>();
  readonly #charges = new Map<string, { readonly host: string; readonly bytes: number }>();
  /** Least memory that a machine ever asked for. */
  readonly #least = new Map<string, number>();
  /** Newest generation that somebody was told of. */
  readonly #acknowledged = new Map<string, number>();
  readonly #mayBeGone = new Set<string>();
  readonly #audited = new Map<string, number>();
  readonly #requests = new Map<string, string>();

  constructor(records: RecordsWatch, broken: (what: string) => void) {
    this.#records = records;
    this.#broken = broken;
    records.subscribe((commit) => this.#look(commit));
  }

  /** The API has said that this is durable. */
  acknowledged(what: string, requestId: string, record?: { readonly kind: string; readonly id: string; readonly generation: number }): void {
    this.#requests.set(requestId, what);
    if (!record) return;
    const key = `${record.kind}/${record.id}`;
    this.#acknowledged.set(key, Math.max(this.#acknowledged.get(key) ?? 0, record.generation));
  }

  /** Its deletion was asked for: from now on it may be gone, whether or not an answer came. */
  mayBeGone(path: string): void {
    this.#mayBeGone.add(path);
  }

  /** A creation was repeated with its key and was not answered as the first time. */
  refusedOwnRequest(path: string): void {
    this.#broken(`a creation (${path}) that was repeated with the same key was refused because of itself`);
  }

  /** What was acknowledged since the backup is lost, and nobody may say otherwise. */
  #restored(parts: Commit["parts"]): void {
    this.#acknowledged.clear();
    this.#requests.clear();
    const heads = parts.filter(({ kind, part }) => kind === "vm" && part === "spec");
    for (const change of heads) this.#nics({ ...change, now: undefined });
    for (const change of heads) this.#nics({ ...change, before: undefined });
    for (const { id } of heads) this.#charge(id);
  }

  #look({ parts, audit, restored }: Commit): void {
    if (restored) return this.#restored(parts);
    const machines = new Set<string>();
    for (const change of parts) {
      if (change.kind === "vm" || change.kind === "volume") this.#placement(change);
      if (change.kind === "vm" && (change.part === "spec" || change.part === "placement")) machines.add(change.id);
      if (change.kind === "vm" && change.part === "spec") this.#nics(change);
      if (change.part === "spec") this.#generation(change, audit);
    }
    for (const { key, entry, version } of audit) {
      if (version > 1) this.#broken(`the audit entry ${key} was written ${version} times`);
      if (entry.result === "done" && entry.requestId !== undefined) this.#audited.set(entry.requestId, (this.#audited.get(entry.requestId) ?? 0) + 1);
    }
    for (const id of machines) {
      const host = this.#charge(id);
      // After a restore: what a host holds is promised, whatever else the backup puts there.
      if (host !== null && !this.#records.part("vm", id, "placement")?.reason?.startsWith("its host holds it")) this.#capacity(host);
    }
  }

  #placement({ kind, id, part, now, before }: PartChange): void {
    if (part !== "placement" || !now || !before) return;
    if (now.incarnation !== before.incarnation) return;
    if (now.epoch < before.epoch || (now.epoch === before.epoch && now.host !== before.host))
      this.#broken(`the epoch of ${kind} ${this.#records.name(kind, id)} went from ${before.epoch} on ${before.host} to ${now.epoch} on ${now.host}`);
  }

  #nics({ id, now, before }: PartChange): void {
    for (const nic of before?.spec.nics ?? []) {
      if (this.#macs.get(nic.mac) === id) this.#macs.delete(nic.mac);
      for (const address of nic.addresses ?? [])
        if (this.#addresses.get(`${nic.network} ${address}`) === id) this.#addresses.delete(`${nic.network} ${address}`);
    }
    for (const nic of now?.spec.nics ?? []) {
      this.#unique(this.#macs, nic.mac, id, "MAC");
      for (const address of nic.addresses ?? []) this.#unique(this.#addresses, `${nic.network} ${address}`, id, "address");
    }
  }

  #unique(taken: Map<string, string>, what: string, id: string, name: string): void {
    const other = taken.get(what);
    if (other !== undefined && other !== id)
      this.#broken(`the ${name} ${what} is given to ${this.#records.name("vm", other)} and to ${this.#records.name("vm", id)}`);
    taken.set(what, id);
  }

  /** @returns the host to which it is charged anew */
  #charge(id: string): string | null {
    const before = this.#charges.get(id);
    const head = this.#records.part("vm", id, "spec");
    const host: string | undefined = this.#records.part("vm", id, "placement")?.host;
    if (before) this.#promised.set(before.host, (this.#promised.get(before.host) ?? 0) - before.bytes);
    if (!head) this.#least.delete(id);
    if (!head || host === undefined) {
      this.#charges.delete(id);
      return null;
    }
    // Growth is the person's decision, made while others may be on their way here; a host is chosen by Sheaf.
    const bytes = Math.min(head.spec.memory.bytes, this.#least.get(id) ?? Number.POSITIVE_INFINITY);
    this.#least.set(id, bytes);
    this.#charges.set(id, { host, bytes });
    this.#promised.set(host, (this.#promised.get(host) ?? 0) + bytes);
    return host === before?.host ? null : host;
  }

  #capacity(host: string): void {
    const head = this.#records.part("host", host, "spec");
    const seen = this.#records.part("host", host, "status/agent");
    if (!head || !seen) return;
    const cluster = this.#records.part("cluster", head.spec.cluster, "spec");
    const ratio = head.spec.memoryOvercommit ?? cluster?.spec.memoryOvercommit ?? 1;
    const offered = hostOffer(head.spec, seen).memoryBytes * ratio;
    const promised = this.#promised.get(host) ?? 0;
    if (promised > offered) this.#broken(`host ${head.name} is promised ${promised} bytes of memory and offers ${offered}`);
  }

  /** What a person wants changes together with its entry in the audit trail, or not at all. */
  #generation({ kind, id, now, before }: PartChange, audit: Commit["audit"]): void {
    if (kind === "task" || !now) return;
    // A machine's disks are deleted with it: that the person asked for the machine's deletion is audited.
    if (kind === "volume" && now.deletedAt !== undefined) return;
    if ((before && now.deletedAt === before.deletedAt && now.generation === before.generation) || now.createdBy === "system" || audit.length === 1)
      return;
    this.#broken(`${kind} ${now.name} (${id}) was changed with ${audit.length} entries in the audit trail`);
  }

  /** Also during faults: what was acknowledged is there. */
  survived(): void {
    for (const [key, generation] of this.#acknowledged) {
      const [kind = "", id = ""] = key.split("/");
      const head = this.#records.part(kind as "vm", id, "spec"); // written by `acknowledged` with a record's kind
      const name = this.#records.name(kind as "vm", id);
      if (!head && !this.#mayBeGone.has(id)) this.#broken(`${kind} ${name} (${id}) was acknowledged and is lost`);
      if (head && head.generation < generation)
        this.#broken(`generation ${generation} of ${kind} ${name} was acknowledged; it is at ${head.generation}`);
    }
  }

  /** At the end, when the trail is settled. That each change has its entry is looked at in its own commit. */
  audited(): void {
    for (const [requestId, what] of this.#requests) {
      const count = this.#audited.get(requestId) ?? 0;
      if (count > 1) this.#broken(`${what} (request ${requestId}) was asked for once and stands ${count} times in the audit trail`);
    }
  }
}

/** Sentences for each desire that is neither reached nor explained. Empty: all is as it is wanted, or says why not. */
export function unmet(records: RecordsWatch, truth: Truth, hostName: (id: string) => string): string[] {
  const found: string[] = [];
  for (const id of records.ids("vm")) {
    const why = unmetMachine(records, truth, hostName, id);
    if (why !== null) found.push(`machine ${records.name("vm", id)}: ${why}`);
  }
  for (const id of records.ids("host")) {
    const { state, reason } = records.part("host", id, "status/fencing") ?? {};
    if (state !== undefined) found.push(`host ${hostName(id)} is well and still ${state} (${reason})`);
  }
  for (const id of records.ids("task")) {
    const head = records.part("task", id, "spec");
    const [controller, agent] = [records.part("task", id, "status/controller"), records.part("task", id, "status/agent")];
    if (!head || [controller, agent].some((progress) => progress && progress.state !== "running")) continue;
    // A drain is over when its host is empty, or says what keeps it.
    if (head.spec.verb === "drain" && (records.part("host", head.spec.target.id, "status/drain")?.stuck.length ?? 0) > 0) continue;
    // Waiting for room, with the reason at the machine.
    if (explained(records, head.spec.target)) continue;
    found.push(`task ${head.spec.verb} ${head.spec.target.name} (${id}) has not ended: ${(agent ?? controller)?.message ?? "nothing was done"}`);
  }
  for (const id of records.ids("volume")) {
    const head = records.part("volume", id, "spec");
    if (head?.deletedAt !== undefined) found.push(`volume ${head.name} is still being deleted`);
    const seen = records.part("volume", id, "status/agent");
    if (head && records.part("volume", id, "placement") && seen?.state !== "ready" && seen?.problem === undefined)
      found.push(`volume ${head.name} is ${seen?.state ?? "not there"}`);
  }
  return found;
}

/** A person is to say that no host which joined after the backup holds it. */
const isOfAnotherStore = (seen: Part): boolean => seen?.state === "stopped" && seen.reason?.endsWith("place it anew") === true;

function explained(records: RecordsWatch, { kind, id }: { kind: string; id: string }): boolean {
  if (kind !== "vm") return false;
  if (isOfAnotherStore(records.part("vm", id, "status/agent"))) return true;
  return records.part("vm", id, "status/placement")?.pending !== undefined || records.part("vm", id, "status/agent")?.problem !== undefined;
}

function unmetMachine(records: RecordsWatch, truth: Truth, hostName: (id: string) => string, id: string): string | null {
  const head = records.part("vm", id, "spec");
  const running = truth.runningOn(id);
  if (!head) return running.length > 0 ? `is gone from the records and runs on ${running.join(", ")}` : null;
  const placement = records.part("vm", id, "placement");
  const seen = records.part("vm", id, "status/agent");
  if (head.deletedAt !== undefined) return "is still being deleted";
  if (records.part("vm", id, "status/migration")) return `is still moving (${records.part("vm", id, "status/migration").phase})`;
  if (!placement) {
    if (head.spec.power === "stopped") return null;
    return records.part("vm", id, "status/placement")?.pending ? null : "has no host, and no reason is told";
  }
  const host = hostName(placement.host);
  const there = running.length === 1 && running[0] === host;
  if (running.length > 0 && !there) return `belongs on ${host} and runs on ${running.join(", ")}`;
  if (!seen || seen.epoch !== placement.epoch) return `nothing is reported of it under epoch ${placement.epoch}`;
  if (seen.state === "running" && !there && head.spec.power !== "paused") return `is reported running on ${host} and does not run`;
  if (seen.state === "stopped" && there) return `is reported stopped and runs on ${host}`;
  if (seen.problem !== undefined || seen.state === "failed") return null;
  if (isOfAnotherStore(seen)) return null;
  // Deleted after the backup that is back now: it is on record again, and its disks say why it cannot start.
  if (head.spec.disks.some(({ volume }: { volume: string }) => records.part("volume", volume, "status/agent")?.problem !== undefined)) return null;
  switch (head.spec.power) {
    case "running":
      if (there && seen.state === "running") return null;
      if (seen.stoppedBy === "guest" && seen.startRequestSeen === head.spec.startRequest) return null;
      return `is to run and is ${seen.state}${seen.reason === undefined ? "" : ` (${seen.reason})`}`;
    case "stopped":
      return seen.state === "stopped" || seen.state === "crashed" ? null : `is to be stopped and is ${seen.state}`;
    default:
      return seen.state === "paused" || (seen.state === "stopped" && seen.reason !== undefined) ? null : `is to be paused and is ${seen.state}`;
  }
}
