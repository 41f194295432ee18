/**
 * Which slots changed, in order, as far back as it remembers: whoever keeps something that follows from the hosts reads on from where it was,
 * instead of looking at all hosts again.
 */
const remembered = 4096; // a power of two

export class SlotLog {
  readonly #slots = new Int32Array(remembered);
  #written = 0;

  get position(): number {
    return this.#written;
  }

  add(slot: number): void {
    this.#slots[this.#written & (remembered - 1)] = slot;
    this.#written += 1;
  }

  /** @returns whether it remembers so far back; `visit` may get a slot several times */
  since(position: number, visit: (slot: number) => void): boolean {
    if (this.#written - position > remembered) return false;
    for (let at = position; at < this.#written; at += 1) visit(this.#slots[at & (remembered - 1)] ?? 0);
    return true;
  }
}
