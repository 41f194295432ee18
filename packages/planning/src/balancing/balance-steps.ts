/**
 * How a balancing plan is carried out: (moves and how far each is, what is seen of the machines, free places for migrations) → what to begin now.
 * Called by the balancing controller at every change. A move that turns out to be impossible is left out, with why, and the rest goes on: those
 * that counted on its room are checked again when their turn comes. Pure.
 */
export interface PlannedMove {
  readonly vm: string;
  readonly name: string;
  readonly from: string;
  readonly to: string;
  /** Why it is in the plan, for people. */
  readonly reason: string;
  /** Indexes of earlier moves that must have ended. */
  readonly after: readonly number[];
  readonly state: "waiting" | "moving" | "moved" | "left";
  /** Why it was left, or waits though its turn has come. */
  readonly why?: string;
  /** Ms since the epoch. */
  readonly begunAt?: number;
}

/** What is seen of a machine. */
export interface MoveSight {
  /** The host it is placed on; absent: it is gone. */
  readonly at?: string;
  /** A migration of it is under way or asked for. */
  readonly moving: boolean;
  /** Of its last move from where it is, since the plan began. */
  readonly failure?: string;
}

export interface BalanceStepsInput {
  readonly moves: readonly PlannedMove[];
  readonly look: (vm: string) => MoveSight;
  /** Migrations that host may be part of at once. */
  readonly places: (host: string) => number;
  /** Why the machine cannot go there now; `null`: it can, and is counted in. Asked once a move, in order. */
  readonly refusal: (move: PlannedMove) => string | null;
  /** Why it has to wait although it is possible; `null`: it need not. What begins is spent. */
  readonly budget: { refusal(move: PlannedMove): string | null; spend(move: PlannedMove): void };
  /** Why nothing more is begun; `null`: it is. */
  readonly over: string | null;
  /** Ms since the epoch. */
  readonly now: number;
}

export interface BalanceSteps {
  readonly moves: readonly PlannedMove[];
  /** Indexes of those to begin. */
  readonly start: readonly number[];
  readonly ended: boolean;
}

export function nextBalanceSteps({ moves, look, places, refusal, budget, over, now: at }: BalanceStepsInput): BalanceSteps {
  const now = moves.map((move): PlannedMove => seen(move, look(move.vm), at));
  const busy = new Map<string, number>();
  const occupy = ({ from, to }: PlannedMove): void => {
    for (const host of [from, to]) busy.set(host, (busy.get(host) ?? 0) + 1);
  };
  for (const move of now) if (move.state === "moving") occupy(move);
  const start: number[] = [];
  for (const [index, move] of now.entries()) {
    if (move.state !== "waiting") continue;
    if (over !== null) {
      now[index] = left(move, over);
      continue;
    }
    if (move.after.some((earlier) => isOpen(now[earlier]))) continue;
    if ([move.from, move.to].some((host) => (busy.get(host) ?? 0) >= places(host))) continue;
    const spent = budget.refusal(move);
    if (spent !== null) {
      now[index] = { ...move, why: spent };
      continue;
    }
    const why = refusal(move);
    if (why !== null) {
      now[index] = left(move, why);
      continue;
    }
    now[index] = begun(move, at);
    budget.spend(move);
    occupy(move);
    start.push(index);
  }
  return { moves: now, start, ended: !now.some(isOpen) };
}

const isOpen = (move: PlannedMove | undefined): boolean => move?.state === "waiting" || move?.state === "moving";
const left = (move: PlannedMove, why: string): PlannedMove => ({ ...move, state: "left", why });

function begun({ why: _waited, ...move }: PlannedMove, at: number): PlannedMove {
  return { ...move, state: "moving", begunAt: at };
}

function seen(move: PlannedMove, { at, moving, failure }: MoveSight, now: number): PlannedMove {
  if (!isOpen(move) || moving) return move.state === "waiting" && moving && at === move.from ? begun(move, now) : move;
  if (at === move.to) return { ...move, state: "moved" };
  if (at === undefined) return left(move, "it is gone");
  if (at !== move.from) return left(move, "somebody else moved it meanwhile");
  return move.state === "moving" ? left(move, failure ?? "its move ended before it had moved") : move;
}
