/**
 * The agent's one connection to the server: dials, says hello, keeps it alive, sends reports and heartbeats, hands on what comes.
 * What concerns documents is handled one message after the other, in the order in which it came; calls begin in that order too and
 * then run side by side. Never decides anything about machines.
 */
import { type AgentMessage, type HostLoad, type ServerMessage, streamHeaderBytes, wireVersion } from "@sheaf/contract";
import { type Clock, type Logger, type Random, randomInt, sleep, type Timer } from "@sheaf/base";
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
  streamData(stream: number, bytes: Uint8Array): void;
  streamEnd(stream: number, reason: string | undefined): void;
  /** What was unsent has left. */
  drained(): void;
  disconnected(): void;
  load(): Promise<HostLoad>;
}

export interface LinkOptions {
  readonly clock: Clock;
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
const silentBeatsOfSeveral = 2;
/** More than this unsent means that nobody reads: the connection is given up. */
const maximumUnsentBytes = 64 * 2 ** 20;

export class ServerLink {
  readonly #options: Required<LinkOptions>;
  readonly #ending = new AbortController();
  #socket: ServerSocket | null = null;
  #welcomed = false;
  #lastHeardAt = 0;
  #lastBeatAt: number | null = null;
  #leaseMs = 0;
  /** Which server is dialled: the one that welcomed last, until it fails. */
  #server: string | null = null;
  /** The connection ends by the agent's own wish, and is made again with the same server. */
  #staying = false;
  #loop: Promise<void> | null = null;

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

  /** Whether the server's last `beat` is younger than the lease it gave. */
  get leaseHolds(): boolean {
    return this.#lastBeatAt !== null && this.#options.clock.monotonic() - this.#lastBeatAt < this.#leaseMs;
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
      if (signal.aborted) return;
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
    const { dialer, identity, handlers, clock, logger } = this.#options;
    const hello = await handlers.hello();
    const timeout = new AbortController();
    const limitMs = this.#options.servers().length > 1 ? dialOneOfSeveralMs : dialTimeoutMs;
    const timer = clock.setTimer(limitMs, () => timeout.abort(new Error(`no connection within ${limitMs} ms`)));
    const who = { ...identity(), serverUrl: this.serverUrl };
    let socket: ServerSocket;
    try {
      socket = await dialer.dial(who, AbortSignal.any([signal, timeout.signal]));
    } finally {
      timer.cancel();
    }
    this.#socket = socket;
    this.#lastHeardAt = clock.monotonic();
    await new Promise<void>((resolve) => {
      const session = new Session();
      socket.listen({
        text: (text) => this.#receive(text, session),
        bytes: (bytes) => this.#receiveBytes(bytes),
        alive: () => (this.#lastHeardAt = clock.monotonic()),
        drained: () => handlers.drained(),
        closed: (code, reason) => {
          session.end();
          this.#socket = null;
          this.#welcomed = false;
          logger.info({ code, reason }, "the connection to the server has ended");
          handlers.disconnected();
          resolve();
        },
      });
      socket.send(JSON.stringify({ type: "hello", wireVersion, now: clock.now(), ...hello } satisfies AgentMessage));
      // Until the welcome says how often beats come.
      session.watch(clock, limitMs, () => this.#silentFor(limitMs));
    });
  }

  /** Goes on to the next server in the list. @returns how many there are */
  #nextServer(): number {
    const servers = this.#options.servers();
    if (servers.length > 0 && !this.#staying) this.#server = servers[(servers.indexOf(this.serverUrl) + 1) % servers.length] ?? null;
    this.#staying = false;
    return servers.length;
  }

  #silentFor(limitMs: number): void {
    if (this.#options.clock.monotonic() - this.#lastHeardAt < limitMs) return;
    this.#options.logger.warn({ limitMs }, "nothing was heard from the server for too long; the connection is cut and made again");
    this.#socket?.cut();
  }

  #receive(text: string, session: Session): void {
    this.#lastHeardAt = this.#options.clock.monotonic();
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

  async #handle(message: ServerMessage, session: Session): Promise<void> {
    const { handlers, reports, clock, logger } = this.#options;
    switch (message.type) {
      case "welcome": {
        await handlers.welcome(message);
        this.#leaseMs = message.leaseMs;
        this.#lastBeatAt = clock.monotonic();
        this.#welcomed = true;
        // Whether there are several may change while the connection stands.
        session.watch(clock, message.heartbeatMs / 2, () =>
          this.#silentFor(message.heartbeatMs * (this.#options.servers().length > 1 ? silentBeatsOfSeveral : silentBeats)),
        );
        session.beat(clock, message.heartbeatMs, (sequence) => this.#beat(sequence));
        return reports.restart();
      }
      case "beat":
        this.#lastBeatAt = clock.monotonic();
        return;
      case "servers":
        return handlers.servers(message.servers);
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
      default:
        logger.debug({ message }, "a message of a newer server was skipped");
    }
  }

  async #beat(sequence: number): Promise<void> {
    const load = await this.#options.handlers.load();
    this.send({ type: "heartbeat", sequence, now: this.#options.clock.now(), load });
    if ((this.#socket?.unsentBytes ?? 0) > maximumUnsentBytes) this.#socket?.cut();
  }

  #receiveBytes(bytes: Uint8Array): void {
    this.#lastHeardAt = this.#options.clock.monotonic();
    if (bytes.byteLength < streamHeaderBytes) return;
    const stream = new DataView(bytes.buffer, bytes.byteOffset).getUint32(0);
    this.#options.handlers.streamData(stream, bytes.subarray(streamHeaderBytes));
  }
}

/**
 * Whose turn a message takes. Machines and volumes are written to the disk side by side, each after its own predecessor; what they are made of
 * comes before them, and all else after what was sent before it. What only concerns the connection waits for nobody.
 */
function turnOf(message: ServerMessage): Turn {
  switch (message.type) {
    case "beat":
    case "reported":
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

/** What lives as long as one connection: its timers, and the order of its messages. */
class Session {
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

  watch(clock: Clock, everyMs: number, look: () => void): void {
    this.#watching?.cancel();
    const again = () => {
      if (this.#ended) return;
      look();
      if (!this.#ended) this.#watching = clock.setTimer(everyMs, again);
    };
    this.#watching = clock.setTimer(everyMs, again);
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

  end(): void {
    this.#ended = true;
    this.#watching?.cancel();
    this.#beating?.cancel();
  }
}
