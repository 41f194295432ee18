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
  /** Why it was left. */
  readonly why?: string;
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
  readonly cancelled: boolean;
}

export interface BalanceSteps {
  readonly moves: readonly PlannedMove[];
  /** Indexes of those to begin. */
  readonly start: readonly number[];
  readonly ended: boolean;
}

export function nextBalanceSteps({ moves, look, places, refusal, cancelled }: BalanceStepsInput): BalanceSteps {
  const now = moves.map((move): PlannedMove => seen(move, look(move.vm)));
  const busy = new Map<string, number>();
  const occupy = ({ from, to }: PlannedMove): void => {
    for (const host of [from, to]) busy.set(host, (busy.get(host) ?? 0) + 1);
  };
  for (const move of now) if (move.state === "moving") occupy(move);
  const start: number[] = [];
  for (const [index, move] of now.entries()) {
    if (move.state !== "waiting") continue;
    if (cancelled) {
      now[index] = left(move, "it was cancelled before");
      continue;
    }
    if (move.after.some((earlier) => isOpen(now[earlier]))) continue;
    if ([move.from, move.to].some((host) => (busy.get(host) ?? 0) >= places(host))) continue;
    const why = refusal(move);
    if (why !== null) {
      now[index] = left(move, why);
      continue;
    }
    now[index] = { ...move, state: "moving" };
    occupy(move);
    start.push(index);
  }
  return { moves: now, start, ended: !now.some(isOpen) };
}

const isOpen = (move: PlannedMove | undefined): boolean => move?.state === "waiting" || move?.state === "moving";
const left = (move: PlannedMove, why: string): PlannedMove => ({ ...move, state: "left", why });

function seen(move: PlannedMove, { at, moving, failure }: MoveSight): PlannedMove {
  if (!isOpen(move) || moving) return move.state === "waiting" && moving && at === move.from ? { ...move, state: "moving" } : move;
  if (at === move.to) return { ...move, state: "moved" };
  if (at === undefined) return left(move, "it is gone");
  if (at !== move.from) return left(move, "somebody else moved it meanwhile");
  return move.state === "moving" ? left(move, failure ?? "its move ended before it had moved") : move;
}
