/** Which hosts hold members of a together or apart group, counted. Used by SnapshotIndex alone. */
export class GroupLedger {
  readonly #groups = new Map<string, Map<number, number>>();

  add(group: string, slot: number, sign: 1 | -1): void {
    let hosts = this.#groups.get(group);
    if (hosts === undefined) {
      hosts = new Map();
      this.#groups.set(group, hosts);
    }
    const count = (hosts.get(slot) ?? 0) + sign;
    if (count !== 0) hosts.set(slot, count);
    else hosts.delete(slot);
    if (hosts.size === 0) this.#groups.delete(group);
  }

  /** Hosts that hold members. */
  slots(group: string): Iterable<number> {
    return this.#groups.get(group)?.keys() ?? [];
  }

  /** Members on that host. */
  count(group: string, slot: number): number {
    return this.#groups.get(group)?.get(slot) ?? 0;
  }

  /** Members on any host that is not left out. */
  total(group: string, isLeftOut: (slot: number) => boolean): number {
    let sum = 0;
    for (const [slot, count] of this.#groups.get(group) ?? []) if (!isLeftOut(slot)) sum += count;
    return sum;
  }
}
