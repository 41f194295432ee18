/**
 * Sums and back references over the cache, kept up to date change by change, so that no request walks all machines: what refers to a
 * record, which machine holds a volume, what a project uses, which addresses are taken, which numbers were given. Read by the record
 * rules; written by the cache's changes alone.
 */
import { addUsage, isProjectKind, kinds, noUsage, quotaUsageOf, type AnyRecord, type Kind, type QuotaUsage, type RecordOf } from "@sheaf/model";
import type { RecordCache } from "../context.ts";

export class SiteIndex {
  readonly #cache: RecordCache;
  /** `kind/id` → how many records refer to it. */
  readonly #references = new Map<string, number>();
  readonly #vmOfVolume = new Map<string, string>();
  readonly #usage = new Map<string, QuotaUsage>();
  /** Network → addresses in use. */
  readonly #addresses = new Map<string, Set<string>>();
  readonly #released: ((networkId: string, address: string) => void)[] = [];
  readonly #numbers = { vm: new Map<number, string>(), image: new Map<number, string>() };

  constructor(cache: RecordCache) {
    this.#cache = cache;
    for (const kind of kinds) for (const record of cache.all(kind)) this.#count(record as AnyRecord /* from the cache, under its kind */, 1);
    cache.subscribe((_revision, changes) => {
      for (const { kind, previous, record } of changes) {
        // What a volume refers to depends on its status too.
        const sameSpec = previous !== undefined && previous.spec === record?.spec && previous.placement === record.placement;
        if (sameSpec && kind !== "volume") continue;
        // The new one first: an address that stays is not told as released.
        if (record !== undefined) this.#count(record as AnyRecord, 1);
        if (previous !== undefined) this.#count(previous as AnyRecord, -1, record as AnyRecord | undefined);
      }
    });
  }

  /** How often records refer to this one. */
  references(kind: Kind, id: string): number {
    return this.#references.get(`${kind}/${id}`) ?? 0;
  }

  vmOfVolume(volumeId: string): string | undefined {
    return this.#vmOfVolume.get(volumeId);
  }

  usage(projectId: string): QuotaUsage {
    return this.#usage.get(projectId) ?? noUsage;
  }

  addressesOf(networkId: string): ReadonlySet<string> {
    return this.#addresses.get(networkId) ?? new Set();
  }

  /** @param listener called when an address is no longer in use */
  onReleased(listener: (networkId: string, address: string) => void): void {
    this.#released.push(listener);
  }

  /** Id of the record with that number. */
  numbered(kind: "vm" | "image", number: number): string | undefined {
    return this.#numbers[kind].get(number);
  }

  /** Up to `limit` records that refer to this one, for messages: walks everything, so only for refusals. */
  referring(kind: Kind, id: string, limit: number): string[] {
    const wanted = `${kind}/${id}`;
    const found: string[] = [];
    for (const other of kinds)
      for (const record of this.#cache.all(other)) {
        if (found.length >= limit) return found;
        if (references(record as AnyRecord).includes(wanted)) found.push(`${other} ${record.name}`);
      }
    return found;
  }

  #count(record: AnyRecord, sign: 1 | -1, next?: AnyRecord): void {
    for (const key of references(record)) {
      const count = (this.#references.get(key) ?? 0) + sign;
      if (count > 0) this.#references.set(key, count);
      else this.#references.delete(key);
    }
    if (record.project !== undefined && isProjectKind(record.kind)) {
      const change = quotaUsageOf(record.kind, record.spec);
      if (change !== noUsage) this.#usage.set(record.project, addUsage(this.usage(record.project), change, sign));
    }
    if (record.kind === "vm" || record.kind === "image") {
      const { number } = record;
      if (number !== undefined && sign === 1) this.#numbers[record.kind].set(number, record.id);
      else if (number !== undefined && next === undefined) this.#numbers[record.kind].delete(number);
    }
    if (record.kind === "vm") this.#countVm(record, sign, next);
  }

  #countVm(record: RecordOf<"vm">, sign: 1 | -1, next: AnyRecord | undefined): void {
    for (const { volume } of record.spec.disks) {
      if (volume === undefined) continue;
      if (sign === 1) this.#vmOfVolume.set(volume, record.id);
      else if (this.#vmOfVolume.get(volume) === record.id && !holdsVolume(next, volume)) this.#vmOfVolume.delete(volume);
    }
    for (const { network, addresses = [] } of record.spec.nics)
      for (const address of addresses) {
        let used = this.#addresses.get(network);
        if (used === undefined) this.#addresses.set(network, (used = new Set()));
        if (sign === 1) used.add(address);
        else if (!holdsAddress(next, network, address)) {
          used.delete(address);
          for (const listener of this.#released) listener(network, address);
        }
      }
  }
}

const holdsVolume = (record: AnyRecord | undefined, volume: string): boolean =>
  record?.kind === "vm" && record.spec.disks.some((disk) => disk.volume === volume);
const holdsAddress = (record: AnyRecord | undefined, network: string, address: string): boolean =>
  record?.kind === "vm" && record.spec.nics.some((nic) => nic.network === network && nic.addresses?.includes(address) === true);

/** What a record refers to, as `kind/id`; each once for each mention. */
export function references(record: AnyRecord): string[] {
  switch (record.kind) {
    case "vm": {
      const { disks, cdroms, nics, placement } = record.spec;
      const found = [`project/${record.project ?? ""}`];
      for (const disk of disks) if (disk.volume !== undefined) found.push(`volume/${disk.volume}`);
      for (const { image } of cdroms) if (image !== null) found.push(`image/${image}`);
      for (const { network } of nics) found.push(`network/${network}`);
      if (placement.cluster !== undefined) found.push(`cluster/${placement.cluster}`);
      if (record.placement !== undefined) found.push(`host/${record.placement.host}`);
      else if (placement.host !== undefined) found.push(`host/${placement.host}`);
      return found;
    }
    case "volume": {
      const { pool, source, host } = record.spec;
      const found = [`project/${record.project ?? ""}`, `pool/${pool}`];
      // A full copy needs its image only until it is made; a linked one for ever.
      if (source !== undefined && "image" in source && (source.clone === "linked" || record.status.agent?.state !== "ready"))
        found.push(`image/${source.image}`);
      if (source !== undefined && "volume" in source && record.status.agent?.state !== "ready") found.push(`volume/${source.volume}`);
      const at = record.placement?.host ?? host;
      if (at !== undefined) found.push(`host/${at}`);
      return found;
    }
    case "image":
    case "network":
      return [`project/${record.project ?? ""}`];
    case "host":
      return [`cluster/${record.spec.cluster}`];
    case "user":
      return record.spec.grants.flatMap(({ role, project }) => [`role/${role}`, ...(project === "*" ? [] : [`project/${project}`])]);
    case "token":
    case "cluster":
    case "pool":
    case "task":
    case "project":
    case "role":
      return [];
  }
}
