/**
 * The API under load, as users would have it: the server as a process of its own with TLS, sign-in, audit, controllers and SQLite on
 * disk; fifty agents that accept whatever they are given; the load generator beside it. At the end the server is killed and every
 * acknowledged creation looked for. `node bench/api.ts [seconds]`; prints JSON.
 */
import { randomUUID } from "node:crypto";
import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { localClient } from "../apps/server/deployment/local-client.ts";
import { until } from "../apps/server/deployment/processes.ts";
import { startServerProcess } from "../apps/server/deployment/server-process.ts";
import { AcceptingAgent, joinAcceptingAgents } from "./accepting-agent.ts";

const seconds = Number(process.argv[2] ?? 10);
const clients = 64;
const folder = await mkdtemp(join(tmpdir(), "sheaf-bench-"));
const options = { dataDirectory: folder, port: 18_443, agentPort: 18_444, names: ["127.0.0.1", "localhost"] };

/** Runs `work` over and over by `clients` at once for the time given. */
async function load(work: (client: number) => Promise<void>): Promise<{ perSecond: number; p50Ms: number; p99Ms: number; count: number }> {
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
  const tookMs = performance.now() - started;
  times.sort((a, b) => a - b);
  const at = (share: number): number => Number((times[Math.min(times.length - 1, Math.floor(times.length * share))] ?? 0).toFixed(2));
  return { perSecond: Math.round(times.length / (tookMs / 1000)), p50Ms: at(0.5), p99Ms: at(0.99), count: times.length };
}

let server = await startServerProcess(options);
const agents: AcceptingAgent[] = [];
try {
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
  const creations = await load(async () => {
    number += 1;
    const { record } = await client.vm.create({
      body: { name: `m-${number}`, spec: { memory: { bytes: 2 ** 26 }, nics: [], disks: [{ name: "root", sizeBytes: 2 ** 30, pool: pool.id }] } },
      idempotencyKey: randomUUID(),
    });
    acknowledged.push(record.id);
  });
  const reads = await load(async (each) => {
    await client.vm.get({ params: { id: acknowledged[(each * 7919 + acknowledged.length) % acknowledged.length] ?? "" } });
  });
  client.close();
  await server.kill();
  server = await startServerProcess(options);
  const again = await localClient(folder, server);
  const found = new Set<string>();
  let cursor: string | undefined;
  do {
    const page = await again.vm.list({ query: { limit: 1000, fields: "id", cursor } });
    for (const item of page.items) found.add(item.id);
    cursor = page.next;
  } while (cursor !== undefined);
  again.close();
  const lost = acknowledged.filter((id) => !found.has(id)).length;
  const targets = { creationsPerSecond: 1000, creationsP99Ms: 150, readsPerSecond: 5000, lost: 0 };
  process.stdout.write(`${JSON.stringify({ seconds, clients, agents: agents.length, creations, reads, lostAfterKill: lost, targets }, null, 2)}\n`);
  if (lost > 0) process.exitCode = 1;
} finally {
  for (const agent of agents) agent.stop();
  await server.stop();
  await rm(folder, { recursive: true, force: true });
}
