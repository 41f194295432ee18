/**
 * A whole simulated site: one server, its store, hosts with agents, a network, people. Made by the runner, by scenarios and by the
 * demonstration; everything in it runs on one virtual clock and draws from one seed.
 */
import { SimulatedFiles } from "@sheaf/agent";
import { type Logger, SimulatedClock, sleep } from "@sheaf/base";
import type { LeaseGrant, PulseMessage } from "@sheaf/contract";
import { bootstrapAdmin } from "@sheaf/server";
import { openMemoryStore, type Store } from "@sheaf/store";
import { Chance } from "./chance.ts";
import { checkFences } from "./fence-checks.ts";
import type { BusyShare } from "./guest-loads.ts";
import { imageFrom } from "./played-library.ts";
import { bmcAddress, fencingMethods, type FencingType, hostAddress, SimulatedBmcs } from "./simulated-bmcs.ts";
import { defaultTimes, type HypervisorTimes } from "./hypervisor-model.ts";
import { Invariants, unmet } from "./invariants.ts";
import { narrate } from "./narrator.ts";
import { Operator } from "./operator.ts";
import { checkOrder } from "./order-checks.ts";
import { RecordsWatch } from "./records-watch.ts";
import { RequestTurns } from "./request-turns.ts";
import { serverNodeAt } from "./server-nodes.ts";
import { SimulatedHost } from "./simulated-host.ts";
import { type NetworkQuality, SimulatedNetwork } from "./simulated-network.ts";
import { adminPassword, SimulatedServer } from "./simulated-server.ts";
import type { WatchdogKind } from "./simulated-watchdog.ts";
import { Story, type StoryLine } from "./story.ts";
import { Truth } from "./truth.ts";

const gib = 2 ** 30;
/** Of a pulse with a server, where there are others. */
const pulsePatienceMs = 1500;

export interface SiteOptions {
  readonly seed: number;
  readonly hosts: number;
  readonly cpus?: number;
  readonly memoryBytes?: number;
  readonly times?: Partial<HypervisorTimes>;
  readonly network?: NetworkQuality;
  readonly listener?: (line: StoryLine) => void;
  /** Product's own log lines at `warn` and above become part of the story. */
  readonly productLog?: boolean;
  /** Revisions that the store keeps for watches that must be resumed. */
  readonly historyRevisions?: number;
  /** Of every host. None unless said. */
  readonly watchdog?: WatchdogKind;
  /** Of hosts that fence themselves. */
  readonly leaseMs?: number;
  /** How each host's power can be cut, in this order. None unless said. */
  readonly fencing?: readonly FencingType[];
  /** Of every host; each can be handed out as a whole, or in halves or quarters. None unless said. */
  readonly gpus?: number;
  /** Of its cluster's spec. */
  readonly highAvailability?: object;
  /** Of its cluster's spec. */
  readonly balancing?: object;
  /** Of the cluster: whether and how its hosts sleep. */
  readonly power?: object;
  /** How busy guests are; else nothing is ever used. */
  readonly busyShare?: BusyShare;
  /** Whether the shared storage keeps a second writer from a disk. It does unless said. */
  readonly sharedLocks?: boolean;
  /** On one store, as on etcd. One unless said. */
  readonly servers?: number;
}

export interface Backup {
  readonly entries: readonly { readonly key: string; readonly value: string }[];
}

/** A promise that the product does not keep. */
export class Broken extends Error {
  override readonly name = "Broken";
}

export class SimulatedSite {
  readonly clock = new SimulatedClock();
  readonly story: Story;
  readonly network: SimulatedNetwork;
  readonly truth: Truth;
  readonly hosts: readonly SimulatedHost[];
  readonly records: RecordsWatch;
  readonly invariants: Invariants;
  readonly servers: readonly SimulatedServer[];
  /** The one there is, or the first of several. */
  readonly server: SimulatedServer;
  /** What is broken, in the order in which it was noticed. */
  readonly broken: string[] = [];
  readonly #options: SiteOptions;
  #store: Store;
  #restores = 0;
  /** Which server answered a host's pulse last. */
  readonly #pulsesTo = new Map<string, string>();
  readonly #hostsBy = new Map<string, SimulatedHost>();
  readonly #hostNames = new Map<string, string>();
  readonly bmcs: SimulatedBmcs;
  #operator: Operator | null = null;
  readonly ids = { local: "", shared: "", network: "", image: "" };

  private constructor(options: SiteOptions, clockStore: Store) {
    const { seed } = options;
    this.#options = options;
    this.#store = clockStore;
    const beganAt = this.clock.monotonic();
    this.story = new Story(() => this.clock.monotonic() - beganAt, { listener: options.listener });
    const broke = (what: string): void => {
      this.broken.push(what);
      this.story.tell("check", `BROKEN: ${what}`);
    };
    this.network = new SimulatedNetwork(this.clock, new Chance(seed, "network"), this.story);
    if (options.network) this.network.quality = options.network;
    this.records = new RecordsWatch(clockStore);
    this.truth = new Truth(broke, (id) => this.records.name("vm", id));
    this.invariants = new Invariants(this.records, broke);
    checkFences({
      records: this.records,
      truth: this.truth,
      broke,
      host: (id) => this.#hostById(id),
      deceived: (host) => this.bmcs.deceives(host.name),
    });
    checkOrder({
      records: this.records,
      broke,
      now: () => this.clock.monotonic(),
      endedInThisBoot: (machine, host) => this.#hostById(host)?.endedInThisBoot(machine) ?? false,
    });
    this.records.subscribe(({ revision, parts }) => this.story.note(`commit ${revision} ${parts.map(({ id, part }) => `${id} ${part}`).join()}`));
    narrate(this.records, (text) => this.story.tell("site", text));
    const logger = productLogger(options.productLog ? this.story : null);
    this.bmcs = new SimulatedBmcs({
      clock: this.clock,
      hostOf: (address) => this.hosts.find((host) => bmcAddress(host.address) === address || host.name === address) ?? null,
      cuts: (host) => {
        this.story.tell("fault", `${host.name}: its power is cut as the server says`);
        const asked: string | undefined = this.records.part("host", host.id, "status/fencing")?.reason;
        const sleeps = this.records.part("host", host.id, "status/power")?.state === "falling-asleep";
        if (sleeps && host.hypervisor.inner.active().length > 0) broke(`${host.name} was put to sleep while machines run there`);
        if (!sleeps && host.seenToLive && !asked?.startsWith("asked for")) broke(`${host.name} was cut off although its pulse was heard`);
        this.wasCutOff(host);
      },
    });
    const turns = new RequestTurns(this.clock);
    const several = (options.servers ?? 1) > 1;
    const serverAt = (index: number): SimulatedServer => {
      const server = new SimulatedServer({
        ...{ seed, clock: this.clock, network: this.network, store: clockStore, logger, turns, several },
        node: serverNodeAt(index),
        fencing: this.bmcs,
      });
      server.hostId = (node) => this.#hostsBy.get(node)?.id ?? "";
      return server;
    };
    this.server = serverAt(0);
    this.servers = [this.server, ...Array.from({ length: (options.servers ?? 1) - 1 }, (_, index) => serverAt(index + 1))];
    const shared = new SimulatedFiles({ "/mnt/shared/sheaf/here": "" });
    this.hosts = Array.from({ length: options.hosts }, (_, index) => {
      const host = new SimulatedHost({
        ...{ seed, clock: this.clock, network: this.network, truth: this.truth, shared, logger },
        sharedLocks: options.sharedLocks ?? true,
        tellPulse: ({ name }, message) => this.#tellPulse(name, message),
        name: `h${index + 1}`,
        address: hostAddress(index),
        cpus: options.cpus ?? 16,
        memoryBytes: options.memoryBytes ?? 64 * gib,
        times: { ...defaultTimes, ...options.times },
        hostAt: (address) => this.#hostsBy.get(address) ?? null,
        fetchImage: async (_identity, _image, offset) => imageFrom(offset),
        carried: () => this.server.carries,
        ...(options.busyShare === undefined ? {} : { busyShare: options.busyShare }),
        ...(options.watchdog === undefined ? {} : { watchdog: options.watchdog }),
        ...(options.gpus === undefined ? {} : { gpus: options.gpus }),
        reset: ({ name }) => this.story.tell("fault", `${name}: its watchdog resets it`),
        tell: (text) => this.story.tell("log", text),
      });
      this.#hostsBy.set(host.name, host);
      this.#hostsBy.set(host.address, host);
      return host;
    });
  }

  /** A site that stands: the server answers, pools, a network and an image are there, every host has joined and is ready. */
  static async open(options: SiteOptions): Promise<SimulatedSite> {
    const random = new Chance(options.seed, "store").random;
    const holder: { site: SimulatedSite | null } = { site: null };
    // The store needs the site's clock, the site its store.
    const clock = {
      now: () => holder.site?.clock.now() ?? 1_767_225_600_000,
      monotonic: () => holder.site?.clock.monotonic() ?? 0,
      setTimer: (delayMs: number, run: () => void) => holder.site?.clock.setTimer(delayMs, run) ?? { cancel: () => {} },
    };
    const store = await openMemoryStore({ clock, random, historyRevisions: options.historyRevisions ?? 20_000 });
    const site = new SimulatedSite(options, store);
    holder.site = site;
    // Real time passes here (a password is hashed); virtual time stands still.
    await bootstrapAdmin({ store, clock, random }, { password: adminPassword, passwordCost: 2 ** 4 });
    await site.#furnish();
    return site;
  }

  get operator(): Operator {
    if (!this.#operator) throw new Error("nobody has signed in yet");
    return this.#operator;
  }

  host(name: string): SimulatedHost {
    const host = this.#hostsBy.get(name);
    if (!host) throw new Error(`there is no host ${name}`);
    return host;
  }

  #hostById(id: string): SimulatedHost | null {
    return this.#hostsBy.get(this.hostName(id)) ?? null;
  }

  /** Called when a fencing device cuts a host's power: somebody may see to it that it comes back. */
  wasCutOff: (host: SimulatedHost) => void = () => {};

  hostName(id: string): string {
    return this.#hostNames.get(id) ?? id;
  }

  /** Some server decides. */
  get leads(): boolean {
    return this.servers.some(({ leads }) => leads);
  }

  /** From the server that answered last; the next is asked only where it does not. */
  async #tellPulse(name: string, message: PulseMessage): Promise<LeaseGrant | null> {
    const last = this.servers.findIndex(({ node }) => node === this.#pulsesTo.get(name));
    const inTurn = [...this.servers.slice(Math.max(0, last)), ...this.servers.slice(0, Math.max(0, last))];
    for (const server of inTurn) {
      const told = this.#tellPulseTo(server, name, message).then((grant) => ({ grant }));
      // Who has nobody else to ask waits as long as the pulse lets it.
      const patience = sleep(this.clock, pulsePatienceMs).then(() => null);
      const answered = await (this.servers.length === 1 ? told : Promise.race([told.catch(() => null), patience]));
      if (answered) {
        this.#pulsesTo.set(name, server.node);
        return answered.grant;
      }
    }
    throw new Error("no server answers");
  }

  /** Never resolves where it gets lost. */
  async #tellPulseTo(server: SimulatedServer, name: string, message: PulseMessage): Promise<LeaseGrant | null> {
    if (!this.network.reaches(name, server.node)) return new Promise<never>(() => {});
    await sleep(this.clock, this.network.delay(name, server.node));
    const grant = await server.receivePulse(name, message);
    // The way back may be cut although the way there is not.
    if (!this.network.reaches(server.node, name)) return new Promise<never>(() => {});
    await sleep(this.clock, this.network.delay(server.node, name));
    return grant;
  }

  /** Lets virtual time pass; ends at once where a promise is broken. @throws Broken */
  async advance(ms: number): Promise<void> {
    await this.clock.advance(ms);
    this.check();
  }

  /** @throws Broken; Error where it does not come true in time */
  async until(condition: () => boolean, maxMs: number, what: string): Promise<void> {
    try {
      await this.clock.advanceUntil(() => this.broken.length > 0 || condition(), maxMs);
    } catch {
      throw new Error(`${what}: not within ${maxMs} ms`);
    }
    this.check();
  }

  /** Waits, in virtual time, for what somebody does. */
  async done<T>(work: Promise<T>, maxMs = 3_600_000): Promise<T> {
    let over = false;
    work.then(
      () => (over = true),
      () => (over = true),
    );
    await this.until(() => over, maxMs, "what was asked for did not end");
    return work;
  }

  check(): void {
    const [first] = this.broken;
    if (first !== undefined) throw new Broken(first);
  }

  /** What is neither reached nor explained. */
  unmet(): string[] {
    return unmet(this.records, this.truth, (id) => this.hostName(id));
  }

  /** Checks that hold when all is quiet. */
  checkAtRest(): void {
    this.invariants.survived();
    this.invariants.audited();
    for (const what of this.unmet()) {
      this.broken.push(what);
      this.story.tell("check", `BROKEN: ${what}`);
    }
    this.check();
  }

  /** The real server's process and data begin anew from what is on the disk. */
  startServer(server = this.server): void {
    void server.start().then(
      () => this.story.tell("log", `${server.title} answers`),
      (error: unknown) => {
        this.story.tell("log", `${server.title} could not start: ${String(error)}`);
        server.crash();
        this.clock.setTimer(2000, () => this.startServer(server));
      },
    );
  }

  /** Everything in the store, but what lives only as long as its lease. */
  async backup(): Promise<Backup> {
    const entries: { key: string; value: string }[] = [];
    for (let after: string | undefined, more = true; more;) {
      const page = await this.#store.range({ prefix: "", ...(after === undefined ? {} : { after }) });
      entries.push(...page.entries.filter(({ lease }) => lease === null).map(({ key, value }) => ({ key, value })));
      after = page.entries.at(-1)?.key;
      more = page.more && after !== undefined;
    }
    return { entries };
  }

  /** As on a new machine: the server is gone, its store's new life begins with what was in the backup. */
  async restore({ entries }: Backup): Promise<void> {
    this.#restores += 1;
    const store = await openMemoryStore({ clock: this.clock, random: new Chance(this.#options.seed, `store ${this.#restores}`).random });
    for (let index = 0; index < entries.length; index += 50)
      await store.transact({ compare: [], then: entries.slice(index, index + 50).map(({ key, value }) => ({ put: key, value })) });
    this.#store = store;
    for (const server of this.servers) {
      server.crash();
      server.store = store;
    }
    this.records.restored(store, await store.revision(), entries);
    for (const server of this.servers) this.startServer(server);
  }

  async #furnish(): Promise<void> {
    this.startServer();
    await this.until(() => this.server.leads, 60_000, "the server leads");
    for (const server of this.servers.slice(1)) {
      this.startServer(server);
      await this.until(() => server.ready, 60_000, `${server.node} answers`);
    }
    const session = await this.done(this.server.signIn());
    this.#operator = new Operator({
      ...{ servers: this.servers, clock: this.clock, story: this.story, invariants: this.invariants, token: session },
      chance: new Chance(this.#options.seed, "operator"),
    });
    const make = async (path: string, name: string, spec: object): Promise<string> => {
      const answer = await this.done(this.operator.ask(`makes ${path.slice(1)} ${name}`, { method: "POST", path, body: { name, spec } }));
      if (answer?.status !== 201) throw new Error(`${path} ${name} was answered ${JSON.stringify(answer?.body)}`);
      return answer.body.record.id;
    };
    this.ids.local = await make("/pools", "local", { type: "local", path: "/var/lib/sheaf/pool" });
    this.ids.shared = await make("/pools", "shared", { type: "shared", path: "/mnt/shared/sheaf" });
    this.ids.network = await make("/networks", "lan", {
      bridge: "br0",
      public: true,
      subnets: [{ cidr: "10.0.0.0/12", gateway: "10.0.0.1", range: { from: "10.0.0.10", to: "10.15.255.250" } }],
    });
    this.ids.image = await make("/images", "mini", { source: { upload: true }, public: true });
    const { fencing = [], highAvailability, balancing, power, leaseMs = 30_000 } = this.#options;
    const change = async (path: string, spec: object): Promise<void> => {
      const answer = await this.done(this.operator.ask(`changes ${path}`, { method: "PATCH", path, body: { spec } }));
      if (answer?.status !== 200) throw new Error(`changing ${path} was answered ${JSON.stringify(answer?.body)}`);
    };
    const cluster = { ...(highAvailability ? { highAvailability } : {}), ...(balancing ? { balancing } : {}), ...(power ? { power } : {}) };
    if (Object.keys(cluster).length > 0) await change(`/clusters/${this.records.byName("cluster", "default")}`, cluster);
    for (const host of this.hosts) {
      await this.#join(host);
      if (fencing.length > 0) await change(`/hosts/${host.id}`, { fencing: fencingMethods(fencing, host, leaseMs) });
    }
    const ready = (): boolean => this.hosts.every(({ id }) => this.records.part("host", id, "status/liveness")?.state === "ready");
    await this.until(ready, 600_000, "all hosts are ready");
    await this.advance(5000);
    this.story.tell("site", `the site stands: ${this.hosts.length} hosts`);
  }

  async #join(host: SimulatedHost): Promise<void> {
    const invitation = await this.done(
      this.server.request({ method: "POST", path: "/host-invitations", body: { name: host.name }, token: this.server.token }),
    );
    const { name, address } = host;
    const joined = await this.done(
      this.server.request({
        method: "POST",
        path: "/host-joins",
        body: { token: invitation.body.token, certificateRequest: `of ${name}`, hostname: name, machineId: name, address },
      }),
    );
    if (joined.status !== 201) throw new Error(`joining was answered ${JSON.stringify(joined.body)}`);
    host.id = joined.body.hostId;
    this.#hostNames.set(host.id, name);
    host.startAgent();
  }

  /** What lies on the server's disk. */
  get store(): Store {
    return this.#store;
  }
}

function productLogger(story: Story | null): Logger {
  const say = (fields: Record<string, unknown>, message: string): void => {
    const { stack, ...rest } = fields;
    story?.tell("log", `${message} ${JSON.stringify(rest)}${typeof stack === "string" ? `\n${stack}` : ""}`);
  };
  const logger: Logger = { debug() {}, info() {}, warn: say, error: say, child: () => logger };
  return logger;
}
