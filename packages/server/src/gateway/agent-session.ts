/**
 * One connection of one host's agent: its outbound queue, calls, streams, reports under way. Knows one host; what concerns all is the
 * gateway's. Documents wait as keys and are made when they are sent, so that a slow agent gets the newest of each record once, and costs
 * no memory meanwhile.
 */
import type { Timer } from "@sheaf/base";
import type { Compare } from "@sheaf/store";
import { wireVersion, type HostLoad, type LeaseGrant, type ReportedPart, type SampleBatch, type ServerMessage } from "@sheaf/contract";
import { agentDocument } from "./agent-document.ts";
import { AgentCalls } from "./agent-calls.ts";
import { readAgentMessage, type CheckedMessage, type Hello } from "./agent-message.ts";
import { AgentStreams } from "./agent-streams.ts";
import type { GatewayContext } from "./gateway-context.ts";
import { inTellingOrder, parseRecordKey, recordKey, type HostDocuments, type RecordKey } from "./host-documents.ts";
import { SkewMeter } from "./skew-meter.ts";

/** A WebSocket; `adapters`' MessageSocket is one. */
export interface AgentSocket {
  send(data: string | Uint8Array): void;
  readonly unsentBytes: number;
  ping(): void;
  close(code: number, reason: string): void;
  cut(): void;
  listen(handlers: {
    text(text: string): void;
    bytes(bytes: Uint8Array): void;
    alive(): void;
    drained(): void;
    closed(code: number, reason: string): void;
  }): void;
}

/** What the certificate says; `adapters`' PeerCertificate is one. */
export interface AgentPeer {
  /** The host's id. */
  readonly commonName: string;
  readonly serial: string;
  /** PEM. */
  readonly certificate: string;
  readonly notAfter: number;
  readonly address: string;
}

export const closeCodes = { goingAway: 1001, protocol: 1002, replaced: 4001, revoked: 4003, incompatible: 4010 } as const;

export interface SessionOwner {
  readonly documents: HostDocuments;
  /** From now on nothing is written any more that the host's agent told over another connection, to whichever server. @throws StoreError */
  attach(session: AgentSession): Promise<void>;
  /** Before the hello is answered, after that; resolves when the cache has seen all that the store has. */
  upToDate(): Promise<void>;
  /** Resolves when the host is no longer fenced; its hello counts as a word from it. */
  unfenced(session: AgentSession): Promise<void>;
  heartbeatMs(hostId: string): number;
  /** From now on this is the host's connection. */
  ready(session: AgentSession): void;
  /** What the host may go on by, after a heartbeat. */
  lease(session: AgentSession, watchdogMs: number | undefined): LeaseGrant | Promise<LeaseGrant>;
  /** A heartbeat came, and with it the host's time. */
  clockTold(session: AgentSession): void;
  /** A heartbeat came with figures. */
  loaded(session: AgentSession, load: HostLoad): void;
  sampled(session: AgentSession, batch: SampleBatch): void;
  report(session: AgentSession, sequence: number, parts: readonly ReportedPart[]): void;
  renewCertificate(session: AgentSession, request: string): void;
  closed(session: AgentSession): void;
}

/** Documents are held back while this much is unsent; the socket calls `drained` below a part of it. */
const unsentHighBytes = 2 ** 20;
/** With this much unsent, calls and stream data included, nobody reads at the other end. */
const unsentLimitBytes = 64 * 2 ** 20;
const helloTimeoutMs = 20_000;

export class AgentSession {
  readonly hostId: string;
  readonly peer: AgentPeer;
  readonly calls: AgentCalls;
  readonly streams: AgentStreams;
  /** Reports that may become right when their record changes. */
  readonly parked = new Map<RecordKey, ReportedPart[]>();
  readonly skew = new SkewMeter();
  /** As of the last heartbeat. */
  load: HostLoad | null = null;
  /** Reported parts that were not answered yet. */
  unanswered = 0;
  /** Monotonic ms. */
  lastHeardAt: number;
  readonly since: number;
  agentVersion = "";
  bootId = "";
  /** How often this agent is to say that it lives, as it was told. */
  heartbeatMs = 0;
  /** It was told that the site comes from a backup, and that hosts were still to be heard. */
  restoring = false;
  /** Mean deviation of its heartbeats from that, ms. */
  jitterMs = 0;
  #heartbeatAt = 0;
  /** Holds while no other connection of the host has taken the place of this one, here or at another server. */
  attachment: Compare | undefined;
  lastRenewalAt = Number.NEGATIVE_INFINITY;
  readonly #context: GatewayContext;
  readonly #owner: SessionOwner;
  readonly #socket: AgentSocket;
  readonly #helloTimer: Timer;
  /** Records to be told of, in the order in which they first changed. */
  readonly #outbound = new Set<RecordKey>();
  /** What the agent has been given. */
  readonly #given = new Set<RecordKey>();
  #state: "new" | "greeting" | "ready" | "closed" = "new";

  constructor(context: GatewayContext, owner: SessionOwner, socket: AgentSocket, peer: AgentPeer) {
    this.#context = context;
    this.#owner = owner;
    this.#socket = socket;
    this.peer = peer;
    this.hostId = peer.commonName;
    this.lastHeardAt = context.clock.monotonic();
    this.since = context.clock.now();
    this.calls = new AgentCalls(context.clock, (message) => this.send(message));
    this.streams = new AgentStreams({
      send: (data) => this.#sendRaw(data),
      get unsentBytes() {
        return socket.unsentBytes;
      },
    });
    this.#helloTimer = context.clock.setTimer(helloTimeoutMs, () => this.end(closeCodes.protocol, "no hello came"));
    socket.listen({
      text: (text) => this.#receive(text),
      bytes: (bytes) => {
        this.#heard();
        if (this.#state === "ready") this.streams.receive(bytes);
      },
      alive: () => this.#heard(),
      drained: () => this.pump(),
      closed: (code, reason) => this.#closed(code, reason),
    });
  }

  get isReady(): boolean {
    return this.#state === "ready";
  }

  /** Documents that wait to be sent. */
  get backlog(): number {
    return this.#outbound.size;
  }

  send(message: ServerMessage): void {
    this.#sendRaw(JSON.stringify(message));
  }

  ping(): void {
    this.#socket.ping();
  }

  /** The record may have changed for this host. Sent by the next `pump`. */
  enqueue(key: RecordKey): void {
    // Before the sync all is still to be told.
    if (this.#state === "ready") this.#outbound.add(key);
  }

  pump(): void {
    for (const key of inTellingOrder(this.#outbound)) {
      if (this.#state !== "ready" || this.#socket.unsentBytes > unsentHighBytes) return;
      this.#outbound.delete(key);
      this.#tell(key);
    }
  }

  /** In good order; the other side may read why. */
  end(code: number, reason: string): void {
    this.#socket.close(code, reason);
    this.#closed(code, reason);
  }

  /** The other side is dead or not to be trusted: at once. */
  cut(reason: string): void {
    this.#socket.cut();
    this.#closed(1006, reason);
  }

  #sendRaw(data: string | Uint8Array): void {
    if (this.#state === "closed") return;
    this.#socket.send(data);
    if (this.#socket.unsentBytes > unsentLimitBytes) this.cut("the agent does not read what it is sent");
  }

  #heard(): void {
    this.lastHeardAt = this.#context.clock.monotonic();
  }

  /** RFC 6298's mean deviation, of the time between heartbeats. */
  #measureJitter(): void {
    const now = this.#context.clock.monotonic();
    const deviationMs = Math.abs(now - this.#heartbeatAt - this.heartbeatMs);
    this.jitterMs += (deviationMs - this.jitterMs) / 4;
    this.#heartbeatAt = now;
  }

  #receive(text: string): void {
    if (this.#state === "closed") return;
    this.#heard();
    const reading = readAgentMessage(text);
    if (reading.kind === "unknown")
      return this.#context.logger.debug({ host: this.hostId, type: reading.type }, "a message of a newer agent was skipped");
    if (reading.kind === "broken") {
      this.#context.logger.warn({ host: this.hostId, why: reading.why }, "an agent sent what no agent sends; its connection is ended");
      return this.end(closeCodes.protocol, reading.why);
    }
    const { message } = reading;
    if (message.type === "hello") {
      if (this.#state === "new") void this.#greet(message);
      else this.end(closeCodes.protocol, "a second hello");
    } else if (this.#state === "ready") this.#handle(message);
    else this.end(closeCodes.protocol, `${message.type} before the welcome`);
  }

  async #greet(hello: Hello): Promise<void> {
    const { clock, logger, store, settings } = this.#context;
    this.#state = "greeting";
    this.#helloTimer.cancel();
    if (hello.hostId !== this.hostId) return this.end(closeCodes.protocol, "the certificate is another host's");
    if (Math.abs(hello.wireVersion - wireVersion) > 1) {
      return this.end(closeCodes.incompatible, `the agent speaks version ${hello.wireVersion}, the server ${wireVersion}: update the older one`);
    }
    this.skew.add(hello.now - clock.now());
    this.agentVersion = hello.agentVersion;
    this.bootId = hello.bootId;
    try {
      // A host that was cut off, or is being, is let in when whoever decides on it knows that it is back.
      await this.#owner.unfenced(this);
      await this.#owner.attach(this);
      // A machine that this server has not heard of yet must not be taken for one that is gone.
      await this.#owner.upToDate();
      await this.#context.restored?.heard(this.hostId, hello.machines);
    } catch (error) {
      logger.warn({ host: this.hostId, error: String(error) }, "an agent cannot be welcomed while the store does not answer");
      return this.end(closeCodes.goingAway, "the store does not answer: try again");
    }
    if (this.isClosed) return;
    this.#state = "ready";
    this.restoring = this.#context.restored?.settled() === false;
    this.heartbeatMs = this.#owner.heartbeatMs(this.hostId);
    this.#heartbeatAt = clock.monotonic();
    this.send({
      type: "welcome",
      wireVersion,
      serverVersion: settings.version,
      incarnation: store.incarnation,
      heartbeatMs: this.heartbeatMs,
      leaseMs: settings.leaseMs,
      now: clock.now(),
      ...(this.restoring ? { restoring: true } : {}),
      ...(this.#context.telemetry === undefined ? {} : { samples: true }),
      ...(this.#context.servers === undefined ? {} : { servers: this.#context.servers.agentUrls() }),
    });
    this.#sync();
    this.#answerMachines(hello);
    this.#owner.ready(this);
  }

  /** A function, because the compiler does not see that the state changes during a wait. */
  get isClosed(): boolean {
    return this.#state === "closed";
  }

  #sync(): void {
    const { cache, secrets, logger } = this.#context;
    const documents = [];
    for (const key of inTellingOrder(this.#owner.documents.of(this.hostId))) {
      const { kind, id } = parseRecordKey(key);
      const record = cache.get(kind, id);
      if (!record) continue;
      this.#given.add(key);
      documents.push(agentDocument(record, this.hostId, secrets, logger));
    }
    this.send({ type: "sync", revision: cache.revision, documents });
  }

  /** Machines the agent remembers and that are not its own any more. */
  #answerMachines(hello: Hello): void {
    const { cache, store } = this.#context;
    for (const { id, incarnation } of hello.machines) {
      if (this.#owner.documents.concerns(this.hostId, recordKey("vm", id))) continue;
      // Absent or never placed, and from another life of the store: perhaps the backup is older than the machine. A person decides.
      if (!cache.get("vm", id)?.placement && incarnation !== store.incarnation) continue;
      this.#sendRemoval(recordKey("vm", id));
    }
  }

  #tell(key: RecordKey): void {
    const { cache, secrets, logger } = this.#context;
    const { kind, id } = parseRecordKey(key);
    const record = cache.get(kind, id);
    if (record && this.#owner.documents.concerns(this.hostId, key)) {
      this.#given.add(key);
      this.send({ type: "upsert", revision: cache.revision, document: agentDocument(record, this.hostId, secrets, logger) });
    } else if (this.#given.delete(key)) this.#sendRemoval(key);
  }

  #sendRemoval(key: RecordKey): void {
    const { cache } = this.#context;
    const { kind, id } = parseRecordKey(key);
    const record = cache.get(kind, id);
    const placement = record?.placement;
    this.send({
      type: "remove",
      revision: cache.revision,
      kind,
      id,
      gone: record === undefined,
      ...(placement ? { placement: { epoch: placement.epoch, incarnation: placement.incarnation } } : {}),
    });
  }

  #handle(message: Exclude<CheckedMessage, { type: "hello" }>): void {
    const { clock } = this.#context;
    switch (message.type) {
      case "heartbeat": {
        this.skew.add(message.now - clock.now());
        this.#measureJitter();
        this.#owner.clockTold(this);
        if (message.load) {
          this.load = message.load;
          this.#owner.loaded(this, message.load);
        }
        return this.#answerHeartbeat(message.sequence, this.#owner.lease(this, message.watchdogMs));
      }
      case "samples":
        return this.#owner.sampled(this, message);
      case "report":
        return this.#owner.report(this, message.sequence, message.parts);
      case "reply":
        return this.calls.reply(message);
      case "progress":
        this.calls.progress(message.task, message.fields);
        if (this.#mayTellOf(message.task)) this.#context.tasks.progress(message.task, message.fields);
        return;
      case "log":
        if (this.#mayTellOf(message.task)) this.#context.tasks.append(message.task, message.text, message.at);
        return;
      case "stream-end":
        return this.streams.receiveEnd(message.stream, message.reason);
      case "renew-certificate":
        return this.#owner.renewCertificate(this, message.certificateRequest);
    }
  }

  /** The host lives, whether or not the store answers: it is told so at once where a lease is to be asked for, and what came of it afterwards. */
  #answerHeartbeat(sequence: number, lease: LeaseGrant | Promise<LeaseGrant>): void {
    const { clock } = this.#context;
    if (!(lease instanceof Promise)) return this.send({ type: "beat", sequence, now: clock.now(), ...lease });
    void lease.then((grant) => this.send({ type: "beat", sequence, now: clock.now(), ...grant }));
  }

  /** Of a task that is its own work, a call's, or about what lies on this host. */
  #mayTellOf(taskId: string): boolean {
    if (this.calls.isWorkingOn(taskId)) return true;
    const task = this.#context.cache.get("task", taskId);
    if (!task) return false;
    const { host, target } = task.spec;
    return host === this.hostId || this.#owner.documents.concerns(this.hostId, recordKey(target.kind, target.id));
  }

  #closed(code: number, reason: string): void {
    if (this.#state === "closed") return;
    this.#state = "closed";
    this.#helloTimer.cancel();
    this.#outbound.clear();
    this.#given.clear();
    this.calls.close();
    this.streams.close();
    this.#context.logger.info({ host: this.hostId, code, reason }, "an agent's connection has ended");
    this.#owner.closed(this);
  }
}
