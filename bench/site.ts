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
import { uuidv7 } from "@sheaf/base";
import { nameKey, numberKey, partKey, VmSpec, VolumeSpec, HostSpec, PoolSpec, type Kind } from "@sheaf/model";
import { openSqliteStore, type Operation, type Store } from "@sheaf/store";
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
const newId = (): string => uuidv7(clock.now(), systemRandom);

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
  const cluster = (await store.get(nameKey("cluster", "-", "default")))?.value ?? "";
  const project = (await store.get(nameKey("project", "-", "default")))?.value ?? "";
  let operations: Operation[] = [];
  let writing: Promise<unknown>[] = [];
  const flush = async (): Promise<void> => {
    writing.push(store.transact({ compare: [], then: operations }));
    operations = [];
    if (writing.length < 32) return;
    await Promise.all(writing);
    writing = [];
  };
  const add = async (...more: Operation[]): Promise<void> => {
    if (operations.length + more.length > 100) await flush();
    operations.push(...more);
  };
  const put = (key: string, value: unknown): Operation => ({ put: key, value: typeof value === "string" ? value : JSON.stringify(value) });
  const head = (kind: Kind, id: string, name: string, spec: unknown, more: object = {}): Operation[] => {
    const value = { kind, id, name, labels: {}, generation: 1, createdAt: clock.now(), createdBy: "admin", finalizers: [], ...more, spec };
    return [put(partKey(kind, id, "spec"), value), put(nameKey(kind, "project" in more ? project : "-", name), id)];
  };
  const pool = newId();
  await add(...head("pool", pool, "local", PoolSpec.parse({ type: "local", path: "/var/lib/sheaf/pool" })));
  const hosts: string[] = [];
  for (let index = 0; index < hostCount; index += 1) {
    const id = newId();
    const name = `host-${index}`;
    hosts.push(id);
    // As they are found after the start, for no agent comes: five thousand changes of state are no part of what is measured.
    const liveness = { state: "unreachable", since: clock.now(), reason: "nothing was heard from its agent" };
    await add(
      ...head("host", id, name, HostSpec.parse({ cluster, cpuOvercommit: 4 })),
      put(partKey("host", id, "status/agent"), hostFacts(name, 64, 512 * gib)),
      put(partKey("host", id, "status/liveness"), liveness),
      put(partKey("pool", pool, `status/hosts/${id}`), { state: "ready", capacityBytes: 4096 * gib, availableBytes: 2048 * gib }),
    );
  }
  for (let index = 0; index < vmCount; index += 1) {
    const [id, volume] = [newId(), newId()];
    const host = hosts[index % hostCount] ?? "";
    const name = `vm-${index}`;
    const placement = { host, epoch: 1, incarnation: store.incarnation, at: clock.now(), reason: "the most room of 5000 hosts" };
    const spec = VmSpec.parse({
      power: index % 10 === 0 ? "stopped" : "running",
      cpu: { count: 1 + (index % 4) },
      memory: { bytes: (1 + (index % 8)) * gib },
      disks: [{ name: "root", volume }],
    });
    const seen = {
      state: index % 10 === 0 ? "stopped" : "running",
      epoch: 1,
      host,
      bootId: "benchmark",
      observedGeneration: 1,
      since: clock.now(),
      startRequestSeen: 0,
      restarts: 0,
      pendingChanges: [],
      vcpus: 1 + (index % 4),
      memoryBytes: (1 + (index % 8)) * gib,
      accelerated: true,
    };
    await add(
      ...head("vm", id, name, spec, { project, number: 100 + index, labels: { tier: index % 3 === 0 ? "web" : "db", owner: `team-${index % 50}` } }),
      put(numberKey("vm", 100 + index), id),
      put(partKey("vm", id, "placement"), placement),
      put(partKey("vm", id, "status/agent"), seen),
      ...head("volume", volume, `${name}-root`, VolumeSpec.parse({ pool, sizeBytes: 10 * gib }), { project }),
      put(partKey("volume", volume, "placement"), placement),
      put(partKey("volume", volume, "status/agent"), {
        state: "ready",
        host,
        path: `/var/lib/sheaf/pool/volumes/${volume}.qcow2`,
        sizeBytes: 10 * gib,
        allocatedBytes: gib,
        observedGeneration: 1,
      }),
    );
  }
  await flush();
  await Promise.all(writing);
}
