/**
 * One connection to a daemon: signs in, sends calls, sorts what comes back, keeps alive. Knows nothing of deadlines, reconnecting or
 * how many connections there are: that is `lanes.ts` and `libvirt.ts`, its only callers.
 */
import { decodeReply, endedBy } from "./call-outcome.ts";
import { decodeValue, encodeValue } from "./codec.ts";
import { LibvirtAbortError, LibvirtClientError, LibvirtConnectionError, LibvirtError, LibvirtProtocolError } from "./errors.ts";
import { raceSignal, startDeadline } from "./deadline.ts";
import { encodeFrame, type Frame, FrameSplitter, KEEPALIVE_PING, KEEPALIVE_PONG, KEEPALIVE_PROGRAM, MessageStatus, MessageType } from "./frame.ts";
import type { Logger, Timer, Timers, Transport, Wire } from "./ports.ts";
import type { Procedure } from "./procedures/procedure.ts";
import { procedures } from "./procedures/table.ts";
import { remoteError } from "./structures.ts";
import { decodeHole, LibvirtStream, type StreamChannel } from "./stream.ts";

/** A daemon serves five calls of a connection at a time and then stops reading; one place stays free for keepalive and goodbyes. */
export const MAX_CALLS_IN_FLIGHT = 4;

/** virDrvFeature numbers. */
const FEATURE_KEEPALIVE = 10;

export interface ConnectionOptions {
  readonly transport: Transport;
  /** The hypervisor to open: `qemu:///system`. */
  readonly uri: string;
  readonly readOnly: boolean;
  readonly connectTimeoutMs: number;
  /** Silence after which a ping is sent, and how many pings may stay unanswered. */
  readonly keepaliveIntervalMs: number;
  readonly keepaliveCount: number;
  /** Asks the daemon to ping us too, so that it notices our death. Off for streams, which may stand still for long. */
  readonly daemonPings: boolean;
  readonly timers: Timers;
  readonly logger: Logger;
  /** An event message: program, procedure number, payload. */
  readonly onEvent: (program: number, procedure: number, payload: Uint8Array) => void;
  /** Called once when the connection is gone, after all its calls were rejected. */
  readonly onClosed: (error: LibvirtClientError) => void;
  /** A call was answered, so there is room for another. */
  readonly onRoom: () => void;
}

interface PendingCall {
  readonly procedure: Procedure<unknown, unknown>;
  readonly sentAt: number;
  readonly settle: (frame: Frame) => void;
  readonly fail: (error: LibvirtClientError) => void;
  /** Nobody waits any more, but the daemon still works on it: the place stays taken. */
  abandoned: boolean;
}

export class Connection {
  readonly #options: ConnectionOptions;
  readonly #wire: Wire;
  readonly #splitter = new FrameSplitter();
  readonly #pending = new Map<number, PendingCall>();
  readonly #streams = new Map<number, LibvirtStream>();
  #serial = 0;
  #closed: LibvirtClientError | undefined;
  #keepaliveTimer: Timer | undefined;
  #heardAt: number;
  #unanswered = 0;
  #paused = false;
  #drainWaiters: (() => void)[] = [];

  private constructor(options: ConnectionOptions, wire: Wire) {
    this.#options = options;
    this.#wire = wire;
    this.#heardAt = options.timers.monotonic();
    wire.attach({
      data: (bytes) => this.#receive(bytes),
      drain: () => this.#drain(),
      closed: (error) =>
        this.#close(
          new LibvirtConnectionError(
            `the connection to ${options.transport.description} was lost${error === undefined ? "" : `: ${error.message}`}`,
            true,
            {
              cause: error,
            },
          ),
        ),
    });
  }

  /** Connects and signs in. Rejects with a `LibvirtConnectionError`, or the `LibvirtError` the daemon refused with. */
  static async open(options: ConnectionOptions, signal?: AbortSignal): Promise<Connection> {
    const { transport, timers } = options;
    const where = transport.description;
    const expired = () => new LibvirtConnectionError(`${where} did not let us in within ${options.connectTimeoutMs} ms; is the daemon hung?`, false);
    const limit = startDeadline(timers, options.connectTimeoutMs, expired, signal);
    try {
      const opening = transport.open(limit.signal);
      // Should the wire come after all when nobody waits any more, it must not stay open.
      void opening.then(
        (wire) => limit.signal.aborted && wire.destroy(),
        () => undefined,
      );
      const connection = new Connection(options, await raceSignal(opening, limit.signal));
      try {
        await connection.#signIn(limit.signal);
      } catch (error) {
        connection.destroy("signing in failed");
        throw error;
      }
      connection.#watchSilence();
      return connection;
    } catch (error) {
      if (limit.signal.aborted && error instanceof LibvirtClientError === false && signal?.aborted !== true) throw expired();
      if (error instanceof LibvirtError) throw error;
      const cause = error instanceof LibvirtAbortError ? error.cause : error;
      if (cause instanceof LibvirtConnectionError || cause instanceof LibvirtProtocolError) throw cause;
      throw new LibvirtConnectionError(`cannot connect to ${where}: ${cause instanceof Error ? cause.message : String(cause)}`, false, { cause });
    } finally {
      limit.done();
    }
  }

  /** Calls the daemon works on, abandoned ones included. */
  get occupied(): number {
    return this.#pending.size;
  }

  get abandoned(): number {
    let count = 0;
    for (const call of this.#pending.values()) count += call.abandoned ? 1 : 0;
    return count;
  }

  get hasRoom(): boolean {
    return this.#closed === undefined && this.#pending.size < MAX_CALLS_IN_FLIGHT;
  }

  get isClosed(): boolean {
    return this.#closed !== undefined;
  }

  /** How long the oldest unanswered call has been waiting, ms; 0 without one. */
  get oldestCallMs(): number {
    let oldest = this.#options.timers.monotonic();
    for (const call of this.#pending.values()) oldest = Math.min(oldest, call.sentAt);
    return this.#options.timers.monotonic() - oldest;
  }

  /**
   * Sends a call at once. `payload` is the encoded arguments. When `signal` fires first the promise rejects with its reason if that is
   * a `LibvirtClientError` (a deadline), else with a `LibvirtAbortError`; the place in flight stays taken until the daemon answers.
   */
  call<A, R>(procedure: Procedure<A, R>, payload: Uint8Array, signal?: AbortSignal): Promise<R> {
    return this.#send(procedure, payload, signal, () => (frame) => decodeReply(procedure.reply, frame, procedure.name));
  }

  /**
   * Sends a call that opens a stream; it is handed over when the daemon has agreed. It takes data from the moment the call is sent: a
   * daemon's event loop may send the first pieces, or all of them where there are few, before its worker has sent the reply.
   */
  openStream<A, R>(
    procedure: Procedure<A, R>,
    payload: Uint8Array,
    signal: AbortSignal | undefined,
    onReleased: () => void,
  ): Promise<{ readonly reply: R; readonly stream: LibvirtStream }> {
    return this.#send(procedure, payload, signal, (serial) => {
      let answered = false;
      let released = false;
      const onOver = () => {
        released = true;
        if (answered) onReleased();
      };
      const stream = new LibvirtStream(this.#channel(procedure, serial, onOver));
      this.#streams.set(serial, stream);
      return (frame) => {
        answered = true;
        try {
          const reply = decodeReply(procedure.reply, frame, procedure.name);
          if (released) onReleased();
          return { reply, stream };
        } catch (error) {
          this.#streams.delete(serial);
          throw error;
        }
      };
    });
  }

  /** Says goodbye as well as it can, without waiting, and closes. */
  goodbye(): void {
    if (this.#closed !== undefined) return;
    this.#serial += 1;
    const { program, number } = procedures.connectClose;
    this.#wire.write(encodeFrame({ program, procedure: number, type: MessageType.call, serial: this.#serial, status: MessageStatus.ok }));
    this.destroy("it was closed by this side");
  }

  /** Closes at once; all calls in flight are rejected. */
  destroy(why: string): void {
    this.#close(new LibvirtConnectionError(`the connection to ${this.#options.transport.description} is gone: ${why}`, true));
  }

  async #signIn(signal: AbortSignal): Promise<void> {
    const none = new Uint8Array(0);
    const { types } = await this.call(procedures.authList, none, signal);
    if (types.length > 0 && !types.includes(0)) {
      if (!types.includes(2)) {
        throw new LibvirtConnectionError(
          `${this.#options.transport.description} asks for SASL, which this client does not speak; use the unix socket, TLS with certificates, or SSH`,
          false,
        );
      }
      await this.call(procedures.authPolkit, none, signal);
    }
    const { uri, readOnly } = this.#options;
    await this.call(procedures.connectOpen, encodeValue(procedures.connectOpen.args, { name: uri, flags: readOnly ? 1 : 0 }), signal);
    if (!this.#options.daemonPings) return;
    const feature = encodeValue(procedures.connectSupportsFeature.args, { feature: FEATURE_KEEPALIVE });
    await this.call(procedures.connectSupportsFeature, feature, signal);
  }

  /** @param begin called with the call's serial before anything is sent; what it returns reads the reply */
  #send<T>(procedure: Procedure, payload: Uint8Array, signal: AbortSignal | undefined, begin: (serial: number) => (frame: Frame) => T): Promise<T> {
    return new Promise((resolve, reject) => {
      if (this.#closed !== undefined) return reject(new LibvirtConnectionError(this.#closed.message, false, { cause: this.#closed }));
      if (signal?.aborted === true) return reject(endedBy(signal, procedure.name, false));
      this.#serial = this.#serial >= 0x7fffffff ? 1 : this.#serial + 1;
      const serial = this.#serial;
      const read = begin(serial);
      const onAbort = () => {
        call.abandoned = true;
        // A signal passed to `call` always has a reason.
        reject(endedBy(signal as AbortSignal, procedure.name, true));
      };
      const call: PendingCall = {
        procedure,
        sentAt: this.#options.timers.monotonic(),
        abandoned: false,
        settle: (frame) => {
          signal?.removeEventListener("abort", onAbort);
          if (call.abandoned) return this.#dropAnswer(call, frame);
          try {
            resolve(read(frame));
          } catch (error) {
            reject(error);
          }
        },
        fail: (error) => {
          signal?.removeEventListener("abort", onAbort);
          reject(error);
        },
      };
      const frame = encodeFrame(
        { program: procedure.program, procedure: procedure.number, type: MessageType.call, serial, status: MessageStatus.ok },
        payload,
      );
      this.#pending.set(serial, call);
      signal?.addEventListener("abort", onAbort, { once: true });
      this.#wire.write(frame);
    });
  }

  /** The answer to a call nobody waits for. If it opened a stream, that is broken off. */
  #dropAnswer(call: PendingCall, frame: Frame): void {
    this.#options.logger.debug(
      { procedure: call.procedure.name, afterMs: this.#options.timers.monotonic() - call.sentAt },
      "a late answer was dropped",
    );
    this.#streams.delete(frame.serial);
    if (call.procedure.stream !== "none" && frame.status === MessageStatus.ok) {
      this.#sendStreamFrame(call.procedure, frame.serial, MessageType.stream, MessageStatus.error);
    }
  }

  #receive(bytes: Uint8Array): void {
    if (this.#closed !== undefined) return;
    this.#heardAt = this.#options.timers.monotonic();
    this.#unanswered = 0;
    try {
      for (const frame of this.#splitter.push(bytes)) {
        this.#dispatch(frame);
        // A handler may have closed the connection.
        if (this.isClosed) return;
      }
    } catch (error) {
      const reason = error instanceof Error ? error.message : String(error);
      this.#close(new LibvirtProtocolError(`${this.#options.transport.description} broke the protocol: ${reason}`, true, { cause: error }));
    }
  }

  #dispatch(frame: Frame): void {
    if (frame.program === KEEPALIVE_PROGRAM) {
      if (frame.procedure === KEEPALIVE_PING) this.#sendKeepalive(KEEPALIVE_PONG);
      return;
    }
    switch (frame.type) {
      case MessageType.reply:
        return this.#dispatchReply(frame);
      case MessageType.event:
        return this.#options.onEvent(frame.program, frame.procedure, frame.payload);
      case MessageType.stream:
      case MessageType.streamHole:
        return this.#dispatchStream(frame);
      default:
        throw new Error(`a message of type ${frame.type} was not asked for`);
    }
  }

  #dispatchReply(frame: Frame): void {
    const call = this.#pending.get(frame.serial);
    if (call === undefined) {
      // The daemon answers the goodbye of a broken-off stream this way.
      const stream = this.#streams.get(frame.serial);
      if (stream === undefined) return this.#options.logger.debug({ serial: frame.serial }, "an answer without a question was dropped");
      return this.#dispatchStream(frame);
    }
    if (call.procedure.program !== frame.program || call.procedure.number !== frame.procedure) {
      throw new Error(`the answer to ${call.procedure.name} names procedure ${frame.procedure}`);
    }
    this.#pending.delete(frame.serial);
    call.settle(frame);
    this.#options.onRoom();
  }

  #dispatchStream(frame: Frame): void {
    const stream = this.#streams.get(frame.serial);
    if (stream === undefined) return;
    if (frame.status === MessageStatus.error) {
      this.#streams.delete(frame.serial);
      stream.receiveError(new LibvirtError("stream", decodeValue(remoteError, frame.payload)));
    } else if (frame.status === MessageStatus.ok) {
      this.#streams.delete(frame.serial);
      stream.receiveEnd();
    } else if (frame.type === MessageType.streamHole) stream.receiveHole(decodeHole(frame.payload));
    else stream.receiveData(frame.payload);
  }

  #channel(procedure: Procedure, serial: number, onReleased: () => void): StreamChannel {
    return {
      sendData: (data) => this.#sendStreamFrame(procedure, serial, MessageType.stream, MessageStatus.continue, data),
      sendHole: (payload) => this.#sendStreamFrame(procedure, serial, MessageType.streamHole, MessageStatus.continue, payload),
      sendFinish: () => void this.#sendStreamFrame(procedure, serial, MessageType.stream, MessageStatus.ok),
      sendAbort: () => void this.#sendStreamFrame(procedure, serial, MessageType.stream, MessageStatus.error),
      drained: () => (this.isClosed ? Promise.resolve() : new Promise((resolve) => this.#drainWaiters.push(resolve))),
      pause: () => this.#setPaused(true),
      resume: () => this.#setPaused(false),
      release: () => {
        this.#streams.delete(serial);
        onReleased();
      },
    };
  }

  #sendStreamFrame(procedure: Procedure, serial: number, type: number, status: number, payload?: Uint8Array): boolean {
    if (this.#closed !== undefined) return true;
    return this.#wire.write(encodeFrame({ program: procedure.program, procedure: procedure.number, type, serial, status }, payload));
  }

  #setPaused(paused: boolean): void {
    if (this.#closed !== undefined) return;
    this.#paused = paused;
    this.#heardAt = this.#options.timers.monotonic();
    if (paused) this.#wire.pause();
    else this.#wire.resume();
  }

  #drain(): void {
    const waiters = this.#drainWaiters;
    this.#drainWaiters = [];
    for (const resolve of waiters) resolve();
  }

  /** Pings when the daemon has been silent, and gives the connection up when pings stay unanswered. */
  #watchSilence(): void {
    const { keepaliveIntervalMs, keepaliveCount, timers, transport } = this.#options;
    if (keepaliveIntervalMs <= 0 || this.#closed !== undefined) return;
    const quietMs = timers.monotonic() - this.#heardAt;
    // While a slow reader has stopped the flow, silence is our own doing.
    const due = !this.#paused && quietMs >= keepaliveIntervalMs;
    if (due && this.#unanswered >= keepaliveCount) {
      const error = `${transport.description} has not answered ${keepaliveCount} pings in ${Math.round(quietMs)} ms`;
      return this.#close(new LibvirtConnectionError(`${error}; the host or its daemon hangs, or the network is cut`, true));
    }
    if (due) {
      this.#unanswered += 1;
      this.#sendKeepalive(KEEPALIVE_PING);
    }
    const nextMs = due || this.#paused ? keepaliveIntervalMs : keepaliveIntervalMs - quietMs;
    this.#keepaliveTimer = timers.setTimer(nextMs, () => this.#watchSilence());
  }

  #sendKeepalive(procedure: number): void {
    this.#wire.write(encodeFrame({ program: KEEPALIVE_PROGRAM, procedure, type: MessageType.event, serial: 0, status: MessageStatus.ok }));
  }

  #close(error: LibvirtClientError): void {
    if (this.#closed !== undefined) return;
    this.#closed = error;
    this.#keepaliveTimer?.cancel();
    this.#wire.destroy();
    const calls = [...this.#pending.values()];
    this.#pending.clear();
    for (const call of calls) call.fail(error);
    const streams = [...this.#streams.values()];
    this.#streams.clear();
    for (const stream of streams) stream.receiveError(error);
    this.#drain();
    this.#options.onClosed(error);
  }
}
