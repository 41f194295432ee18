/** Fastify answers by turns of the real event loop: virtual time waits for them while any server has a request under way. */
import type { SimulatedClock } from "@sheaf/base";

const turnsOfRequest = 5;

export class RequestTurns {
  readonly #clock: SimulatedClock;
  #count = 0;

  constructor(clock: SimulatedClock) {
    this.#clock = clock;
  }

  /** Those of one life of a server: what is under way when it dies never ends. */
  ofLife(): { during<T>(work: () => Promise<T>): Promise<T>; end(): void } {
    let count = 0;
    let over = false;
    const add = (change: number): void => {
      count += change;
      this.#count += change;
      this.#clock.turns = this.#count > 0 ? turnsOfRequest : 1;
    };
    return {
      during: async (work) => {
        if (over) return work();
        add(1);
        const answer = await work();
        if (!over) add(-1);
        return answer;
      },
      end() {
        if (!over) add(-count);
        over = true;
      },
    };
  }
}
