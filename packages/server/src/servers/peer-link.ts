/**
 * The way to one other server of the site, dialled again whenever it is lost: knows which agents that server hears, and reaches them
 * through it. Called by `site-agents.ts`.
 */
import { sleep, type Clock, type Logger, type Timer } from "@sheaf/base";
import type { AgentMethod, HostLoad, ServerMessage } from "@sheaf/contract";
import type { CallOptions, HeardPulse } from "@sheaf/controllers";
import { SheafError } from "@sheaf/model";
import { AgentCalls } from "../gateway/agent-calls.ts";
import type { AgentSocket } from "../gateway/agent-session.ts";
import { AgentStreams, type AgentStream, type StreamHandlers } from "../gateway/agent-streams.ts";
import type { TaskLogs } from "../gateway/task-logs.ts";
import type { FiguresQuestion } from "../telemetry/own-figures.ts";
import type { AskedMessage, HeldMachine, ToldMessage } from "./peer-messages.ts";

export interface PeerLinkOptions {
  /** The other server's name. */
  readonly name: string;
  readonly dial: (signal: AbortSignal) => Promise<AgentSocket>;
  readonly clock: Clock;
  readonly logger: Logger;
  readonly tasks: TaskLogs;
  readonly held: (hostId: string, machines: readonly HeldMachine[]) => void;
  readonly changed: (event: { readonly hostId: string; readonly connected: boolean }) => void;
}

export interface HeardThere {
  /** Monotonic ms of this server. */
  readonly at: number;
  readonly jitterMs: number;
  readonly bootId: string | null;
  readonly connected: boolean;
}

/** Agents notice that their server hangs within 4 s (those of the version before: 10 s), dial the others (4 s each), and are heard. */
export const moveAllowanceMs = 20_000;

const retryMs = 500;
/** Digests come once a second. */
const silenceMs = 3000;
const dialTimeoutMs = 4000;
/** Nobody waits long for a chart: what is missing then, is missing in it. */
const figuresTimeoutMs = 3000;

export class PeerLink {
  readonly #options: PeerLinkOptions;
  readonly #hosts = new Map<string, HeardThere>();
  readonly #pulses = new Map<string, HeardPulse>();
  readonly #loads = new Map<string, HostLoad>();
  readonly #calls = new Map<string, AgentCalls>();
  readonly #opening = new Map<number, { resolve: () => void; reject: (error: Error) => void }>();
  readonly #asked = new Map<number, (answer: unknown) => void>();
  readonly #ending = new AbortController();
  #nextQuestion = 1;
  #streams: AgentStreams | null = null;
  #socket: AgentSocket | null = null;
  #lastHeardAt = 0;
  /** Monotonic ms at which the store last answered that server, as far as is known. */
  #storeAnsweredAt = Number.NEGATIVE_INFINITY;
  #watching: Timer | null = null;
  /** Monotonic ms at which the link was lost; `null`: it stands, or never did. */
  #lostAt: number | null = null;

  constructor(options: PeerLinkOptions) {
    this.#options = options;
    void this.#keepConnected();
  }

  get up(): boolean {
    return this.#socket !== null;
  }

  /** For how long the store has not answered that server; infinite while it is not reached. */
  get storeSilentMs(): number {
    return this.up ? this.#options.clock.monotonic() - this.#storeAnsweredAt : Number.POSITIVE_INFINITY;
  }

  /** How many agents that server hears. */
  get agents(): number {
    let count = 0;
    for (const { connected } of this.#hosts.values()) if (connected) count += 1;
    return count;
  }

  get lostAt(): number | null {
    return this.#lostAt;
  }

  host(hostId: string): HeardThere | undefined {
    return this.#hosts.get(hostId);
  }

  pulse(hostId: string): HeardPulse | undefined {
    return this.#pulses.get(hostId);
  }

  load(hostId: string): HostLoad | undefined {
    return this.#loads.get(hostId);
  }

  /** That host was heard elsewhere since: what this side last knew is of no use. */
  forget(hostId: string): void {
    this.#hosts.delete(hostId);
  }

  /** @throws SheafError as `Agents.call` */
  call(hostId: string, method: AgentMethod, parameters: unknown, options: CallOptions): Promise<unknown> {
    let calls = this.#calls.get(hostId);
    if (calls === undefined) {
      calls = new AgentCalls(this.#options.clock, (message) => this.#passOn(hostId, message));
      this.#calls.set(hostId, calls);
    }
    return calls.call(method, parameters, options);
  }

  /** @returns `null` where that server has none, or does not answer in time */
  figures(question: FiguresQuestion): Promise<unknown> {
    if (this.#socket === null) return Promise.resolve(null);
    const id = this.#nextQuestion++;
    const { promise, resolve } = Promise.withResolvers<unknown>();
    const timer = this.#options.clock.setTimer(figuresTimeoutMs, () => resolve(null));
    this.#asked.set(id, resolve);
    this.#ask({ type: "figures", id, question });
    return promise.finally(() => {
      timer.cancel();
      this.#asked.delete(id);
    });
  }

  async openConsole(
    hostId: string,
    console: { readonly vmId: string; readonly type: "serial" | "vnc" },
    handlers: StreamHandlers,
    timeoutMs: number,
  ): Promise<AgentStream> {
    const streams = this.#streams;
    if (streams === null) throw unreachable(this.#options.name);
    let open = false;
    let failed: ((error: Error) => void) | null = null;
    const stream = streams.open({
      bytes: (bytes) => handlers.bytes(bytes),
      get unsentBytes() {
        return handlers.unsentBytes ?? 0;
      },
      ended: (reason) => {
        if (open) handlers.ended(reason);
        else failed?.(new SheafError("host-unreachable", `The console could not be opened: ${reason ?? "the host ended it"}.`));
      },
    });
    try {
      await new Promise<void>((resolve, reject) => {
        failed = reject;
        this.#opening.set(stream.number, { resolve, reject });
        this.#ask({ type: "console", host: hostId, stream: stream.number, vmId: console.vmId, console: console.type, timeoutMs });
      });
      open = true;
      return stream;
    } finally {
      this.#opening.delete(stream.number);
    }
  }

  close(): void {
    this.#ending.abort(new Error("the link is no longer needed"));
    this.#socket?.close(1001, "the link is no longer needed");
    this.#socket = null;
  }

  #ask(message: AskedMessage): void {
    this.#socket?.send(JSON.stringify(message));
  }

  #passOn(host: string, message: ServerMessage): void {
    if (message.type === "call" || message.type === "cancel") this.#ask({ ...message, host });
  }

  async #keepConnected(): Promise<void> {
    const { clock, dial, logger, name } = this.#options;
    const { signal } = this.#ending;
    while (!signal.aborted) {
      const limit = new AbortController();
      const timer = clock.setTimer(dialTimeoutMs, () => limit.abort(new Error(`no connection within ${dialTimeoutMs} ms`)));
      try {
        const socket = await dial(AbortSignal.any([signal, limit.signal]));
        timer.cancel();
        await this.#follow(socket);
      } catch (error) {
        timer.cancel();
        logger.debug({ server: name, error: String(error) }, "another server cannot be reached");
      }
      await sleep(clock, retryMs, signal).catch(() => {});
    }
  }

  #follow(socket: AgentSocket): Promise<void> {
    const { clock, logger, name, changed } = this.#options;
    return new Promise((resolve) => {
      this.#lastHeardAt = clock.monotonic();
      this.#streams = new AgentStreams(socket);
      // Its first digest tells whom it hears now. Who was there before may be on the way to another server, or back to it.
      for (const [hostId, host] of this.#hosts)
        if (host.connected) this.#hosts.set(hostId, { ...host, at: clock.monotonic() + moveAllowanceMs, connected: false });
      this.#lostAt = null;
      this.#socket = socket;
      this.#watch();
      logger.info({ server: name }, "linked with another server");
      socket.listen({
        text: (text) => this.#receive(text),
        bytes: (bytes) => {
          this.#heard();
          this.#streams?.receive(bytes);
        },
        alive: () => this.#heard(),
        drained() {},
        closed: () => {
          this.#watching?.cancel();
          this.#socket = null;
          this.#lostAt = clock.monotonic();
          this.#streams?.close();
          this.#streams = null;
          for (const { reject } of this.#opening.values()) reject(unreachable(name));
          for (const answered of this.#asked.values()) answered(null);
          for (const calls of this.#calls.values()) calls.close();
          this.#calls.clear();
          for (const [hostId, host] of this.#hosts) if (host.connected) changed({ hostId, connected: false });
          logger.warn({ server: name }, "the link with another server is lost");
          resolve();
        },
      });
    });
  }

  #heard(): void {
    this.#lastHeardAt = this.#options.clock.monotonic();
  }

  #watch(): void {
    this.#watching = this.#options.clock.setTimer(silenceMs / 3, () => {
      if (this.#options.clock.monotonic() - this.#lastHeardAt > silenceMs) return this.#socket?.cut();
      this.#watch();
    });
  }

  #receive(text: string): void {
    this.#heard();
    const { clock, tasks, held, changed, logger } = this.#options;
    const message = JSON.parse(text) as ToldMessage; // another server of this site's own authority
    switch (message.type) {
      case "digest": {
        const now = clock.monotonic();
        if (message.storeSilentMs !== undefined) this.#storeAnsweredAt = now - message.storeSilentMs;
        for (const [hostId, silentMs, jitterMs, bootId = null] of message.heard) {
          const before = this.#hosts.get(hostId);
          this.#hosts.set(hostId, { at: now - silentMs, jitterMs, bootId, connected: true });
          if (before?.connected !== true) changed({ hostId, connected: true });
        }
        for (const [hostId, silentMs, pulse, grantedMs] of message.pulses)
          this.#pulses.set(hostId, { heardAt: now - silentMs, message: pulse, grantedAt: typeof grantedMs !== "number" ? null : now - grantedMs });
        return;
      }
      case "host": {
        const { hostId, connected, bootId = null } = message;
        const before = this.#hosts.get(hostId);
        const at = connected ? clock.monotonic() : before?.at;
        if (at !== undefined) this.#hosts.set(hostId, { at, jitterMs: before?.jitterMs ?? 0, bootId, connected });
        return changed({ hostId, connected });
      }
      case "loads":
        // Who is connected elsewhere by now is not among them.
        this.#loads.clear();
        for (const [hostId, load] of message.loads) this.#loads.set(hostId, load);
        return;
      case "held":
        return held(message.hostId, message.machines);
      case "reply":
        return this.#calls.get(message.host)?.reply(message);
      case "progress":
        this.#calls.get(message.host)?.progress(message.task, message.fields);
        return;
      case "task-log":
        return tasks.takeLine(message.task, message.text, message.at);
      case "task-progress":
        return tasks.takeProgress(message.task, message.fields);
      case "figures":
        return this.#asked.get(message.id)?.(message.answer);
      case "opened":
        return this.#opening.get(message.stream)?.resolve();
      case "stream-end":
        return this.#streams?.receiveEnd(message.stream, message.reason);
      default:
        logger.debug({ message }, "a message of a newer server was skipped");
    }
  }
}

const unreachable = (server: string): SheafError =>
  new SheafError("host-unreachable", `The host's agent is connected to the server ${server}, which cannot be reached.`, {
    next: "Try again: agents move to another server when theirs is gone.",
  });
