/**
 * The site Sheaf is drawn for, alive: 5,000 hosts with real agents and 100,000 machines under the real server, all simulated around them, in
 * this one process on virtual time. How much faster than real time it runs while nothing but the ordinary happens (a heartbeat of each host
 * every 5 s, one change a second per 1,000 machines, no figures of load), what memory it takes, and what the loss of a rack costs: 40 hosts
 * cut off and their machines started elsewhere. `node bench/scale.ts [--hosts N] [--machines-per-host N] [--seconds N]
 * [--changes N]`.
 */
import { readFileSync } from "node:fs";
import { parseArgs } from "node:util";
import { seededRandom, SimulatedClock, silentLogger } from "@sheaf/base";
import { bootstrapAdmin } from "@sheaf/server";
import { DataCentre, hostsPerRack, SimulatedServer } from "@sheaf/simulation";
import { openMemoryStore } from "@sheaf/store";
import { atLeast, atMost, publish } from "./outcome.ts";

const { values } = parseArgs({
  options: {
    hosts: { type: "string", default: "5000" },
    "machines-per-host": { type: "string", default: "20" },
    /** Of virtual time that are measured. */
    seconds: { type: "string", default: "60" },
    /** A second; absent: one for each 1,000 machines. */
    changes: { type: "string" },
  },
});
const hosts = Number(values.hosts);
const machinesPerHost = Number(values["machines-per-host"]);
const machines = hosts * machinesPerHost;
const seconds = Number(values.seconds);
const gib = 2 ** 30;
const seed = 1;

const say = (text: string): void => void process.stderr.write(`${(performance.now() / 1000).toFixed(1).padStart(6)} s  ${text}\n`);
const clock = new SimulatedClock();
const random = seededRandom(seed);
const store = await openMemoryStore({ clock, random, historyRevisions: 2000 });
await bootstrapAdmin({ store, clock, random }, { password: "simulated", passwordCost: 2 ** 4 });
const centre = new DataCentre({ hosts, machinesPerHost, machines: "uniform", seed, clock, logger: silentLogger });
await centre.furnish(store, random);
say("the records are written");
const server = new SimulatedServer({ seed, clock, network: centre.network, store, logger: silentLogger, fencing: centre.bmcs });
server.hostId = (node) => centre.hostId(node);
await whileTimePasses(server.start(), "the server");
await clock.advanceUntil(() => server.leads, 60_000);
const token = await whileTimePasses(server.signIn(), "the session");
say("the server leads");

// Come one after the other, as hosts do that are switched on: all at once are another story.
for (const [index, host] of centre.hosts.entries()) clock.setTimer(index * 10, () => host.startAgent());
await untilRunning(machines, 1_800_000);
await clock.advance(120_000);
const bootSeconds = performance.now() / 1000;
say(`${machines} machines run, ${memoryText()}`);

const steady = await measured(seconds);
say(`steady: ${steady.timesRealTime.toFixed(1)} × real time`);
const idle = await measured(seconds, 0);
say(`without changes: ${idle.timesRealTime.toFixed(1)} × real time`);
const rack = await loseRack(idle.cpuMsPerSecond);
say("the rack's machines run elsewhere");

publish(
  [
    atLeast("steady state, times real time", steady.timesRealTime, 20, "×"),
    atMost("memory (peak resident set)", peakBytes() / gib, 4, "GiB"),
    atMost(`loss of a rack of ${rack.hosts} hosts: decisions for its ${rack.machines} machines, CPU time`, rack.decisionCpuMs / 1000, 1, "s"),
  ],
  {
    hosts,
    machines,
    bootSeconds: Math.round(bootSeconds),
    steady,
    withoutChanges: idle,
    rack,
    memoryMiB: Math.round(peakBytes() / 2 ** 20),
  },
);
process.exit();

/** Promises of real time (a password's hash) end while virtual time stands. */
async function whileTimePasses<T>(work: Promise<T>, what: string): Promise<T> {
  let over = false;
  work.then(
    () => (over = true),
    () => (over = true),
  );
  await clock
    .advanceUntil(() => over, 600_000)
    .catch(() => {
      throw new Error(`${what}: no end`);
    });
  return work;
}

function running(): number {
  let count = 0;
  for (const host of centre.hosts) if (host.powered) count += host.hypervisor.inner.active().length;
  return count;
}

async function untilRunning(wanted: number, withinMs: number): Promise<void> {
  const end = clock.monotonic() + withinMs;
  for (let told = performance.now(); ;) {
    const now = running();
    if (now >= wanted) return;
    if (clock.monotonic() > end) throw new Error(`only ${now} of ${wanted} machines run after ${withinMs / 1000} s of virtual time`);
    if (performance.now() - told > 10_000) {
      told = performance.now();
      say(`${now} machines run, ${centre.connected} hosts are connected, ${memoryText()}`);
    }
    await clock.advance(500);
  }
}

/** @param changesPerSecond of one machine's labels each, through the API */
async function measured(forSeconds: number, changesPerSecond = Number(values.changes ?? machines / 1000)) {
  const answered = { done: 0, refused: 0 };
  const change = (number: number): void => {
    const name = centre.machines[(number * 7919) % centre.machines.length] ?? "";
    void server
      .request({ method: "PATCH", path: `/vms/${name}`, token, body: { labels: { turn: String(number) } } })
      .then(({ status }) => (answered[status < 300 ? "done" : "refused"] += 1));
  };
  const changes = Math.round(forSeconds * changesPerSecond);
  for (let number = 0; number < changes; number += 1) clock.setTimer((number * 1000) / changesPerSecond, () => change(number));
  const [from, cpu] = [performance.now(), process.cpuUsage()];
  await clock.advance(forSeconds * 1000);
  const realMs = performance.now() - from;
  if (answered.refused > 0 || answered.done < changes * 0.9)
    throw new Error(`of ${changes} changes ${answered.done} were made, ${answered.refused} refused`);
  return {
    seconds: forSeconds,
    changes: answered.done,
    realMs: Math.round(realMs),
    timesRealTime: (forSeconds * 1000) / realMs,
    cpuMsPerSecond: cpuMs(cpu) / forSeconds,
  };
}

/**
 * The decisions alone: from the loss to the first fence less what an idle site takes, then, until the last machine has another host, with all
 * other agents held back. What these do about it is the work of 5,000 machines, which one would do here.
 * @param idleCpuMsPerSecond what the rest of the site costs until then
 */
async function loseRack(idleCpuMsPerSecond: number) {
  const lost = centre.hosts.slice(0, hostsPerRack);
  const others = centre.hosts.slice(hostsPerRack);
  const ids = new Set(lost.map(({ id }) => id));
  const theirs = lost.reduce((sum, host) => sum + host.hypervisor.inner.active().length, 0);
  const placed = new Set<string>();
  let fenced = false;
  const watch = store.watch(
    { prefix: "r/", fromRevision: (await store.revision()) + 1 },
    {
      events: ({ events }) => {
        for (const { type, entry } of events) {
          if (type !== "put") continue;
          // A host's part, and a machine's.
          if (entry.key.endsWith("/status/fencing")) fenced ||= (JSON.parse(entry.value) as { state: string }).state === "fenced";
          else if (/^r\/vm\/[^/]+\/placement$/.test(entry.key) && !ids.has((JSON.parse(entry.value) as { host: string }).host)) placed.add(entry.key);
        }
      },
      ended: () => {},
    },
  );
  const [lostAt, cpuAtLoss] = [clock.monotonic(), process.cpuUsage()];
  for (const host of lost) host.powerOff();
  await clock.advanceUntil(() => fenced, 300_000);
  const untilFenceMs = cpuMs(cpuAtLoss) - ((clock.monotonic() - lostAt) / 1000) * idleCpuMsPerSecond;
  for (const host of others) host.freezeAgent();
  const cpuAtFence = process.cpuUsage();
  await clock.advanceUntil(() => placed.size === theirs, 10_000);
  const decisionCpuMs = Math.max(0, untilFenceMs) + cpuMs(cpuAtFence);
  const decidedAfterMs = clock.monotonic() - lostAt;
  for (const host of others) host.thawAgent();
  await untilRunning(machines, 300_000);
  watch.close();
  return {
    hosts: lost.length,
    machines: theirs,
    decidedAfterMs,
    runningAgainMs: clock.monotonic() - lostAt,
    decisionCpuMs: Math.round(decisionCpuMs),
  };
}

function cpuMs(since: NodeJS.CpuUsage): number {
  const { user, system } = process.cpuUsage(since);
  return (user + system) / 1000;
}

function memoryText(): string {
  const { rss, heapUsed, arrayBuffers } = process.memoryUsage();
  const mib = (bytes: number): number => Math.round(bytes / 2 ** 20);
  return `${mib(rss)} MiB resident, ${mib(heapUsed)} MiB of objects, ${mib(arrayBuffers)} MiB of bytes`;
}

function peakBytes(): number {
  return Number(/^VmHWM:\s+(\d+) kB/m.exec(readFileSync("/proc/self/status", "utf8"))?.[1] ?? Number.NaN) * 1024;
}
