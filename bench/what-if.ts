/**
 * What questions of what-if take at 10,000 hosts and 100,000 machines, on one core: the copy of the scheduler's picture, ten more hosts with
 * 500 machines that wait, a host taken away, and how many more machines would fit.
 */
import { SimulatedClock } from "@sheaf/base";
import { copySite, type EvacuationSite, ifHostsAdded, ifHostsRemoved, type RecordCache } from "@sheaf/controllers";
import type { AnyRecord, Kind, RecordOf } from "@sheaf/model";
import { SnapshotIndex } from "@sheaf/scheduling";
import { atMost, publish, rounded } from "./outcome.ts";
import { PlacementSite } from "./placement-site.ts";
import { nowMs } from "./thread-time.ts";

const hosts = 10_000;
const machines = 100_000;
const waiting = 500;

const site = new PlacementSite(hosts, 1);
const records = [...site.records(machines)];
for (let number = 0; number < waiting; number += 1) records.push(...site.machine("impossible"));
const snapshot = new SnapshotIndex();
const byKind = new Map<Kind, Map<string, AnyRecord>>();
for (const record of records) {
  const ofKind = byKind.get(record.kind) ?? new Map<string, AnyRecord>();
  byKind.set(record.kind, ofKind.set(record.id, record));
  snapshot.update({ type: "upsert", record });
}
const cache = {
  get: (kind: Kind, id: string) => byKind.get(kind)?.get(id),
  all: (kind: Kind) => byKind.get(kind)?.values() ?? [],
  subscribe: () => () => {},
} as unknown as RecordCache; // what is asked of it
const agents: EvacuationSite["agents"] = { connected: () => true };
const open = [...cache.all("host")].filter((host) => host.spec.schedulable === "open" && host.status.liveness?.state === "ready");

const copies: number[] = [];
async function copy(): Promise<SnapshotIndex> {
  const clock = new SimulatedClock();
  const from = nowMs();
  const making = copySite(cache, snapshot, clock);
  let done = false;
  void making.then(() => (done = true));
  await clock.advanceUntil(() => done, 60_000);
  copies.push(nowMs() - from);
  return making;
}

async function took(work: (made: SnapshotIndex) => unknown): Promise<number> {
  const figures: number[] = [];
  for (let turn = 0; turn < 3; turn += 1) {
    const made = await copy();
    const from = nowMs();
    work(made);
    figures.push((copies.at(-1) ?? 0) + nowMs() - from);
  }
  return figures.toSorted((one, other) => one - other)[1] ?? Number.NaN;
}

const like = open[0] ?? nobody();
const { volumes: _volumes, ...plain } = snapshot.request(machineOf(site.machine("plain")));
const size = { ...plain, vm: "asked", volumes: [], unknownVolumes: [] };
/** Large enough for those that wait. */
const shape = { cpus: 512, memoryBytes: 8192 * 2 ** 30 };
let placed = 0;
const added = await took((made) => (placed = ifHostsAdded({ like, count: 10, shape }, made, cache).placed.length));
let room: unknown;
const counted = await took((made) => (room = ifHostsAdded({ like, count: 10, shape, size }, made, cache).room));
const busiest = open.toSorted((one, other) => (snapshot.usage(other.id)?.machines ?? 0) - (snapshot.usage(one.id)?.machines ?? 0))[20] ?? nobody();
let moves = 0;
// Machines that run, and so can move.
for (const vm of cache.all("vm"))
  if (vm.placement?.host === busiest.id) {
    const agent = { state: "running", epoch: 1, host: busiest.id, observedGeneration: 1, startRequestSeen: 0, pendingChanges: [] };
    byKind.get("vm")?.set(vm.id, { ...vm, status: { agent } } as unknown as AnyRecord); // what is looked at of it
  }
const removed = await took((made) => (moves = ifHostsRemoved([busiest], { cache, agents, snapshot: made }).moves.length));

publish(
  [
    atMost("ten more hosts, with 500 machines that wait", added, 2000, "ms"),
    atMost("the same, and how many more machines would fit", counted, 2000, "ms"),
    atMost("a host taken away", removed, 2000, "ms"),
  ],
  { copyMs: rounded(copies.toSorted((one, other) => one - other)[copies.length >> 1] ?? Number.NaN), placed, room, moves },
);

function machineOf([vm]: ReturnType<PlacementSite["machine"]>): RecordOf<"vm"> {
  return vm;
}
function nobody(): never {
  throw new Error("no host is open");
}
