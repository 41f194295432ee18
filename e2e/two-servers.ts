/**
 * A site for tests of several servers: three members of etcd and the second server at places of their own on the lab's network, the first
 * server on the machine itself, as in every other test. All can be killed, frozen and cut off.
 */
import assert from "node:assert/strict";
import { join } from "node:path";
import { LabPlace, startEtcd, type EtcdCluster } from "@sheaf/lab";
import { clientWith, type LocalClient } from "../apps/server/deployment/local-client.ts";
import { until } from "../apps/server/deployment/processes.ts";
import { startServerProcess, type ServerProcess } from "../apps/server/deployment/server-process.ts";
import { openSite, type Site } from "./site.ts";

export const serverNames = ["a", "b"] as const;
export type ServerName = (typeof serverNames)[number];

/** From a server that hangs; then the other one is asked. */
const answerTimeoutMs = 1500;
const placeName = "srvb";

export class TwoServers {
  readonly site: Site;
  readonly cluster: EtcdCluster;
  /** The second server's. */
  readonly place: LabPlace;
  readonly #clients = new Map<ServerName, LocalClient>();
  readonly #shared: readonly string[];
  #second: ServerProcess | undefined;
  #turn = 0;

  private constructor(site: Site, cluster: EtcdCluster, place: LabPlace, shared: readonly string[]) {
    this.site = site;
    this.cluster = cluster;
    this.place = place;
    this.#shared = shared;
  }

  static async open(port: number): Promise<TwoServers> {
    let cluster: EtcdCluster | undefined;
    let images: readonly string[] = [];
    const site = await openSite({
      hosts: 2,
      port,
      async serverArguments({ labId, subnet, folder }) {
        cluster = await startEtcd({ members: 3, network: { labId, subnet } });
        images = ["--images", join(folder, "images")];
        return ["--store", `etcd://${cluster.endpoints.join(",")}/site/`, "--server-name", "a", ...images];
      },
    });
    assert.ok(cluster);
    try {
      const { labId, subnet } = site.deployment.options;
      const place = await LabPlace.make({ labId, gateway: `${subnet}.1/24`, name: placeName, address: `${subnet}.210` });
      const servers = new TwoServers(site, cluster, place, images);
      await servers.#reachFirst();
      const line = (await site.deployment.client.server.invite({ body: {} })).command.split(" ");
      await servers.#startSecond(line.slice(line.indexOf("--join"), line.indexOf("--server-name")));
      return servers;
    } catch (error) {
      await site.close();
      await cluster.dispose();
      throw error;
    }
  }

  async close(): Promise<void> {
    for (const name of serverNames) this.thaw(name);
    for (const member of this.cluster.members) member.thaw();
    for (const client of this.#clients.values()) client.close();
    await this.#second?.kill();
    // While the store is there, the first server ends in order.
    await this.site.close();
    await this.cluster.dispose();
    await this.place.remove();
  }

  client(name: ServerName): LocalClient {
    const client = this.#clients.get(name);
    assert.ok(client, `the server ${name} is not started`);
    return client;
  }

  /** Asks one server after the other until one does it. What changes something must be repeatable: with a key of its own. */
  async anywhere<Value>(what: string, work: (client: LocalClient) => Promise<Value>, forMs = 60_000): Promise<Value> {
    let last: unknown;
    const end = performance.now() + forMs;
    while (performance.now() < end) {
      for (let count = 0; count < serverNames.length; count += 1) {
        const client = this.#clients.get(serverNames[(this.#turn += 1) % serverNames.length] ?? "a");
        if (client === undefined) continue;
        try {
          return await work(client);
        } catch (error) {
          last = error;
        }
      }
      await new Promise((resolve) => setTimeout(resolve, 100));
    }
    throw new Error(`${what} was not done within ${forMs / 1000} s`, { cause: last });
  }

  /** As the store says: whichever server answers first. */
  async leader(): Promise<ServerName> {
    return until("a leading server", 60_000, async () => {
      const { servers } = await this.anywhere("asking who leads", (client) => client.server.list());
      return serverNames.find((name) => servers.some((server) => server.name === name && server.leads));
    });
  }

  /** By killing the other one, where that leads. */
  async makeLead(name: ServerName): Promise<void> {
    const leads = await this.leader();
    if (leads === name) return;
    await this.kill(leads);
    await until(`the lead of ${name}`, 60_000, async () => (await this.leader()) === name || undefined);
    await this.start(leads);
    await this.whole();
  }

  /** Until every member of etcd, both servers, and every host's agent are where they should be, each seen by either server. */
  async whole(): Promise<void> {
    await this.cluster.ready();
    for (const name of serverNames) {
      await until(`both servers, as ${name} sees them`, 90_000, async () => {
        const { servers } = await this.client(name)
          .server.list()
          .catch(() => ({ servers: [] }));
        return (servers.length === serverNames.length && servers.every(({ present }) => present) && servers.some(({ leads }) => leads)) || undefined;
      });
      await until(`every host, as ${name} sees them`, 90_000, async () => {
        const { items } = await this.client(name)
          .host.list()
          .catch(() => ({ items: [] }));
        const ready = items.filter(({ status }) => (status as { liveness?: { state: string } }).liveness?.state === "ready"); // a host's record
        return ready.length === this.site.deployment.hosts.size || undefined;
      });
    }
  }

  /** Until each server carries its share of the agents. @returns ms that it took */
  async spread(): Promise<number> {
    const from = performance.now();
    await until(
      "a share of the agents at each server",
      120_000,
      async () => {
        const { servers } = await this.anywhere("asking who carries which agents", (client) => client.server.list());
        const counts = servers.map(({ agents }) => agents ?? 0);
        return (servers.length === serverNames.length && Math.max(...counts) - Math.min(...counts) <= 1) || undefined;
      },
      250,
    );
    return performance.now() - from;
  }

  async kill(name: ServerName): Promise<void> {
    this.#clients.get(name)?.close();
    this.#clients.delete(name);
    await this.#process(name).kill();
  }

  async start(name: ServerName): Promise<void> {
    if (name === "b") return this.#startSecond([]);
    await this.site.deployment.startServer();
    await this.#reachFirst();
  }

  async #reachFirst(): Promise<void> {
    const { options, server, client } = this.site.deployment;
    this.#clients.set("a", await clientWith(options.dataDirectory, server, client.sessionToken, { answerTimeoutMs }));
  }

  freeze(name: ServerName): void {
    this.#process(name).child.kill("SIGSTOP");
  }

  thaw(name: ServerName): void {
    if (name === "a" || this.#second) this.#process(name).child.kill("SIGCONT");
  }

  #process(name: ServerName): ServerProcess {
    const found = name === "a" ? this.site.deployment.server : this.#second;
    assert.ok(found, `the server ${name} is not started`);
    return found;
  }

  async #startSecond(words: readonly string[]): Promise<void> {
    const { options } = this.site.deployment;
    const dataDirectory = join(this.site.folder, "b");
    const token = [...this.#clients.values()][0]?.sessionToken ?? "";
    this.#second = await startServerProcess({
      dataDirectory,
      port: options.port,
      agentPort: options.agentPort,
      names: [this.place.address],
      enter: this.place.enter,
      arguments: ["--server-name", "b", ...words, ...this.#shared],
    });
    this.#clients.set("b", await clientWith(dataDirectory, this.#second, token, { address: this.place.address, answerTimeoutMs }));
  }
}
