/**
 * One reason why a host cannot take a machine, and the words for it. A filter is compiled once a decision. It answers for one host (`fails`),
 * or for all at once (`refuse`): one tight loop over the columns that it reads, which is what keeps ten thousand hosts below a millisecond.
 */

/** In a mask of slots: 0 is open, `noHost` is no host at all, anything else is the mark of the filter that refused it. */
export type HostMask = Uint16Array<ArrayBuffer>;
export const noHost = 0xffff;

export interface FilterWords {
  /** Stable code of the class: `memory`, `cordoned`, `pool:<id>`. */
  readonly code: string;
  /** The machine itself rules the host out (pin, cluster, selector, its own volumes): said last, however many hosts it hits. */
  readonly own: boolean;
  /** After "1 host …" and after "2 hosts …": `is cordoned`, `are cordoned`. */
  readonly one: string;
  readonly many: string;
  /** More to be said of one host that fails. */
  readonly detail?: (slot: number) => string;
  /** How near the host is to fitting (bytes or vCPUs free), with its words. */
  readonly figure?: { readonly of: (slot: number) => number; readonly text: (value: number) => string; readonly needed: string };
}

export interface HostFilter extends FilterWords {
  readonly fails: (slot: number) => boolean;
  /** Marks every open slot that fails. */
  readonly refuse: (mask: HostMask, mark: number) => void;
}

/** Asked host by host: for what is no column. */
export function hostFilter(words: FilterWords, fails: (slot: number) => boolean): HostFilter {
  const refuse = (mask: HostMask, mark: number): void => {
    for (let slot = 0; slot < mask.length; slot += 1) if (mask[slot] === 0 && fails(slot)) mask[slot] = mark;
  };
  return { ...words, fails, refuse };
}

export interface Room {
  readonly capacity: Float64Array;
  readonly used: Float64Array;
  readonly needed: number;
  /** By slot: what is to be used there already, so that it competes with nobody. */
  readonly given: ReadonlyMap<number, number>;
  /** By slot: what is needed there besides `needed`; may be negative. */
  readonly extra?: (slot: number) => number;
}

export const freeRoom = ({ capacity, used, given }: Room, slot: number): number =>
  (capacity[slot] ?? 0) - (used[slot] ?? 0) + (given.size === 0 ? 0 : (given.get(slot) ?? 0));

/** `capacity - used < needed`. */
export function roomFilter(words: FilterWords, room: Room): HostFilter {
  const { capacity, used, needed, given, extra } = room;
  const fails = (slot: number): boolean => freeRoom(room, slot) < needed + (extra?.(slot) ?? 0);
  if (extra !== undefined) return hostFilter(words, fails);
  const refuse = (mask: HostMask, mark: number): void => {
    const slots = Math.min(mask.length, capacity.length, used.length);
    for (let slot = 0; slot < slots; slot += 1) {
      // All are within their arrays: `slots` is the shortest.
      if (mask[slot] === 0 && capacity[slot]! - used[slot]! < needed && (given.size === 0 || fails(slot))) mask[slot] = mark;
    }
    for (let slot = slots; slot < mask.length; slot += 1) if (mask[slot] === 0 && fails(slot)) mask[slot] = mark;
  };
  return { ...words, fails, refuse };
}

/** One of what a column tells apart. */
export function columnFilter(words: FilterWords, column: Uint8Array, refused: number, excused?: (slot: number) => boolean): HostFilter {
  const fails = (slot: number): boolean => (column[slot] ?? 0) === refused && excused?.(slot) !== true;
  const refuse = (mask: HostMask, mark: number): void => {
    const slots = Math.min(mask.length, column.length);
    for (let slot = 0; slot < slots; slot += 1) if (column[slot] === refused && mask[slot] === 0 && fails(slot)) mask[slot] = mark;
    for (let slot = slots; slot < mask.length; slot += 1) if (mask[slot] === 0 && fails(slot)) mask[slot] = mark;
  };
  return { ...words, fails, refuse };
}

/** Only these slots fail, or (`others`) all but these. */
export function slotsFilter(words: FilterWords, slots: ReadonlySet<number>, which: "these" | "others"): HostFilter {
  const fails = (slot: number): boolean => slots.has(slot) === (which === "these");
  return which === "others" ? hostFilter(words, fails) : fewSlotsFilter(words, () => slots, fails);
}

/** Asked host by host, but only of those that may fail. */
export function fewSlotsFilter(words: FilterWords, slots: () => Iterable<number>, fails: (slot: number) => boolean): HostFilter {
  const refuse = (mask: HostMask, mark: number): void => {
    for (const slot of slots()) if (mask[slot] === 0 && fails(slot)) mask[slot] = mark;
  };
  return { ...words, fails, refuse };
}

/** The words for several hosts of one class: `2 lack memory (largest free 1.2 GiB)`. @param largest of the figure, on any of them */
export function classText({ one, many, figure }: FilterWords, count: number, largest: number): string {
  const words = `${count} ${count === 1 ? one : many}`;
  return figure === undefined ? words : `${words} (largest free ${figure.text(largest)})`;
}

/** The words for one host: `lacks memory (1.2 GiB free, 4 GiB needed)`. */
export function hostText(filter: FilterWords, slot: number): string {
  if (filter.detail !== undefined) return `${filter.one} (${filter.detail(slot)})`;
  if (filter.figure === undefined) return filter.one;
  const { of, text, needed } = filter.figure;
  return `${filter.one} (${text(Math.max(0, of(slot)))} free, ${needed} needed)`;
}
