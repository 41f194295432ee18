/**
 * What the figures of a site cost that is as large as Sheaf is drawn for: 5,000 hosts with 20 machines each, 40 metrics a host and 13 a
 * machine, told every 10 s as agents tell them. `node bench/telemetry.ts [minutes]`: that much time of the site (30 by default) goes through
 * the server's intake into files as fast as it can; CPU is counted while it does, all threads, reading the messages, rolling up and putting files
 * together included; making the signals is not. Then, with a day of ten hosts, how long one machine's day takes to read.
 */
import { mkdtempSync, readdirSync, rmSync, statSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { NodeFiles } from "@sheaf/adapters";
import { silentLogger } from "@sheaf/base";
import type { SampleBatch } from "@sheaf/contract";
import { hostMetricNames, vmMetricNames } from "@sheaf/model";
import { SampleIntake } from "@sheaf/server";
import { sampleMs, Telemetry, telemetryShapes, type TelemetryShape } from "@sheaf/telemetry";
import { atMost, publish, rounded } from "./outcome.ts";
import { HostSignal } from "./signals.ts";

const minutes = Number(process.argv[2] ?? 30);
const hostCount = 5000;
const vmsPerHost = 20;
const minuteMs = 60_000;
const dayMs = 86_400_000;
/** Midnight, so that every hour, and a day of files, begins with it. */
const start = Date.UTC(2026, 5, 1);
const idOf = (kind: "a" | "b", number: number): string => `0199${kind.repeat(4)}-0000-7000-8000-${number.toString(16).padStart(12, "0")}`;

/** Files are closed and put together after ten minutes instead of two hours, so that this is in the figures. */
const shortFiles: TelemetryShape = {
  tiers: telemetryShapes.full.tiers.map((tier) => (tier.stepMs === sampleMs ? { ...tier, fileMs: 10 * minuteMs } : tier)),
};

const directory = mkdtempSync(join(tmpdir(), "sheaf-bench-"));
try {
  const wide = await takeIn(join(directory, "wide"), hostCount, minutes * minuteMs, shortFiles);
  // The first questions run before their code is compiled, and while what made the signals is cleared away.
  greatest(wide.telemetry, wide.end);
  const top = greatest(wide.telemetry, wide.end);
  await wide.telemetry.close();
  const readBack = await open(join(directory, "wide"), shortFiles, wide.end);
  const deep = await takeIn(join(directory, "deep"), 10, dayMs, telemetryShapes.full);
  const day = await readDay(deep.telemetry, deep.end);
  await deep.telemetry.close();
  publish(
    [
      atMost("CPU to take in 140,000 samples a second", wide.cores, 0.5, "cores"),
      atMost("disk for a sample, roll-ups included", wide.bytesPerSample, 1.5, "bytes"),
      atMost("disk for a sample, of a whole day", deep.bytesPerSample, 1.5, "bytes"),
      atMost("one machine's day at 10 s, all 13 metrics, p99", day.p99Ms, 50, "ms"),
      atMost("the 10 greatest of 100,000 machines, p99", top.p99Ms, 200, "ms"),
    ],
    { wide: wide.details, readBack, deep: deep.details, day, top },
  );
} finally {
  rmSync(directory, { recursive: true });
}

/** As a server does that starts again, with what lies there. */
async function open(folder: string, shape: TelemetryShape, now: number) {
  const from = performance.now();
  const before = process.cpuUsage();
  const telemetry = await Telemetry.open({ files: new NodeFiles(), logger: silentLogger, directory: folder, shape }, now);
  const { user, system } = process.cpuUsage(before);
  const figures = {
    tookMs: rounded(performance.now() - from),
    cpuMs: rounded((user + system) / 1000),
    mebibytes: Math.round(telemetry.bytes / 2 ** 20),
  };
  await telemetry.close();
  return figures;
}

async function takeIn(folder: string, hosts: number, spanMs: number, shape: TelemetryShape) {
  const telemetry = await Telemetry.open({ files: new NodeFiles(), logger: silentLogger, directory: folder, shape }, start);
  const intake = new SampleIntake(telemetry);
  const signals = Array.from({ length: hosts }, (_, host) => new HostSignal(host + 1, vmsPerHost));
  const ids = signals.map((_, host) => Array.from({ length: vmsPerHost }, (_, vm) => idOf("a", host * vmsPerHost + vm)));
  const end = start + spanMs;
  let cpuMs = 0;
  let longestTurnMs = 0;
  let samples = 0;
  let wireBytes = 0;
  for (let now = start; now < end; now += sampleMs) {
    const messages = signals.map((signal, host) => messageOf(signal, ids[host] ?? [], now));
    const before = process.cpuUsage();
    for (const [host, message] of messages.entries()) {
      const from = performance.now();
      intake.take(now, idOf("b", host), JSON.parse(message) as SampleBatch, () => true); // written by messageOf
      longestTurnMs = Math.max(longestTurnMs, performance.now() - from);
      wireBytes += message.length;
    }
    await telemetry.keep(now);
    const { user, system } = process.cpuUsage(before);
    cpuMs += (user + system) / 1000;
    samples += hosts * (hostMetricNames.length + vmsPerHost * vmMetricNames.length);
    if ((now - start) % (spanMs / 6) < sampleMs) process.stderr.write(`${hosts} hosts: ${Math.round((now - start) / minuteMs)} minutes are in\n`);
  }
  await telemetry.keep(end);
  const { rss, arrayBuffers } = process.memoryUsage();
  const files = sizes(folder);
  const bytes = Object.values(files).reduce((sum, each) => sum + each, 0);
  // What is in the files yet: the last window is not over.
  const inFiles = samples * (Math.floor((spanMs - 1) / (30 * sampleMs)) / (spanMs / (30 * sampleMs)));
  return {
    telemetry,
    end,
    cores: cpuMs / spanMs,
    bytesPerSample: bytes / inFiles,
    details: {
      hosts,
      minutes: spanMs / minuteMs,
      samples,
      cpuMicrosecondsPerSample: rounded((cpuMs * 1000) / samples),
      longestTurnMs: rounded(longestTurnMs),
      wireBytesPerSample: rounded(wireBytes / samples),
      bytesPerSampleByTier: Object.fromEntries(Object.entries(files).map(([tier, size]) => [tier, rounded(size / inFiles)])),
      residentMiB: Math.round(rss / 2 ** 20),
      figuresInMemoryMiB: Math.round(arrayBuffers / 2 ** 20),
    },
  };
}

function messageOf(signal: HostSignal, ids: readonly string[], now: number): string {
  const day = (now % dayMs) / dayMs;
  const vms = signal.machines.map((machine) => machine.next(day));
  const row = { slot: now / sampleMs, host: signal.next(vms), vms: vms.map((figures, vm) => ({ id: ids[vm] ?? "", figures })) };
  return JSON.stringify({ type: "samples", hostMetrics: hostMetricNames, vmMetrics: vmMetricNames, rows: [row] });
}

/** Bytes by tier. */
function sizes(folder: string): Record<string, number> {
  return Object.fromEntries(
    readdirSync(folder).map((tier) => {
      const names = readdirSync(join(folder, tier));
      return [tier, names.reduce((sum, name) => sum + statSync(join(folder, tier, name)).size, 0)];
    }),
  );
}

async function readDay(telemetry: Telemetry, end: number) {
  const tookMs: number[] = [];
  let figures = 0;
  for (let vm = 0; vm < 200; vm += 1) {
    const from = performance.now();
    const question = {
      kind: "vm",
      id: idOf("a", (vm * 7) % 200),
      metrics: vmMetricNames,
      from: end - dayMs,
      to: end,
      stepMs: sampleMs,
      by: "mean",
    } as const;
    const { values, rowMs } = await telemetry.series(question);
    tookMs.push(performance.now() - from);
    if (rowMs !== sampleMs) throw new Error(`the day was answered from rows of ${rowMs} ms`);
    figures = Object.values(values).reduce((sum, column) => sum + column.filter((figure) => figure !== null).length, 0);
  }
  if (figures < 8500 * 13) throw new Error(`a machine's day has ${figures} figures only`);
  return { figures, ...spread(tookMs) };
}

function greatest(telemetry: Telemetry, end: number) {
  const tookMs: number[] = [];
  let found = 0;
  for (let turn = 0; turn < 40; turn += 1) {
    for (const windowMs of [10 * minuteMs, 60 * minuteMs, dayMs]) {
      const from = performance.now();
      const metric = vmMetricNames[turn % vmMetricNames.length] ?? "cpu";
      found += telemetry.top(end, { kind: "vm", metric, windowMs, by: turn % 2 ? "max" : "mean", count: 10 }).length;
      tookMs.push(performance.now() - from);
    }
  }
  if (found !== 1200) throw new Error(`${found} of 1200 were found`);
  return { machines: telemetry.counts.members - telemetry.counts.sources, ...spread(tookMs) };
}

function spread(tookMs: number[]) {
  tookMs.sort((left, right) => left - right);
  const at = (share: number): number => tookMs[Math.min(tookMs.length - 1, Math.floor(tookMs.length * share))] ?? Number.NaN;
  return { medianMs: rounded(at(0.5)), p99Ms: at(0.99), slowestMs: rounded(at(1)) };
}
