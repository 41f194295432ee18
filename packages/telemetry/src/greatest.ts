/** The few greatest of many, without sorting all of them. */
export class Greatest<Item> {
  readonly #limit: number;
  readonly #found: { readonly item: Item; readonly value: number }[] = [];

  constructor(limit: number) {
    this.#limit = limit;
  }

  offer(item: Item, value: number): void {
    const found = this.#found;
    const last = found[found.length - 1];
    if (found.length >= this.#limit && (last === undefined || value <= last.value)) return;
    let at = found.length;
    while (at > 0 && (found[at - 1]?.value ?? 0) < value) at -= 1;
    found.splice(at, 0, { item, value });
    if (found.length > this.#limit) found.pop();
  }

  /** Greatest first. */
  get items(): readonly { readonly item: Item; readonly value: number }[] {
    return this.#found;
  }
}
