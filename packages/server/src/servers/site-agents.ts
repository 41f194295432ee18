/**
 * The agents of the whole site, as controllers, API and consoles see them: those connected here, and those connected to other servers,
 * reached through the links. Must never let a host look lost because a *server* or a link is: what was heard over it last counts until
 * that server's agents had the time to come here.
 */
import type { Clock, Logger } from "@sheaf/base";
import type { AgentCalls, AgentMethod, HostLoad } from "@sheaf/contract";
import type { Agents, CallOptions, HeardPulse } from "@sheaf/controllers";
import type { AgentSocket } from "../gateway/agent-session.ts";
import type { AgentStream, StreamHandlers } from "../gateway/agent-streams.ts";
import type { TaskLogs } from "../gateway/task-logs.ts";
import type { ServerLoad } from "./agent-spread.ts";
import type { FiguresQuestion } from "../telemetry/own-figures.ts";
import { freshMs } from "./hand-over.ts";
import { moveAllowanceMs, PeerLink } from "./peer-link.ts";
import type { HeldMachine } from "./peer-messages.ts";
import type { OwnAgents } from "./peer-service.ts";
import type { SiteServer } from "./server-directory.ts";

export interface SiteAgentsOptions {
  readonly own: OwnAgents;
  readonly directory: { readonly others: readonly SiteServer[]; subscribe(listener: () => void): () => void };
  readonly dial: (server: SiteServer, signal: AbortSignal) => Promise<AgentSocket>;
  readonly clock: Clock;
  readonly logger: Logger;
  readonly tasks: TaskLogs;
  readonly held: (hostId: string, machines: readonly HeldMachine[]) => void;
}

interface Linked {
  readonly link: PeerLink;
  readonly url: string;
  /** Its lease stands in the store: it runs, whether or not this server reaches it. */
  present: boolean;
  /** Monotonic ms; `null` while it is there. */
  absentSince: number | null;
}

export class SiteAgents implements Agents {
  readonly #options: SiteAgentsOptions;
  readonly #links = new Map<string, Linked>();
  readonly #listeners = new Set<(event: { readonly hostId: string; readonly connected: boolean }) => void>();
  readonly #ends: (() => void)[];

  constructor(options: SiteAgentsOptions) {
    this.#options = options;
    this.#ends = [options.own.subscribe((event) => this.#tell(event)), options.directory.subscribe(() => this.#link())];
    this.#link();
  }

  connected(hostId: string): boolean {
    return this.#options.own.connected(hostId) || this.#through(hostId) !== null;
  }

  lastHeardAt(hostId: string): number | null {
    const { own, clock } = this.#options;
    let newest = own.lastHeardAt(hostId);
    const ownAt = newest;
    for (const { link, present, absentSince } of this.#links.values()) {
      const host = link.host(hostId);
      if (host === undefined) continue;
      const { lostAt } = link;
      // It has come here since.
      if (!host.connected ? own.connected(hostId) : lostAt !== null && ownAt !== null && ownAt > lostAt) {
        link.forget(hostId);
        continue;
      }
      let { at } = host;
      if (lostAt !== null && host.connected) {
        // The server runs and is not reached: nothing is known of its agents, and nothing may be concluded.
        at = present ? clock.monotonic() : Math.max(lostAt, absentSince ?? 0) + moveAllowanceMs;
      }
      newest = Math.max(newest ?? at, at);
    }
    return newest;
  }

  bootId(hostId: string): string | null {
    return this.#options.own.connected(hostId) ? this.#options.own.bootId(hostId) : (this.#through(hostId)?.host(hostId)?.bootId ?? null);
  }

  jitterMs(hostId: string): number {
    const through = this.#through(hostId);
    return this.#options.own.connected(hostId) || through === null ? this.#options.own.jitterMs(hostId) : (through.host(hostId)?.jitterMs ?? 0);
  }

  /** Wherever it was heard last. */
  pulse(hostId: string): HeardPulse | null {
    let newest = this.#options.own.pulse(hostId);
    for (const { link } of this.#links.values()) {
      const there = link.pulse(hostId);
      if (there === undefined) continue;
      const [later, earlier] = newest === null || there.heardAt > newest.heardAt ? [there, newest] : [newest, there];
      const grants = [later.grantedAt, earlier?.grantedAt ?? null].filter((at) => at !== null);
      newest = { ...later, grantedAt: grants.length === 0 ? null : Math.max(...grants) };
    }
    return newest;
  }

  load(hostId: string): HostLoad | null {
    return this.#options.own.load(hostId) ?? this.#through(hostId)?.load(hostId) ?? null;
  }

  call<M extends AgentMethod>(hostId: string, method: M, parameters: AgentCalls[M]["in"], options: CallOptions): Promise<AgentCalls[M]["out"]> {
    const through = this.#options.own.connected(hostId) ? null : this.#through(hostId);
    if (through === null) return this.#options.own.call(hostId, method, parameters, options);
    return through.call(hostId, method, parameters, options) as Promise<AgentCalls[M]["out"]>; // as the gateway: callers check what they rely on
  }

  openConsole(
    hostId: string,
    console: { readonly vmId: string; readonly type: "serial" | "vnc" },
    handlers: StreamHandlers,
    timeoutMs: number,
  ): Promise<AgentStream> {
    const through = this.#options.own.connected(hostId) ? null : this.#through(hostId);
    return (through ?? this.#options.own).openConsole(hostId, console, handlers, timeoutMs);
  }

  subscribe(listener: (event: { readonly hostId: string; readonly connected: boolean }) => void): () => void {
    this.#listeners.add(listener);
    return () => this.#listeners.delete(listener);
  }

  /** Servers that this one is linked with now. */
  get linked(): readonly string[] {
    return [...this.#links].filter(([, { link }]) => link.up).map(([name]) => name);
  }

  /** For how long the store has answered none of the other servers that are linked. */
  get othersStoreSilentMs(): number {
    return Math.min(Number.POSITIVE_INFINITY, ...[...this.#links.values()].map(({ link }) => link.storeSilentMs));
  }

  /** How many agents another server hears; `undefined` while it is not reached. */
  agentsOf(server: string): number | undefined {
    const link = this.#links.get(server)?.link;
    return link?.up === true ? link.agents : undefined;
  }

  /** What the other servers that are there carry; `null` where one is not reached, or the store does not answer it. */
  get loads(): readonly ServerLoad[] | null {
    const there = [...this.#links.values()].filter(({ present }) => present);
    if (there.some(({ link }) => link.storeSilentMs > freshMs)) return null;
    return there.map(({ link, url }) => ({ agentUrl: url, agents: link.agents }));
  }

  /** Of every other server that is reached and has some. */
  async figures(question: FiguresQuestion): Promise<readonly unknown[]> {
    const answers = await Promise.all([...this.#links.values()].map(({ link }) => link.figures(question)));
    return answers.filter((answer) => answer !== null);
  }

  close(): void {
    for (const end of this.#ends) end();
    for (const { link } of this.#links.values()) link.close();
    this.#links.clear();
  }

  #through(hostId: string): PeerLink | null {
    for (const { link } of this.#links.values()) if (link.up && link.host(hostId)?.connected === true) return link;
    return null;
  }

  /** One link for each other server of the directory. */
  #link(): void {
    const { directory, dial, clock, logger, tasks, held } = this.#options;
    const { others } = directory;
    for (const [name, { link, url }] of this.#links) {
      if (others.some((server) => server.name === name && server.agentUrl === url)) continue;
      link.close();
      this.#links.delete(name);
    }
    for (const server of others) {
      const known = this.#links.get(server.name);
      if (known !== undefined) {
        if (known.present && !server.present) known.absentSince = clock.monotonic();
        if (server.present) known.absentSince = null;
        known.present = server.present;
        continue;
      }
      const link = new PeerLink({
        name: server.name,
        dial: (signal) => dial(server, signal),
        clock,
        logger,
        tasks,
        held,
        // A host that is connected elsewhere too is connected.
        changed: ({ hostId }) => this.#tell({ hostId, connected: this.connected(hostId) }),
      });
      this.#links.set(server.name, { link, url: server.agentUrl, present: server.present, absentSince: server.present ? null : clock.monotonic() });
    }
  }

  #tell(event: { readonly hostId: string; readonly connected: boolean }): void {
    for (const listener of this.#listeners) listener(event);
  }
}
