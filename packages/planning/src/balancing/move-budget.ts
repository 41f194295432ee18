/** How many moves balancing may begin now: so many in any hour, and so many that one host takes part in. Pure. */
import type { ClusterBalancing } from "@sheaf/model";

export interface BegunMove {
  readonly from: string;
  readonly to: string;
  /** Ms since the epoch. */
  readonly at: number;
}

const hourMs = 3_600_000;

export class MoveBudget {
  readonly #limits: Pick<ClusterBalancing, "movesPerHour" | "movesPerHostPerHour">;
  readonly #now: number;
  /** Of the last hour, oldest first. */
  readonly #begun: BegunMove[];

  constructor(limits: Pick<ClusterBalancing, "movesPerHour" | "movesPerHostPerHour">, begun: Iterable<BegunMove>, now: number) {
    this.#limits = limits;
    this.#now = now;
    this.#begun = [...begun].filter(({ at }) => at > now - hourMs).toSorted((a, b) => a.at - b.at);
  }

  static isLimited({ movesPerHour, movesPerHostPerHour }: ClusterBalancing): boolean {
    return movesPerHour !== undefined || movesPerHostPerHour !== undefined;
  }

  /** How many more may begin, whichever hosts they are of. */
  get left(): number {
    return Math.max(0, (this.#limits.movesPerHour ?? Infinity) - this.#begun.length);
  }

  /** Why none may begin now, whichever hosts it is of; `null`: one may. */
  get spent(): string | null {
    return this.#refusal(this.#begun, this.#limits.movesPerHour, "the cluster");
  }

  /** Why it may not begin now; `null`: it may. @param name of a host, for people */
  refusal({ from, to }: Pick<BegunMove, "from" | "to">, name: (host: string) => string): string | null {
    if (this.spent !== null) return this.spent;
    for (const host of [from, to]) {
      const its = this.#begun.filter((move) => move.from === host || move.to === host);
      const why = this.#refusal(its, this.#limits.movesPerHostPerHour, `host ${name(host)}`);
      if (why !== null) return why;
    }
    return null;
  }

  /** Counts one in that begins now. */
  spend({ from, to }: Pick<BegunMove, "from" | "to">): void {
    this.#begun.push({ from, to, at: this.#now });
  }

  #refusal(begun: readonly BegunMove[], limit: number | undefined, whose: string): string | null {
    if (limit === undefined || begun.length < limit) return null;
    // When so many have left the hour that one fits again.
    const frees = begun[begun.length - limit];
    return `${whose} has had its ${limit} moves of this hour, the next may begin at ${timeOf((frees?.at ?? this.#now) + hourMs)} UTC`;
  }
}

/** The minute that has begun by then. A text that stays as it is while one waits. */
const timeOf = (at: number): string =>
  new Intl.DateTimeFormat("en-GB", { timeZone: "UTC", hour: "2-digit", minute: "2-digit", hourCycle: "h23" }).format(at + 59_999);
