/**
 * Two servers, three members of etcd and real hosts: members and servers are killed and frozen in turn while machines are created and
 * moved. Nothing acknowledged is lost, no machine runs twice, no host looks lost, and control comes back by itself.
 */
import assert from "node:assert/strict";
import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { after, before, test } from "node:test";
import { startEtcd, type EtcdCluster } from "@sheaf/lab";
import { clientWith, type LocalClient } from "../apps/server/deployment/local-client.ts";
import { until } from "../apps/server/deployment/processes.ts";
import { startServerProcess, type ServerProcess } from "../apps/server/deployment/server-process.ts";
import { openSite, type Site } from "./site.ts";

const port = 17_943;
let cluster: EtcdCluster;
let folder: string;
let site: Site;
let second: ServerProcess | undefined;
/** Of both servers, by name; one that is down is absent. */
const clients = new Map<string, LocalClient>();
const doubles: string[] = [];
const lostHosts: string[] = [];
const watching = new AbortController();
let watcher: Promise<void> | undefined;

before(
  async () => {
    cluster = await startEtcd({ members: 3 });
    folder = await mkdtemp(join(tmpdir(), "se2-"));
    const shared = ["--images", join(folder, "images")];
    const store = `etcd://${cluster.endpoints.join(",")}/site/`;
    site = await openSite({ hosts: 2, port, serverArguments: ["--store", store, "--server-name", "a", ...shared] });
    const { deployment } = site;
    clients.set("a", deployment.client);
    const { command } = await deployment.client.server.invite({ body: {} });
    const line = command.split(" ");
    await startSecond([...line.slice(line.indexOf("--join"), line.indexOf("--server-name")), ...shared]);
    watcher = watch();
  },
  { timeout: 300_000 },
);
after(
  async () => {
    watching.abort();
    await watcher;
    for (const client of clients.values()) client.close();
    await second?.kill();
    await site?.close();
    await cluster?.dispose();
    if (folder !== undefined) await rm(folder, { recursive: true, force: true });
  },
  { timeout: 120_000 },
);

async function startSecond(words: readonly string[]): Promise<void> {
  const { options, client } = site.deployment;
  second = await startServerProcess({
    dataDirectory: join(folder, "b"),
    port: port + 2,
    agentPort: port + 3,
    names: [`${options.subnet}.1`, "127.0.0.1", "localhost"],
    arguments: ["--server-name", "b", ...words],
  });
  clients.set("b", await clientWith(join(folder, "b"), second, client.sessionToken));
}

/** Looks all the time at the truth: QEMU processes of all hosts, and what is said of the hosts. */
async function watch(): Promise<void> {
  while (!watching.signal.aborted) {
    const running = new Map<string, string[]>();
    for (const [name, { host }] of site.deployment.hosts)
      for (const { domainName: vm } of await host.qemuProcesses().catch(() => [])) running.set(vm, [...(running.get(vm) ?? []), name]);
    for (const [vm, hosts] of running) if (hosts.length > 1) doubles.push(`${vm} on ${hosts.join(" and ")}`);
    for (const client of clients.values()) {
      const found = await client.host.list({ query: { limit: 10 } }).catch(() => undefined);
      for (const { name, status } of found?.items ?? []) {
        const state = (status as { liveness?: { state: string } }).liveness?.state; // a host's record
        if (state === "unreachable") lostHosts.push(name);
      }
    }
    await new Promise((resolve) => setTimeout(resolve, 300));
  }
}
interface Machine {
  readonly name: string;
  readonly state?: string;
  readonly placement?: { readonly host: string };
}

/** Asks each server in turn until one does it. A creation is repeated with the same key: it is made once. */
async function anywhere<Value>(what: string, work: (client: LocalClient) => Promise<Value>): Promise<Value> {
  let last: unknown;
  const end = performance.now() + 60_000;
  while (performance.now() < end) {
    for (const client of clients.values()) {
      try {
        return await Promise.race([
          work(client),
          new Promise<never>((_resolve, reject) => void setTimeout(() => reject(new Error("no answer within 8 s")), 8000).unref()),
        ]);
      } catch (error) {
        last = error;
      }
    }
    await new Promise((resolve) => setTimeout(resolve, 100));
  }
  throw new Error(`${what} was not done within a minute`, { cause: last });
}

let number = 0;
const acknowledged: string[] = [];

/** @returns ms from the request until the machine runs */
async function createOne(): Promise<number> {
  const name = `m${(number += 1)}`;
  const began = performance.now();
  await anywhere(`creating ${name}`, (client) =>
    client.vm
      .create({
        body: { name, spec: { memory: { bytes: 128 * 2 ** 20 }, disks: [{ name: "root", image: "mini", pool: "shared" }] } },
      })
      .catch((error: unknown) => {
        if (error instanceof Error && "code" in error && error.code === "name-taken") return;
        throw error;
      }),
  );
  acknowledged.push(name);
  await until(`${name} to be placed`, 60_000, async () => {
    const vm = (await anywhere(`looking at ${name}`, (client) => client.vm.get({ params: { id: name } }))) as unknown as Machine;
    return vm.placement !== undefined || undefined;
  });
  return Math.round(performance.now() - began);
}

const leaderName = async (): Promise<string | undefined> =>
  anywhere("asking who leads", async (client) => (await client.server.list()).servers.find(({ leads }) => leads)?.name);

test("members of etcd, then servers, are killed and frozen while machines are made", { timeout: 420_000 }, async (t) => {
  t.diagnostic(`undisturbed: created and placed in ${await createOne()} ms`);
  for (const member of cluster.members) {
    const leads = (await cluster.leader()) === member;
    await member.kill();
    t.diagnostic(`member ${member.name}${leads ? ", the leader," : ""} killed: ${await createOne()} ms`);
    member.start();
    await cluster.ready();
  }
  const frozen = await cluster.leader();
  frozen.freeze();
  t.diagnostic(`etcd's leader frozen: ${await createOne()} ms`);
  frozen.thaw();
  await cluster.ready();

  // The leading server is killed; its agents go to the other, which leads.
  assert.equal(await leaderName(), "a");
  clients.delete("a");
  await site.deployment.server.kill();
  t.diagnostic(`the leading server killed: ${await createOne()} ms`);
  assert.equal(await leaderName(), "b");
  await allReady();

  // It comes back, the other is frozen for longer than agents wait, and goes on afterwards as one of two.
  await site.deployment.startServer();
  clients.set("a", site.deployment.client);
  second?.child.kill("SIGSTOP");
  const b = clients.get("b");
  assert.ok(b);
  clients.delete("b");
  t.diagnostic(`the leading server frozen: ${await createOne()} ms`);
  assert.equal(await leaderName(), "a");
  await allReady();
  second?.child.kill("SIGCONT");
  clients.set("b", b);
  await until("the frozen server's return", 60_000, async () => {
    const { servers } = await b.server.list().catch(() => ({ servers: [] }));
    return servers.every(({ present }) => present) || undefined;
  });
  t.diagnostic(`both there again: ${await createOne()} ms`);

  for (const name of acknowledged) {
    await until(`${name} to run`, 120_000, async () => {
      const vm = (await anywhere(`looking at ${name}`, (client) => client.vm.get({ params: { id: name } }))) as unknown as {
        status: { agent?: { state: string } };
      };
      return vm.status.agent?.state === "running" || undefined;
    });
  }
  assert.deepEqual(doubles, []);
  assert.deepEqual(lostHosts, [], "no host was ever called unreachable");
});

/** Every host's agent has come to a server that answers. */
async function allReady(): Promise<void> {
  for (const name of site.deployment.hosts.keys()) {
    await until(`agent of ${name}`, 60_000, async () => {
      const lines = await anywhere("asking a host", (client) => client.host.get({ params: { id: name } }));
      return (lines.status as { liveness?: { state: string } }).liveness?.state === "ready" || undefined; // a host's record
    });
  }
}
