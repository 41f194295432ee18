/**
 * How long a placement takes, on one core: sites of 10,000 and of 50,000 hosts, requests of many kinds with changes of machines and hosts
 * between them, as a controller sees them. `node bench/placement.ts`.
 */
import { setFlagsFromString } from "node:v8";
import { runInNewContext } from "node:vm";
import type { AnyRecord, VmRecord } from "@sheaf/model";
import { place, planBatch, SnapshotIndex } from "@sheaf/scheduling";
import { atMost, publish, type Target } from "./outcome.ts";
import { measureGpus } from "./placement-gpus.ts";
import { type Ask, asks, cellAsks, PlacementSite } from "./placement-site.ts";
import { quantile, spread } from "./statistics.ts";
import { nowMs } from "./thread-time.ts";

const warmUp = 400;
const decisions = 2000;
const changesBetween = 5;
const batchOf = 200;
const mib = 2 ** 20;

setFlagsFromString("--expose-gc");
const collect = runInNewContext("gc") as () => void; // what the flag gives

/** The heap, and typed arrays beside it, after everything dead was collected. */
function bytesInUse(): number {
  collect();
  const { heapUsed, external } = process.memoryUsage();
  return heapUsed + external;
}

interface Measured {
  readonly buildMs: number;
  readonly memoryBytes: number;
  readonly updateMicroseconds: number;
  readonly placedMs: number[];
  readonly refusedMs: number[];
  readonly byAsk: Readonly<Record<string, number[]>>;
  readonly batchMs: number;
  readonly mixedBatchMs: number;
  readonly poolReportMs: number;
}

function measure(hosts: number, machines: number, cells: number): Measured {
  const site = new PlacementSite(hosts, cells);
  const asked = cells > 1 ? [...asks, ...cellAsks] : asks;
  const records = [...site.records(machines)];
  const before = bytesInUse();
  const from = nowMs();
  const snapshot = new SnapshotIndex();
  for (const record of records) snapshot.update({ type: "upsert", record });
  const buildMs = nowMs() - from;
  const memoryBytes = bytesInUse() - before;

  const changes = new Changes(records, hosts);
  const updates = Array.from({ length: 20_000 }, () => changes.next());
  const updatesFrom = nowMs();
  for (const record of updates) snapshot.update({ type: "upsert", record });
  const updateMicroseconds = (1000 * (nowMs() - updatesFrom)) / updates.length;

  const byAsk: Record<string, number[]> = {};
  const refusedMs: number[] = [];
  const decide = ([vm, volume]: ReturnType<PlacementSite["machine"]>): number => {
    for (let n = 0; n < changesBetween; n += 1) snapshot.update({ type: "upsert", record: changes.next() });
    snapshot.update({ type: "upsert", record: volume });
    const start = nowMs();
    const decision = place(snapshot.request(vm), snapshot);
    const took = nowMs() - start;
    if (!decision.none) {
      const { host, numa } = decision;
      const placement = { host, epoch: 1, incarnation: "i", at: 0, ...(numa === undefined ? {} : { numa }) };
      snapshot.update({ type: "upsert", record: { ...vm, placement } });
    }
    return took;
  };
  // Made before, so that the collector has nothing else to do meanwhile.
  const wanted = Array.from({ length: warmUp + decisions }, (_, n) => ({
    ask: asked[n % asked.length] ?? "plain",
    machine: site.machine(asked[n % asked.length] ?? "plain"),
  }));
  const impossible = Array.from({ length: decisions / 4 }, () => site.machine("impossible"));
  collect();
  for (const [n, { ask, machine }] of wanted.entries()) {
    const took = decide(machine);
    if (n >= warmUp) (byAsk[ask] ??= []).push(took);
    const refused = n % 4 === 0 ? impossible.pop() : undefined;
    if (refused !== undefined) refusedMs.push(decide(refused));
  }

  const batch = (askOf: (n: number) => Ask): number => {
    const requests = Array.from({ length: batchOf }, (_, n) => {
      const [vm, volume] = site.machine(askOf(n));
      snapshot.update({ type: "upsert", record: volume });
      return snapshot.request(vm);
    });
    const start = nowMs();
    const decided = planBatch(requests, snapshot);
    const took = nowMs() - start;
    const placed = decided.filter(({ decision }) => !decision.none).length;
    if (placed < batchOf * 0.9) throw new Error(`only ${placed} of ${batchOf} were placed`);
    for (const { request } of decided) snapshot.release(request);
    return took;
  };
  batch(() => "plain"); // warm-up
  const batches = Array.from({ length: 5 }, () => batch(() => "plain"));
  const mixedBatches = Array.from({ length: 5 }, () => batch((n) => asked[n % asked.length] ?? "plain"));

  // A host's report of its pool is a new record of the whole pool: the next decision reads it anew.
  const pool = records.find((record) => record.kind === "pool") as AnyRecord; // it has two
  const poolReports = Array.from({ length: 20 }, () => {
    snapshot.update({ type: "upsert", record: { ...pool } });
    return decide(site.machine("plain"));
  });
  return {
    buildMs,
    memoryBytes,
    updateMicroseconds,
    placedMs: Object.values(byAsk).flat(),
    refusedMs,
    byAsk,
    batchMs: quantile(batches, 0.5),
    mixedBatchMs: quantile(mixedBatches, 0.5),
    poolReportMs: quantile(poolReports, 0.5),
  };
}

/** Machines that move or get another size, hosts that report. */
class Changes {
  readonly #vms: readonly VmRecord[];
  readonly #hosts: readonly AnyRecord[];
  #count = 0;

  constructor(records: readonly AnyRecord[], hosts: number) {
    this.#vms = records.filter((record) => record.kind === "vm");
    this.#hosts = records.filter((record) => record.kind === "host").slice(0, hosts);
  }

  next(): AnyRecord {
    const n = (this.#count += 1);
    const vm = this.#vms[(n * 7919) % this.#vms.length] as VmRecord; // the remainder is within
    const host = this.#hosts[(n * 104_729) % this.#hosts.length] as AnyRecord; // as above
    if (n % 10 === 0) return { ...host, revision: n };
    if (n % 3 === 0) return { ...vm, kind: "vm", spec: { ...vm.spec, cpu: { ...vm.spec.cpu, count: 1 + (n % 8) } } };
    const numa = vm.placement?.numa;
    return { ...vm, kind: "vm", placement: { host: host.id, epoch: n, incarnation: "i", at: 0, ...(numa === undefined ? {} : { numa }) } };
  }
}

const p99 = (samples: readonly number[]): number => quantile(samples, 0.99);
const targets: Target[] = [];
const details: Record<string, unknown> = {};
for (const [hosts, machines, cells, boundMs] of [
  [10_000, 100_000, 1, 1],
  [10_000, 100_000, 2, 1],
  [50_000, 100_000, 1, 3],
] as const) {
  const seen = measure(hosts, machines, cells);
  const size = `${hosts.toLocaleString("en")} hosts${cells > 1 ? ` of ${cells} NUMA cells` : ""}`;
  targets.push(
    atMost(`${size}: one decision with its reasons, p99`, p99(seen.placedMs), boundMs, "ms"),
    atMost(`${size}: one refusal with the reason of every host, p99`, p99(seen.refusedMs), boundMs, "ms"),
  );
  if (hosts === 10_000) {
    targets.push(
      atMost(`${size}, ${machines.toLocaleString("en")} machines: the snapshot from records`, seen.buildMs / 1000, 1.5, "s"),
      atMost(`${size}: a change of a machine or host`, seen.updateMicroseconds, 20, "µs"),
      atMost(`${size}: ${batchOf} machines at once, of ten sizes`, seen.batchMs, 50, "ms"),
      atMost(`${size}: memory of the snapshot`, seen.memoryBytes / mib, 500, "MiB"),
    );
  }
  details[size] = {
    ...seen,
    placedMs: spread(seen.placedMs),
    refusedMs: spread(seen.refusedMs),
    byAsk: Object.fromEntries(Object.entries(seen.byAsk).map(([ask, samples]) => [ask, spread(samples)])),
    memoryBytes: Math.round(seen.memoryBytes),
  };
}
{
  const seen = measureGpus(10_000, decisions, nowMs);
  targets.push(
    atMost("10,000 hosts with 80,000 GPUs: one decision about GPUs, p99", p99(seen.placedMs), 2, "ms"),
    atMost("10,000 hosts with 80,000 GPUs: one decision about a machine without, p99", p99(seen.plainMs), 1, "ms"),
    atMost("10,000 hosts with 80,000 GPUs: a change of a machine", seen.updateMicroseconds, 20, "µs"),
  );
  details["GPUs"] = { ...seen, placedMs: spread(seen.placedMs), plainMs: spread(seen.plainMs) };
}
publish(targets, details);
