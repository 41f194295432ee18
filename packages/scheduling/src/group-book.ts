/** Groups of machines with rules: which hosts hold members, and which rules members brought along that bind the others. Used by SnapshotIndex alone. */
import type { GroupRule } from "@sheaf/model";
import { GroupLedger } from "./group-ledger.ts";

/** A rule of a machine; the group's name has the project in front. */
export type RequestRule = Omit<GroupRule, "limit"> & { readonly limit: number };

interface CountedRule {
  readonly rule: RequestRule;
  count: number;
}

export class GroupBook {
  readonly #members = new GroupLedger();
  /** By group, then by what the rule says. Preferences bind nobody else. */
  readonly #rules = new Map<string, Map<string, CountedRule>>();

  change(rules: readonly RequestRule[], slot: number, sign: 1 | -1): void {
    for (const group of new Set(rules.map((rule) => rule.group))) this.#members.add(group, slot, sign);
    for (const rule of rules) if (!rule.preferred) this.#count(rule, sign);
  }

  slots(group: string): Iterable<number> {
    return this.#members.slots(group);
  }

  /** Members on that host. */
  count(group: string, slot: number): number {
    return this.#members.count(group, slot);
  }

  /** What binds a machine with these rules: its own, and those that members of its groups brought along. */
  binding(own: readonly RequestRule[]): RequestRule[] {
    const all = new Map<string, RequestRule>();
    for (const rule of own) {
      if (!rule.preferred) all.set(wording(rule), rule);
      for (const [key, theirs] of this.#rules.get(rule.group) ?? []) all.set(key, theirs.rule);
    }
    // Whoever came first: the same answer.
    return [...all].sort(([a], [b]) => (a < b ? -1 : 1)).map(([, rule]) => rule);
  }

  #count(rule: RequestRule, sign: 1 | -1): void {
    let rules = this.#rules.get(rule.group);
    if (rules === undefined) this.#rules.set(rule.group, (rules = new Map()));
    const key = wording(rule);
    const known = rules.get(key);
    const count = (known?.count ?? 0) + sign;
    if (known === undefined) rules.set(key, { rule, count });
    else known.count = count;
    if (count === 0) rules.delete(key);
    if (rules.size === 0) this.#rules.delete(rule.group);
  }
}

const wording = ({ group, keep, within, limit }: RequestRule): string => `${keep}/${within}/${limit}/${group}`;
