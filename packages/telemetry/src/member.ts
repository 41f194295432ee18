/**
 * One host or machine, as one host's agent tells of it: the figures of the five minutes that run, the last hour's five minutes, and the
 * last day's hours. All in one block of memory that is made once. Called for every sample.
 */
import { type MetricKind, metrics } from "@sheaf/model";
import { absent, codeOf, quantaOf } from "./codes.ts";
import { bytesOfIdentifier } from "./identifiers.ts";

/** Slots of 10 s in a window of 5 min; windows in an hour; hours in a day. */
export const windowSlots = 30;
export const windowsKept = 12;
export const hoursKept = 24;

/** A row of a roll-up: how many samples, then of each figure the mean, the greatest and the least. */
export const rollUpColumns = (figures: number): number => 1 + 3 * figures;

const significantBits: { readonly [Kind in MetricKind]: Uint8Array } = {
  vm: Uint8Array.from(metrics.vm, (metric) => metric.significantBits),
  host: Uint8Array.from(metrics.host, (metric) => metric.significantBits),
  cluster: Uint8Array.from(metrics.cluster, (metric) => metric.significantBits),
};
export const bitsOf = (kind: MetricKind): Uint8Array => significantBits[kind];

export class Member {
  readonly id: string;
  readonly idBytes: Uint8Array;
  readonly kind: MetricKind;
  readonly figures: number;
  readonly bits: Uint8Array;
  /**
   * The running window's codes, then the rows of the last windows, then the hours'; each column by column, so that one figure over all
   * of them is in one place of memory: whoever looks for the greatest of 100,000 waits for memory and nothing else.
   */
  readonly codes: Uint16Array;
  /** Newest slot of 10 s that it has figures of. */
  lastSlot = -1;
  /** Another host tells, or told, of it too. */
  shared = false;
  readonly #windowsAt: number;
  readonly #hoursAt: number;

  constructor(id: string, kind: MetricKind) {
    this.id = id;
    this.idBytes = bytesOfIdentifier(id);
    this.kind = kind;
    this.bits = bitsOf(kind);
    this.figures = this.bits.length;
    const columns = rollUpColumns(this.figures);
    this.#windowsAt = this.figures * windowSlots;
    this.#hoursAt = this.#windowsAt + windowsKept * columns;
    this.codes = new Uint16Array(this.#hoursAt + hoursKept * columns);
    this.clear();
  }

  /** Begins a window. */
  clear(): void {
    this.codes.fill(absent, 0, this.#windowsAt);
  }

  /** @param quanta what is no number was not measured, or comes from somebody who is no agent */
  put(figure: number, row: number, quanta: unknown): void {
    if (typeof quanta !== "number") return;
    this.codes[figure * windowSlots + row] = codeOf(quanta, this.bits[figure] ?? 0);
  }

  /** Of the running window. */
  codeAt(figure: number, row: number): number {
    return this.codes[figure * windowSlots + row] ?? absent;
  }

  /** Where a kept row begins in `codes`; its columns are `windowsKept` from each other. */
  windowRow(window: number): number {
    return this.#windowsAt + (window % windowsKept);
  }

  /** The same; its columns are `hoursKept` from each other. */
  hourRow(hour: number): number {
    return this.#hoursAt + (hour % hoursKept);
  }

  /**
   * The running window's rows from `from` up to, not with, `to` as one row of a roll-up.
   * @param stride from one column of the row to the next
   * @param only one figure's number: the others are left as they are
   * @returns how many samples it stands for
   */
  rollUp(from: number, to: number, target: Uint16Array, at: number, stride: number, only = -1): number {
    let samples = 0;
    const end = only < 0 ? this.figures : only + 1;
    for (let figure = Math.max(0, only); figure < end; figure += 1) {
      const bits = this.bits[figure] ?? 0;
      const start = figure * windowSlots;
      let count = 0;
      let sum = 0;
      let greatest = 0;
      let least: number = absent;
      for (let place = start + from; place < start + to; place += 1) {
        const code = this.codes[place] ?? absent;
        if (code === absent) continue;
        count += 1;
        sum += quantaOf(code, bits);
        if (code > greatest) greatest = code;
        if (code < least) least = code;
      }
      const column = at + (1 + 3 * figure) * stride;
      target[column] = count > 0 ? codeOf(sum / count, bits) : absent;
      target[column + stride] = count > 0 ? greatest : absent;
      target[column + 2 * stride] = least;
      if (count > samples) samples = count;
    }
    target[at] = samples;
    return samples;
  }
}

/** A row of a roll-up: where its number of samples stands, and how far its columns are from each other. */
export interface RollUpRow {
  readonly codes: Uint16Array;
  readonly at: number;
  readonly stride: number;
}

/** Adds a row to another that stands for other samples. Either may be empty: no samples. */
export function addRow(bits: Uint8Array, target: RollUpRow, row: RollUpRow): void {
  const into = target.codes;
  const before = sampleCount(into[target.at]);
  const more = sampleCount(row.codes[row.at]);
  if (more === 0) return;
  for (let figure = 0; figure < bits.length; figure += 1) {
    const digits = bits[figure] ?? 0;
    const from = row.at + (1 + 3 * figure) * row.stride;
    const at = target.at + (1 + 3 * figure) * target.stride;
    const mean = row.codes[from] ?? absent;
    const greatest = row.codes[from + row.stride] ?? absent;
    const least = row.codes[from + 2 * row.stride] ?? absent;
    const known = before === 0 ? absent : (into[at] ?? absent);
    if (known === absent) {
      into[at] = mean;
      into[at + target.stride] = greatest;
      into[at + 2 * target.stride] = least;
    } else if (mean !== absent) {
      into[at] = codeOf((quantaOf(known, digits) * before + quantaOf(mean, digits) * more) / (before + more), digits);
      into[at + target.stride] = Math.max(into[at + target.stride] ?? 0, greatest);
      into[at + 2 * target.stride] = Math.min(into[at + 2 * target.stride] ?? absent, least);
    }
  }
  into[target.at] = Math.min(before + more, absent - 1);
}

const sampleCount = (code: number | undefined): number => (code === undefined || code === absent ? 0 : code);
