/**
 * The life of one simulated process. Everything it is handed (ports, timers, sockets) goes through its life, so that it can be frozen,
 * and can die at any point at which it waits: what it waited for never comes, and nothing of it runs again. Knows nothing of what the
 * process is.
 */
export class Life {
  #state: "alive" | "frozen" | "dead" = "alive";
  #held: (() => void)[] = [];
  #stepsLeft = Number.POSITIVE_INFINITY;
  #diesOf: (() => void) | null = null;
  readonly #ends: (() => void)[] = [];

  get alive(): boolean {
    return this.#state !== "dead";
  }

  get frozen(): boolean {
    return this.#state === "frozen";
  }

  /** Dies when it has got answers from its ports so many times more. @param died called at that moment, before anything else runs */
  dieAfter(steps: number, died: () => void): void {
    this.#stepsLeft = steps;
    this.#diesOf = died;
  }

  /** Runs `work` now, when the process is let go on, or never. */
  run(work: () => void): void {
    if (this.#state === "alive") work();
    else if (this.#state === "frozen") this.#held.push(work);
  }

  freeze(): void {
    if (this.#state === "alive") this.#state = "frozen";
  }

  thaw(): void {
    if (this.#state !== "frozen") return;
    this.#state = "alive";
    const held = this.#held;
    this.#held = [];
    // One of them may freeze it anew, or be its end.
    for (const work of held) this.run(work);
  }

  /** Called once, when the process dies: what the kernel would clean up. */
  atEnd(work: () => void): void {
    this.#ends.push(work);
  }

  end(): void {
    if (this.#state === "dead") return;
    this.#state = "dead";
    this.#held = [];
    for (const work of this.#ends.splice(0)) work();
  }

  /** The answer of a port, as this process sees it. */
  gate<T>(answer: Promise<T>): Promise<T> {
    return new Promise((resolve, reject) => {
      answer.then(
        (value) => this.#step(() => resolve(this.#guarded(value))),
        (error: unknown) => this.#step(() => reject(error)),
      );
    });
  }

  /** A port whose every answer comes through this life. Listeners that it is given do not: who calls them uses `run`. */
  port<T extends object>(target: T): T {
    const known = new Map<PropertyKey, unknown>();
    // What answers at once only looks: a dead process may, and a promise would be no answer.
    const immediate = new Set<PropertyKey>();
    return new Proxy(target, {
      get: (object, name) => {
        const member: unknown = Reflect.get(object, name);
        if (typeof member !== "function") return member;
        let gated = known.get(name);
        if (gated === undefined) {
          gated = (...words: unknown[]) => {
            // What a dead process would still ask for is not done.
            if (this.#state === "dead" && !immediate.has(name)) return never();
            const answer: unknown = Reflect.apply(member, object, words);
            if (answer instanceof Promise) return this.gate(answer);
            immediate.add(name);
            return answer;
          };
          known.set(name, gated);
        }
        return gated;
      },
    });
  }

  #step(go: () => void): void {
    this.run(() => {
      this.#stepsLeft -= 1;
      if (this.#stepsLeft > 0) return go();
      this.#stepsLeft = Number.POSITIVE_INFINITY;
      this.#diesOf?.();
    });
  }

  /** What is handed out and has methods of its own (an open file, a migration's session) is a port too. */
  #guarded<T>(value: T): T {
    if (typeof value !== "object" || value === null || Array.isArray(value) || value instanceof Uint8Array || value instanceof Map) return value;
    return Object.values(value).some((member) => typeof member === "function") ? this.port(value) : value;
  }
}

/** Made anew each time: who waits for one promise that all wait for is kept in memory as long as that promise is. */
export const never = (): Promise<never> => new Promise<never>(() => {});
