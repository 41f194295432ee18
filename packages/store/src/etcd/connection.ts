/**
 * One way to a cluster of etcd members: talks to one of them, notices within a second and a half that it is dead, frozen, cut off or without a
 * leader, and goes on with the first that answers. Called by the etcd store; knows calls and members, nothing of keys.
 *
 * What it must never do: send a write twice. Reads and calls that may be repeated are; a write goes out once, over a connection that
 * stands, and whatever happens to it afterwards is for the caller to look at.
 */
import { Client, connectivityState, credentials, Metadata, status } from "@grpc/grpc-js";
import type { ChannelCredentials, ServiceError } from "@grpc/grpc-js";
import { sleep } from "@sheaf/base";
import type { Clock, Logger, Timer } from "@sheaf/base";
import { StoreError } from "../store.ts";
import { closedError } from "../validation.ts";
import { EtcdCallError } from "./etcd-errors.ts";
import type { RangeRequest } from "./messages.ts";
import { methods } from "./methods.ts";
import type { Method } from "./methods.ts";

/** PEM. Read anew for each connection, so that renewed certificates are taken without a restart. */
export interface EtcdTls {
  readonly authority: Buffer;
  readonly certificate?: Buffer;
  readonly key?: Buffer;
}

export interface EtcdConnectionOptions {
  /** `host:port` of each member. */
  readonly endpoints: readonly string[];
  readonly tls?: () => Promise<EtcdTls>;
  readonly clock: Clock;
  readonly logger: Logger;
  /** A read that only a member with a leader can answer. */
  readonly probe: RangeRequest;
  readonly answerTimeoutMs: number;
  /** Called at each beat, twice a second. */
  readonly beat: () => void;
}

/** What a stream's opener hears. `ended` is the last call and comes once, unless `close` was called before. */
export interface StreamHandlers<Output> {
  data(message: Output): void;
  ended(error: EtcdCallError): void;
}

const beatMs = 500;
const probeMs = 1000;
/** A member that has to be found: connecting and a handshake are in it. */
const searchMs = 2000;
const searchPauseMs = 100;
const retryPauseMs = 50;
/** One try of a call that may be repeated. */
const attemptMs = 2000;
/** Writes under way at a member that was left have this long for their answer. */
const graceMs = 500;

/** Failures of the way or of the cluster, as against refusals of the request. */
const transportCodes: ReadonlySet<number> = new Set([
  status.CANCELLED,
  status.UNKNOWN,
  status.DEADLINE_EXCEEDED,
  status.RESOURCE_EXHAUSTED,
  status.ABORTED,
  status.INTERNAL,
  status.UNAVAILABLE,
]);

interface Cancellable {
  cancel(): void;
}

/** One member, with a connection of its own. */
class Member {
  readonly address: string;
  readonly #client: Client;
  readonly #clock: Clock;
  readonly #metadata = new Metadata();
  #closed = false;
  readonly #calls = new Set<Cancellable>();
  readonly #streams = new Set<Cancellable>();

  constructor(address: string, channel: ChannelCredentials, clock: Clock) {
    this.address = address;
    this.#clock = clock;
    // Refused at once where the member has lost its leader, streams ended: another member may have one.
    this.#metadata.set("hasleader", "true");
    this.#client = new Client(address, channel, {
      "grpc.max_receive_message_length": -1,
      "grpc.max_send_message_length": -1,
      "grpc.enable_retries": 0,
      "grpc.enable_http_proxy": 0,
      // A connection that hangs must not be found again under a new name.
      "grpc.use_local_subchannel_pool": 1,
      "grpc.initial_reconnect_backoff_ms": 100,
      "grpc.max_reconnect_backoff_ms": 1000,
    });
  }

  get closed(): boolean {
    return this.#closed;
  }

  get connected(): boolean {
    return this.#client.getChannel().getConnectivityState(false) === connectivityState.READY;
  }

  /** @throws EtcdCallError */
  unary<Input, Output>(method: Method<Input, Output>, input: Input, timeoutMs: number): Promise<Output> {
    return new Promise((resolve, reject) => {
      let timedOut = false;
      const call = this.#client.makeUnaryRequest(method.path, method.encode, method.decode, input, this.#metadata, {}, (error, value) => {
        timer.cancel();
        this.#calls.delete(call);
        if (value !== undefined && error === null) return resolve(value);
        reject(this.#failure(timedOut ? `no answer within ${timeoutMs} ms` : (error?.details ?? "an empty answer"), error));
      });
      this.#calls.add(call);
      const timer = this.#clock.setTimer(timeoutMs, () => {
        timedOut = true;
        call.cancel();
      });
    });
  }

  stream<Input, Output>(method: Method<Input, Output>, input: Input, handlers: StreamHandlers<Output>): () => void {
    const call = this.#client.makeBidiStreamRequest(method.path, method.encode, method.decode, this.#metadata, {});
    let open = true;
    const end = (error: EtcdCallError): void => {
      this.#streams.delete(call);
      if (!open) return;
      open = false;
      handlers.ended(error);
    };
    call.on("data", (message: Output) => {
      if (open) handlers.data(message);
    });
    call.on("error", (error: ServiceError) => end(this.#failure(error.details, error)));
    call.on("end", () => end(this.#failure("the stream ended", null)));
    this.#streams.add(call);
    call.write(input);
    return () => {
      open = false;
      this.#streams.delete(call);
      call.cancel();
    };
  }

  /** Streams end now, calls that are under way `graceMs` later. */
  leave(): void {
    for (const stream of this.#streams) stream.cancel();
    if (this.#calls.size === 0) return this.close();
    this.#clock.setTimer(graceMs, () => this.close());
  }

  close(): void {
    this.#closed = true;
    for (const call of [...this.#streams, ...this.#calls]) call.cancel();
    this.#client.close();
  }

  #failure(details: string, error: ServiceError | null): EtcdCallError {
    return new EtcdCallError(this.address, details, error === null || transportCodes.has(error.code));
  }
}

interface Waiter {
  readonly resolve: (member: Member) => void;
  readonly reject: (error: StoreError) => void;
}

export class EtcdConnection {
  readonly #options: EtcdConnectionOptions;
  #current: Member | null = null;
  #waiters = new Set<Waiter>();
  #beat: Timer | null = null;
  #closed = false;
  #lastFailure = "no member was asked yet";

  constructor(options: EtcdConnectionOptions) {
    this.#options = options;
    void this.#search();
    this.#armBeat();
  }

  /** For calls that may be repeated: tried until one member answers. @throws StoreError, never `uncertain` */
  read<Input, Output>(method: Method<Input, Output>, input: Input): Promise<Output> {
    return this.#repeat((member, timeoutMs) => member.unary(method, input, Math.min(timeoutMs, attemptMs)));
  }

  /** One question and one answer on a stream, tried as `read`. */
  exchange<Input, Output>(method: Method<Input, Output>, input: Input): Promise<Output> {
    return this.#repeat(
      (member, timeoutMs) =>
        new Promise((resolve, reject) => {
          const finish = (run: () => void): void => {
            timer.cancel();
            close();
            run();
          };
          const limit = Math.min(timeoutMs, attemptMs);
          const timer = this.#options.clock.setTimer(limit, () =>
            finish(() => reject(new EtcdCallError(member.address, `no answer within ${limit} ms`, true))),
          );
          const close = member.stream(method, input, {
            data: (message) => finish(() => resolve(message)),
            ended: (error) => finish(() => reject(error)),
          });
        }),
    );
  }

  /** Sent once. @throws StoreError `uncertain` unless it is certain that nothing was done */
  async write<Input, Output>(method: Method<Input, Output>, input: Input): Promise<Output> {
    const { clock, answerTimeoutMs } = this.#options;
    const until = clock.monotonic() + answerTimeoutMs;
    for (;;) {
      const member = await this.#member(until - clock.monotonic());
      if (!member.connected) {
        this.#leave(member, "the connection is lost");
        continue;
      }
      try {
        return await member.unary(method, input, Math.max(1, until - clock.monotonic()));
      } catch (error) {
        if (!(error instanceof EtcdCallError)) throw error;
        if (error.retry) void this.#check(member);
        if (!error.harmless || !error.retry || clock.monotonic() >= until) throw error.asWrite();
        await sleep(clock, retryPauseMs);
      }
    }
  }

  /** A stream at the member that answers now. @returns the function that ends it */
  stream<Input, Output>(method: Method<Input, Output>, input: Input, handlers: StreamHandlers<Output>): () => void {
    let open = true;
    let close = (): void => {};
    void this.#member(Infinity).then(
      (member) => {
        if (open) close = member.stream(method, input, handlers);
      },
      () => {}, // closed: whoever closes ends the streams' owners too
    );
    return () => {
      open = false;
      close();
    };
  }

  close(): void {
    this.#closed = true;
    this.#beat?.cancel();
    this.#current?.close();
    for (const waiter of this.#waiters) waiter.reject(closedError());
    this.#waiters.clear();
  }

  async #repeat<Output>(attempt: (member: Member, timeoutMs: number) => Promise<Output>): Promise<Output> {
    const { clock, answerTimeoutMs } = this.#options;
    const until = clock.monotonic() + answerTimeoutMs;
    for (;;) {
      const member = await this.#member(until - clock.monotonic());
      try {
        return await attempt(member, Math.max(1, until - clock.monotonic()));
      } catch (error) {
        if (!(error instanceof EtcdCallError)) throw error;
        if (!error.retry || clock.monotonic() >= until) throw error.asRead();
        await this.#check(member);
        await sleep(clock, retryPauseMs);
      }
    }
  }

  /** The member to talk to; waits while one is looked for. */
  #member(timeoutMs: number): Promise<Member> {
    if (this.#closed) return Promise.reject(closedError());
    if (this.#current !== null) return Promise.resolve(this.#current);
    return new Promise((resolve, reject) => {
      const timer =
        timeoutMs === Infinity
          ? null
          : this.#options.clock.setTimer(Math.max(0, timeoutMs), () => {
              this.#waiters.delete(waiter);
              reject(
                new StoreError(
                  "unavailable",
                  `no member of etcd (${this.#options.endpoints.join(", ")}) answered in time; nothing was sent. Last: ${this.#lastFailure}`,
                ),
              );
            });
      const waiter: Waiter = {
        resolve: (member) => {
          timer?.cancel();
          resolve(member);
        },
        reject: (error) => {
          timer?.cancel();
          reject(error);
        },
      };
      this.#waiters.add(waiter);
    });
  }

  #armBeat(): void {
    this.#beat = this.#options.clock.setTimer(beatMs, () => {
      if (this.#closed) return;
      this.#armBeat();
      if (this.#current !== null) void this.#check(this.#current);
      this.#options.beat();
    });
  }

  /** Asks the member whether it still serves; leaves it where it does not. */
  async #check(member: Member): Promise<void> {
    if (this.#current !== member) return;
    if (!member.connected) return this.#leave(member, "the connection is lost");
    try {
      await member.unary(methods.range, this.#options.probe, probeMs);
    } catch (error) {
      this.#leave(member, String(error));
    }
  }

  #leave(member: Member, why: string): void {
    if (this.#current !== member || this.#closed) return;
    this.#options.logger.warn({ member: member.address, why }, "this member of etcd does not serve; looking for one that does");
    this.#lastFailure = why;
    this.#current = null;
    void this.#search(member);
  }

  /** Asks all members at once, over new connections; the first that answers is taken. */
  async #search(left?: Member): Promise<void> {
    const { endpoints, clock, logger } = this.#options;
    while (!this.#closed) {
      const members: Member[] = [];
      try {
        const channel = await this.#credentials();
        members.push(...endpoints.map((address) => new Member(address, channel, clock)));
        const winner = await Promise.any(members.map((member) => this.#answer(member)));
        for (const member of members) if (member !== winner) member.close();
        left?.leave();
        if (this.#closed) return winner.close();
        this.#current = winner;
        logger.info({ member: winner.address }, "connected to etcd");
        for (const waiter of this.#waiters) waiter.resolve(winner);
        this.#waiters.clear();
        return;
      } catch (error) {
        for (const member of members) member.close();
        this.#lastFailure = error instanceof AggregateError ? error.errors.map(String).join("; ") : String(error);
        logger.debug({ why: this.#lastFailure }, "no member of etcd answers");
        await sleep(clock, searchPauseMs);
      }
    }
    left?.close();
  }

  /** Asks again and again: a member that has no leader now may have one in a moment, and another one's silence is not waited for. */
  async #answer(member: Member): Promise<Member> {
    const { clock, probe } = this.#options;
    const until = clock.monotonic() + searchMs;
    for (;;) {
      try {
        await member.unary(methods.range, probe, Math.max(1, until - clock.monotonic()));
        return member;
      } catch (error) {
        if (member.closed || clock.monotonic() + searchPauseMs >= until) throw error;
      }
      await sleep(clock, searchPauseMs);
    }
  }

  async #credentials(): Promise<ChannelCredentials> {
    const tls = await this.#options.tls?.();
    return tls === undefined ? credentials.createInsecure() : credentials.createSsl(tls.authority, tls.key ?? null, tls.certificate ?? null);
  }
}
