/** One reason why a host cannot take a machine, and the words for it. Filters are compiled once a decision and asked once a host. */
export interface HostFilter {
  /** Stable code of the class: `memory`, `cordoned`, `pool:<id>`. */
  readonly code: string;
  /** The machine itself rules the host out (pin, cluster, selector, its own volumes): said last, however many hosts it hits. */
  readonly own: boolean;
  readonly fails: (slot: number) => boolean;
  /** After "1 host …" and after "2 hosts …": `is cordoned`, `are cordoned`. */
  readonly one: string;
  readonly many: string;
  /** How near the host is to fitting (bytes or vCPUs free), with its words. */
  readonly figure?: { readonly of: (slot: number) => number; readonly text: (value: number) => string; readonly needed: string };
}

/** The words for several hosts of one class: `2 lack memory (largest free 1.2 GiB)`. */
export function classText(filter: HostFilter, slots: readonly number[]): string {
  const words = `${slots.length} ${slots.length === 1 ? filter.one : filter.many}`;
  if (filter.figure === undefined) return words;
  const { of, text } = filter.figure;
  let largest = 0;
  for (const slot of slots) largest = Math.max(largest, of(slot));
  return `${words} (largest free ${text(largest)})`;
}

/** The words for one host: `lacks memory (1.2 GiB free, 4 GiB needed)`. */
export function hostText(filter: HostFilter, slot: number): string {
  if (filter.figure === undefined) return filter.one;
  const { of, text, needed } = filter.figure;
  return `${filter.one} (${text(Math.max(0, of(slot)))} free, ${needed} needed)`;
}
