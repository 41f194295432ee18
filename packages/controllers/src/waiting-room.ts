/**
 * Machines (and volumes) that fitted nowhere, by what they ask for: when capacity changes, one of each shape is tried instead of all.
 * Held by the placement controller; forgets nothing by itself.
 */

interface Waiting {
  readonly shape: string;
  /** Revision of the spec that was refused: a changed one is tried anew. */
  readonly specRevision: number;
  readonly toldAt: number;
}

export class WaitingRoom {
  readonly #waiting = new Map<string, Waiting>();
  readonly #shapes = new Map<string, Set<string>>();

  get size(): number {
    return this.#waiting.size;
  }
  get(id: string): Waiting | undefined {
    return this.#waiting.get(id);
  }
  alike(shape: string): readonly string[] {
    return [...(this.#shapes.get(shape) ?? [])];
  }
  shapes(): Iterable<readonly [shape: string, ids: ReadonlySet<string>]> {
    return this.#shapes;
  }

  enter(id: string, waiting: Waiting): void {
    this.leave(id);
    this.#waiting.set(id, waiting);
    const alike = this.#shapes.get(waiting.shape);
    if (alike) alike.add(id);
    else this.#shapes.set(waiting.shape, new Set([id]));
  }

  leave(id: string): void {
    const waiting = this.#waiting.get(id);
    if (!waiting) return;
    this.#waiting.delete(id);
    const alike = this.#shapes.get(waiting.shape);
    if (alike?.delete(id) && alike.size === 0) this.#shapes.delete(waiting.shape);
  }

  clear(): void {
    this.#waiting.clear();
    this.#shapes.clear();
  }
}
