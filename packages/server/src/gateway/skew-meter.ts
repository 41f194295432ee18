/**
 * How far a host's clock is ahead of the server's, told from messages that carry the host's time. A message is late by its time on the
 * way, which makes the clock look slower than it is; the largest of the last few differences is nearest to the truth.
 */
export class SkewMeter {
  readonly #differences: number[] = [];
  readonly #window: number;

  constructor(window = 8) {
    this.#window = window;
  }

  /** @param differenceMs the host's time minus the server's when the message came */
  add(differenceMs: number): void {
    this.#differences.push(differenceMs);
    if (this.#differences.length > this.#window) this.#differences.shift();
  }

  /** Ms; positive: the host's clock is ahead. */
  get skewMs(): number {
    return this.#differences.length === 0 ? 0 : Math.round(Math.max(...this.#differences));
  }
}
