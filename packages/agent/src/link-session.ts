/** What lives as long as one connection to the server: its timers, and whose turn each of its messages is. Called by `server-link.ts`. */
import type { Clock, Timer } from "@sheaf/base";
import type { ServerMessage } from "@sheaf/contract";

/**
 * Whose turn a message takes. Machines and volumes are written to the disk side by side, each after its own predecessor; what they are made of
 * comes before them, and all else after what was sent before it. What only concerns the connection waits for nobody.
 */
export function turnOf(message: ServerMessage): Turn {
  switch (message.type) {
    case "beat":
    case "reported":
    case "sampled":
      return { type: "at-once" };
    case "upsert": {
      const { kind, id } = message.document;
      return kind === "vm" || kind === "volume" ? { type: "beside", key: `${kind}/${id}` } : { type: "alone" };
    }
    case "call":
      // These two need nothing of the documents that tell of them: those go to the disk while memory moves, and while the guest stands still.
      return message.method === "migrate.perform" || message.method === "migrate.finish" ? { type: "past" } : { type: "alone" };
    default:
      return { type: "alone" };
  }
}

/** `past`: after all that ran alone, before what runs beside. */
type Turn = { readonly type: "alone" | "at-once" | "past" } | { readonly type: "beside"; readonly key: string };

export interface SentHeartbeat {
  /** Ms since the host booted. */
  readonly sentAtMs: number;
  /** What it said of the host's watchdog. */
  readonly promised: number | undefined;
}

/** Of servers that answer late, or not at all. */
const heartbeatsKept = 32;

export class LinkSession {
  /** Not answered yet, by sequence. */
  readonly #heartbeats = new Map<number, SentHeartbeat>();
  /** The end of the newest message that ran alone. */
  #last: Promise<unknown> = Promise.resolve();
  /** By key, what has run beside others since. */
  readonly #beside = new Map<string, Promise<unknown>>();
  #ended = false;
  #watching: Timer | undefined;
  #beating: Timer | undefined;

  get ended(): boolean {
    return this.#ended;
  }

  inTurn(work: () => Promise<void>, turn: Turn): Promise<void> {
    if (turn.type === "at-once") return work();
    if (turn.type === "past") return this.#last.then(() => (this.#ended ? undefined : work()));
    const before = turn.type === "beside" ? (this.#beside.get(turn.key) ?? this.#last) : Promise.all([this.#last, ...this.#beside.values()]);
    const next = before.then(() => (this.#ended ? undefined : work()));
    const ended = next.catch(() => {});
    if (turn.type === "beside") this.#beside.set(turn.key, ended);
    else {
      this.#last = ended;
      this.#beside.clear();
    }
    return next;
  }

  /** @param everyMs asked before each pause */
  watch(clock: Clock, everyMs: () => number, look: () => void): void {
    this.#watching?.cancel();
    const again = () => {
      if (this.#ended) return;
      look();
      if (!this.#ended) this.#watching = clock.setTimer(everyMs(), again);
    };
    this.#watching = clock.setTimer(everyMs(), again);
  }

  /** The next beat is timed from the last one's end: figures that come late never pile up. */
  beat(clock: Clock, everyMs: number, send: (sequence: number) => Promise<void>): void {
    let sequence = 0;
    const again = async () => {
      if (this.#ended) return;
      await send(++sequence).catch(() => {});
      if (!this.#ended) this.#beating = clock.setTimer(everyMs, () => void again());
    };
    void again();
  }

  sent(sequence: number, heartbeat: SentHeartbeat): void {
    this.#heartbeats.set(sequence, heartbeat);
    this.#heartbeats.delete(sequence - heartbeatsKept);
  }

  answered(sequence: number): SentHeartbeat | undefined {
    const heartbeat = this.#heartbeats.get(sequence);
    this.#heartbeats.delete(sequence);
    return heartbeat;
  }

  end(): void {
    this.#ended = true;
    this.#watching?.cancel();
    this.#beating?.cancel();
  }
}
