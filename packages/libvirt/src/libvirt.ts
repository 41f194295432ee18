/**
 * The client: one daemon, any number of connections to it, calls with deadlines, events, streams, reconnecting. Everything else in
 * this library is a part of it or a thin layer over `call`.
 */
import { type CallOptions, type Caller, encodeArguments, typedProcedure } from "./calls.ts";
import { startDeadline } from "./deadline.ts";
import { LibvirtClientError, LibvirtConnectionError, LibvirtTimeoutError } from "./errors.ts";
import { EventRegistry } from "./event-registry.ts";
import { type LaneKind, Lanes } from "./lanes.ts";
import type { Logger, Timer, Timers, Transport } from "./ports.ts";
import type { Procedure } from "./procedures/procedure.ts";
import type { Arguments, ProcedureName, Reply } from "./procedures/table.ts";
import { Session } from "./session.ts";
import { Connection } from "./wire-connection.ts";

export interface LibvirtOptions {
  readonly transport: Transport;
  /** The hypervisor to open: `qemu:///system` (default), `test:///default`, `lxc:///system`. */
  readonly uri?: string | undefined;
  readonly timers: Timers;
  readonly logger: Logger;
  readonly readOnly?: boolean | undefined;
  /** Default 30,000. */
  readonly callTimeoutMs?: number | undefined;
  /** Default 300,000. */
  readonly longCallTimeoutMs?: number | undefined;
  /** Default 10,000. */
  readonly connectTimeoutMs?: number | undefined;
  /** Silence before a ping, default 5,000; 0 turns pings off. */
  readonly keepaliveIntervalMs?: number | undefined;
  /** Pings that may stay unanswered, default 5. */
  readonly keepaliveCount?: number | undefined;
  /** Waits between attempts to connect again: default from 100 doubling up to 10,000. */
  readonly reconnectMinMs?: number | undefined;
  readonly reconnectMaxMs?: number | undefined;
  /** How long calls wait for a lost connection to come back before they are refused, default 5,000. */
  readonly reconnectGraceMs?: number | undefined;
  /** Long calls at a time, default 12. */
  readonly maxLongCalls?: number | undefined;
  /** Connections opened beside the main one when calls hang, default 8. */
  readonly maxSpareConnections?: number | undefined;
  /** When a short call is taken to hang, default 2,000. */
  readonly slowAfterMs?: number | undefined;
}

export type ConnectionState =
  | { readonly kind: "connected" }
  /** Connecting again. Events are missed meanwhile: list everything anew after the next `connected`. */
  | { readonly kind: "disconnected"; readonly error: LibvirtClientError }
  | { readonly kind: "closed" };

/** How the daemon bears up, for dashboards: `hungCalls` above 0 means that calls passed their deadline and are still not answered. */
export interface LibvirtHealth {
  readonly state: ConnectionState["kind"];
  readonly connections: number;
  readonly callsInFlight: number;
  readonly hungCalls: number;
  readonly callsWaiting: number;
  /** Age of the oldest unanswered call, ms. */
  readonly oldestCallMs: number;
}

export class Libvirt implements Caller {
  readonly #options: Required<{ [K in keyof LibvirtOptions]: NonNullable<LibvirtOptions[K]> }>;
  readonly #lanes: Lanes;
  readonly #stateListeners = new Set<(state: ConnectionState) => void>();
  readonly #extra = new Set<Connection>();
  readonly #ending = new AbortController();
  #main: Connection | undefined;
  #state: ConnectionState;
  #grace: Timer | undefined;
  #retry: Timer | undefined;
  /** Why calls are refused at once: the connection has been gone for longer than the grace. */
  #refusal: LibvirtClientError | undefined;
  /** Subscribing to events: see `EventRegistry`. */
  readonly events: EventRegistry;

  private constructor(options: LibvirtOptions) {
    this.#options = withDefaults(options);
    const { timers, logger, maxLongCalls, maxSpareConnections, slowAfterMs } = this.#options;
    this.#state = { kind: "disconnected", error: new LibvirtConnectionError("not connected yet", false) };
    this.#lanes = new Lanes({
      timers,
      logger,
      maxLongCalls,
      maxSpareConnections,
      slowAfterMs,
      idleMs: 30_000,
      maxWaiting: 10_000,
      open: ({ onRoom, onClosed }) => this.#open({ onRoom, onClosed }, this.#ending.signal),
    });
    this.events = new EventRegistry((procedure, args) => this.#invoke(procedure, args, {}, "main"), logger);
  }

  /** Connects once; rejects when that fails. Afterwards a lost connection is made again until `close`. */
  static async connect(options: LibvirtOptions, signal?: AbortSignal): Promise<Libvirt> {
    const libvirt = new Libvirt(options);
    await libvirt.#connectMain(signal);
    return libvirt;
  }

  get state(): ConnectionState {
    return this.#state;
  }

  /** Calls `listener` at each change of state (not with the present one). Returns what takes it away. */
  onState(listener: (state: ConnectionState) => void): () => void {
    this.#stateListeners.add(listener);
    return () => void this.#stateListeners.delete(listener);
  }

  health(): LibvirtHealth {
    const connections = [...this.#lanes.connections(), ...this.#extra];
    return {
      state: this.#state.kind,
      connections: connections.length,
      callsInFlight: connections.reduce((sum, connection) => sum + connection.occupied, 0),
      hungCalls: connections.reduce((sum, connection) => sum + connection.abandoned, 0),
      callsWaiting: this.#lanes.waiting,
      oldestCallMs: connections.reduce((oldest, connection) => Math.max(oldest, connection.oldestCallMs), 0),
    };
  }

  /**
   * Makes a call. Rejects with `LibvirtError` (the daemon refused), `LibvirtTimeoutError`, `LibvirtAbortError`, `LibvirtConnectionError`
   * or, for arguments that do not fit, `XdrError` before anything is sent. Never retries.
   */
  call<N extends ProcedureName>(name: N, args: Arguments<N>, options: CallOptions = {}): Promise<Reply<N>> {
    return this.callRaw(typedProcedure(name), args, options);
  }

  /** A call of a procedure that is not in the table, with codecs given by hand. */
  callRaw<A, R>(procedure: Procedure<A, R>, args: A, options: CallOptions = {}): Promise<R> {
    return this.#invoke(procedure, args, options, procedure.long ? "long" : "short");
  }

  /** Makes a call that opens a stream, on a connection that lives as long as the stream. */
  async openStream<N extends ProcedureName>(name: N, args: Arguments<N>, options: CallOptions = {}) {
    const procedure = typedProcedure(name);
    const payload = encodeArguments(procedure, args);
    return this.#withDeadline(procedure, options, async (signal) => {
      const connection = await this.#openExtra(false, signal);
      try {
        return await connection.openStream(procedure, payload, signal, () => connection.goodbye());
      } catch (error) {
        connection.destroy("the stream was not opened");
        throw error;
      }
    });
  }

  /**
   * A connection of its own that stays open until it is closed. libvirt ties things to connections: a migration's source and target
   * undo it, and auto-destroyed domains die, when the connection that began them closes.
   */
  async openSession(options: CallOptions = {}): Promise<Session> {
    const { timers, connectTimeoutMs } = this.#options;
    const timeoutMs = options.timeoutMs ?? connectTimeoutMs;
    const limit = startDeadline(timers, timeoutMs, () => new LibvirtTimeoutError("opening a session", timeoutMs, false), options.signal);
    try {
      const connection = await this.#openExtra(true, limit.signal);
      return new Session(connection, (procedure, callOptions, run) => this.#withDeadline(procedure, callOptions, run));
    } finally {
      limit.done();
    }
  }

  /** Ends all connections; calls in flight are rejected. Nothing that runs on the host is stopped. */
  close(): void {
    if (this.#state.kind === "closed") return;
    const error = new LibvirtConnectionError("the client was closed", false);
    this.#refusal = error;
    this.#ending.abort(error);
    this.#grace?.cancel();
    this.#retry?.cancel();
    this.#lanes.close(error);
    for (const connection of this.#extra) connection.goodbye();
    this.#main?.goodbye();
    this.#setState({ kind: "closed" });
  }

  async #invoke<A, R>(procedure: Procedure<A, R>, args: A, options: CallOptions, kind: LaneKind): Promise<R> {
    const payload = encodeArguments(procedure, args);
    return this.#withDeadline(procedure, options, (signal) => {
      if (this.#refusal !== undefined)
        throw new LibvirtConnectionError(`${procedure.name} was not sent: ${this.#refusal.message}`, false, { cause: this.#refusal });
      return this.#lanes.run(kind, procedure.name, signal, (connection) => connection.call(procedure, payload, signal));
    });
  }

  async #withDeadline<T>(
    procedure: { readonly name: string; readonly long: boolean },
    options: CallOptions,
    run: (signal: AbortSignal) => Promise<T>,
  ): Promise<T> {
    const { timers, callTimeoutMs, longCallTimeoutMs } = this.#options;
    const timeoutMs = Math.min(options.timeoutMs ?? (procedure.long ? longCallTimeoutMs : callTimeoutMs), LONGEST_TIMER_MS);
    const limit = startDeadline(timers, timeoutMs, () => new LibvirtTimeoutError(procedure.name, timeoutMs, false), options.signal);
    try {
      return await run(limit.signal);
    } finally {
      limit.done();
    }
  }

  #open(
    handlers: { onRoom: () => void; onClosed: (error: LibvirtClientError) => void; main?: boolean; daemonPings?: boolean },
    signal?: AbortSignal,
  ): Promise<Connection> {
    const { transport, uri, readOnly, connectTimeoutMs, keepaliveIntervalMs, keepaliveCount, timers, logger } = this.#options;
    return Connection.open(
      {
        transport,
        uri,
        readOnly,
        connectTimeoutMs,
        keepaliveIntervalMs,
        keepaliveCount,
        timers,
        logger,
        daemonPings: handlers.daemonPings ?? true,
        onRoom: handlers.onRoom,
        onClosed: handlers.onClosed,
        onEvent: (program, procedure, payload) => handlers.main === true && this.events.deliver(program, procedure, payload),
      },
      signal,
    );
  }

  async #openExtra(daemonPings: boolean, signal: AbortSignal): Promise<Connection> {
    if (this.#refusal !== undefined) throw this.#refusal;
    let opened: Connection | undefined;
    const connection = await this.#open({ daemonPings, onRoom: () => undefined, onClosed: () => opened && this.#extra.delete(opened) }, signal);
    opened = connection;
    // The client may have been closed while the connection was made.
    if (this.#ending.signal.aborted) connection.goodbye();
    else this.#extra.add(connection);
    return connection;
  }

  async #connectMain(signal: AbortSignal | undefined): Promise<void> {
    let main: Connection | undefined;
    const connection = await this.#open(
      { main: true, onRoom: () => this.#lanes.pump(), onClosed: (error) => main !== undefined && this.#lost(main, error) },
      signal,
    );
    const { timers, connectTimeoutMs } = this.#options;
    const expired = () => new LibvirtConnectionError(`the events were not registered again within ${connectTimeoutMs} ms`, false);
    const limit = startDeadline(timers, connectTimeoutMs, expired, this.#ending.signal);
    try {
      await this.events.attach(connection, limit.signal);
      if (this.#ending.signal.aborted) throw this.#ending.signal.reason;
      if (connection.isClosed) throw new LibvirtConnectionError("the connection was lost as soon as it was made", false);
    } catch (error) {
      this.events.detach();
      connection.goodbye();
      throw error;
    } finally {
      limit.done();
    }
    main = connection;
    this.#main = connection;
    this.#refusal = undefined;
    this.#grace?.cancel();
    this.#setState({ kind: "connected" });
    this.#lanes.setMain(connection);
  }

  #lost(connection: Connection, error: LibvirtClientError): void {
    if (this.#main !== connection || this.#ending.signal.aborted) return;
    const { timers, logger, reconnectGraceMs, reconnectMinMs } = this.#options;
    this.#main = undefined;
    this.#lanes.setMain(undefined);
    this.events.detach();
    logger.warn({ reason: error.message }, "the connection to libvirt was lost, connecting again");
    this.#grace = timers.setTimer(reconnectGraceMs, () => {
      const { kind } = this.#state;
      this.#refusal = new LibvirtConnectionError(
        `${this.#options.transport.description} is not reachable: ${(kind === "disconnected" ? this.#state.error : error).message}`,
        false,
        {
          cause: error,
        },
      );
      this.#lanes.failWaiting(this.#refusal);
    });
    this.#setState({ kind: "disconnected", error });
    this.#reconnectAfter(reconnectMinMs);
  }

  #reconnectAfter(delayMs: number): void {
    const { timers, logger, reconnectMaxMs } = this.#options;
    this.#retry = timers.setTimer(delayMs, () => {
      this.#connectMain(this.#ending.signal).catch((error: unknown) => {
        if (this.#ending.signal.aborted) return;
        logger.debug({ reason: String(error), nextMs: Math.min(delayMs * 2, reconnectMaxMs) }, "libvirt is still not reachable");
        if (error instanceof LibvirtClientError && this.#state.kind === "disconnected") this.#state = { kind: "disconnected", error };
        this.#reconnectAfter(Math.min(delayMs * 2, reconnectMaxMs));
      });
    });
  }

  #setState(state: ConnectionState): void {
    this.#state = state;
    for (const listener of Array.from(this.#stateListeners)) {
      try {
        listener(state);
      } catch (error) {
        this.#options.logger.warn({ reason: String(error) }, "a listener of the connection's state failed");
      }
    }
  }
}

/** setTimeout's own limit; about 24 days. */
const LONGEST_TIMER_MS = 2_147_483_647;

function withDefaults(options: LibvirtOptions) {
  return {
    transport: options.transport,
    uri: options.uri ?? "qemu:///system",
    timers: options.timers,
    logger: options.logger,
    readOnly: options.readOnly ?? false,
    callTimeoutMs: options.callTimeoutMs ?? 30_000,
    longCallTimeoutMs: options.longCallTimeoutMs ?? 300_000,
    connectTimeoutMs: options.connectTimeoutMs ?? 10_000,
    keepaliveIntervalMs: options.keepaliveIntervalMs ?? 5_000,
    keepaliveCount: options.keepaliveCount ?? 5,
    reconnectMinMs: options.reconnectMinMs ?? 100,
    reconnectMaxMs: options.reconnectMaxMs ?? 10_000,
    reconnectGraceMs: options.reconnectGraceMs ?? 5_000,
    maxLongCalls: options.maxLongCalls ?? 12,
    maxSpareConnections: options.maxSpareConnections ?? 8,
    slowAfterMs: options.slowAfterMs ?? 2_000,
  };
}
