/**
 * The side that was dialled by another server of the site: tells it once a second which agents it hears, and carries its calls and
 * consoles to them. Called by the start-up code with each connection of a server. Never passes on what comes from a third server.
 */
import type { Clock, Logger, Timer } from "@sheaf/base";
import { streamHeaderBytes, type PulseMessage } from "@sheaf/contract";
import type { Agents } from "@sheaf/controllers";
import { SheafError } from "@sheaf/model";
import { serverCommonName } from "../authority/certificates.ts";
import type { AgentSocket } from "../gateway/agent-session.ts";
import type { AgentStream, StreamHandlers } from "../gateway/agent-streams.ts";
import type { TaskLogs } from "../gateway/task-logs.ts";
import type { FiguresQuestion } from "../telemetry/own-figures.ts";
import type { AskedMessage, HeardHost, HeardPulse, HeldMachine, ToldMessage } from "./peer-messages.ts";

/** What is needed of this server's gateway. */
export interface OwnAgents extends Agents {
  /** Every connected host: when it was heard (monotonic ms) and how unevenly. */
  heard(): Iterable<{ readonly hostId: string; readonly at: number; readonly jitterMs: number; readonly bootId: string }>;
  pulses(): Iterable<{ readonly hostId: string; readonly heardAt: number; readonly message: PulseMessage; readonly grantedAt: number | null }>;
  openConsole(
    hostId: string,
    console: { readonly vmId: string; readonly type: "serial" | "vnc" },
    handlers: StreamHandlers,
    timeoutMs: number,
  ): Promise<AgentStream>;
}

export interface PeerServiceOptions {
  readonly agents: OwnAgents;
  readonly tasks: TaskLogs;
  /** What agents said that they hold, while a restored site is put in order. */
  readonly held: {
    all(): Iterable<readonly [string, readonly HeldMachine[]]>;
    onHeld(listener: (hostId: string, machines: readonly HeldMachine[]) => void): () => void;
  };
  readonly storeSilentMs: () => number;
  /** Absent: this server keeps none. */
  readonly figures?: { answer(question: FiguresQuestion): Promise<unknown> | unknown };
  readonly clock: Clock;
  readonly logger: Logger;
}

/** For the listener: the servers' door is for certificates of servers alone, whoever else the authority has signed. */
export const admitServer = ({ commonName }: { readonly commonName: string }): string | null =>
  commonName === serverCommonName ? null : "this is for servers of the site";

const digestMs = 1000;
/** Load is told less often than signs of life: with each of so many digests. */
const digestsALoad = 15;
const silenceMs = 10_000;

export class PeerService {
  readonly #options: PeerServiceOptions;
  readonly #sockets = new Set<AgentSocket>();

  constructor(options: PeerServiceOptions) {
    this.#options = options;
  }

  accept(socket: AgentSocket): void {
    this.#sockets.add(socket);
    new ServedPeer(this.#options, socket).serve(() => this.#sockets.delete(socket));
  }

  close(): void {
    for (const socket of this.#sockets) socket.close(1001, "the server is stopping");
  }
}

/** One other server that has dialled this one. */
class ServedPeer {
  readonly #options: PeerServiceOptions;
  readonly #socket: AgentSocket;
  /** Calls under way, by host and number. */
  readonly #calls = new Map<string, AbortController>();
  readonly #streams = new Map<number, AgentStream>();
  #timer: Timer | null = null;
  #toldAt = Number.NEGATIVE_INFINITY;
  #digests = 0;
  #heardAt: number;

  constructor(options: PeerServiceOptions, socket: AgentSocket) {
    this.#options = options;
    this.#socket = socket;
    this.#heardAt = options.clock.monotonic();
  }

  serve(gone: () => void): void {
    const { agents, tasks, held, clock } = this.#options;
    for (const [hostId, machines] of held.all()) this.#send({ type: "held", hostId, machines });
    this.#digest();
    const ends = [
      agents.subscribe(({ hostId, connected }) => this.#send({ type: "host", hostId, connected, bootId: agents.bootId(hostId) })),
      held.onHeld((hostId, machines) => this.#send({ type: "held", hostId, machines })),
      tasks.subscribe({
        line: (task, text, at) => this.#send({ type: "task-log", task, at, text }),
        progress: (task, fields) => this.#send({ type: "task-progress", task, fields }),
      }),
    ];
    this.#socket.listen({
      text: (text) => this.#receive(text),
      bytes: (bytes) => this.#receiveBytes(bytes),
      alive: () => (this.#heardAt = clock.monotonic()),
      drained() {},
      closed: () => {
        this.#timer?.cancel();
        for (const end of ends) end();
        for (const call of this.#calls.values()) call.abort();
        for (const stream of this.#streams.values()) stream.close("the other server is gone");
        gone();
      },
    });
  }

  #send(message: ToldMessage): void {
    this.#socket.send(JSON.stringify(message));
  }

  #digest(): void {
    const { agents, clock, storeSilentMs } = this.#options;
    const now = clock.monotonic();
    if (now - this.#heardAt > silenceMs) return this.#socket.cut();
    const heard: HeardHost[] = [];
    for (const { hostId, at, jitterMs, bootId } of agents.heard())
      if (at > this.#toldAt) heard.push([hostId, Math.round(now - at), Math.round(jitterMs), bootId]);
    const pulses: HeardPulse[] = [];
    for (const { hostId, heardAt, message, grantedAt } of agents.pulses())
      if (heardAt > this.#toldAt)
        pulses.push([hostId, Math.round(now - heardAt), message, grantedAt === null ? undefined : Math.floor(now - grantedAt)]);
    this.#toldAt = now;
    this.#send({ type: "digest", heard, pulses, storeSilentMs: Math.round(storeSilentMs()) });
    if (this.#digests % digestsALoad === 0) this.#tellLoads();
    this.#digests += 1;
    this.#socket.ping();
    this.#timer = clock.setTimer(digestMs, () => this.#digest());
  }

  #tellLoads(): void {
    const { agents } = this.#options;
    const loads = [...agents.heard()].flatMap(({ hostId }) => {
      const load = agents.load(hostId);
      return load === null ? [] : [[hostId, load] as const];
    });
    if (loads.length > 0) this.#send({ type: "loads", loads });
  }

  #receive(text: string): void {
    this.#heardAt = this.#options.clock.monotonic();
    const message = JSON.parse(text) as AskedMessage; // another server of this site's own authority
    switch (message.type) {
      case "call":
        return void this.#call(message);
      case "cancel":
        return this.#calls.get(`${message.host} ${message.id}`)?.abort();
      case "figures":
        return void this.#figures(message);
      case "console":
        return void this.#open(message);
      case "stream-end":
        this.#streams.get(message.stream)?.close(message.reason);
        this.#streams.delete(message.stream);
        return;
      default:
        this.#options.logger.debug({ message }, "a message of a newer server was skipped");
    }
  }

  async #call({ host, id, method, parameters, timeoutMs }: Extract<AskedMessage, { type: "call" }>): Promise<void> {
    const abort = new AbortController();
    const key = `${host} ${id}`;
    this.#calls.set(key, abort);
    const task = typeof parameters === "object" && parameters !== null && "taskId" in parameters ? String(parameters.taskId) : "";
    try {
      const result = await this.#options.agents.call(host, method, parameters as never /* checked by whoever asks: the same code */, {
        timeoutMs,
        signal: abort.signal,
        onProgress: (fields) => this.#send({ type: "progress", host, task, fields }),
      });
      this.#send({ type: "reply", host, id, ok: true, result });
    } catch (error) {
      this.#send({ type: "reply", host, id, ok: false, problem: problemOf(error) });
    } finally {
      this.#calls.delete(key);
    }
  }

  async #figures({ id, question }: Extract<AskedMessage, { type: "figures" }>): Promise<void> {
    const { figures, logger } = this.#options;
    try {
      this.#send({ type: "figures", id, answer: (await figures?.answer(question)) ?? null });
    } catch (error) {
      logger.warn({ error: String(error) }, "figures that another server asked for could not be read");
      this.#send({ type: "figures", id, answer: null });
    }
  }

  async #open({ host, stream, vmId, console, timeoutMs }: Extract<AskedMessage, { type: "console" }>): Promise<void> {
    const socket = this.#socket;
    const ended = (reason: string | undefined): void => {
      this.#streams.delete(stream);
      this.#send({ type: "stream-end", stream, ...(reason === undefined ? {} : { reason }) });
    };
    try {
      const opened = await this.#options.agents.openConsole(
        host,
        { vmId, type: console },
        {
          bytes: (bytes) => socket.send(framed(stream, bytes)),
          get unsentBytes() {
            return socket.unsentBytes;
          },
          ended,
        },
        timeoutMs,
      );
      this.#streams.set(stream, opened);
      this.#send({ type: "opened", stream });
    } catch (error) {
      ended(problemOf(error).message);
    }
  }

  #receiveBytes(frame: Uint8Array): void {
    if (frame.byteLength < streamHeaderBytes) return;
    const stream = new DataView(frame.buffer, frame.byteOffset).getUint32(0);
    this.#streams.get(stream)?.send(frame.subarray(streamHeaderBytes));
  }
}

function framed(stream: number, bytes: Uint8Array): Uint8Array {
  const frame = new Uint8Array(streamHeaderBytes + bytes.byteLength);
  new DataView(frame.buffer).setUint32(0, stream);
  frame.set(bytes, streamHeaderBytes);
  return frame;
}

function problemOf(error: unknown): { code: string; message: string; cause?: string; next?: string } {
  if (!(error instanceof SheafError)) return { code: "internal", message: String(error) };
  const { cause, next } = error.extra;
  return {
    code: error.code,
    message: error.message,
    ...(cause === undefined ? {} : { cause: String(cause) }),
    ...(next === undefined ? {} : { next }),
  };
}
