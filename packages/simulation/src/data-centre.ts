/**
 * Simulated hosts with real agents for a real server: hypervisors, controllers of power and network on whatever clock they are handed,
 * the wall clock for a demonstration. The server listens to their network instead of a port, and cuts their power by their BMCs. Made by
 * `apps/server/demo`; what goes wrong in it is made by `Failures`.
 */
import { type Dialer, SimulatedFiles } from "@sheaf/agent";
import type { Clock, Logger, Random } from "@sheaf/base";
import { agentPaths, type PulseMessage } from "@sheaf/contract";
import { HostSpec, ImageSpec, NetworkSpec, PoolSpec } from "@sheaf/model";
import type { AgentPeer } from "@sheaf/server";
import type { Store } from "@sheaf/store";
import { Chance } from "./chance.ts";
import { wanderingShare } from "./guest-loads.ts";
import { defaultTimes } from "./hypervisor-model.ts";
import { Life } from "./life.ts";
import { imageFrom } from "./played-library.ts";
import { bmcAddress, hostAddress, SimulatedBmcs } from "./simulated-bmcs.ts";
import { serverNode } from "./server-nodes.ts";
import { SimulatedHost } from "./simulated-host.ts";
import { SimulatedNetwork, type SimulatedSocket } from "./simulated-network.ts";
import { firstVersion, peerOf } from "./simulated-server.ts";
import { SiteRecords } from "./site-records.ts";
import { Truth } from "./truth.ts";

const gib = 2 ** 30;
const mib = 2 ** 20;
const hostCpus = 32;
const hostMemoryBytes = 128 * gib;
const hostDiskBytes = 2048 * gib;
export const hostsPerRack = 40;
const racksPerZone = 10;

export interface DataCentreOptions {
  readonly hosts: number;
  readonly machinesPerHost: number;
  readonly seed: number;
  readonly clock: Clock;
  readonly logger: Logger;
  /** `mixed`: some machines are stopped, on local storage, not highly available, and all have load; `uniform`: none of that. */
  readonly machines: "mixed" | "uniform";
}

export interface AgentsListener {
  /** @returns why this peer is refused, or `null` */
  admit(peer: AgentPeer): string | null;
  connected(socket: SimulatedSocket, peer: AgentPeer): void;
  /** Of a host's pulse. */
  request(request: { readonly method: "GET"; readonly path: string }, peer: AgentPeer): Promise<unknown>;
}

export class DataCentre {
  readonly hosts: readonly SimulatedHost[];
  readonly bmcs: SimulatedBmcs;
  readonly network: SimulatedNetwork;
  /** Names of the machines that were there from the beginning. */
  readonly machines: string[] = [];
  readonly #options: DataCentreOptions;
  readonly #byName = new Map<string, SimulatedHost>();
  #listener: AgentsListener | null = null;

  constructor(options: DataCentreOptions) {
    this.#options = options;
    const { seed, clock, logger } = options;
    this.network = new SimulatedNetwork(clock, new Chance(seed, "network"), { note() {} });
    // A promise that is broken here is broken by the product: it must not go unseen.
    const truth = new Truth(
      (what) => logger.error({ what }, "a promise is broken"),
      (id) => id,
    );
    const shared = new SimulatedFiles({ "/mnt/shared/sheaf/here": "" });
    shared.capacityBytes = shared.availableBytes = options.hosts * hostDiskBytes;
    const fetchImage: Dialer["fetchImage"] = async (_identity, _image, offset) => imageFrom(offset);
    this.hosts = Array.from({ length: options.hosts }, (_, index) => {
      const host = new SimulatedHost({
        ...{ seed, clock, truth, shared, fetchImage },
        carried: () => firstVersion,
        sharedLocks: true,
        tellPulse: ({ name }, message) => this.#tellPulse(name, message),
        network: this.network,
        logger: warningsOnly(logger.child({ host: nameOf(index) })),
        name: nameOf(index),
        address: hostAddress(index),
        cpus: hostCpus,
        memoryBytes: hostMemoryBytes,
        times: defaultTimes,
        ...(options.machines === "mixed" ? { busyShare: wanderingShare } : {}),
        hostAt: (address) => this.#byName.get(address) ?? null,
        tell: (text) => logger.info({}, text),
      });
      host.files.own.capacityBytes = host.files.own.availableBytes = hostDiskBytes;
      this.#byName.set(host.name, host);
      this.#byName.set(host.address, host);
      return host;
    });
    const byBmc = new Map(this.hosts.map((host) => [bmcAddress(host.address), host]));
    this.bmcs = new SimulatedBmcs({ clock, hostOf: (address) => byBmc.get(address) ?? null, cuts: () => {} });
  }

  /** Writes what a site of these hosts has into a store that has just been made. */
  async furnish(store: Store, random: Random): Promise<void> {
    const { clock, machinesPerHost } = this.#options;
    const mixed = this.#options.machines === "mixed";
    const records = await SiteRecords.open({ store, clock, random });
    const [local, shared, network, image] = [records.newId(), records.newId(), records.newId(), records.newId()];
    await records.head("pool", local, "local", PoolSpec.parse({ type: "local", path: "/var/lib/sheaf/pool" }), {
      labels: { "sheaf/default": "true" },
    });
    await records.head("pool", shared, "shared", PoolSpec.parse({ type: "shared", path: "/mnt/shared/sheaf" }));
    const subnets = [{ cidr: "10.0.0.0/12", gateway: "10.0.0.1", range: { from: "10.0.0.10", to: "10.15.255.250" } }];
    const { project } = records;
    await records.head("network", network, "default", NetworkSpec.parse({ bridge: "br0", public: true, subnets }), { project });
    await records.head("image", image, "mini", ImageSpec.parse({ source: { upload: true }, public: true }), {
      project,
      number: 100,
      finalizers: ["library"],
    });
    for (const [index, host] of this.hosts.entries()) {
      host.id = records.newId();
      await records.head("host", host.id, host.name, hostSpec(index, records.cluster), { labels: { simulated: "true" } });
    }
    const made = new Map<string, number>();
    for (let index = 0; index < this.hosts.length * machinesPerHost; index += 1) {
      const host = this.hosts[index % this.hosts.length];
      // Each host has some of each.
      const { service, cpus, memoryMib } = services[(index + Math.floor(index / this.hosts.length)) % services.length] ?? services[0];
      const number = (made.get(service) ?? 0) + 1;
      made.set(service, number);
      const name = `${service}-${String(number).padStart(4, "0")}`;
      // Most on shared storage, and half of those to start elsewhere when their host is lost.
      const onShared = !mixed || index % 5 !== 4;
      await records.machine({
        name,
        number: 100 + index,
        host: host?.id ?? "",
        pool: onShared ? shared : local,
        diskBytes: gib * (4 + (index % 4) * 8),
        image,
        nic: { network, mac: macOf(index), address: addressOf(index) },
        labels: { simulated: "true", service },
        spec: {
          power: mixed && index % 12 === 11 ? "stopped" : "running",
          cpu: { count: cpus },
          memory: { bytes: memoryMib * mib },
          highlyAvailable: !mixed || (onShared && index % 2 === 0),
          priority: service === "db" ? 200 : 100,
        },
      });
      this.machines.push(name);
    }
    await records.end();
  }

  /** The server's end of the network. @returns what closes it */
  listen(listener: AgentsListener): () => void {
    const life = new Life();
    this.#listener = listener;
    this.network.listen(serverNode, {
      life,
      admit: (node) => listener.admit(this.#peer(node)),
      connected: (socket, node) => listener.connected(socket, this.#peer(node)),
    });
    return () => {
      this.#listener = null;
      this.network.listen(serverNode, null);
      this.network.resetOf(life, serverNode);
      life.end();
    };
  }

  startAgents(): void {
    for (const host of this.hosts) host.startAgent();
  }

  get connected(): number {
    return this.hosts.filter((host) => host.connected).length;
  }

  /** All power is off: nothing runs any more. */
  stop(): void {
    for (const host of this.hosts) host.powerOff();
  }

  /** Of a node of the network. */
  hostId(node: string): string {
    return this.#byName.get(node)?.id ?? "";
  }

  /** Never resolves where it gets lost. Its time on the way changes nothing, and is left out: so many are told. */
  async #tellPulse(node: string, message: PulseMessage): Promise<null> {
    if (!this.network.reaches(node, serverNode)) return new Promise<never>(() => {});
    if (!this.#listener) throw new Error("connection refused");
    await this.#listener.request({ method: "GET", path: agentPaths.pulse(message) }, this.#peer(node));
    // These hosts have no watchdogs.
    return null;
  }

  #peer(node: string): AgentPeer {
    return peerOf(this.hostId(node), this.#byName.get(node)?.address ?? node);
  }
}

const services = [
  { service: "web", cpus: 2, memoryMib: 2048 },
  { service: "db", cpus: 4, memoryMib: 8192 },
  { service: "cache", cpus: 1, memoryMib: 4096 },
  { service: "mail", cpus: 2, memoryMib: 2048 },
  { service: "build", cpus: 8, memoryMib: 6144 },
] as const;

const nameOf = (index: number): string => `sim-${String(index + 1).padStart(4, "0")}`;
/** Of the range that QEMU gives (52:54:00). */
const macOf = (index: number): string => `52:54:00:${[16, 8, 0].map((bits) => ((index >> bits) & 0xff).toString(16).padStart(2, "0")).join(":")}`;

/** Of the network `default`, from 10.0.1.10 on. */
const addressOf = (index: number): string => `10.${Math.floor(index / 50_000)}.${(Math.floor(index / 200) % 250) + 1}.${10 + (index % 200)}`;

function hostSpec(index: number, cluster: string): HostSpec {
  const rack = Math.floor(index / hostsPerRack);
  return HostSpec.parse({
    cluster,
    cpuOvercommit: 4,
    failureDomain: `simulated/zone-${Math.floor(rack / racksPerZone) + 1}/rack-${rack + 1}`,
    fencing: [{ type: "ipmi", address: bmcAddress(hostAddress(index)), user: "simulated", password: "simulated" }],
  });
}

/** Thousands of agents say much that nobody reads. */
function warningsOnly(target: Logger): Logger {
  const logger: Logger = {
    debug() {},
    info() {},
    warn: (fields, message) => target.warn(fields, message),
    error: (fields, message) => target.error(fields, message),
    child: (fields) => warningsOnly(target.child(fields)),
  };
  return logger;
}
