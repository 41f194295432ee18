/**
 * A site in one process for tests: memory store, real cache, the real controllers, simulated agents, virtual time. The server can be killed
 * as `kill -9` does: whatever it had under way never comes back. Never imported by production code.
 */
import { silentLogger, SimulatedClock, uuidv7, type Logger, type Random } from "@sheaf/base";
import {
  ClusterSpec,
  HostSpec,
  macKey,
  nameKey,
  numberKey,
  partKey,
  PoolSpec,
  taskState,
  VmSpec,
  type HostObservation,
  type Kind,
  type RecordOf,
  type TaskSpec,
} from "@sheaf/model";
import { RecordCache } from "@sheaf/runtime";
import { makeFaulty, openMemoryStore, type FaultyStore, type Store } from "@sheaf/store";
import type { UseHistory } from "./habit-keeper.ts";
import { newTask } from "./machine-moves.ts";
import type { Agents } from "./ports.ts";
import { defaultControllerSettings, type ControllerSettings } from "./settings.ts";
import { SimulatedAgents } from "./simulated-agents.test-support.ts";
import { SimulatedBmcs } from "./simulated-bmcs.test-support.ts";
import { startControllers, type RunningControllers } from "./start-controllers.ts";

export const gib = 2 ** 30;

/** Replays from its seed (xorshift32). */
export function seededRandom(seed: number): Random {
  let state = seed | 1;
  return {
    bytes(length) {
      const bytes = new Uint8Array(length);
      for (let index = 0; index < length; index += 1) {
        state ^= state << 13;
        state ^= state >>> 17;
        state ^= state << 5;
        bytes[index] = state & 0xff;
      }
      return bytes;
    },
  };
}

/** With SHEAF_TEST_LOG set, what the controllers say is shown: for looking at a test that fails. */
const say = (level: string) => (fields: Record<string, unknown>, message: string) => console.error(level, message, JSON.stringify(fields));
const testLogger: Logger = process.env["SHEAF_TEST_LOG"]
  ? { debug: say("debug"), info: say("info"), warn: say("warn"), error: say("error"), child: () => testLogger }
  : silentLogger;

interface StoredHead {
  spec: Record<string, unknown>;
  generation: number;
  deletedAt?: number;
  labels: Record<string, string>;
}

interface HostOptions {
  readonly memoryBytes?: number;
  readonly cpus?: number;
  /** NUMA cells. */
  readonly cells?: number;
  readonly spec?: Record<string, unknown>;
  /** What its agent reports besides. */
  readonly seen?: Partial<HostObservation>;
}

interface Server {
  readonly cache: RecordCache;
  readonly controllers: RunningControllers;
  alive: boolean;
}

export class World {
  readonly clock = new SimulatedClock();
  readonly random = seededRandom(7);
  readonly ids = { project: this.id(), cluster: this.id(), local: this.id(), shared: this.id() };
  /** For servers that are started from now on. */
  history?: UseHistory;
  /** The site was restored, and not every host has been heard yet. */
  heldBack = false;
  readonly progress: Record<string, unknown>[] = [];
  store!: FaultyStore; // set by `make`
  /** What the tests and the agents read: never killed. */
  cache!: RecordCache; // set by `make`
  agents!: SimulatedAgents; // set by `make`
  readonly bmcs = new SimulatedBmcs(this);
  #server: Server | null = null;
  #settings: ControllerSettings = defaultControllerSettings;
  #numbers = 100;

  static async make(settings: Partial<ControllerSettings> = {}): Promise<World> {
    const world = new World();
    const { clock, random } = world;
    world.#settings = { ...defaultControllerSettings, ...settings };
    world.store = makeFaulty(await openMemoryStore({ clock, random }), { clock, random });
    world.cache = await RecordCache.open({ store: world.store, clock, logger: silentLogger });
    world.agents = new SimulatedAgents({ clock, store: world.store, cache: world.cache });
    await world.put("project", world.ids.project, "default", { description: "", quota: {}, availabilityTargetPercent: 99.99 });
    await world.put("cluster", world.ids.cluster, "default", ClusterSpec.parse({}));
    await world.put("pool", world.ids.local, "local", PoolSpec.parse({ type: "local", path: "/local" }));
    await world.put("pool", world.ids.shared, "shared", PoolSpec.parse({ type: "shared", path: "/shared" }));
    await world.startServer();
    return world;
  }

  id(): string {
    return uuidv7(this.clock.now(), this.random);
  }

  async startServer(): Promise<void> {
    const server: { alive: boolean } = { alive: true };
    const store = mortal(this.store, server);
    const cache = await RecordCache.open({ store, clock: this.clock, logger: silentLogger });
    const agents = mortal<Agents>(this.agents, server);
    const tasks = { append: () => {}, progress: (_task: string, fields: Record<string, unknown>) => void this.progress.push(fields) };
    const controllers = startControllers({
      store,
      cache,
      clock: this.clock,
      random: this.random,
      logger: testLogger,
      agents,
      fencing: this.bmcs,
      tasks,
      settings: this.#settings,
      identity: "server",
      heldBack: () => this.heldBack,
      ...(this.history ? { history: this.history } : {}),
    });
    this.#server = Object.assign(server, { cache, controllers });
    await this.until(() => controllers.leads, "the server leads");
  }

  /** As `kill -9`: nothing it had under way goes on, nothing is tidied up. */
  killServer(): void {
    if (this.#server) this.#server.alive = false;
    this.#server?.cache.close();
    this.#server = null;
  }

  get snapshot() {
    if (!this.#server) throw new Error("no server runs");
    return this.#server.controllers.snapshot;
  }

  get book() {
    if (!this.#server) throw new Error("no server runs");
    return this.#server.controllers.book;
  }

  async close(): Promise<void> {
    const server = this.#server;
    if (server) {
      await this.settled(server.controllers.stop());
      server.cache.close();
    }
    this.cache.close();
    await this.store.close();
  }

  async until(condition: () => boolean, what: string, maxMs = 120_000): Promise<void> {
    try {
      await this.clock.advanceUntil(condition, maxMs);
    } catch (error) {
      throw new Error(`waited in vain: ${what} (${String(error)})`, { cause: error });
    }
  }

  /** Lets time pass until the promise is settled: with faults the store takes its time. */
  async settled<T>(promise: Promise<T>): Promise<T> {
    let done = false;
    const end = () => void (done = true);
    promise.then(end, end);
    await this.until(() => done, "an answer");
    return promise;
  }

  async put<K extends Kind>(kind: K, id: string, name: string, spec: RecordOf<K>["spec"], head: Record<string, unknown> = {}): Promise<void> {
    const project =
      kind === "vm" || kind === "volume" || kind === "image" || kind === "network"
        ? { project: this.ids.project }
        : kind === "task"
          ? { project: this.ids.project }
          : {};
    const value = {
      kind,
      id,
      name,
      labels: {},
      generation: 1,
      createdAt: this.clock.now(),
      createdBy: "admin",
      finalizers: [],
      ...project,
      ...head,
      spec,
    };
    const named = kind === "task" ? [] : [{ put: nameKey(kind, project.project ?? "-", name), value: id }];
    await this.write([{ put: partKey(kind, id, "spec"), value: JSON.stringify(value) }, ...named]);
  }

  async write(then: readonly ({ put: string; value: string } | { delete: string })[]): Promise<void> {
    const result = await this.settled(this.store.transact({ compare: [], then }));
    await this.settled(this.cache.waitFor(result.revision));
  }

  async change(kind: Kind, id: string, change: (head: StoredHead) => void): Promise<void> {
    const entry = await this.store.get(partKey(kind, id, "spec"));
    if (!entry) throw new Error(`no ${kind} ${id}`);
    const head = JSON.parse(entry.value) as StoredHead; // a spec part
    change(head);
    head.generation += 1;
    await this.write([{ put: entry.key, value: JSON.stringify(head) }]);
  }

  async addHost(name: string, { memoryBytes = 16 * gib, cpus = 8, cells = 0, spec = {}, seen = {} }: HostOptions = {}): Promise<string> {
    const id = this.id();
    await this.put("host", id, name, HostSpec.parse({ cluster: this.ids.cluster, reservedMemoryBytes: 0, ...spec }));
    const pool = JSON.stringify({ state: "ready", capacityBytes: 4096 * gib, availableBytes: 4096 * gib });
    await this.write([
      {
        put: partKey("host", id, "status/agent"),
        value: JSON.stringify({ ...observation(name, memoryBytes, cpus), numa: numaOf(cells, memoryBytes, cpus), ...seen }),
      },
      { put: partKey("pool", this.ids.local, `status/hosts/${id}`), value: pool },
      { put: partKey("pool", this.ids.shared, `status/hosts/${id}`), value: pool },
    ]);
    this.agents.add(id);
    await this.until(() => this.cache.get("host", id)?.status.liveness?.state === "ready", `host ${name} is ready`);
    return id;
  }

  async setInterfaces(host: string, interfaces: readonly { mac: string; addresses: string[] }[]): Promise<void> {
    const seen = this.cache.get("host", host)?.status.agent;
    if (!seen) throw new Error(`host ${host} has not reported`);
    const all = interfaces.map((one, at) => ({ name: `eth${at}`, mtu: 1500, up: true, bridge: false, ...one }));
    await this.write([{ put: partKey("host", host, "status/agent"), value: JSON.stringify({ ...seen, interfaces: all }) }]);
  }

  /** As a placement controller whose decision lags behind. */
  async place(vm: string, host: string): Promise<void> {
    const placement = { host, epoch: 1, incarnation: this.store.incarnation, reason: "", at: this.clock.now() };
    const volumes = this.cache.get("vm", vm)?.spec.disks.flatMap(({ volume }) => volume ?? []) ?? [];
    await this.write([
      { put: partKey("vm", vm, "placement"), value: JSON.stringify(placement) },
      ...volumes.map((id) => ({ put: partKey("volume", id, "placement"), value: JSON.stringify(placement) })),
    ]);
  }

  /** As the API does it: machine, its disk and the task in one transaction. */
  async addVm(
    name: string,
    { spec = {}, disk }: { spec?: Record<string, unknown>; disk?: "local" | "shared" | undefined } = {},
  ): Promise<{ vm: string; task: string; volume?: string }> {
    const vm = this.id();
    const task = this.id();
    const volume = disk ? this.id() : undefined;
    const number = this.#numbers++;
    const mac = `52:54:00:00:${(number >> 8).toString(16).padStart(2, "0")}:${(number & 255).toString(16).padStart(2, "0")}`;
    const common = { labels: {}, generation: 1, createdAt: this.clock.now(), createdBy: "admin", finalizers: [], project: this.ids.project };
    const parsed = VmSpec.parse({ ...(volume ? { disks: [{ name: "root", volume }] } : {}), nics: [], ...spec });
    const operations = [
      { put: partKey("vm", vm, "spec"), value: JSON.stringify({ kind: "vm", id: vm, name, number, ...common, spec: parsed }) },
      { put: nameKey("vm", this.ids.project, name), value: vm },
      { put: numberKey("vm", number), value: vm },
      {
        put: partKey("task", task, "spec"),
        value: JSON.stringify({
          kind: "task",
          id: task,
          name: `create-${number}`,
          ...common,
          spec: { verb: "create", target: { kind: "vm", id: vm, name }, generation: 1, parameters: {}, requestedBy: "admin" },
        }),
      },
    ];
    if (parsed.nics.some((nic) => nic.mac === mac)) operations.push({ put: macKey(mac), value: vm });
    if (volume && disk) {
      const volumeSpec = { pool: this.ids[disk], sizeBytes: gib, format: "qcow2", protected: false };
      operations.push(
        {
          put: partKey("volume", volume, "spec"),
          value: JSON.stringify({ kind: "volume", id: volume, name: `${name}-root`, ...common, spec: volumeSpec }),
        },
        { put: nameKey("volume", this.ids.project, `${name}-root`), value: volume },
      );
    }
    await this.settled(this.store.transact({ compare: [], then: operations }));
    return { vm, task, ...(volume === undefined ? {} : { volume }) };
  }

  async addTask(verb: TaskSpec["verb"], kind: Kind, target: string, rest: Partial<TaskSpec> = {}): Promise<string> {
    const id = this.id();
    await this.put("task", id, `${verb}-${id.slice(-12)}`, {
      verb,
      target: { kind, id: target, name: "it" },
      parameters: {},
      requestedBy: "admin",
      ...rest,
    });
    return id;
  }

  drain(host: string, parameters: Record<string, unknown> = {}): Promise<string> {
    return this.hostTask("drain", host, { schedulable: "draining" }, parameters);
  }

  /** As the API does it: the host's spec and the task in one transaction. */
  async hostTask(
    verb: "drain" | "maintain" | "activate",
    host: string,
    change: Partial<RecordOf<"host">["spec"]>,
    parameters: Record<string, unknown> = {},
  ): Promise<string> {
    const id = this.id();
    const key = partKey("host", host, "spec");
    const head = JSON.parse((await this.store.get(key))?.value ?? "{}") as StoredHead; // a spec part
    const spec: TaskSpec = { verb, target: { kind: "host", id: host, name: "it" }, parameters, requestedBy: "admin" };
    Object.assign(head.spec, change);
    await this.write([
      { put: key, value: JSON.stringify({ ...head, generation: head.generation + 1 }) },
      { put: partKey("task", id, "spec"), value: JSON.stringify(newTask(id, spec, this.clock.now())) },
    ]);
    return id;
  }

  taskState(id: string): string {
    const task = this.cache.get("task", id);
    return task ? taskState(task.status) : "absent";
  }
  async taskEnds(id: string, maxMs = 600_000): Promise<string> {
    await this.until(() => !["waiting", "running"].includes(this.taskState(id)), `task ${id} ends`, maxMs);
    return this.taskState(id);
  }
  vmOn(id: string): string | undefined {
    return this.cache.get("vm", id)?.placement?.host;
  }

  /** Every key and value but what changes by itself. */
  async everything(): Promise<Map<string, string>> {
    const found = new Map<string, string>();
    let after: string | undefined;
    for (;;) {
      const page = await this.store.range({ prefix: "", ...(after === undefined ? {} : { after }) });
      for (const entry of page.entries) if (!entry.key.startsWith("av/")) found.set(entry.key, entry.value);
      after = page.entries.at(-1)?.key;
      if (!page.more) return found;
    }
  }
}

/** The same port until its server is killed; from then on nothing that was asked of it comes back. */
function mortal<T extends Store | Agents>(port: T, server: { alive: boolean }): T {
  return new Proxy(port, {
    get(target, name) {
      const member = Reflect.get(target, name, target) as unknown;
      if (typeof member !== "function") return member;
      return (...parameters: unknown[]) => {
        if (!server.alive) return ["watch", "subscribe", "connected", "lastHeardAt", "load"].includes(String(name)) ? null : new Promise(() => {});
        if (name === "subscribe") {
          const [listener] = parameters as [(event: unknown) => void];
          return member.call(target, (event: unknown) => server.alive && listener(event));
        }
        const answer: unknown = member.apply(target, parameters);
        if (!(answer instanceof Promise)) return answer;
        return new Promise((resolve, reject) =>
          answer.then(
            (value) => server.alive && resolve(value),
            (error: unknown) => server.alive && reject(error),
          ),
        );
      };
    },
  });
}

/** Alike. */
function numaOf(cells: number, memoryBytes: number, cpus: number): HostObservation["numa"] {
  const each = cpus / cells;
  return Array.from({ length: cells }, (_, cell) => ({
    cell,
    cpus: Array.from({ length: each }, (_cpu, at) => cell * each + at),
    memoryBytes: memoryBytes / cells,
    hugepages: [],
  }));
}

function observation(hostname: string, memoryBytes: number, cpus: number): HostObservation {
  return {
    hostname,
    agentVersion: "0.1.0",
    bootId: "1",
    bootedAt: 0,
    address: `host-${hostname}`,
    architecture: "x86_64",
    cpu: { model: "qemu64", vendor: "GenuineIntel", flags: ["sse2"], sockets: 1, cores: cpus, threads: 1, count: cpus, mhz: 2000 },
    numa: [],
    memoryBytes,
    disks: [],
    interfaces: [],
    pciDevices: [],
    gpus: [],
    hypervisor: {
      type: "qemu",
      libvirtVersion: "9.0.0",
      qemuVersion: "7.2.0",
      accelerated: false,
      machineTypes: ["q35", "pc"],
      cpuModels: ["qemu64"],
      uefi: true,
      secureBoot: false,
      tpm: false,
    },
    unmanaged: [],
    problems: [],
  };
}
