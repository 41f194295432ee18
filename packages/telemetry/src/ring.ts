/**
 * Figures of the last while, in memory only: a ring of typed arrays with one row for each span of time. Called by whoever receives
 * figures (the gateway, at heartbeats) and whoever shows them. Takes the time as an argument; never grows after it was made.
 */
export interface RingShape<Column extends string> {
  readonly columns: readonly Column[];
  /** Time one row stands for, ms. */
  readonly resolutionMs: number;
  /** Rows kept. */
  readonly rows: number;
}

export interface RingPoint<Column extends string> {
  /** Start of the row's span, ms; on the scale of the times that were given to `add`. */
  readonly at: number;
  /** `NaN` where a column was not given. */
  readonly values: Readonly<Record<Column, number>>;
}

/** 5 s for one hour. */
export const hourOfHeartbeats = { resolutionMs: 5000, rows: 720 } as const;

/** Values are kept with 24 bits of precision: seven digits, enough to draw. */
export class Ring<Column extends string> {
  readonly #shape: RingShape<Column>;
  readonly #values: Float32Array;
  /** Number of the span each row holds now; -1: none. */
  readonly #spans: Float64Array;
  #newest = -1;

  constructor(shape: RingShape<Column>) {
    if (shape.rows < 1 || shape.resolutionMs <= 0) throw new RangeError("a ring has at least one row, and rows stand for some time");
    this.#shape = shape;
    this.#values = new Float32Array(shape.rows * shape.columns.length);
    this.#spans = new Float64Array(shape.rows).fill(-1);
  }

  /**
   * The last values of a span stay. What is older than the ring is left out.
   * @param at ms, 0 or more, such as a monotonic clock gives
   */
  add(at: number, values: Readonly<Partial<Record<Column, number>>>): void {
    const { columns, resolutionMs, rows } = this.#shape;
    const span = Math.floor(at / resolutionMs);
    if (span < 0 || span <= this.#newest - rows) return;
    const row = span % rows;
    this.#spans[row] = span;
    this.#newest = Math.max(this.#newest, span);
    columns.forEach((column, index) => {
      this.#values[row * columns.length + index] = values[column] ?? Number.NaN;
    });
  }

  /** Rows from `since` (ms) on, oldest first; spans without values are left out. */
  points(since = 0): RingPoint<Column>[] {
    const { columns, resolutionMs, rows } = this.#shape;
    const found: RingPoint<Column>[] = [];
    const first = Math.max(0, this.#newest - rows + 1, Math.floor(since / resolutionMs));
    for (let span = first; span <= this.#newest; span += 1) {
      const row = span % rows;
      if (this.#spans[row] !== span) continue;
      const entries = columns.map((column, index) => [column, this.#values[row * columns.length + index] ?? Number.NaN]);
      // One entry for each column was just made.
      found.push({ at: span * resolutionMs, values: Object.fromEntries(entries) as Record<Column, number> });
    }
    return found;
  }
}
