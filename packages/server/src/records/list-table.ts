/**
 * One kind's records as lists look at them: rows in no order, and a column for each field that somebody filtered or sorted by, kept up to
 * date change by change. A list then walks short arrays instead of a hundred thousand objects all over the memory. Written by the cache's
 * changes, read by record-list.ts alone.
 */
import { vmState, type Kind, type RecordOf, type VmState } from "@sheaf/model";
import type { RecordChange } from "../context.ts";
import { fieldReader, type FieldReader } from "./field-path.ts";
import type { Presenter } from "./present.ts";
import { SortKeys, sortValue, type OrderedKeys, type SortValue } from "./sort-column.ts";

/** Values of one field, by row. */
export type Column = readonly unknown[];
/** The same as it is sorted by; `ordered` tells most rows apart (`compareKeys`), where there is any. */
export interface SortColumn {
  readonly values: readonly SortValue[];
  readonly ordered: OrderedKeys | null;
}
export type ValueTest = (value: unknown) => boolean;
/** A field and what must hold for it. */
export interface FieldTest {
  readonly segments: readonly string[];
  readonly test: ValueTest;
}

interface Kept {
  readonly values: unknown[];
  /** Where lists are sorted by it. */
  readonly keys?: SortKeys;
  read(record: RecordOf<Kind>, row: number): unknown;
  /** The same from the field's plain value, where that is at hand: a hundred thousand records are not walked again. */
  fromPlain?(value: unknown, row: number): unknown;
  /** Something that is no part of the records has changed. */
  hostChanged?(hostId: string): void;
  /** Before it is looked at: brings in what changed so. */
  refresh?(): void;
  /** The last row takes the place of one that went. */
  moved?(from: number, to: number): void;
}

/** Fields that are asked for most recently keep their columns: each costs eight bytes a record, sixteen where it is sorted by. */
const maximumColumns = 64;
/** A label is usual where one record in so many has it. */
const usualLabelShare = 20;

export class ListTable {
  readonly #presenter: Presenter;
  readonly #kind: Kind;
  readonly #rows: RecordOf<Kind>[] = [];
  readonly #positions = new Map<string, number>();
  readonly #ages: number[] = [];
  readonly #columns = new Map<string, Kept>();
  /** Rows that passed the tests so far; kept, so that a list makes no garbage of this size. */
  #passed = new Uint32Array(0);

  constructor(presenter: Presenter, kind: Kind, records: Iterable<RecordOf<Kind>>) {
    this.#presenter = presenter;
    this.#kind = kind;
    for (const record of records) this.#put(record);
  }

  update({ id, record }: RecordChange): void {
    if (record) this.#put(record);
    else this.#remove(id);
  }

  /** It may have become reachable, or unreachable: what depends on that is looked at anew when it is asked for. */
  hostChanged(hostId: string): void {
    for (const column of this.#columns.values()) column.hostChanged?.(hostId);
  }

  get rows(): readonly RecordOf<Kind>[] {
    return this.#rows;
  }

  /** `ageOf` the ids of the rows. */
  get ages(): readonly number[] {
    return this.#ages;
  }

  /** Keys of the labels that many records have, most frequent first. Walks all records. */
  usualLabels(limit: number): string[] {
    const counts = new Map<string, number>();
    for (const record of this.#rows)
      for (const key of Object.keys((record as { labels?: object }).labels ?? {} /* stored by whichever version */))
        counts.set(key, (counts.get(key) ?? 0) + 1);
    return [...counts]
      .filter(([, count]) => count * usualLabelShare >= this.#rows.length)
      .sort(([, left], [, right]) => right - left)
      .slice(0, limit)
      .map(([key]) => key);
  }

  /** Must be asked for anew by every list, and not be kept across an `await`. */
  column(segments: readonly string[]): Column {
    return this.#kept(plainName(segments), () =>
      this.#isState(segments) ? new StateColumn(this.#presenter) : plainColumn(fieldReader(this.#presenter, segments)),
    ).values;
  }

  /** As `column`. */
  sortColumn(segments: readonly string[]): SortColumn {
    const plain = plainName(segments);
    // States are texts already.
    const { values, keys } = this.#isState(segments)
      ? this.#kept(plain, () => new StateColumn(this.#presenter))
      : this.#kept(`sorted ${plain}`, () => new SortedColumn(fieldReader(this.#presenter, segments)), plain);
    const sorted = values as SortValue[]; // made by sortValue; states are texts
    return { values: sorted, ordered: keys?.ordered(sorted) ?? null };
  }

  #isState(segments: readonly string[]): boolean {
    return segments[0] === "state" && this.#kind === "vm";
  }

  /** @returns rows that pass all tests; good until the next call */
  select(tests: readonly FieldTest[], visible: ((record: RecordOf<Kind>) => boolean) | null): Uint32Array {
    const total = this.#rows.length;
    if (this.#passed.length < total) this.#passed = new Uint32Array(Math.ceil(total * 1.25));
    const passed = this.#passed;
    let count = total;
    const [first, ...others] = tests;
    if (first === undefined) for (let row = 0; row < total; row += 1) passed[row] = row;
    else {
      const column = this.column(first.segments);
      const { test } = first;
      count = 0;
      for (let row = 0; row < total; row += 1) if (test(column[row])) passed[count++] = row;
    }
    for (const { segments, test } of others) {
      const column = this.column(segments);
      let kept = 0;
      for (let index = 0; index < count; index += 1) {
        const row = passed[index] as number; // below count
        if (test(column[row])) passed[kept++] = row;
      }
      count = kept;
    }
    if (visible !== null) {
      let kept = 0;
      for (let index = 0; index < count; index += 1) {
        const row = passed[index] as number; // as above
        if (visible(this.#rows[row] as RecordOf<Kind> /* selected */)) passed[kept++] = row;
      }
      count = kept;
    }
    return passed.subarray(0, count);
  }

  /** @param plain name of the column that has the same field's plain values, if it is there */
  #kept(name: string, make: () => Kept, plain = ""): Kept {
    let column = this.#columns.get(name);
    if (column === undefined) {
      column = make();
      this.#fill(column, this.#columns.get(plain)?.values);
      const [oldest] = this.#columns.keys();
      if (this.#columns.size >= maximumColumns && oldest !== undefined) this.#columns.delete(oldest);
    } else this.#columns.delete(name);
    this.#columns.set(name, column);
    column.refresh?.();
    return column;
  }

  #fill(column: Kept, plain: Column | undefined): void {
    const { values } = column;
    if (plain !== undefined && column.fromPlain !== undefined) {
      for (let row = 0; row < plain.length; row += 1) values.push(column.fromPlain(plain[row], row));
      return;
    }
    for (let row = 0; row < this.#rows.length; row += 1) values.push(column.read(this.#rows[row] as RecordOf<Kind> /* below the length */, row));
  }

  #put(record: RecordOf<Kind>): void {
    let row = this.#positions.get(record.id);
    if (row === undefined) {
      row = this.#rows.length;
      this.#positions.set(record.id, row);
      this.#ages.push(ageOf(record.id));
      this.#rows.push(record);
    } else this.#rows[row] = record;
    for (const column of this.#columns.values()) column.values[row] = column.read(record, row);
  }

  #remove(id: string): void {
    const row = this.#positions.get(id);
    if (row === undefined) return;
    const last = this.#rows.pop();
    const age = this.#ages.pop();
    if (last === undefined || age === undefined) return;
    this.#positions.delete(id);
    const end = this.#rows.length;
    for (const column of this.#columns.values()) {
      const value = column.values.pop();
      if (row < end) {
        column.values[row] = value;
        column.moved?.(end, row);
      }
    }
    if (row === end) return;
    this.#rows[row] = last;
    this.#ages[row] = age;
    this.#positions.set(last.id, row);
  }
}

/**
 * States of machines depend on whether their hosts are reachable, which no change of theirs tells. Each value stands for what was known of
 * its host; a look compares that with what is known now of each host that has changed since, and reads again what differs.
 */
class StateColumn implements Kept {
  readonly values: unknown[] = [];
  readonly keys = new SortKeys();
  readonly #presenter: Presenter;
  readonly #hosts: (string | undefined)[] = [];
  readonly #records: RecordOf<"vm">[] = [];
  readonly #reachable = new Map<string, boolean>();
  readonly #hostsToLookAt = new Set<string>();

  constructor(presenter: Presenter) {
    this.#presenter = presenter;
  }

  hostChanged(hostId: string): void {
    if (this.#reachable.has(hostId)) this.#hostsToLookAt.add(hostId);
  }

  read(record: RecordOf<Kind>, row: number): unknown {
    const vm = record as RecordOf<"vm">; // made for machines alone
    this.#records[row] = vm;
    this.#hosts[row] = vm.placement?.host;
    return this.#stateOf(vm, row);
  }

  moved(from: number, to: number): void {
    this.keys.move(from, to);
    this.#hosts[to] = this.#hosts[from];
    this.#records[to] = this.#records[from] as RecordOf<"vm">; // every row has one
    this.#hosts.length = from;
    this.#records.length = from;
  }

  refresh(): void {
    const changed = new Set<string>();
    for (const host of this.#hostsToLookAt) {
      const now = this.#presenter.hostReachable(host);
      if (this.#reachable.get(host) === now) continue;
      changed.add(host);
      this.#reachable.set(host, now);
    }
    this.#hostsToLookAt.clear();
    if (changed.size === 0) return;
    for (let row = 0; row < this.values.length; row += 1) {
      const host = this.#hosts[row];
      if (host !== undefined && changed.has(host)) this.values[row] = this.#stateOf(this.#records[row] as RecordOf<"vm">, row); // as above
    }
  }

  #stateOf(vm: RecordOf<"vm">, row: number): VmState {
    const state = vmState(vm, this.#isReachable(vm.placement?.host));
    this.keys.set(row, state);
    return state;
  }

  #isReachable(host: string | undefined): boolean {
    if (host === undefined) return false;
    let known = this.#reachable.get(host);
    if (known === undefined) this.#reachable.set(host, (known = this.#presenter.hostReachable(host)));
    return known;
  }
}

const plainName = (segments: readonly string[]): string => segments.join(".");
const plainColumn = (read: FieldReader): Kept => ({ values: [], read });

class SortedColumn implements Kept {
  readonly values: unknown[] = [];
  readonly keys = new SortKeys();
  readonly #field: FieldReader;

  constructor(field: FieldReader) {
    this.#field = field;
  }

  read(record: RecordOf<Kind>, row: number): unknown {
    return this.fromPlain(this.#field(record), row);
  }

  fromPlain(plain: unknown, row: number): unknown {
    const value = sortValue(plain);
    this.keys.set(row, value);
    return value;
  }

  moved(from: number, to: number): void {
    this.keys.move(from, to);
  }
}

/** The beginning of an id as a number, in the ids' own order: what two ids are told apart by at once. */
export function ageOf(id: string): number {
  const age = Number.parseInt(id.slice(0, 8) + id.slice(9, 13) + id.slice(14, 15), 16);
  return Number.isNaN(age) ? 0 : age;
}
