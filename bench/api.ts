/**
 * The API under load, as users would have it: the server as a process of its own with TLS, sign-in, audit, controllers and SQLite on
 * disk; fifty agents that accept whatever they are given; the load generator beside it. At the end the server is killed amid creations, every
 * acknowledged one looked for, and the audit trail verified. `node bench/api.ts [seconds]`
 */
import { randomUUID } from "node:crypto";
import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { localClient, type LocalClient } from "../apps/server/deployment/local-client.ts";
import { until } from "../apps/server/deployment/processes.ts";
import { startServerProcess, type ServerProcess } from "../apps/server/deployment/server-process.ts";
import { AcceptingAgent, joinAcceptingAgents } from "./accepting-agent.ts";
import { atLeast, atMost, publish, type Target } from "./outcome.ts";
import { quantile, spread } from "./statistics.ts";
import { takeDown } from "./take-down.ts";
import { watch, type Watcher } from "./watcher.ts";

const seconds = Number(process.argv[2] ?? 10);
const clients = 64;
const watcherCount = 500;
const folder = await mkdtemp(join(tmpdir(), "sheaf-bench-"));
const options = { dataDirectory: folder, port: 18_443, agentPort: 18_444, names: ["127.0.0.1", "localhost"] };
const targets: Target[] = [];
const details: Record<string, unknown> = { seconds, clients };

let starting: Promise<ServerProcess> | undefined;
const agents: AcceptingAgent[] = [];
const end = takeDown(async () => {
  for (const agent of agents) agent.stop();
  await (await starting?.catch(() => undefined))?.stop();
  await rm(folder, { recursive: true, force: true });
});
try {
  starting = startServerProcess(options);
  const server = await starting;
  const client = await localClient(folder, server);
  const { record: pool } = await client.pool.create({ body: { name: "default", spec: { type: "local", path: "/var/lib/sheaf/pool" } } });
  for (const identity of await joinAcceptingAgents(client, { count: 50, prefix: "bench", authority: client.authority })) {
    const agent = new AcceptingAgent({ ...identity, agentPort: server.agentPort });
    agents.push(agent);
    await agent.start();
  }
  await until("fifty ready hosts", 60_000, async () => {
    const { items } = await client.host.list({ query: { limit: 100 } });
    return items.filter((host) => (host.status as { liveness?: { state: string } }).liveness?.state === "ready").length === 50 || undefined; // hosts' records
  });

  const acknowledged: string[] = [];
  let number = 0;
  const create = async (): Promise<void> => {
    number += 1;
    const { record } = await client.vm.create({
      body: { name: `m-${number}`, spec: { memory: { bytes: 2 ** 26 }, nics: [], disks: [{ name: "root", sizeBytes: 2 ** 30, pool: pool.id }] } },
      idempotencyKey: randomUUID(),
    });
    acknowledged.push(record.id);
  };
  const creations = await load(create);
  const reads = await load(async (each) => {
    await client.vm.get({ params: { id: acknowledged[(each * 7919 + acknowledged.length) % acknowledged.length] ?? "" } });
  });
  await until("all machines as running", 120_000, async () =>
    (await client.vm.list({ query: { filter: "state!=running", limit: 1 } })).total === 0 ? true : undefined,
  );
  const news = await watched(client, acknowledged.slice(0, 50));
  targets.push(
    atLeast(`durable creations, ${clients} clients`, creations.perSecond, 1000, "/s"),
    atMost(`durable creations, ${clients} clients, p99`, creations.p99, 150, "ms"),
    atLeast(`reads by id, ${clients} clients`, reads.perSecond, 5000, "/s"),
    atMost(`a change at ${watcherCount} watchers, p99`, quantile(news, 0.99), 100, "ms"),
  );
  Object.assign(details, { creations, reads, newsMs: spread(news) });

  // Killed amid creations: what was acknowledged by then must be there.
  const before = acknowledged.length;
  const storm = Promise.allSettled(
    Array.from({ length: clients }, async () => {
      for (;;) await create();
    }),
  );
  await until("a storm of creations", 30_000, () => (acknowledged.length > before + 200 ? true : undefined), 5);
  await server.kill();
  await storm;
  client.close();
  starting = startServerProcess(options);
  const again = await localClient(folder, await starting);
  const found = new Set<string>();
  let cursor: string | undefined;
  do {
    const page = await again.vm.list({ query: { limit: 1000, fields: "id", cursor } });
    for (const item of page.items) found.add(item.id);
    cursor = page.next;
  } while (cursor !== undefined);
  const { intact } = await again.audit.verify();
  again.close();
  targets.push(
    atMost("acknowledged creations lost by SIGKILL", acknowledged.filter((id) => !found.has(id)).length, 0, ""),
    atMost("breaks in the audit trail after SIGKILL", intact ? 0 : 1, 0, ""),
  );
  Object.assign(details, { acknowledged: acknowledged.length, acknowledgedInStorm: acknowledged.length - before });
} finally {
  await end();
}
publish(targets, details);

/** Runs `work` over and over by `clients` at once for the time given. */
async function load(work: (client: number) => Promise<void>) {
  const times: number[] = [];
  const started = performance.now();
  const end = started + seconds * 1000;
  await Promise.all(
    Array.from({ length: clients }, async (_, client) => {
      while (performance.now() < end) {
        const from = performance.now();
        await work(client);
        times.push(performance.now() - from);
      }
    }),
  );
  return { perSecond: Math.round(times.length / ((performance.now() - started) / 1000)), ...spread(times) };
}

/** @returns for every change and watcher: ms from the request for the change to its news */
async function watched(client: LocalClient, machines: readonly string[]): Promise<number[]> {
  const times: number[] = [];
  const asked = new Map<string, number>();
  const watchers: Watcher[] = [];
  for (let count = 0; count < watcherCount; count += 1) {
    const told = new Set<string>();
    watchers.push(
      await watch(client, "kind=vm", ({ record }) => {
        const mark = (record?.["labels"] as { mark?: string } | undefined)?.mark ?? ""; // a machine's record
        const from = asked.get(mark);
        if (from === undefined || told.has(mark)) return;
        told.add(mark);
        times.push(performance.now() - from);
      }),
    );
  }
  const changes = Math.max(20, seconds * 5);
  for (let change = 0; change < changes; change += 1) {
    const mark = `c-${change}`;
    asked.set(mark, performance.now());
    await client.vm.change({ params: { id: machines[change % machines.length] ?? "" }, body: { labels: { mark } } });
    await until("the change at every watcher", 20_000, () => (times.length === (change + 1) * watcherCount ? true : undefined), 20);
  }
  for (const each of watchers) each.close();
  return times;
}
