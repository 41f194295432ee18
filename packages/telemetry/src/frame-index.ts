/** Where one host's frames lie in a log: 20 bytes each, of which there are millions. */
export class FrameIndex {
  #count = 0;
  #offsets = new Float64Array(4);
  #lengths = new Uint32Array(4);
  #firstSlots = new Int32Array(4);
  #lastSlots = new Int32Array(4);

  add(offset: number, length: number, firstSlot: number, lastSlot: number): void {
    if (this.#count === this.#lengths.length) this.#grow();
    this.#offsets[this.#count] = offset;
    this.#lengths[this.#count] = length;
    this.#firstSlots[this.#count] = firstSlot;
    this.#lastSlots[this.#count] = lastSlot;
    this.#count += 1;
  }

  overlapping(from: number, to: number): { readonly offset: number; readonly length: number }[] {
    const found: { offset: number; length: number }[] = [];
    for (let index = 0; index < this.#count; index += 1)
      if ((this.#firstSlots[index] ?? 0) <= to && (this.#lastSlots[index] ?? 0) >= from)
        found.push({ offset: this.#offsets[index] ?? 0, length: this.#lengths[index] ?? 0 });
    return found;
  }

  #grow(): void {
    const grown = <A extends Float64Array | Uint32Array | Int32Array>(from: A, to: A): A => {
      to.set(from);
      return to;
    };
    const size = this.#count * 2;
    this.#offsets = grown(this.#offsets, new Float64Array(size));
    this.#lengths = grown(this.#lengths, new Uint32Array(size));
    this.#firstSlots = grown(this.#firstSlots, new Int32Array(size));
    this.#lastSlots = grown(this.#lastSlots, new Int32Array(size));
  }
}
