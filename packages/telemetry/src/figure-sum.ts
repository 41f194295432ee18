/** Sums up one figure over rows of roll-ups, without the rounding that a row in between would bring. */
import { absent, codeOf, quantaOf } from "./codes.ts";

export class FigureSum {
  samples = 0;
  readonly figure: number;
  readonly #column: number;
  readonly #bits: number;
  #sum = 0;
  #greatest = 0;
  #least: number = absent;

  /** @param figure the metric's number */
  constructor(figure: number, significantBits: number) {
    this.figure = figure;
    this.#column = 1 + 3 * figure;
    this.#bits = significantBits;
  }

  clear(): void {
    this.samples = 0;
    this.#sum = 0;
    this.#greatest = 0;
    this.#least = absent;
  }

  /** @param stride from one column of the row to the next */
  add(row: Uint16Array, at: number, stride: number): void {
    const samples = row[at] ?? 0;
    const from = at + this.#column * stride;
    const mean = row[from] ?? absent;
    if (samples === 0 || mean === absent) return;
    this.samples += samples;
    this.#sum += quantaOf(mean, this.#bits) * samples;
    this.#greatest = Math.max(this.#greatest, row[from + stride] ?? 0);
    this.#least = Math.min(this.#least, row[from + 2 * stride] ?? absent);
  }

  /** As `add`, of one column alone: looking through 100,000 machines is waiting for memory. @param greatest the greatest instead of the mean */
  addOne(row: Uint16Array, at: number, stride: number, greatest: boolean): void {
    const samples = row[at] ?? 0;
    const code = row[at + (greatest ? this.#column + 1 : this.#column) * stride] ?? absent;
    if (samples === 0 || code === absent) return;
    this.samples += samples;
    if (!greatest) this.#sum += quantaOf(code, this.#bits) * samples;
    else if (code > this.#greatest) this.#greatest = code;
  }

  /** Quanta. */
  get mean(): number {
    return this.#sum / this.samples;
  }

  get greatest(): number {
    return quantaOf(this.#greatest, this.#bits);
  }

  /** Into a row of a roll-up whose columns are next to each other, but for its number of samples. */
  writeTo(row: Uint16Array): void {
    const known = this.samples > 0;
    row[this.#column] = known ? codeOf(this.mean, this.#bits) : absent;
    row[this.#column + 1] = known ? this.#greatest : absent;
    row[this.#column + 2] = this.#least;
  }
}
