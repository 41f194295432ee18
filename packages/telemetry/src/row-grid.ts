/** Rows of one host or machine from several files, put in their places in time. Rows of the same time are taken together: a machine that moved was told of by two hosts. */
import { absent } from "./codes.ts";
import { addRow, rollUpColumns } from "./member.ts";
import type { Table } from "./table.ts";

export class RowGrid {
  readonly from: number;
  readonly length: number;
  /** Row by row. */
  readonly codes: Uint16Array;
  readonly columns: number;
  readonly #bits: Uint8Array;
  readonly #rollUp: boolean;

  /** @param to with it */
  constructor(bits: Uint8Array, rollUp: boolean, from: number, to: number) {
    this.#bits = bits;
    this.#rollUp = rollUp;
    this.from = from;
    this.length = Math.max(0, to - from + 1);
    this.columns = rollUp ? rollUpColumns(bits.length) : bits.length;
    this.codes = new Uint16Array(this.length * this.columns);
    if (!rollUp) this.codes.fill(absent);
  }

  add({ slots, codes, columns }: Table): void {
    const known = Math.min(columns, this.columns);
    for (let row = 0; row < slots.length; row += 1) {
      const place = (slots[row] ?? 0) - this.from;
      if (place < 0 || place >= this.length) continue;
      const at = place * this.columns;
      if (this.#rollUp) {
        addRow(this.#bits, { codes: this.codes, at, stride: 1 }, { codes, at: row, stride: slots.length });
        continue;
      }
      for (let column = 0; column < known; column += 1) {
        const code = codes[column * slots.length + row] ?? absent;
        if (code !== absent) this.codes[at + column] = code;
      }
    }
  }

  /** One row of a roll-up, its columns next to each other. */
  addRow(slot: number, row: Uint16Array): void {
    const place = slot - this.from;
    if (place < 0 || place >= this.length) return;
    addRow(this.#bits, { codes: this.codes, at: place * this.columns, stride: 1 }, { codes: row, at: 0, stride: 1 });
  }
}
