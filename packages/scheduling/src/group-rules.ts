/**
 * Rules of groups by host, rack and zone: what they rule out, and how far a host is from what is preferred. Members are counted where they are
 * charged, reservations too; the machine itself does not count. A rule that is no preference binds every member of its group.
 */
import type { GroupExtent } from "@sheaf/model";
import type { RequestRule } from "./group-book.ts";
import { fewSlotsFilter, type HostFilter, hostFilter } from "./host-filter.ts";
import { leftHosts } from "./left-hosts.ts";
import type { PlacementRequest } from "./placement-request.ts";
import type { SnapshotIndex } from "./snapshot.ts";

/** Members of a group besides the machine itself. */
interface Members {
  /** In the same host, rack or zone as the slot; `undefined` where the host names none. */
  readonly near: (slot: number) => number | undefined;
  /** Anywhere, but on hosts that are left. */
  readonly total: number;
}

export function groupRuleFilters(request: PlacementRequest, snapshot: SnapshotIndex): HostFilter[] {
  if (request.rules.length === 0) return [];
  const filters: HostFilter[] = [];
  for (const rule of snapshot.groups.binding(request.rules)) {
    const { near, total } = membersOf(rule, request, snapshot);
    const { keep, within, limit } = rule;
    const name = rule.group.slice(rule.group.indexOf("/") + 1);
    const head = { code: `group:${keep}:${within}:${name}`, own: keep === "together" };
    if (within !== "host") {
      const words = { code: `no-${within}`, own: false, one: `names no ${within}`, many: `name no ${within}` };
      filters.push(hostFilter(words, (slot) => near(slot) === undefined));
    }
    if (keep === "apart") {
      const [one, many] = fullWords(within, limit, name);
      const isFull = (slot: number): boolean => (near(slot) ?? 0) >= limit;
      const words = { ...head, one, many };
      filters.push(within === "host" ? fewSlotsFilter(words, () => snapshot.groups.slots(rule.group), isFull) : hostFilter(words, isFull));
    } else if (total > 0) {
      const [one, many] = emptyWords(within, name);
      filters.push(hostFilter({ ...head, one, many }, (slot) => near(slot) === 0));
    }
  }
  return filters;
}

/** How far a host is from what the machine prefers. */
export interface Preferences {
  /** 0: nothing is broken. */
  readonly broken: (slot: number) => number;
  /** What is, in words. */
  readonly told: (slot: number) => string[];
}

interface Preference {
  readonly broken: (slot: number) => number;
  readonly words: string;
}

/** @returns `undefined` where it prefers nothing */
export function preferencesOf(requests: readonly PlacementRequest[], snapshot: SnapshotIndex): Preferences | undefined {
  const all = requests.flatMap((request) => [...groupPreferences(request, snapshot), ...neighbourPreferences(request, snapshot)]);
  if (all.length === 0) return undefined;
  return {
    broken: (slot) => all.reduce((sum, { broken }) => sum + broken(slot), 0),
    told: (slot) => all.flatMap(({ broken, words }) => (broken(slot) > 0 ? words : [])),
  };
}

function groupPreferences(request: PlacementRequest, snapshot: SnapshotIndex): Preference[] {
  return request.rules.flatMap((rule): Preference[] => {
    if (!rule.preferred) return [];
    const { keep, within, limit } = rule;
    const { near, total } = membersOf(rule, request, snapshot);
    const name = rule.group.slice(rule.group.indexOf("/") + 1);
    // A host that names no rack is as good as one that breaks the rule once.
    if (keep === "apart") return [{ broken: (slot) => Math.max(0, (near(slot) ?? limit) + 1 - limit), words: fullWords(within, limit, name)[0] }];
    return total === 0 ? [] : [{ broken: (slot) => Number((near(slot) ?? 0) === 0), words: emptyWords(within, name)[0] }];
  });
}

function membersOf({ group, within }: RequestRule, request: PlacementRequest, snapshot: SnapshotIndex): Members {
  const { groups, table } = snapshot;
  const own = snapshot.charge(request.vm);
  const mine = own?.rules.some((rule) => rule.group === group) === true ? own.slots : [];
  const on = (slot: number): number => groups.count(group, slot) - Number(mine.includes(slot));
  const isLeft = leftHosts(request, snapshot);
  let total = 0;
  const near = new Map<number, number>();
  for (const slot of groups.slots(group)) {
    const count = on(slot);
    if (!isLeft(slot)) total += count;
    const domain = table.domainOf(slot, within);
    if (domain !== undefined) near.set(domain, (near.get(domain) ?? 0) + count);
  }
  if (within === "host") return { near: on, total };
  return {
    near: (slot) => {
      const domain = table.domainOf(slot, within);
      return domain === undefined ? undefined : (near.get(domain) ?? 0);
    },
    total,
  };
}

function fullWords(within: GroupExtent, limit: number, name: string): readonly [one: string, many: string] {
  const machines = limit === 1 ? `a machine of group ${name}` : `${limit} machines of group ${name}`;
  return within === "host" ? [`holds ${machines}`, `hold ${machines}`] : [`is in a ${within} with ${machines}`, `are in ${within}s with ${machines}`];
}

function emptyWords(within: GroupExtent, name: string): readonly [one: string, many: string] {
  const machines = `machine of group ${name}`;
  if (within === "host") return [`holds no ${machines}`, `hold no ${machines}`];
  return [`is in a ${within} without a ${machines}`, `are in ${within}s without a ${machines}`];
}

/** What a rule about neighbours counts on a host, without the machine itself. */
export function neighboursOn(
  request: PlacementRequest,
  snapshot: SnapshotIndex,
): { readonly noisy: (slot: number) => number; readonly sensitive: (slot: number) => number } {
  const own = snapshot.charge(request.vm);
  const counted = (of: "noisy" | "sensitive") => {
    const mine = own?.neighbours === of ? own.slots : [];
    return (slot: number): number => snapshot.neighbours.count(of, slot) - Number(mine.includes(slot));
  };
  return { noisy: counted("noisy"), sensitive: counted("sensitive") };
}

function neighbourPreferences(request: PlacementRequest, snapshot: SnapshotIndex): Preference[] {
  const { noisy, sensitive } = neighboursOn(request, snapshot);
  if (request.neighbours === undefined) return [];
  const disturbed: Preference = { broken: noisy, words: "has noisy machines" };
  if (request.neighbours === "sensitive") return [disturbed];
  return [{ broken: sensitive, words: "has machines sensitive to noise" }, disturbed];
}
