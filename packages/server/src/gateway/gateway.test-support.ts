/** A gateway on a memory store, with agents that are scripts: what the gateway's tests share. */
import assert from "node:assert/strict";
import { randomBytes } from "node:crypto";
import { silentLogger, SimulatedClock, uuidv7, type Random } from "@sheaf/base";
import type { AgentMessage, ReportedPart, ServerMessage } from "@sheaf/contract";
import { partKey, specSchemas, type Kind, type Placement, type VmObservation } from "@sheaf/model";
import { RecordCache } from "@sheaf/runtime";
import { openMemoryStore, type Operation, type Store } from "@sheaf/store";
import type { Telemetry } from "@sheaf/telemetry";
import { createSecrets } from "../authority/secrets.ts";
import type { AgentPeer, AgentSocket } from "./agent-session.ts";
import { AgentsGateway } from "./agents-gateway.ts";
import { defaultGatewaySettings, type RefusedAgentAttempt } from "./gateway-context.ts";
import { TaskLogs } from "./task-logs.ts";

export const random: Random = { bytes: (length) => new Uint8Array(randomBytes(length)) };

/** Waits for something that happens without virtual time passing. */
export async function until(what: string, condition: () => boolean): Promise<void> {
  const deadline = performance.now() + 5000;
  while (!condition()) {
    assert.ok(performance.now() < deadline, `${what} did not happen`);
    await new Promise((resolve) => setImmediate(resolve));
  }
}

/** What is under way comes to its end, as far as no time is needed. */
export async function settle(): Promise<void> {
  for (let turn = 0; turn < 20; turn += 1) await new Promise((resolve) => setImmediate(resolve));
}

type From<T extends ServerMessage["type"]> = Extract<ServerMessage, { readonly type: T }>;

/** The agent's end of a connection. */
export class FakeAgent implements AgentSocket {
  readonly received: ServerMessage[] = [];
  readonly frames: Uint8Array[] = [];
  readonly hostId: string;
  unsentBytes = 0;
  pings = 0;
  closed: { readonly code: number; readonly reason: string } | null = null;
  #handlers: Parameters<AgentSocket["listen"]>[0] | null = null;

  constructor(hostId: string) {
    this.hostId = hostId;
  }

  // AgentSocket: the server's side

  listen(handlers: Parameters<AgentSocket["listen"]>[0]): void {
    this.#handlers = handlers;
  }
  send(data: string | Uint8Array): void {
    if (typeof data === "string") this.received.push(JSON.parse(data) as ServerMessage);
    else this.frames.push(data);
  }
  ping(): void {
    this.pings += 1;
  }
  close(code: number, reason: string): void {
    this.closed ??= { code, reason };
  }
  cut(): void {
    this.closed ??= { code: 1006, reason: "cut" };
  }

  // The agent's side

  say(message: AgentMessage): void {
    this.sayText(JSON.stringify(message));
  }
  sayText(text: string): void {
    if (!this.closed) this.#handlers?.text(text);
  }
  sayBytes(bytes: Uint8Array): void {
    this.#handlers?.bytes(bytes);
  }
  /** Answers a ping. */
  alive(): void {
    this.#handlers?.alive();
  }
  drain(): void {
    this.unsentBytes = 0;
    this.#handlers?.drained();
  }
  breakOff(): void {
    this.closed = { code: 1006, reason: "" };
    this.#handlers?.closed(1006, "");
  }

  hello(machines: Extract<AgentMessage, { type: "hello" }>["machines"] = [], more: Record<string, unknown> = {}): void {
    this.sayText(
      JSON.stringify({ type: "hello", wireVersion: 1, agentVersion: "1.0.0", hostId: this.hostId, bootId: "boot", now: 0, machines, ...more }),
    );
  }

  #sequence = 0;
  /** @returns the refusals */
  async report(...parts: ReportedPart[]): Promise<From<"reported">["refused"]> {
    const sequence = (this.#sequence += 1);
    this.say({ type: "report", sequence, parts });
    await until("the answer to a report", () => this.of("reported").some((answer) => answer.sequence === sequence));
    return this.of("reported").find((answer) => answer.sequence === sequence)?.refused ?? [];
  }

  of<T extends ServerMessage["type"]>(type: T): From<T>[] {
    return this.received.filter((message): message is From<T> => message.type === type);
  }
  /** Documents told since the last look, as `upsert kind/id` and `remove kind/id`. */
  told(): string[] {
    const found = this.received.flatMap((message) => {
      if (message.type === "upsert") return [`upsert ${message.document.kind}/${message.document.id}`];
      return message.type === "remove" ? [`remove ${message.kind}/${message.id}`] : [];
    });
    for (let index = this.received.length - 1; index >= 0; index -= 1) {
      const type = this.received[index]?.type;
      if (type === "upsert" || type === "remove") this.received.splice(index, 1);
    }
    return found;
  }
}

export class World {
  readonly clock: SimulatedClock;
  readonly store: Store;
  readonly cache: RecordCache;
  readonly secrets = createSecrets(random.bytes(32), random);
  readonly tasks: TaskLogs;
  readonly gateway: AgentsGateway;
  readonly refused: RefusedAgentAttempt[] = [];
  /** What a restored site was told of hosts and what they hold. */
  readonly heard: { readonly hostId: string; readonly machines: readonly unknown[] }[] = [];
  readonly revoked = new Set<string>();
  readonly renewals: { present: string; addresses: readonly string[] }[] = [];
  readonly #revocationListeners = new Set<() => void>();
  settled = true;
  readonly #settledListeners = new Set<() => void>();
  /** Agents' ports of all servers. */
  servers: readonly string[] = ["https://a"];
  /** For how long the store has not answered this server. */
  readonly storeState = { silentMs: 0 };
  readonly #serversListeners = new Set<() => void>();

  private constructor(clock: SimulatedClock, store: Store, cache: RecordCache, wrap: (store: Store) => Store, telemetry?: Telemetry) {
    this.clock = clock;
    this.store = store;
    this.cache = cache;
    this.tasks = new TaskLogs(clock);
    const { storeState } = this;
    this.gateway = new AgentsGateway({
      ...(telemetry ? { telemetry } : {}),
      store: wrap(store),
      cache,
      clock,
      logger: silentLogger,
      secrets: this.secrets,
      tasks: this.tasks,
      settings: { ...defaultGatewaySettings, version: "1.0.0", heartbeatMs: { default: 3000, fast: 1000 } },
      authority: {
        renewAgent: async ({ present, addresses }) => {
          this.renewals.push({ present, addresses });
          return "RENEWED";
        },
      },
      revocations: {
        isRevoked: (hostId, serial) => this.revoked.has(hostId) || this.revoked.has(serial),
        onChange: (listener) => {
          this.#revocationListeners.add(listener);
          return () => this.#revocationListeners.delete(listener);
        },
      },
      servers: {
        agentUrls: () => this.servers,
        get storeSilentMs() {
          return storeState.silentMs;
        },
        subscribe: (listener) => {
          this.#serversListeners.add(listener);
          return () => this.#serversListeners.delete(listener);
        },
      },
      restored: {
        settled: () => this.settled,
        onSettled: (listener) => {
          this.#settledListeners.add(listener);
          return () => this.#settledListeners.delete(listener);
        },
        heard: async (hostId, machines) => {
          await Promise.resolve();
          this.heard.push({ hostId, machines });
        },
      },
      refused: (attempt) => this.refused.push(attempt),
    });
  }

  /**
   * @param wrap puts something between gateway and store: faults
   * @param beside another server, whose store this one shares
   * @param telemetry keeps figures over time
   */
  static async open(wrap: (store: Store) => Store = (store) => store, beside?: World, telemetry?: Telemetry): Promise<World> {
    const clock = beside?.clock ?? new SimulatedClock();
    const store = beside?.store ?? (await openMemoryStore({ clock, random }));
    const cache = await RecordCache.open({ store, clock, logger: silentLogger });
    return new World(clock, store, cache, wrap, telemetry);
  }

  async close(): Promise<void> {
    this.gateway.close();
    this.cache.close();
    await this.store.close();
  }

  /** Every host of a restored site was heard. */
  settle(): void {
    this.settled = true;
    for (const listener of this.#settledListeners) listener();
  }

  setServers(servers: readonly string[]): void {
    this.servers = servers;
    for (const listener of this.#serversListeners) listener();
  }

  revoke(hostIdOrSerial: string): void {
    this.revoked.add(hostIdOrSerial);
    for (const listener of this.#revocationListeners) listener();
  }

  newId(): string {
    return uuidv7(this.clock.now(), random);
  }

  /** Writes a record as the API would; parts under their names. @returns its id */
  async put(kind: Kind, spec: unknown, more: { id?: string; parts?: Record<string, unknown>; head?: Record<string, unknown> } = {}): Promise<string> {
    const id = more.id ?? this.newId();
    const head = { kind, id, name: `n${id.slice(-12)}`, project: "p", labels: {}, generation: 1, createdAt: 0, createdBy: "test", finalizers: [] };
    const value = { ...head, ...more.head, spec: specSchemas[kind].parse(spec) };
    const parts = Object.entries(more.parts ?? {}).map(([part, content]) => ({ put: partKey(kind, id, part), value: JSON.stringify(content) }));
    await this.commit([{ put: partKey(kind, id, "spec"), value: JSON.stringify(value) }, ...parts]);
    return id;
  }

  async putPart(kind: Kind, id: string, part: string, value: unknown): Promise<void> {
    await this.commit([value === null ? { delete: partKey(kind, id, part) } : { put: partKey(kind, id, part), value: JSON.stringify(value) }]);
  }

  async erase(kind: Kind, id: string): Promise<void> {
    await this.commit([{ deletePrefix: partKey(kind, id, "") }]);
  }

  async commit(then: readonly Operation[]): Promise<void> {
    const { revision } = await this.store.transact({ compare: [], then });
    await this.cache.waitFor(revision);
  }

  async stored(kind: Kind, id: string, part: string): Promise<unknown> {
    const entry = await this.store.get(partKey(kind, id, part));
    return entry ? JSON.parse(entry.value) : null;
  }

  host(id = this.newId()): Promise<string> {
    return this.put("host", { cluster: "c" }, { id });
  }

  placement(host: string, epoch = 1): Placement {
    return { host, epoch, incarnation: this.store.incarnation, at: 0 };
  }

  vmSeen(host: string, more: Partial<VmObservation> = {}): VmObservation {
    return {
      state: "running",
      epoch: 1,
      host,
      bootId: "boot",
      observedGeneration: 1,
      since: 0,
      startRequestSeen: 0,
      restarts: 0,
      pendingChanges: [],
      ...more,
    };
  }

  peer(hostId: string, more: Partial<AgentPeer> = {}): AgentPeer {
    return { commonName: hostId, serial: "01", certificate: "PEM", notAfter: this.clock.now() + 86_400_000, address: "::ffff:192.0.2.9", ...more };
  }

  /** An agent that has said hello and was answered. */
  async agent(hostId: string, machines: Parameters<FakeAgent["hello"]>[0] = []): Promise<FakeAgent> {
    const agent = new FakeAgent(hostId);
    assert.equal(this.gateway.admit(this.peer(hostId)), null);
    this.gateway.accept(agent, this.peer(hostId));
    agent.hello(machines, { now: this.clock.now() });
    await until("the sync", () => agent.of("sync").length === 1);
    return agent;
  }
}
