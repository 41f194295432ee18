/**
 * The site Sheaf is drawn for: 5,000 hosts and 100,000 machines with their disks in a real SQLite file, the real server as a process of its
 * own with TLS, sign-in, audit and controllers. How soon it is ready, how much memory it takes, how quickly it lists, whatever is filtered and
 * sorted by. `node bench/site.ts [--pages N] [--data DIR]`: a folder that is named is kept, and filled only once.
 */
import { existsSync } from "node:fs";
import { mkdtemp, readFile, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { parseArgs } from "node:util";
import { SystemClock, systemRandom } from "@sheaf/adapters";
import { HostSpec, PoolSpec } from "@sheaf/model";
import { SiteRecords } from "@sheaf/simulation";
import { openSqliteStore, type Store } from "@sheaf/store";
import { localClient } from "../apps/server/deployment/local-client.ts";
import { startServerProcess, type ServerProcess } from "../apps/server/deployment/server-process.ts";
import { hostFacts } from "./accepting-agent.ts";
import { atMost, publish } from "./outcome.ts";
import { quantile, spread } from "./statistics.ts";
import { takeDown } from "./take-down.ts";

const hostCount = 5000;
const vmCount = 100_000;
const { values } = parseArgs({ options: { pages: { type: "string", default: "600" }, data: { type: "string" } } });
const pages = Number(values.pages);
const gib = 2 ** 30;
const folder = values.data ?? (await mkdtemp(join(tmpdir(), "sheaf-bench-")));
const options = { dataDirectory: folder, port: 18_543, agentPort: 18_544, names: ["127.0.0.1", "localhost"] };
const clock = new SystemClock();

let starting: Promise<ServerProcess> | undefined;
const end = takeDown(async () => {
  await (await starting?.catch(() => undefined))?.stop();
  if (values.data === undefined) await rm(folder, { recursive: true, force: true });
});
try {
  if (!existsSync(join(folder, "store.sqlite"))) {
    // The first start makes what every site has: project, cluster, roles, administrator, keys.
    starting = startServerProcess(options);
    await (await starting).stop();
    const store = await openSqliteStore({ path: join(folder, "store.sqlite"), clock, random: systemRandom });
    await fill(store);
    await store.close();
  }

  const from = performance.now();
  starting = startServerProcess(options);
  const server = await starting;
  const readyMs = performance.now() - from;
  const client = await localClient(folder, server);
  const readyRss = await memory(server.pid);
  try {
    const counted = await client.vm.list({ query: { limit: 1 } });
    const hosts = await client.host.list({ query: { limit: 1 } });
    if (counted.total !== vmCount || hosts.total !== hostCount) throw new Error(`the cache holds ${hosts.total} hosts and ${counted.total} machines`);
    const lists = await pagesOf((query) => client.vm.list({ query }));
    const pageTimes = lists.flatMap(({ times }) => times);
    const { peak, now } = await memory(server.pid);
    publish(
      [
        atMost("start to ready, 5,000 hosts and 100,000 machines", readyMs / 1000, 15, "s"),
        atMost("memory of the server (peak resident set)", peak / gib, 1.5, "GiB"),
        atMost("page of 100 out of 100,000 machines, filter and sort, p99", quantile(pageTimes, 0.99), 25, "ms"),
      ],
      {
        readyMs: Math.round(readyMs),
        memoryMiB: { ready: Math.round(readyRss.now / 2 ** 20), peak: Math.round(peak / 2 ** 20), afterLists: Math.round(now / 2 ** 20) },
        pagesMs: spread(pageTimes),
        byQueryMs: Object.fromEntries(lists.map(({ query, times, total }) => [query, { total, ...spread(times) }])),
      },
    );
  } finally {
    client.close();
  }
} finally {
  await end();
}

interface ListQuery {
  readonly filter?: string;
  readonly label?: string;
  readonly sort?: string;
  readonly limit: number;
  readonly cursor?: string | undefined;
}

/** Every kind of field there is: texts, numbers, states, labels, references, absent ones; first pages and later ones, in turn. */
async function pagesOf(list: (query: Record<string, string | number | undefined>) => Promise<{ total: number; next?: string | undefined }>) {
  const queries: Omit<ListQuery, "limit">[] = [
    { filter: "spec.cpu.count>2", sort: "name" },
    { filter: "state=unreachable", sort: "-createdAt" },
    { filter: "spec.power!=stopped", sort: "-spec.memory.bytes" },
    { filter: "name~77", sort: "-name" },
    { filter: "host=host-17", sort: "number" },
    { filter: "spec.memory.bytes>=4GiB,spec.cpu.count=4", sort: "placement.host" },
    { label: "tier=web", sort: "labels.tier" },
    { label: "tier!=web", filter: "spec.priority>=100", sort: "state" },
    { filter: "status.agent.state=running", sort: "-revision" },
    { filter: "createdBy=admin", sort: "displayName" },
  ];
  const found = queries.map((query) => ({ query: JSON.stringify(query), times: [] as number[], total: 0, cursor: undefined as string | undefined }));
  for (let number = 0; number < pages; number += 1) {
    const each = found[number % found.length];
    const query = queries[number % queries.length];
    if (!each) continue;
    const from = performance.now();
    const page = await list({ ...query, limit: 100, ...(each.cursor === undefined ? {} : { cursor: each.cursor }) });
    each.times.push(performance.now() - from);
    each.total = page.total;
    each.cursor = page.next;
  }
  return found;
}

async function memory(pid: number): Promise<{ now: number; peak: number }> {
  const status = await readFile(`/proc/${pid}/status`, "utf8");
  const bytes = (name: string): number => Number(new RegExp(`^${name}:\\s+(\\d+) kB`, "m").exec(status)?.[1] ?? Number.NaN) * 1024;
  return { now: bytes("VmRSS"), peak: bytes("VmHWM") };
}

/** As the API, the controllers and the agents would have left it: names, numbers, placements, what was reported. */
async function fill(store: Store): Promise<void> {
  const records = await SiteRecords.open({ store, clock, random: systemRandom });
  const pool = records.newId();
  await records.head("pool", pool, "local", PoolSpec.parse({ type: "local", path: "/var/lib/sheaf/pool" }));
  const hosts: string[] = [];
  for (let index = 0; index < hostCount; index += 1) {
    const id = records.newId();
    const name = `host-${index}`;
    hosts.push(id);
    await records.head("host", id, name, HostSpec.parse({ cluster: records.cluster, cpuOvercommit: 4 }));
    await records.part("host", id, "status/agent", hostFacts(name, 64, 512 * gib));
    // As they are found after the start, for no agent comes: five thousand changes of state are no part of what is measured.
    await records.part("host", id, "status/liveness", { state: "unreachable", since: clock.now(), reason: "nothing was heard from its agent" });
    await records.part("pool", pool, `status/hosts/${id}`, { state: "ready", capacityBytes: 4096 * gib, availableBytes: 2048 * gib });
  }
  for (let index = 0; index < vmCount; index += 1) {
    const host = hosts[index % hostCount] ?? "";
    const power = index % 10 === 0 ? "stopped" : "running";
    const [vcpus, memoryBytes] = [1 + (index % 4), (1 + (index % 8)) * gib];
    const { id, volume, epoch } = await records.machine({
      name: `vm-${index}`,
      number: 100 + index,
      ...{ host, pool, diskBytes: 10 * gib },
      labels: { tier: index % 3 === 0 ? "web" : "db", owner: `team-${index % 50}` },
      spec: { power, cpu: { count: vcpus }, memory: { bytes: memoryBytes } },
    });
    const seen = { bootId: "benchmark", since: clock.now(), startRequestSeen: 0, restarts: 0, pendingChanges: [], accelerated: true };
    await records.part("vm", id, "status/agent", { state: power, epoch, host, observedGeneration: 1, vcpus, memoryBytes, ...seen });
    await records.part("volume", volume, "status/agent", {
      state: "ready",
      host,
      path: `/var/lib/sheaf/pool/volumes/${volume}.qcow2`,
      sizeBytes: 10 * gib,
      allocatedBytes: gib,
      observedGeneration: 1,
    });
  }
  await records.end();
}
