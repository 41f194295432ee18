/**
 * The management server as a process of the simulation: the real cache, gateway, controllers and API, put together as `apps/server`
 * does, on simulated ports. Can be killed at any await, stopped in good order, and started again on the same data.
 */
import { type Logger, type SimulatedClock, sleep } from "@sheaf/base";
import { apiPrefix, type LeaseGrant, type PulseMessage } from "@sheaf/contract";
import { SimulatedFiles } from "@sheaf/agent";
import { defaultControllerSettings, type FencingDevices, startControllers } from "@sheaf/controllers";
import { RecordCache } from "@sheaf/runtime";
import {
  administrator,
  type AgentPeer,
  AgentsGateway,
  type Api,
  bootstrapAdmin,
  createApi,
  createSecrets,
  defaultAuditFileLimits,
  defaultGatewaySettings,
  defaultLimits,
  RestoredSite,
  Revocations,
  ServerDirectory,
  TaskLogs,
} from "@sheaf/server";
import type { Store } from "@sheaf/store";
import { Chance } from "./chance.ts";
import { Life } from "./life.ts";
import { playedLibrary } from "./played-library.ts";
import { processClock, rightClock } from "./process-clock.ts";
import { certificateOf } from "./sample-certificate.ts";
import { RequestTurns } from "./request-turns.ts";
import { agentUrlOf, isServerNode, serverNode } from "./server-nodes.ts";
import type { Version } from "./simulated-installation.ts";
import type { SimulatedNetwork } from "./simulated-network.ts";
import { linkServers } from "./simulated-peers.ts";
import { type DiskState, goodDisk, StoreDisk, storeSilenceMs } from "./store-disk.ts";

/** Also the agents', to begin with. */
export const firstVersion: Version = { version: "0.1.0", sha256: "0a".repeat(32) };
/** What a service manager grants; then it kills. */
const stopWithinMs = 10_000;
/** Cheapest that scrypt takes: nobody attacks a simulation. */
const passwordCost = 2 ** 4;
export const adminPassword = "simulated";
/** No certificate ends in a simulation. */
const farFuture = 4_000_000_000_000;
/** As among several real servers. */
const leaderLeaseMs = 3000;

export interface Answer {
  readonly status: number;
  // oxlint-disable-next-line no-explicit-any -- JSON of every route; who asks knows which, and fails where it is not there
  readonly body: any;
  readonly requestId: string;
}

export interface Request {
  readonly method: "GET" | "POST" | "PUT" | "PATCH" | "DELETE";
  /** Below the API's prefix. */
  readonly path: string;
  readonly body?: unknown;
  readonly token?: string;
  readonly key?: string;
}

export interface ServerOptions {
  readonly seed: number;
  /** Its name, in the network and to other servers. `server` unless said. */
  readonly node?: string;
  /** Others share its store. */
  readonly several?: boolean;
  /** Shared by all that run on this clock. */
  readonly turns?: RequestTurns;
  readonly clock: SimulatedClock;
  readonly network: SimulatedNetwork;
  readonly store: Store;
  readonly logger: Logger;
  readonly fencing: FencingDevices;
}

export class SimulatedServer {
  readonly clockError = rightClock();
  readonly disk: DiskState = goodDisk();
  readonly #options: ServerOptions;
  /** What lies on its disk: another after a restore. */
  store: Store;
  readonly #auditFiles = new SimulatedFiles();
  #life: Life | null = null;
  #api: Api | null = null;
  #leads: () => boolean = () => false;
  #disk: StoreDisk | null = null;
  #stop: (() => Promise<void>) | null = null;
  #gateway: AgentsGateway | null = null;
  #runs = 0;
  readonly #requests: RequestTurns;
  /** Of its present life. */
  #turns: ReturnType<RequestTurns["ofLife"]> | null = null;

  constructor(options: ServerOptions) {
    this.#options = options;
    this.store = options.store;
    this.#requests = options.turns ?? new RequestTurns(options.clock);
  }

  get runs(): boolean {
    return this.#life?.alive ?? false;
  }

  /** Answers requests. */
  get ready(): boolean {
    return this.#api !== null && this.runs;
  }

  /** What it is, and its agents are to be: from its next start on. */
  carries = firstVersion;

  get node(): string {
    return this.#options.node ?? serverNode;
  }

  /** For stories. */
  get title(): string {
    return this.#options.several ? this.node : "the server";
  }

  get leads(): boolean {
    return this.ready && this.#leads();
  }

  /** Resolves when it answers; never where it dies before. @throws what kept it from starting */
  async start(): Promise<void> {
    if (this.runs) return;
    const { node } = this;
    const { seed, network, logger, several = false } = this.#options;
    const below = this.store;
    this.#runs += 1;
    const life = new Life();
    this.#life = life;
    const turns = this.#requests.ofLife();
    this.#turns = turns;
    life.atEnd(() => {
      turns.end();
      network.listen(node, null);
      network.resetOf(life, node);
    });
    const random = new Chance(seed, `${node} ${this.#runs}`).random;
    const clock = processClock(this.#options.clock, this.clockError, life);
    const store = new StoreDisk(below, this.disk, {
      clock: this.#options.clock,
      life,
      chance: new Chance(seed, `${node === serverNode ? "disk" : `disk of ${node}`} ${this.#runs}`),
    });
    this.#disk = store;
    await bootstrapAdmin({ store, clock, random }, { password: adminPassword, passwordCost });
    const cache = await RecordCache.open({ store, clock, logger });
    const secrets = createSecrets(new Uint8Array(32).fill(7), random);
    const revocations = await Revocations.open(store, clock, logger);
    const tasks = new TaskLogs(clock);
    const restored = await RestoredSite.open({ store, cache, clock, logger });
    // Before anything is said in its name.
    const directory = several
      ? await ServerDirectory.open({
          ...{ store, clock, logger },
          id: node,
          self: { name: node, url: `https://${node}:7443`, agentUrl: agentUrlOf(node), version: this.carries.version },
        })
      : null;
    const gateway = new AgentsGateway({
      ...{ restored, store, cache, clock, logger, secrets, tasks, revocations },
      authority: { renewAgent: async ({ addresses }) => certificateOf(addresses[0] ?? "0.0.0.0") },
      settings: { ...defaultGatewaySettings, version: this.carries.version },
      refused: (attempt) => api.services.refused.add(attempt),
      ...(directory === null ? {} : { servers: directory }),
    });
    const peers = directory && linkServers({ node, life, network, clock, logger, directory, gateway, restored, tasks });
    const agents = peers?.agents ?? gateway;
    const controllers = startControllers({
      ...{ store, cache, clock, random, logger, tasks },
      agents,
      fencing: life.port(this.#options.fencing),
      settings: defaultControllerSettings,
      identity: node,
      ...(several ? { leaseMs: leaderLeaseMs } : {}),
      heldBack: (record) => restored.heldBack(record),
    });
    const library = playedLibrary({ store, cache, clock });
    const api = await createApi({
      ...{ store, cache, clock, random, logger, secrets },
      snapshot: controllers.snapshot,
      book: controllers.book,
      agents,
      tasks: tasks.reader,
      library: library.port,
      authority: {
        certificate: certificateOf("0.0.0.0"),
        fingerprint: "sha256:00",
        signAgent: async ({ addresses }) => certificateOf(addresses.at(-1) ?? "0.0.0.0"),
        revoke: (host) => revocations.revokeHost(host, "its host was removed"),
      },
      serverName: several ? node : "local",
      audit: { files: life.port(this.#auditFiles), directory: "/audit", limits: defaultAuditFileLimits },
      joinFiles: {
        script: "",
        agents: async () => [{ platform: "linux-x64", sha256: this.carries.sha256, sizeBytes: 1 }],
        open: async () => undefined,
        openDigest: async () => undefined,
      },
      maintenance: { backup: () => Promise.reject(new Error("a simulated server makes no backup files")), logs: () => [] },
      servers: { list: async () => [], material: async () => null },
      settings: {
        version: this.carries.version,
        publicAddress: `https://${node}:7443`,
        agentPort: 7444,
        limits: { ...defaultLimits, passwordCost, strangersPerSecond: 1_000_000 },
      },
    });
    if (!life.alive) return;
    network.listen(node, {
      life,
      admit: (peer) => (isServerNode(peer) ? null : gateway.admit(peerOf(this.#idOf(peer), peer))),
      connected: (socket, peer) => (isServerNode(peer) ? peers?.accept(socket) : gateway.accept(socket, peerOf(this.#idOf(peer), peer))),
    });
    this.#leads = () => controllers.leads;
    this.#gateway = gateway;
    this.#stop = async () => {
      await api.close();
      await controllers.stop();
      library.stop();
      await peers?.close();
      gateway.close();
      revocations.close();
      restored.close();
      cache.close();
    };
    this.#api = api;
  }

  /** A request of a host's pulse. Never resolves where the server hangs. @throws Error where nobody listens */
  receivePulse(node: string, message: PulseMessage): Promise<LeaseGrant | null> {
    const [life, gateway] = [this.#life, this.#gateway];
    if (!this.ready || !life || !gateway) return Promise.reject(new Error("connection refused"));
    return new Promise((resolve) =>
      life.run(() => {
        resolve(gateway.receivePulse(this.#idOf(node), message));
      }),
    );
  }

  /** SIGKILL. @param afterSteps dies when its store has answered so many times more */
  crash(afterSteps = 0, died?: () => void): void {
    const life = this.#life;
    if (!life?.alive) return;
    const die = (): void => {
      life.end();
      if (this.#life === life) this.#api = null;
      died?.();
    };
    if (afterSteps > 0) life.dieAfter(afterSteps, die);
    else die();
  }

  /** SIGTERM: ends in good order, within the time a service manager gives. */
  async stop(): Promise<void> {
    const stop = this.#stop;
    this.#stop = null;
    if (!this.ready || !stop) return this.crash();
    const life = this.#life;
    // What waits for a store that does not answer never ends by itself.
    await Promise.race([stop().catch(() => {}), sleep(this.#options.clock, stopWithinMs)]);
    // Not the one that was started after it.
    if (this.#life === life) this.crash();
  }

  freeze(): void {
    this.#life?.freeze();
  }

  thaw(): void {
    this.#life?.thaw();
  }

  get frozen(): boolean {
    return this.#life?.frozen ?? false;
  }

  async endWatches(compacted: boolean): Promise<void> {
    if (this.runs) await this.#disk?.endWatches(compacted);
  }

  /** It does not reach the store any more; what it was told by watches it takes for all there is, for a moment. */
  cutStore(): void {
    this.disk.cut = true;
    this.#options.clock.setTimer(storeSilenceMs, () => void this.endWatches(false));
  }

  /** Which host a node of the network is, as its certificate says. */
  hostId: (node: string) => string = () => "";

  /** Never resolves where the server dies meanwhile. @throws Error where nobody answers at all */
  async request({ method, path, body, token, key }: Request): Promise<Answer> {
    const api = this.#api;
    const [life, turns] = [this.#life, this.#turns];
    if (!api || !life?.alive || !turns) throw new Error("connection refused");
    const payload = body === undefined ? undefined : JSON.stringify(body);
    const response = await life.gate(
      turns.during(() =>
        api.server.inject({
          method,
          url: apiPrefix + path,
          headers: {
            ...(token === undefined ? {} : { authorization: `Bearer ${token}` }),
            ...(payload === undefined ? {} : { "content-type": "application/json" }),
            ...(key === undefined ? {} : { "idempotency-key": key }),
          },
          ...(payload === undefined ? {} : { payload }),
        }),
      ),
    );
    const text = response.payload;
    return {
      status: response.statusCode,
      body: text === "" ? undefined : JSON.parse(text),
      requestId: String(response.headers["x-request-id"] ?? ""),
    };
  }

  /** A session of the administrator's, made without a password: hashing one takes real time. */
  async signIn(): Promise<string> {
    const api = this.#api;
    if (!api) throw new Error("the server does not run");
    const { sessions, context } = api.services;
    const admin = context.cache.byName("user", "-", administrator);
    if (!admin) throw new Error("there is no administrator");
    const { token, session, operation } = sessions.create(admin.id);
    await context.store.transact({ compare: [], then: [operation] });
    sessions.remember(token, session);
    this.token = token;
    return token;
  }

  /** Of the administrator's session. */
  token = "";

  #idOf(node: string): string {
    return this.hostId(node);
  }
}

/** As a listener would read it from a certificate. */
export function peerOf(hostId: string, address: string): AgentPeer {
  return {
    commonName: hostId,
    serial: hostId.replaceAll("-", "").toUpperCase(),
    certificate: certificateOf("0.0.0.0"),
    notAfter: farFuture,
    address,
  };
}
