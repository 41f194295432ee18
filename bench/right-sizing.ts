/**
 * What advice on machines' sizes costs: one machine's, read from the telemetry files of two weeks (ten hosts with 20 machines each, a row a
 * minute, so that rows of five minutes look as in life); and a page of advice at 100,000 machines that were looked at, from memory.
 */
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { NodeFiles } from "@sheaf/adapters";
import { silentLogger, SimulatedClock } from "@sheaf/base";
import { hostMetricNames, type RecordOf, vmMetricNames, VmSpec } from "@sheaf/model";
import { lookBackMs, type MachineUse } from "@sheaf/planning";
import { SnapshotIndex } from "@sheaf/scheduling";
import { listAdvice, measureMachine, type RecordCache, SampleIntake, UseSurvey } from "@sheaf/server";
import { sampleMs, Telemetry, telemetryShapes } from "@sheaf/telemetry";
import { recordHead } from "./made-records.ts";
import { atMost, publish, rounded } from "./outcome.ts";
import { HostSignal } from "./signals.ts";
import { nowMs } from "./thread-time.ts";

const hostCount = 10;
const vmsPerHost = 20;
const everyMs = 60_000;
const dayMs = 86_400_000;
const siteMachines = 100_000;
const start = Date.UTC(2026, 5, 1);
const end = start + lookBackMs;
const idOf = (kind: "a" | "b", number: number): string => `0199${kind.repeat(4)}-0000-7000-8000-${number.toString(16).padStart(12, "0")}`;

const directory = mkdtempSync(join(tmpdir(), "sheaf-bench-"));
try {
  const telemetry = await takeIn();
  const one = await readMachines(telemetry);
  await telemetry.close();
  const all = await listSite(one.uses);
  publish(
    [
      atMost("one machine's advice from two weeks of files, p99", one.p99Ms, 50, "ms"),
      atMost("looking at 100,000 machines once a day", (one.cpuMsEach * siteMachines) / dayMs, 0.05, "cores"),
      atMost("the 100 of 100,000 machines that it is worth most to look at, CPU time, p99", all.p99Ms, 250, "ms"),
    ],
    { one: { ...one, uses: undefined }, all },
  );
} finally {
  rmSync(directory, { recursive: true });
}

async function takeIn(): Promise<Telemetry> {
  const telemetry = await Telemetry.open({ files: new NodeFiles(), logger: silentLogger, directory, shape: telemetryShapes.full }, start);
  const intake = new SampleIntake(telemetry);
  const signals = Array.from({ length: hostCount }, (_, host) => new HostSignal(host + 1, vmsPerHost));
  for (let now = start; now < end; now += everyMs) {
    for (const [host, signal] of signals.entries()) {
      const machines = signal.machines.map((machine) => machine.next((now % dayMs) / dayMs));
      const vms = machines.map((figures, vm) => ({ id: idOf("a", host * vmsPerHost + vm), figures }));
      const rows = [{ slot: now / sampleMs, host: signal.next(machines), vms }];
      intake.take(now, idOf("b", host), { hostMetrics: [...hostMetricNames], vmMetrics: [...vmMetricNames], rows }, () => true);
    }
    if (now % 600_000 === 0) await telemetry.keep(now);
    if ((now - start) % dayMs === 0) process.stderr.write(`${(now - start) / dayMs} days are in\n`);
  }
  await telemetry.keep(end);
  return telemetry;
}

async function readMachines(telemetry: Telemetry) {
  const tookMs: number[] = [];
  const uses: MachineUse[] = [];
  const before = process.cpuUsage();
  for (let turn = 0; turn < 2; turn += 1)
    for (let vm = 0; vm < hostCount * vmsPerHost; vm += 1) {
      const from = performance.now();
      const use = await measureMachine(telemetry, idOf("a", vm), end);
      if (turn > 0) tookMs.push(performance.now() - from);
      if (use.days < 13.9 || use.memory.known !== "guest")
        throw new Error(`of a machine ${use.days} days are known, its memory by its ${use.memory.known}`);
      uses.push(use);
    }
  const { user, system } = process.cpuUsage(before);
  return { uses, cpuMsEach: (user + system) / 1000 / uses.length, ...spread(tookMs) };
}

/** Of 5,000 hosts with 20 machines each, whose use is that of the machines that were read. */
async function listSite(uses: readonly MachineUse[]) {
  const hosts = Array.from(
    { length: 5000 },
    (_, host) => ({ ...recordHead(idOf("b", host), `h${host}`), kind: "host", spec: { cluster: "c" }, status: {} }) as unknown as RecordOf<"host">,
  ); // what is looked at of it
  const machines = Array.from({ length: siteMachines }, (_, vm) => {
    const spec = VmSpec.parse({ cpu: { count: 1 + ((vm * 7) % 16) }, memory: { bytes: (1 + ((vm * 5) % 32)) * 2 ** 30 } });
    return {
      ...recordHead(idOf("a", vm), `m${vm}`),
      kind: "vm",
      spec,
      status: {},
      placement: { host: idOf("b", vm % 5000), epoch: 1 },
    } as unknown as RecordOf<"vm">; // what is looked at of it
  });
  const byId = new Map<string, RecordOf<"host"> | RecordOf<"vm">>([...hosts, ...machines].map((record) => [record.id, record]));
  const cache = {
    get: (_kind: string, id: string) => byId.get(id),
    all: (kind: string) => (kind === "vm" ? machines : hosts),
  } as unknown as RecordCache; // the two that are asked
  const clock = new SimulatedClock();
  const heapBefore = heapMiB();
  let next = 0;
  // A copy each, as they are when they were read one by one.
  const use = async (): Promise<MachineUse> => structuredClone(uses[next++ % uses.length]) ?? Promise.reject(new Error("nothing was read"));
  const survey = new UseSurvey({ clock, logger: silentLogger, cache, figures: { use } });
  for (const machine of machines) await survey.look(machine);
  const surveyMiB = heapMiB() - heapBefore;
  const tookMs: number[] = [];
  const context = { cache, clock, snapshot: new SnapshotIndex() };
  for (let turn = 0; turn < 44; turn += 1) {
    const from = nowMs();
    const question = {
      dismissed: false,
      mayShow: () => true,
      skip: 0,
      count: 100,
      ...(turn % 2 ? { verdict: "too-large" as const, cluster: "c" } : {}),
    };
    const found = listAdvice(context, survey, question);
    // The first ones run before their code is compiled.
    if (turn >= 4) tookMs.push(nowMs() - from);
    if (found.items.length !== 100) throw new Error(`a page has ${found.items.length} machines of ${found.total}`);
  }
  survey.stop();
  return { machines: siteMachines, surveyMiB: Math.round(surveyMiB), ...spread(tookMs) };
}

function heapMiB(): number {
  globalThis.gc?.();
  return process.memoryUsage().heapUsed / 2 ** 20;
}

function spread(tookMs: number[]) {
  tookMs.sort((left, right) => left - right);
  const at = (share: number): number => tookMs[Math.min(tookMs.length - 1, Math.floor(tookMs.length * share))] ?? Number.NaN;
  return { medianMs: rounded(at(0.5)), p99Ms: at(0.99), slowestMs: rounded(at(1)) };
}
