/**
 * Does a storm of reports hold up the server? 50 agents, in a process of their own, report the states of 100 machines each as fast as they
 * are answered; here are the gateway, the cache, TLS and the SQLite store. `node bench/gateway.ts [seconds]` tells parts
 * a second, transactions, and how long the event loop was held up. No target; no test asserts the figures.
 */
import { fork } from "node:child_process";
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { monitorEventLoopDelay } from "node:perf_hooks";
import { listenForAgents, NodeFiles, SystemClock, systemRandom } from "@sheaf/adapters";
import { makeCertificateRequest } from "@sheaf/agent";
import { silentLogger, uuidv7 } from "@sheaf/base";
import { agentPaths } from "@sheaf/contract";
import { HostSpec, partKey, VmSpec } from "@sheaf/model";
import { RecordCache } from "@sheaf/runtime";
import { AgentsGateway, createSecrets, defaultGatewaySettings, Revocations, SiteAuthority, TaskLogs } from "@sheaf/server";
import { openSqliteStore, type Operation } from "@sheaf/store";
import { AcceptingAgent, type AcceptingIdentity } from "./accepting-agent.ts";
import { publish } from "./outcome.ts";

const agentCount = 50;
const machinesPerHost = 100;

if (process.send) process.once("message", (identities) => void storm(identities as AcceptingIdentity[])); // sent by `main`
else await main(Number(process.argv[2] ?? 10));

/** The agents' process. */
async function storm(identities: readonly AcceptingIdentity[]): Promise<void> {
  const agents = identities.map((identity) => new AcceptingAgent(identity));
  await Promise.all(agents.map((agent) => agent.start()));
  let round = 0;
  setInterval(() => {
    round += 1;
    for (const agent of agents) {
      if (agent.untold > 0) continue;
      for (const document of agent.documents.values()) {
        if (document.kind !== "vm") continue;
        const value = {
          state: "running",
          epoch: 1,
          host: agent.identity.hostId,
          bootId: "benchmark",
          observedGeneration: 1,
          since: round,
          startRequestSeen: 0,
          restarts: 0,
          pendingChanges: [],
        };
        agent.report({ kind: "vm", id: document.id, part: "status/agent", value });
      }
    }
  }, 1);
  process.once("disconnect", () => process.exit(0));
}

async function main(seconds: number): Promise<void> {
  const directory = mkdtempSync(join(tmpdir(), "sheaf-bench-"));
  const clock = new SystemClock();
  const common = { clock, random: systemRandom, logger: silentLogger };
  const store = await openSqliteStore({ ...common, path: join(directory, "store.sqlite") });
  const cache = await RecordCache.open({ ...common, store });
  const secrets = createSecrets(systemRandom.bytes(32), systemRandom);
  const revocations = await Revocations.open(store, clock, silentLogger);
  const authority = await SiteAuthority.open({ ...common, secrets, revocations, files: new NodeFiles(), directory, names: ["127.0.0.1"] });
  const gateway = new AgentsGateway({
    ...common,
    store,
    cache,
    secrets,
    revocations,
    authority,
    tasks: new TaskLogs(clock),
    settings: { ...defaultGatewaySettings, version: "benchmark" },
    refused: () => {},
  });
  const listener = await listenForAgents({
    address: "127.0.0.1",
    port: 0,
    identity: authority.serverIdentity,
    socketPath: agentPaths.socket,
    maximumMessageBytes: 8 * 2 ** 20,
    admit: (peer) => gateway.admit(peer),
    connected: (socket, peer) => gateway.accept(socket, peer),
    request: async () => ({ status: 404, headers: {} }),
    rejected: () => {},
  });
  const identities: AcceptingIdentity[] = [];
  for (let index = 0; index < agentCount; index += 1) {
    const hostId = uuidv7(clock.now(), systemRandom);
    const name = `bench-${index}`;
    const { request, privateKey } = await makeCertificateRequest(name);
    const certificate = await authority.signAgent({ certificateRequest: request, hostId, hostname: name, addresses: [] });
    identities.push({ hostId, name, certificate, privateKey, authority: authority.certificate, agentPort: listener.port });
    const head = (kind: "host" | "vm", id: string, spec: unknown) =>
      JSON.stringify({ kind, id, name: `n${id.slice(-12)}`, labels: {}, generation: 1, createdAt: 0, createdBy: "b", finalizers: [], spec });
    const operations: Operation[] = [{ put: partKey("host", hostId, "spec"), value: head("host", hostId, HostSpec.parse({})) }];
    for (let machine = 0; machine < machinesPerHost; machine += 1) {
      const id = uuidv7(clock.now(), systemRandom);
      operations.push({ put: partKey("vm", id, "spec"), value: head("vm", id, VmSpec.parse({})) });
      operations.push({
        put: partKey("vm", id, "placement"),
        value: JSON.stringify({ host: hostId, epoch: 1, incarnation: store.incarnation, at: 0 }),
      });
    }
    for (let from = 0; from < operations.length; from += 100) await store.transact({ compare: [], then: operations.slice(from, from + 100) });
  }
  await cache.waitFor(await store.revision());
  const agents = fork(import.meta.filename, { execArgv: ["--disable-warning=ExperimentalWarning"] });
  agents.send(identities);
  while (gateway.statistics().connected < agentCount) await new Promise((resolve) => setTimeout(resolve, 20));
  await new Promise((resolve) => setTimeout(resolve, 1000));
  const delay = monitorEventLoopDelay({ resolution: 5 });
  const before = gateway.statistics();
  const cpu = process.cpuUsage();
  delay.enable();
  await new Promise((resolve) => setTimeout(resolve, seconds * 1000));
  delay.disable();
  const after = gateway.statistics();
  const used = process.cpuUsage(cpu);
  agents.disconnect();
  const perSecond = (name: "written" | "transactions" | "coalesced" | "unchanged"): number => Math.round((after[name] - before[name]) / seconds);
  publish([], {
    agents: agentCount,
    machines: agentCount * machinesPerHost,
    partsPerSecond: perSecond("written"),
    transactionsPerSecond: perSecond("transactions"),
    cpus: Number(((used.user + used.system) / 1e6 / seconds).toFixed(2)),
    eventLoopDelayMs: { median: delay.percentile(50) / 1e6, p99: delay.percentile(99) / 1e6, longest: delay.max / 1e6 },
  });
  gateway.close();
  await listener.close();
  revocations.close();
  cache.close();
  await store.close();
  rmSync(directory, { recursive: true });
}
