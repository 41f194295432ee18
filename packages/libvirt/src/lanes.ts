/**
 * Which connection a call goes over. Short calls share the main connection, four at a time; when the calls on it hang, another is
 * opened, so that one hung domain does not hold up the rest. Long calls have a connection each, kept for a while for the next one.
 * Used by `libvirt.ts` alone; it never retries a call.
 */
import { endedBy } from "./call-outcome.ts";
import { LibvirtConnectionError, type LibvirtClientError } from "./errors.ts";
import type { Logger, Timer, Timers } from "./ports.ts";
import type { Connection } from "./wire-connection.ts";

/** `main`: registrations of events, which belong to one connection. */
export type LaneKind = "main" | "short" | "long";

export interface LaneLimits {
  /** Long calls at a time; more wait. A daemon has 20 workers unless its configuration says otherwise. */
  readonly maxLongCalls: number;
  /** Connections for short calls beside the main one. */
  readonly maxSpareConnections: number;
  /** A call that takes longer is taken to hang: others go around it. */
  readonly slowAfterMs: number;
  /** How long an unused connection is kept. */
  readonly idleMs: number;
  /** Calls that may wait for a place. */
  readonly maxWaiting: number;
}

export interface LaneOptions extends LaneLimits {
  readonly timers: Timers;
  readonly logger: Logger;
  readonly open: (handlers: { onRoom: () => void; onClosed: (error: LibvirtClientError) => void }) => Promise<Connection>;
}

interface Waiter {
  readonly kind: LaneKind;
  readonly start: (connection: Connection) => void;
  readonly fail: (error: LibvirtClientError) => void;
}

interface Lane {
  readonly kind: "short" | "long";
  readonly connection: Connection;
  idle: Timer | undefined;
}

export class Lanes {
  readonly #options: LaneOptions;
  #main: Connection | undefined;
  #waiting: Waiter[] = [];
  #lanes: Lane[] = [];
  #opening = { short: 0, long: 0 };
  #recheck: Timer | undefined;
  #closed = false;

  constructor(options: LaneOptions) {
    this.#options = options;
  }

  /** The main connection came up (waiting calls start) or went away (they go on waiting). */
  setMain(connection: Connection | undefined): void {
    this.#main = connection;
    this.pump();
  }

  /** Runs `start` on a connection of the wanted kind as soon as one has room. `start` must send its call before it returns. */
  run<T>(kind: LaneKind, procedure: string, signal: AbortSignal, start: (connection: Connection) => Promise<T>): Promise<T> {
    return new Promise((resolve, reject) => {
      if (signal.aborted) return reject(endedBy(signal, procedure, false));
      if (this.#waiting.length >= this.#options.maxWaiting) {
        return reject(new LibvirtConnectionError(`${procedure} was not sent: ${this.#waiting.length} calls are waiting already`, false));
      }
      const onAbort = () => {
        this.#waiting = this.#waiting.filter((candidate) => candidate !== waiter);
        reject(endedBy(signal, procedure, false));
      };
      const settled = () => signal.removeEventListener("abort", onAbort);
      const waiter: Waiter = {
        kind,
        start: (connection) => {
          settled();
          start(connection).then(resolve, reject);
        },
        fail: (error) => {
          settled();
          reject(error);
        },
      };
      signal.addEventListener("abort", onAbort, { once: true });
      this.#waiting.push(waiter);
      this.pump();
    });
  }

  /** Rejects every call that waits for a place. */
  failWaiting(error: LibvirtClientError): void {
    const waiting = this.#waiting;
    this.#waiting = [];
    for (const waiter of waiting) waiter.fail(error);
  }

  /** Starts what can start now. Called whenever room may have come up. */
  pump(): void {
    if (this.#closed) return;
    const blocked = new Set<LaneKind>();
    for (const waiter of this.#waiting.slice()) {
      if (blocked.has(waiter.kind) || !this.#waiting.includes(waiter)) continue;
      const connection = this.#find(waiter.kind);
      if (connection === undefined) {
        blocked.add(waiter.kind);
        continue;
      }
      this.#waiting.splice(this.#waiting.indexOf(waiter), 1);
      waiter.start(connection);
    }
    if (this.#main === undefined) return;
    if (blocked.has("long")) this.#openLong();
    if (blocked.has("short")) this.#openSpare();
  }

  close(error: LibvirtClientError): void {
    this.#closed = true;
    this.#recheck?.cancel();
    this.failWaiting(error);
    const lanes = this.#lanes;
    this.#lanes = [];
    for (const lane of lanes) {
      lane.idle?.cancel();
      lane.connection.goodbye();
    }
  }

  /** All open connections, the main one first. */
  connections(): readonly Connection[] {
    return [...(this.#main === undefined ? [] : [this.#main]), ...this.#lanes.map((lane) => lane.connection)];
  }

  get waiting(): number {
    return this.#waiting.length;
  }

  #find(kind: LaneKind): Connection | undefined {
    if (this.#main === undefined) return undefined;
    if (kind === "long")
      return this.#use(this.#lanes.find((lane) => lane.kind === "long" && lane.connection.hasRoom && lane.connection.occupied === 0));
    if (this.#main.hasRoom) return this.#main;
    return kind === "main" ? undefined : this.#use(this.#lanes.find((lane) => lane.kind === "short" && lane.connection.hasRoom));
  }

  #use(lane: Lane | undefined): Connection | undefined {
    lane?.idle?.cancel();
    return lane?.connection;
  }

  #openLong(): void {
    const wanted = this.#waiting.filter((waiter) => waiter.kind === "long").length;
    const used = this.#lanes.filter((lane) => lane.kind === "long").length;
    const free = this.#options.maxLongCalls - used - this.#opening.long;
    for (let count = Math.min(wanted - this.#opening.long, free); count > 0; count -= 1) void this.#open("long");
  }

  /** Opens a spare connection when every call in the way has been there for too long; otherwise looks again when that may be so. */
  #openSpare(): void {
    const spares = this.#lanes.filter((lane) => lane.kind === "short");
    if (this.#opening.short > 0 || this.#main === undefined) return;
    const youngestMs = Math.min(...[this.#main, ...spares.map((lane) => lane.connection)].map((connection) => connection.oldestCallMs));
    if (youngestMs >= this.#options.slowAfterMs && spares.length < this.#options.maxSpareConnections) return void this.#open("short");
    this.#recheck?.cancel();
    const delayMs = youngestMs >= this.#options.slowAfterMs ? this.#options.slowAfterMs : this.#options.slowAfterMs - youngestMs;
    this.#recheck = this.#options.timers.setTimer(delayMs, () => this.pump());
  }

  async #open(kind: "short" | "long"): Promise<void> {
    this.#opening[kind] += 1;
    let lane: Lane | undefined;
    try {
      const connection = await this.#options.open({
        onRoom: () => this.#onRoom(lane),
        onClosed: () => this.#onClosed(lane),
      });
      this.#opening[kind] -= 1;
      if (this.#closed) return connection.goodbye();
      lane = { kind, connection, idle: undefined };
      this.#lanes.push(lane);
      if (connection.isClosed) return this.#onClosed(lane);
      this.#onRoom(lane);
    } catch (error) {
      this.#opening[kind] -= 1;
      this.#onOpenFailed(kind, error);
    }
  }

  #onOpenFailed(kind: "short" | "long", error: unknown): void {
    const reason = error instanceof Error ? error.message : String(error);
    this.#options.logger.warn({ kind, reason }, "another connection to the daemon could not be opened");
    if (kind === "short") return this.pump();
    // Each long call has its own connection: the one that waits longest learns that there is none.
    const index = this.#waiting.findIndex((waiter) => waiter.kind === "long");
    if (index < 0) return;
    const [waiter] = this.#waiting.splice(index, 1);
    waiter?.fail(new LibvirtConnectionError(`no connection for a long call: ${reason}`, false, { cause: error }));
    this.pump();
  }

  #onRoom(lane: Lane | undefined): void {
    this.pump();
    if (lane === undefined || lane.connection.occupied > 0) return;
    lane.idle?.cancel();
    lane.idle = this.#options.timers.setTimer(this.#options.idleMs, () => {
      if (lane.connection.occupied > 0) return;
      this.#onClosed(lane);
      lane.connection.goodbye();
    });
  }

  #onClosed(lane: Lane | undefined): void {
    if (lane === undefined) return;
    lane.idle?.cancel();
    this.#lanes = this.#lanes.filter((candidate) => candidate !== lane);
    this.pump();
  }
}
