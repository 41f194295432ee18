/**
 * The agents' gateway: lets hosts' agents in, gives each what concerns its host, takes their reports, carries calls and consoles.
 * Behind a listener port (`adapters`' listenForAgents); who a peer is comes from its certificate alone. Fleeting things (presence, load,
 * skew) stay in memory. Implements `Agents` for controllers and API.
 */
import type { Timer } from "@sheaf/base";
import type { AgentCalls as CallTable, AgentMethod, HostLoad, LeaseGrant, PulseMessage, ReportedPart, SampleBatch } from "@sheaf/contract";
import type { Agents, CallOptions } from "@sheaf/controllers";
import { attachmentKey, compareVersions, partKey, SheafError, type RecordOf } from "@sheaf/model";
import { hourOfHeartbeats, Ring, type RingPoint } from "@sheaf/telemetry";
import type { RecordChange } from "../context.ts";
import { AgentSession, closeCodes, type AgentPeer, type AgentSocket, type SessionOwner } from "./agent-session.ts";
import type { AgentStream, StreamHandlers } from "./agent-streams.ts";
import { FenceGate } from "./fence-gate.ts";
import type { GatewayContext } from "./gateway-context.ts";
import { HostDocuments, recordKey } from "./host-documents.ts";
import { HostLeases } from "./host-leases.ts";
import { idleSessions } from "./idle-sessions.ts";
import { judgeReport } from "./report-rights.ts";
import { ReportWriter } from "./report-writer.ts";
import { SampleIntake } from "../telemetry/sample-intake.ts";

/** What is known of a connected host beyond its records. */
export interface HostPresence {
  /** Wall clock, ms. */
  readonly connectedSince: number;
  readonly address: string;
  readonly agentVersion: string;
  /** Positive: the host's clock is ahead. */
  readonly skewMs: number;
  readonly load: HostLoad | null;
}

const loadColumns = ["cpu", "memoryUsedBytes", "memoryTotalBytes"] as const;
export type LoadColumn = (typeof loadColumns)[number];

const parkedPerRecord = 4;
/** Agents have one report of a few hundred parts under way; who sends this many without waiting is none. */
const unansweredLimit = 4096;
const connectionsPerHost = 4;
/** O(connections), a comparison each. */
const sweepMs = 500;
/**
 * After so much silence an agent is asked for a sign: where another's heartbeat has not come, so that half a cluster's silence is told from
 * one host's, and where agents have other servers to go to, which they do when they hear nothing.
 */
const quietMs = 2000;
/** In heartbeats; without a sign by then, one has not come. */
const overdue = 1.2;
/** Somebody whose connection is gone for longer is no news. */
const lostLatelyMs = 60_000;
/** A connection is not cut for less. */
const shortestSilenceMs = 5000;
const renewalsEveryMs = 60_000;

export class AgentsGateway implements Agents, SessionOwner {
  readonly documents: HostDocuments;
  readonly #context: GatewayContext;
  readonly #reports: ReportWriter;
  /** By host; the newest connection only. */
  readonly #sessions = new Map<string, AgentSession>();
  /** Connections that have not said hello, too. */
  readonly #open = new Set<AgentSession>();
  /** How many of them, by host. */
  readonly #openCounts = new Map<string, number>();
  /** Of hosts whose connection is gone, or waits to be let in. */
  readonly #heard = new Map<string, { readonly at: number; readonly jitterMs: number }>();
  readonly #pulses = new Map<string, { readonly heardAt: number; readonly message: PulseMessage }>();
  readonly #gate: FenceGate;
  readonly #leases: HostLeases;
  readonly #samples: SampleIntake | null;
  readonly #loads = new Map<string, Ring<LoadColumn>>();
  readonly #listeners = new Set<(event: { readonly hostId: string; readonly connected: boolean }) => void>();
  readonly #touched = new Set<AgentSession>();
  readonly #ends: (() => void)[];
  /** Servers that agents know of, in one order. */
  #servers: string;
  #sweep: Timer | null = null;
  /** At the last sweep a heartbeat had not come, or a connection was gone that nobody has made again. */
  #somebodyMissing = false;

  /** The cache must be filled. */
  constructor(context: GatewayContext) {
    this.#context = context;
    this.#reports = new ReportWriter(context);
    this.#gate = new FenceGate(context);
    this.#samples = context.telemetry ? new SampleIntake(context.telemetry) : null;
    this.#leases = new HostLeases(context);
    this.documents = new HostDocuments(context.cache, {
      changed: (hostId, key) => this.#enqueue(this.#sessions.get(hostId), key),
      changedForAll: (key) => {
        for (const session of this.#sessions.values()) this.#enqueue(session, key);
      },
    });
    this.#servers = this.#knownServers();
    this.#ends = [
      context.cache.subscribe((_revision, changes) => this.#changed(changes)),
      context.revocations.onChange(() => this.#cutRevoked()),
      context.telemetry?.onDurable((hostId, slot) => this.#sessions.get(hostId)?.send({ type: "sampled", slot })) ?? (() => {}),
      context.servers?.subscribe(() => this.#tellServers()) ?? (() => {}),
      context.restored?.onSettled(() => this.#endRestoring()) ?? (() => {}),
    ];
    this.#sweepLater();
  }

  /** For the listener: `null` lets the peer in, else the reason. */
  admit(peer: AgentPeer): string | null {
    const { cache, revocations, refused, clock } = this.#context;
    const refuse = (why: string): string => {
      refused({ actor: `agent:${peer.commonName}`, from: peer.address, action: "agent.connect", code: "unauthenticated" });
      return why;
    };
    if (revocations.isRevoked(peer.commonName, peer.serial)) return refuse("this certificate is revoked: join anew with a new invitation");
    if (peer.notAfter <= clock.now()) return refuse("this certificate has ended: join anew with a new invitation");
    const host = cache.get("host", peer.commonName);
    if (!host || host.deletedAt !== undefined) return refuse("this host is not part of the site (any more): join anew with a new invitation");
    return null;
  }

  /** For the listener: a connection that was admitted. */
  accept(socket: AgentSocket, peer: AgentPeer): void {
    const others = this.#openCounts.get(peer.commonName) ?? 0;
    // Before the hello none replaces another: a stolen certificate must not use up the server's connections.
    if (others >= connectionsPerHost) return socket.close(closeCodes.protocol, "this host has too many connections that say nothing");
    this.#openCounts.set(peer.commonName, others + 1);
    this.#open.add(new AgentSession(this.#context, this, socket, peer));
  }

  // Agents

  connected(hostId: string): boolean {
    return this.#sessions.has(hostId);
  }

  lastHeardAt(hostId: string): number | null {
    return this.#sessions.get(hostId)?.lastHeardAt ?? this.#heard.get(hostId)?.at ?? null;
  }

  bootId(hostId: string): string | null {
    return this.#sessions.get(hostId)?.bootId ?? null;
  }

  jitterMs(hostId: string): number {
    return this.#sessions.get(hostId)?.jitterMs ?? this.#heard.get(hostId)?.jitterMs ?? 0;
  }

  pulse(hostId: string): ReturnType<Agents["pulse"]> {
    const pulse = this.#pulses.get(hostId);
    return pulse === undefined ? null : { ...pulse, grantedAt: this.#leases.grantedAt(hostId) };
  }

  /** For the listener: the process beside that host's agent says that the host lives. @returns what the host may go on by; `null`: nothing */
  receivePulse(hostId: string, message: PulseMessage): LeaseGrant | Promise<LeaseGrant> | null {
    const before = this.#pulses.get(hostId);
    this.#pulses.set(hostId, { heardAt: this.#context.clock.monotonic(), message });
    const fencing = this.#context.cache.get("host", hostId)?.status.fencing;
    if (fencing?.state === "fenced" && !fencing.byItself && fencing.bootId === message.bootId && before?.message.bootId !== message.bootId)
      this.#context.logger.error(
        { host: hostId, attempts: fencing.attempts.map(({ method }) => method) },
        "a host that was said to be off lives: do not trust that device",
      );
    return this.#leases.ofPulse(hostId, message.bootId);
  }

  /** Of every host whose pulse was heard here. */
  *pulses(): Iterable<{ readonly hostId: string; readonly heardAt: number; readonly message: PulseMessage; readonly grantedAt: number | null }> {
    for (const [hostId, pulse] of this.#pulses) yield { hostId, ...pulse, grantedAt: this.#leases.grantedAt(hostId) };
  }

  /** Every connected host: when it was heard, monotonic ms, and how uneven its heartbeats come. */
  *heard(): Iterable<{ readonly hostId: string; readonly at: number; readonly jitterMs: number; readonly bootId: string }> {
    for (const [hostId, { lastHeardAt, jitterMs, bootId }] of this.#sessions) yield { hostId, at: lastHeardAt, jitterMs, bootId };
  }

  async call<M extends AgentMethod>(hostId: string, method: M, parameters: CallTable[M]["in"], options: CallOptions): Promise<CallTable[M]["out"]> {
    // The agent's answer is of its own making: callers check what they rely on.
    return this.#session(hostId).calls.call(method, parameters, options) as Promise<CallTable[M]["out"]>;
  }

  subscribe(listener: (event: { readonly hostId: string; readonly connected: boolean }) => void): () => void {
    this.#listeners.add(listener);
    return () => this.#listeners.delete(listener);
  }

  // Consoles, figures

  /** @throws SheafError `host-unreachable` or what the agent answered; the stream is closed then */
  async openConsole(
    hostId: string,
    console: { readonly vmId: string; readonly type: "serial" | "vnc" },
    handlers: StreamHandlers,
    timeoutMs: number,
  ): Promise<AgentStream> {
    const session = this.#session(hostId);
    const stream = session.streams.open(handlers);
    try {
      await session.calls.call("console.open", { ...console, stream: stream.number }, { timeoutMs });
      return stream;
    } catch (error) {
      stream.close("it could not be opened");
      throw error;
    }
  }

  /** `null` while it is not connected. */
  presence(hostId: string): HostPresence | null {
    const session = this.#sessions.get(hostId);
    if (!session) return null;
    return {
      connectedSince: session.since,
      address: session.peer.address,
      agentVersion: session.agentVersion,
      skewMs: session.skew.skewMs,
      load: session.load,
    };
  }

  load(hostId: string): HostLoad | null {
    return this.#sessions.get(hostId)?.load ?? null;
  }

  /** The host's load during the last hour, every 5 s, oldest first; `at` is monotonic. Outlives connections. */
  loadHistory(hostId: string, since?: number): readonly RingPoint<LoadColumn>[] {
    return this.#loads.get(hostId)?.points(since) ?? [];
  }

  statistics() {
    let waitingDocuments = 0;
    let streams = 0;
    for (const session of this.#sessions.values()) {
      waitingDocuments += session.backlog;
      streams += session.streams.count;
    }
    return { connected: this.#sessions.size, waitingDocuments, streams, waitingReports: this.#reports.backlog, ...this.#reports.statistics };
  }

  /** Hosts that are connected here. */
  get agents(): number {
    return this.#sessions.size;
  }

  /** Asks agents that nothing is under way with to go to another server. @returns how many were asked */
  sendTo(agentUrl: string, count: number): number {
    const { cache, clock } = this.#context;
    const idle = idleSessions(this.#sessions.values(), { cache, documents: this.documents, now: clock.now() }).slice(0, count);
    for (const session of idle) session.send({ type: "go-to", server: agentUrl });
    return idle.length;
  }

  /** Ends every connection: agents go to another server. @returns how many there were */
  release(): number {
    const { size } = this.#open;
    for (const session of this.#open) session.end(closeCodes.goingAway, "this server does not reach the store, another one does");
    return size;
  }

  /** Ends every connection; agents dial again when the server is back. */
  close(): void {
    this.#sweep?.cancel();
    this.#sweep = null;
    for (const end of this.#ends) end();
    this.#reports.close();
    for (const session of this.#open) session.end(closeCodes.goingAway, "the server is stopping");
  }

  // SessionOwner

  async attach(session: AgentSession): Promise<void> {
    const { store } = this.#context;
    const key = attachmentKey(session.hostId);
    const before = await store.get(key);
    // Alone there is nobody who could write what is older.
    const { revision } =
      before !== null || this.#several ? await store.transact({ compare: [], then: [{ put: key, value: session.bootId }] }) : { revision: 0 };
    session.attachment = { key, modRevision: revision };
  }

  async upToDate(): Promise<void> {
    const { store, cache } = this.#context;
    await cache.waitFor(await store.revision());
  }

  async unfenced(session: AgentSession): Promise<void> {
    this.#heard.set(session.hostId, { at: session.lastHeardAt, jitterMs: this.jitterMs(session.hostId) });
    await this.#gate.passed(session);
    this.#heard.set(session.hostId, { at: session.lastHeardAt, jitterMs: 0 });
  }

  heartbeatMs(hostId: string): number {
    const { cache, settings } = this.#context;
    const host = cache.get("host", hostId);
    const cluster = host && (cache.get("cluster", host.spec.cluster) ?? cache.byName("cluster", "-", host.spec.cluster));
    return settings.heartbeatMs[cluster?.spec.highAvailability.detection ?? "default"];
  }

  ready(session: AgentSession): void {
    const { hostId } = session;
    const before = this.#sessions.get(hostId);
    this.#sessions.set(hostId, session);
    this.#leases.forget(hostId);
    before?.end(closeCodes.replaced, "a newer connection of this host has taken its place");
    this.#context.logger.info({ host: hostId, address: session.peer.address, agentVersion: session.agentVersion }, "an agent is connected");
    // Let in all the same: a host that cannot connect would count as lost.
    if (compareVersions(session.agentVersion, this.#context.settings.version) > 0)
      this.#context.logger.warn(
        { host: hostId, agentVersion: session.agentVersion, version: this.#context.settings.version },
        "an agent is newer than this server, which knows nothing of what it may say: upgrade the server",
      );
    if (!before) this.#tell(hostId, true);
    const slot = this.#context.telemetry?.durableUpTo(hostId) ?? -1;
    if (slot >= 0) session.send({ type: "sampled", slot });
    this.#recordSkew(session);
  }

  closed(session: AgentSession): void {
    this.#open.delete(session);
    this.#touched.delete(session);
    const left = (this.#openCounts.get(session.hostId) ?? 1) - 1;
    if (left > 0) this.#openCounts.set(session.hostId, left);
    else this.#openCounts.delete(session.hostId);
    this.#gate.changed(session.hostId);
    if (this.#sessions.get(session.hostId) !== session) return;
    this.#sessions.delete(session.hostId);
    this.#heard.set(session.hostId, { at: session.lastHeardAt, jitterMs: session.jitterMs });
    this.#tell(session.hostId, false);
  }

  lease({ hostId, bootId }: AgentSession, watchdogMs: number | undefined): LeaseGrant | Promise<LeaseGrant> {
    return this.#leases.ofHeartbeat(hostId, bootId, watchdogMs);
  }

  loaded({ hostId, lastHeardAt }: AgentSession, { cpu, memoryUsedBytes, memoryTotalBytes }: HostLoad): void {
    let ring = this.#loads.get(hostId);
    if (!ring) this.#loads.set(hostId, (ring = new Ring({ columns: loadColumns, ...hourOfHeartbeats })));
    ring.add(lastHeardAt, { cpu, memoryUsedBytes, memoryTotalBytes });
  }

  sampled({ hostId }: AgentSession, batch: SampleBatch): void {
    this.#samples?.take(this.#context.clock.now(), hostId, batch, (vmId) => this.documents.concerns(hostId, recordKey("vm", vmId)));
  }

  report(session: AgentSession, sequence: number, parts: readonly ReportedPart[]): void {
    session.unanswered += parts.length;
    if (session.unanswered > unansweredLimit) return session.end(closeCodes.protocol, "more was reported than is answered: wait for `reported`");
    const refused: { index: number; why: string }[] = [];
    let left = parts.length;
    const answer = (): void => {
      if (left === 0) session.send({ type: "reported", sequence, refused: refused.sort((a, b) => a.index - b.index) });
    };
    answer();
    for (const [index, part] of parts.entries()) {
      this.#submit(session, part, (why) => {
        if (why !== null) refused.push({ index, why });
        left -= 1;
        session.unanswered -= 1;
        answer();
      });
    }
  }

  renewCertificate(session: AgentSession, request: string): void {
    const { authority, cache, clock, logger } = this.#context;
    const now = clock.monotonic();
    if (now - session.lastRenewalAt < renewalsEveryMs) return;
    session.lastRenewalAt = now;
    const migrationAddress = cache.get("host", session.hostId)?.spec.migrationAddress;
    const addresses = [plainAddress(session.peer.address), ...(migrationAddress === undefined ? [] : [migrationAddress])];
    authority.renewAgent({ certificateRequest: request, hostId: session.hostId, present: session.peer.certificate, addresses }).then(
      (certificate) => {
        logger.info({ host: session.hostId }, "a host's certificate was renewed");
        session.send({ type: "certificate", certificate });
      },
      (error: unknown) => logger.warn({ host: session.hostId, error: String(error) }, "a host's certificate could not be renewed"),
    );
  }

  get #several(): boolean {
    return (this.#context.servers?.agentUrls().length ?? 1) > 1;
  }

  #session(hostId: string): AgentSession {
    const session = this.#sessions.get(hostId);
    if (session) return session;
    const name = this.#context.cache.get("host", hostId)?.name ?? hostId;
    throw new SheafError("host-unreachable", `The agent of host ${name} is not connected.`, {
      next: "Look at the host: is it on, and does its agent run?",
    });
  }

  #submit(session: AgentSession, part: ReportedPart, done: (refused: string | null) => void): void {
    const verdict = judgeReport(session.hostId, part, { cache: this.#context.cache, documents: this.documents });
    switch (verdict.verdict) {
      case "write":
        return this.#reports.submit({
          hostId: session.hostId,
          part,
          guard: verdict.guard,
          ...(session.attachment === undefined ? {} : { attachment: session.attachment }),
          superseded: () => session.end(closeCodes.replaced, "this host's agent is connected elsewhere by now"),
          done: (outcome) => done(outcome?.refused ?? null),
          judgeAgain: () => this.#submit(session, part, done),
        });
      case "refuse":
        if (verdict.foreign) this.#countForeign(session, part);
        return done(verdict.why);
      case "park":
        this.#park(session, part);
        return done(null);
    }
  }

  #park(session: AgentSession, part: ReportedPart): void {
    const key = recordKey(part.kind, part.id);
    const others = (session.parked.get(key) ?? []).filter((other) => other.part !== part.part);
    session.parked.set(key, [...others, part].slice(-parkedPerRecord));
  }

  #countForeign(session: AgentSession, part: ReportedPart): void {
    const { cache, refused, logger } = this.#context;
    const name = cache.get("host", session.hostId)?.name ?? session.hostId;
    refused({ actor: `agent:${name}`, from: session.peer.address, action: "agent.report", code: "not-allowed" });
    logger.warn({ host: session.hostId, kind: part.kind, id: part.id, part: part.part }, "an agent tried to write what is not its own");
  }

  #changed(changes: readonly RecordChange[]): void {
    for (const change of changes) {
      this.documents.apply(change);
      this.#gate.apply(change);
      if (change.kind === "host") this.#cutFenced(change.record as RecordOf<"host"> | undefined); // the kind says so
      if (change.kind === "cluster") this.#renewHeartbeats(change.id);
      if (change.kind === "host" && (!change.record || change.record.deletedAt !== undefined)) this.#hostGone(change.id);
      if (change.record?.placement !== change.previous?.placement || change.kind === "vm") this.#unpark(change);
    }
    for (const session of this.#touched) session.pump();
    this.#touched.clear();
  }

  #enqueue(session: AgentSession | undefined, key: ReturnType<typeof recordKey>): void {
    if (!session) return;
    session.enqueue(key);
    this.#touched.add(session);
  }

  #unpark({ kind, id, record }: RecordChange): void {
    const key = recordKey(kind, id);
    // Those that could have parked something: where it is placed now, and both sides of a migration that has just ended.
    const session = record?.placement && this.#sessions.get(record.placement.host);
    const parts = session?.parked.get(key);
    if (!session || !parts) return;
    session.parked.delete(key);
    for (const part of parts) {
      this.#submit(session, part, (why) => {
        if (why !== null) this.#context.logger.debug({ host: session.hostId, kind, id, why }, "a report that waited for its placement was refused");
      });
    }
  }

  #hostGone(hostId: string): void {
    this.#heard.delete(hostId);
    this.#pulses.delete(hostId);
    this.#leases.forget(hostId);
    this.#loads.delete(hostId);
    for (const session of this.#open) if (session.hostId === hostId) session.end(closeCodes.revoked, "this host was removed from the site");
    // One that stays where the store does not answer now is as small as it is harmless.
    if (this.#several) void this.#context.store.transact({ compare: [], then: [{ delete: attachmentKey(hostId) }] }).catch(() => {});
  }

  /** A host that was cut off has no connection: what still seems to be one must knock. */
  #cutFenced(host: RecordOf<"host"> | undefined): void {
    if (host?.status.fencing?.state === "fenced") this.#sessions.get(host.id)?.cut("this host was cut off");
  }

  /** How often agents say that they live is told when they connect. */
  #renewHeartbeats(clusterId: string): void {
    for (const session of this.#sessions.values()) {
      if (this.#context.cache.get("host", session.hostId)?.spec.cluster !== clusterId) continue;
      if (session.heartbeatMs !== this.heartbeatMs(session.hostId))
        session.end(closeCodes.goingAway, "the cluster's detection changed: connect again");
    }
  }

  #knownServers(): string {
    return JSON.stringify(this.#context.servers?.agentUrls().toSorted() ?? []);
  }

  /** Who is connected must know of a server that joins now: this one may be gone next. */
  #tellServers(): void {
    const known = this.#knownServers();
    if (known === this.#servers) return;
    this.#servers = known;
    const servers = this.#context.servers?.agentUrls() ?? [];
    for (const session of this.#sessions.values()) session.send({ type: "servers", servers });
  }

  /** The next welcome lets them start what was placed before the restore, after all that came of the others' words. */
  #endRestoring(): void {
    for (const session of this.#sessions.values())
      if (session.restoring) session.end(closeCodes.goingAway, "every host of the restored site has been heard: connect again");
  }

  #cutRevoked(): void {
    for (const session of this.#open) {
      if (!this.#context.revocations.isRevoked(session.hostId, session.peer.serial)) continue;
      session.end(closeCodes.revoked, "this certificate was revoked");
    }
  }

  #tell(hostId: string, connected: boolean): void {
    for (const listener of this.#listeners) listener({ hostId, connected });
  }

  #sweepLater(): void {
    this.#sweep = this.#context.clock.setTimer(sweepMs, () => {
      this.#lookAtAll();
      if (this.#sweep) this.#sweepLater();
    });
  }

  /** Dead peers and ended certificates, whatever happens: not on events. Who is quiet is pinged until something is heard. */
  #lookAtAll(): void {
    const { clock } = this.#context;
    const now = clock.monotonic();
    const askQuiet = this.#somebodyMissing || (this.#context.servers?.agentUrls().length ?? 1) > 1;
    this.#somebodyMissing = this.#lostLately(now);
    for (const session of this.#open) {
      const silentMs = now - session.lastHeardAt;
      const { heartbeatMs } = session;
      if (session.peer.notAfter <= clock.now()) session.end(closeCodes.revoked, "its certificate has ended");
      else if (silentMs >= Math.max(2.5 * heartbeatMs, shortestSilenceMs)) session.cut(`nothing was heard for ${Math.round(silentMs)} ms`);
      else if (askQuiet && silentMs >= Math.min(heartbeatMs, quietMs)) session.ping();
      if (silentMs >= overdue * heartbeatMs) this.#somebodyMissing = true;
    }
  }

  #lostLately(now: number): boolean {
    for (const [hostId, { at }] of this.#heard) if (now - at < lostLatelyMs && !this.#sessions.has(hostId)) return true;
    return false;
  }

  clockTold(session: AgentSession): void {
    this.#recordSkew(session);
  }

  /** A clock that is off is slow status of the host; one that is right costs nothing. */
  #recordSkew(session: AgentSession): void {
    const { cache, settings, store, clock, logger } = this.#context;
    const host = cache.get("host", session.hostId);
    if (!host) return;
    const { skewMs } = session.skew;
    const recorded = host.status.clock?.skewMs ?? 0;
    const off = Math.abs(skewMs) >= settings.skewToleratedMs;
    const changed = off
      ? Math.abs(skewMs - recorded) >= Math.max(settings.skewToleratedMs, Math.abs(recorded) / 4)
      : recorded !== 0 && Math.abs(skewMs) < settings.skewToleratedMs / 2;
    if (!changed) return;
    const key = partKey("host", host.id, "status/clock");
    const guard = { key: partKey("host", host.id, "spec"), modRevision: host.specRevision };
    if (off) logger.warn({ host: host.name, skewMs }, "the clock of a host is off");
    // Lost when it fails: the next look tries again.
    store
      .transact({ compare: [guard], then: [off ? { put: key, value: JSON.stringify({ skewMs, at: clock.now() }) } : { delete: key }] })
      .catch((error: unknown) => logger.debug({ error: String(error) }, "the skew of a host's clock could not be recorded"));
  }
}

/** IPv4 addresses seen through an IPv6 socket, without their prefix. */
const plainAddress = (address: string): string => address.replace(/^::ffff:(?=\d+\.)/, "").replace(/%.*$/, "");
