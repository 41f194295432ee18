/**
 * The agent's one connection to the server: dials, says hello, keeps it alive, sends reports and heartbeats, hands on what comes.
 * What concerns documents is handled one message after the other, in the order in which it came; calls begin in that order too and
 * then run side by side. Never decides anything about machines.
 */
import { type AgentMessage, type HostLoad, type LeaseGrant, type ServerMessage, streamHeaderBytes, wireVersion } from "@sheaf/contract";
import { type Clock, type Logger, type Random, randomInt, sleep } from "@sheaf/base";
import { LinkSession, turnOf } from "./link-session.ts";
import type { Dialer, Identity, ServerSocket } from "./ports.ts";
import type { ReportQueue } from "./report-queue.ts";

export type Hello = Omit<Extract<AgentMessage, { type: "hello" }>, "type" | "wireVersion" | "now">;
type From<T extends ServerMessage["type"]> = Extract<ServerMessage, { type: T }>;

export interface LinkHandlers {
  hello(): Promise<Hello>;
  welcome(message: From<"welcome">): Promise<void>;
  /** A server has joined or left. */
  servers(servers: readonly string[]): Promise<void>;
  sync(message: From<"sync">): Promise<void>;
  upsert(message: From<"upsert">): Promise<void>;
  remove(message: From<"remove">): Promise<void>;
  /** Work that ends with a reply. */
  call(message: From<"call">): Promise<Extract<AgentMessage, { type: "reply" }>>;
  cancel(id: number): void;
  certificate(pem: string): Promise<void>;
  /** Samples up to this slot are on the server's disk. */
  sampled(slot: number): Promise<void>;
  streamData(stream: number, bytes: Uint8Array): void;
  streamEnd(stream: number, reason: string | undefined): void;
  /** What was unsent has left. */
  drained(): void;
  disconnected(): void;
  load(): Promise<HostLoad>;
  /** What a heartbeat says of the host's watchdog; asked before it is sent. */
  promise(): Promise<number | undefined>;
  /** A hello was answered. Leases count from when this agent sent what is answered. */
  welcomed(sentAtMs: number, leaseMs: number): void;
  /** A heartbeat was answered; `null`: by a server of the version before. @param promised what it said of the host's watchdog */
  granted(sentAtMs: number, grant: LeaseGrant | null, promised: number | undefined): Promise<void>;
}

export interface LinkOptions {
  readonly clock: Clock;
  /** Ms since the host booted, time asleep included. */
  readonly sinceBoot: () => number;
  readonly random: Random;
  readonly logger: Logger;
  readonly dialer: Dialer;
  /** Asked at each attempt: certificates are renewed. */
  readonly identity: () => Identity;
  readonly handlers: LinkHandlers;
  readonly reports: ReportQueue;
  /** Agents' ports of all servers as last told; the one of joining is among them, or the only one known. */
  readonly servers?: () => readonly string[];
  readonly firstRetryMs?: number;
  readonly longestRetryMs?: number;
}

const dialTimeoutMs = 20_000;
/** Where another server may answer, one that hangs is not waited for so long. */
const dialOneOfSeveralMs = 4000;
/** Heartbeats of the server that may be missed before the connection counts as dead. */
const silentBeats = 4;
/** In heartbeats: one whose answer has not come by then may not have been heard. */
const answeredWithin = 1.2;
const calmHeartbeatMs = 5000;
/** The same, where another server may answer. */
const silentOfSeveralMs = 10_000;
/** One of several servers is asked for a sign when it is quiet, as often as it is looked after. */
const quietMs = 1000;
const lookMs = 500;
/** After so much silence another one is looked for, while this one may still speak. */
const suspiciousMs = 2500;
/** Thousands of agents whose server froze do not come to the next one in one moment. */
const searchSpreadMs = 1000;
/** More than this unsent means that nobody reads: the connection is given up. */
const maximumUnsentBytes = 64 * 2 ** 20;

export class ServerLink {
  readonly #options: Required<LinkOptions>;
  readonly #ending = new AbortController();
  #socket: ServerSocket | null = null;
  #welcomed = false;
  #lastHeardAt = 0;
  #helloSentAtMs = 0;
  /** Which server is dialled: the one that welcomed last, until it fails. */
  #server: string | null = null;
  /** The way to the next server, made while the connection with this one stood. */
  #next: ServerSocket | null = null;
  #search: ServerSearch | null = null;
  /** The connection ends by the agent's own wish, and is made again with the same server. */
  #staying = false;
  #loop: Promise<void> | null = null;
  #heartbeatMs = 0;
  /** When the welcome or a heartbeat's answer came last, monotonic ms. */
  #answeredAt = 0;

  constructor(options: LinkOptions) {
    this.#options = { firstRetryMs: 250, longestRetryMs: 10_000, servers: () => [], ...options };
  }

  start(): void {
    this.#loop ??= this.#keepConnected();
  }

  async stop(): Promise<void> {
    this.#ending.abort(new Error("the agent is stopping"));
    this.#socket?.close(1001, "the agent is stopping");
    await this.#loop;
  }

  get connected(): boolean {
    return this.#welcomed;
  }

  /**
   * The server has answered the last heartbeat, and will not miss the host before the pulse can come more often. What else is heard of it does
   * not count: it may not hear this host. Where heartbeats come quickly there is no time to notice that they are not answered.
   */
  get calm(): boolean {
    const sinceMs = this.#options.clock.monotonic() - this.#answeredAt;
    return this.#welcomed && this.#heartbeatMs >= calmHeartbeatMs && sinceMs <= answeredWithin * this.#heartbeatMs;
  }

  /** The agents' port of the server that is, or was last, talked to. */
  get serverUrl(): string {
    return this.#server ?? this.#options.identity().serverUrl;
  }

  /** Ends the connection and makes it again: after the certificate was renewed. */
  redial(): void {
    this.#staying = true;
    this.#socket?.close(1000, "the certificate was renewed");
  }

  /** Fleeting: lost when not connected. */
  send(message: AgentMessage): void {
    if (this.#welcomed) this.#socket?.send(JSON.stringify(message));
  }

  /** @returns false when too much is unsent: wait for `drained` */
  sendStream(stream: number, bytes: Uint8Array): boolean {
    const socket = this.#socket;
    if (!socket || !this.#welcomed) return true;
    const frame = new Uint8Array(streamHeaderBytes + bytes.byteLength);
    new DataView(frame.buffer).setUint32(0, stream);
    frame.set(bytes, streamHeaderBytes);
    socket.send(frame);
    return socket.unsentBytes < 256 * 1024;
  }

  /** To be called when the queue has something new. */
  flushReports(): void {
    if (!this.#welcomed) return;
    const batch = this.#options.reports.next();
    if (batch) this.send({ type: "report", ...batch });
  }

  async #keepConnected(): Promise<void> {
    const { clock, random, logger, firstRetryMs, longestRetryMs } = this.#options;
    const { signal } = this.#ending;
    let failures = 0;
    while (!signal.aborted) {
      const connectedAt = clock.monotonic();
      try {
        await this.#connection(signal);
        failures = clock.monotonic() - connectedAt > 60_000 ? 0 : failures + 1;
      } catch (error) {
        failures += 1;
        if (!signal.aborted) logger.warn({ reason: String(error), attempt: failures }, "the server cannot be reached; this host works on by itself");
      }
      if (signal.aborted) return this.#next?.cut();
      if (this.#next) continue;
      const others = this.#nextServer();
      // Each of several servers is tried once before there is a longer pause.
      if (failures < others) failures = Math.min(failures, 1);
      // Full jitter: thousands of agents whose server restarted come back spread out.
      const ceilingMs = Math.min(longestRetryMs, firstRetryMs * 2 ** Math.min(failures, 16));
      await sleep(clock, 50 + randomInt(random, ceilingMs), signal).catch(() => {});
    }
  }

  /** From dialling to the end of the connection. */
  async #connection(signal: AbortSignal): Promise<void> {
    const { handlers, clock, logger } = this.#options;
    const limitMs = this.#options.servers().length > 1 ? dialOneOfSeveralMs : dialTimeoutMs;
    const made = this.#next;
    this.#next = null;
    const hello = await handlers.hello().catch((error: unknown) => {
      made?.cut();
      throw error;
    });
    if (signal.aborted) return made?.cut();
    const socket = made ?? (await this.#dial(this.serverUrl, limitMs, signal));
    this.#socket = socket;
    this.#lastHeardAt = clock.monotonic();
    await new Promise<void>((resolve) => {
      const session = new LinkSession();
      socket.listen({
        text: (text) => this.#receive(text, session),
        bytes: (bytes) => this.#receiveBytes(bytes),
        alive: () => this.#heard(),
        drained: () => handlers.drained(),
        closed: (code, reason) => {
          session.end();
          this.#search?.end();
          this.#socket = null;
          this.#welcomed = false;
          logger.info({ code, reason }, "the connection to the server has ended");
          handlers.disconnected();
          resolve();
        },
      });
      this.#helloSentAtMs = this.#options.sinceBoot();
      socket.send(JSON.stringify({ type: "hello", wireVersion, now: clock.now(), ...hello } satisfies AgentMessage));
      // Until the welcome says how often beats come.
      session.watch(
        clock,
        () => limitMs,
        () => this.#cutWhenSilent(limitMs),
      );
    });
  }

  async #dial(serverUrl: string, limitMs: number, signal: AbortSignal): Promise<ServerSocket> {
    const { dialer, identity, clock } = this.#options;
    const timeout = new AbortController();
    const timer = clock.setTimer(limitMs, () => timeout.abort(new Error(`no connection within ${limitMs} ms`)));
    try {
      return await dialer.dial({ ...identity(), serverUrl }, AbortSignal.any([signal, timeout.signal]));
    } finally {
      timer.cancel();
    }
  }

  /** Goes on to the next server in the list. @returns how many there are */
  #nextServer(): number {
    const servers = this.#options.servers();
    if (servers.length > 0 && !this.#staying) this.#server = servers[(servers.indexOf(this.serverUrl) + 1) % servers.length] ?? null;
    this.#staying = false;
    return servers.length;
  }

  #heard(): void {
    this.#lastHeardAt = this.#options.clock.monotonic();
    if (this.#search?.why === "silence") this.#search.end();
  }

  get #silentMs(): number {
    return this.#options.clock.monotonic() - this.#lastHeardAt;
  }

  /** After the welcome. Whether there are several servers may change while the connection stands. */
  #watchServer(session: LinkSession, heartbeatMs: number): void {
    const { clock, servers } = this.#options;
    const several = (): boolean => servers().length > 1;
    session.watch(
      clock,
      () => (several() ? lookMs : heartbeatMs / 2),
      () => {
        this.#cutWhenSilent(several() ? Math.max(silentOfSeveralMs, heartbeatMs * 2) : heartbeatMs * silentBeats);
        if (session.ended || !several()) return;
        if (this.#silentMs >= suspiciousMs) this.#lookElsewhere();
        else if (this.#silentMs >= quietMs) this.#socket?.ping();
      },
    );
  }

  #others(): string[] {
    return this.#options.servers().filter((url) => url !== this.serverUrl);
  }

  /** Beginning with any of them: agents of a server that froze come to all others. */
  #lookElsewhere(): void {
    const { random } = this.#options;
    const others = this.#others();
    const first = randomInt(random, others.length);
    this.#goTo([...others.slice(first), ...others.slice(0, first)], "silence", randomInt(random, searchSpreadMs));
  }

  /** Dials these while the connection stands: the first that answers takes the present one's place. Does nothing while it is under way. */
  #goTo(servers: readonly string[], why: ServerSearch["why"], afterMs: number): void {
    if (this.#search !== null || this.#next !== null) return;
    const { clock, logger } = this.#options;
    const search = new ServerSearch(why);
    this.#search = search;
    const signal = AbortSignal.any([search.signal, this.#ending.signal]);
    const dialAll = async (): Promise<void> => {
      if (afterMs > 0) await sleep(clock, afterMs, signal);
      for (const url of servers) {
        const socket = await this.#dial(url, dialOneOfSeveralMs, signal).catch(() => null);
        if (signal.aborted) return socket?.cut();
        if (socket === null) continue;
        logger.info({ server: url, why }, "this host goes to another server");
        this.#next = socket;
        this.#server = url;
        if (why === "silence") this.#socket?.cut();
        else this.#socket?.close(1000, "this host goes to another server");
        return;
      }
    };
    void dialAll()
      .catch(() => {})
      .finally(() => {
        if (this.#search === search) this.#search = null;
      });
  }

  #cutWhenSilent(limitMs: number): void {
    if (this.#silentMs < limitMs) return;
    this.#options.logger.warn({ limitMs }, "nothing was heard from the server for too long; the connection is cut and made again");
    this.#socket?.cut();
  }

  #receive(text: string, session: LinkSession): void {
    this.#heard();
    let message: ServerMessage;
    try {
      // The server is authenticated; a message that is not of this version's shape is skipped below or fails in its handler.
      message = JSON.parse(text) as ServerMessage;
    } catch {
      this.#options.logger.error({ length: text.length }, "the server sent something that is no JSON; it is skipped");
      return;
    }
    session
      .inTurn(() => this.#handle(message, session), turnOf(message))
      .catch((error: unknown) => {
        this.#options.logger.error(
          { type: message.type, reason: String(error) },
          "a message of the server could not be handled; the connection is made again",
        );
        this.#socket?.cut();
      });
  }

  async #handle(message: ServerMessage, session: LinkSession): Promise<void> {
    const { handlers, reports, clock, logger } = this.#options;
    switch (message.type) {
      case "welcome": {
        handlers.welcomed(this.#helloSentAtMs, message.leaseMs);
        await handlers.welcome(message);
        this.#heartbeatMs = message.heartbeatMs;
        this.#answeredAt = clock.monotonic();
        this.#welcomed = true;
        this.#watchServer(session, message.heartbeatMs);
        session.beat(clock, message.heartbeatMs, (sequence) => this.#beat(sequence, session));
        return reports.restart();
      }
      case "beat": {
        this.#answeredAt = clock.monotonic();
        const heartbeat = session.answered(message.sequence);
        const { leaseMs, relied = false } = message;
        return heartbeat && handlers.granted(heartbeat.sentAtMs, leaseMs === undefined ? null : { leaseMs, relied }, heartbeat.promised);
      }
      case "servers":
        return handlers.servers(message.servers);
      case "go-to":
        if (this.#others().includes(message.server)) this.#goTo([message.server], "asked", 0);
        return;
      case "sync":
        return handlers.sync(message);
      case "upsert":
        return handlers.upsert(message);
      case "remove":
        return handlers.remove(message);
      case "reported": {
        const parts = reports.answered(message.sequence);
        for (const { index, why } of message.refused) {
          const part = parts[index];
          logger.warn({ kind: part?.kind, id: part?.id, part: part?.part, why }, "the server refused a report");
        }
        return this.flushReports();
      }
      case "call":
        // Not waited for: calls run side by side. The next connection counts its calls anew: there this number is another's.
        void handlers.call(message).then((reply) => {
          if (!session.ended) this.send(reply);
        });
        return;
      case "cancel":
        return handlers.cancel(message.id);
      case "stream-end":
        return handlers.streamEnd(message.stream, message.reason);
      case "certificate":
        return handlers.certificate(message.certificate);
      case "sampled":
        return handlers.sampled(message.slot);
      default:
        logger.debug({ message }, "a message of a newer server was skipped");
    }
  }

  async #beat(sequence: number, session: LinkSession): Promise<void> {
    const { handlers, clock, sinceBoot } = this.#options;
    const load = await handlers.load();
    const promised = await handlers.promise();
    session.sent(sequence, { sentAtMs: sinceBoot(), promised });
    this.send({ type: "heartbeat", sequence, now: clock.now(), load, ...(promised === undefined ? {} : { watchdogMs: promised }) });
    if ((this.#socket?.unsentBytes ?? 0) > maximumUnsentBytes) this.#socket?.cut();
  }

  #receiveBytes(bytes: Uint8Array): void {
    this.#heard();
    if (bytes.byteLength < streamHeaderBytes) return;
    const stream = new DataView(bytes.buffer, bytes.byteOffset).getUint32(0);
    this.#options.handlers.streamData(stream, bytes.subarray(streamHeaderBytes));
  }
}

/** Other servers are dialled while the present one is still connected. */
class ServerSearch {
  readonly why: "silence" | "asked";
  readonly #end = new AbortController();

  constructor(why: ServerSearch["why"]) {
    this.why = why;
  }

  get signal(): AbortSignal {
    return this.#end.signal;
  }

  end(): void {
    this.#end.abort(new Error("no other server is looked for any more"));
  }
}
