/**
 * Lets preemptible machines give way to more important ones that fit nowhere, and brings them back when there is room. Sole writer of the machines'
 * parts `status/claim` (the room that is kept for the one, and who is to leave it) and `status/yield` (that the other is to stop until its room is free
 * again). Both are written in one transaction: whatever dies between, the next server finds who waits for whom. Placement gives the claimed host, agents stop
 * those that give way, and only when their agent has said that they run no more does the snapshot count their room as free.
 * All is decided by one look (key `look`); asks scheduling who is to give way.
 */
import { uuidv7 } from "@sheaf/base";
import { hasGivenWay, partKey, type Placement, type RecordOf, type TaskProgress, type TaskSpec, type VmClaim, type VmYield } from "@sheaf/model";
import { failOverRefusal } from "@sheaf/planning";
import { giveWay, place, refusalsOf, wayWords, type PlacementRequest, type SnapshotIndex, type WayMade } from "@sheaf/scheduling";
import type { Compare } from "@sheaf/store";
import { commit, Overtaken } from "./commit.ts";
import type { ControllerContext, RecordChange } from "./context.ts";
import type { Controller } from "./controller.ts";
import { newTask, type MachineMoves } from "./machine-moves.ts";
import { put } from "./packed-commit.ts";
import { volumesOf } from "./records.ts";
import type { SiteIndex } from "./site-index.ts";

type Vm = RecordOf<"vm">;

/** A machine that could not be moved to where there is room is tried again after so long. */
const moveAgainMs = 600_000;

export interface PreemptionParts {
  readonly index: SiteIndex;
  readonly snapshot: SnapshotIndex;
  readonly moves: MachineMoves;
}

export function preemptionController(context: ControllerContext, { index, snapshot, moves }: PreemptionParts): Controller {
  const { cache, clock, random, logger, settings } = context;
  const claiming = new Set<string>();
  const yielding = new Set<string>();
  /** Highly available machines whose host was lost and that have not found another. */
  const lost = new Set<string>();
  let lookedAt = Number.NEGATIVE_INFINITY;
  return {
    name: "preemption",
    reads: ["vm", "host", "cluster", "pool", "network"],
    writes: ["vm/status/claim", "vm/status/yield", "task/spec (give-way; moves of who gave way)", "task/status/controller (give-way)"],
    initialKeys() {
      claiming.clear();
      yielding.clear();
      lost.clear();
      for (const vm of cache.all("vm")) note(vm.id, vm);
      return ["look"];
    },
    keysFor: (change) => (concerns(change) ? ["look"] : []),
    async reconcile() {
      const waitMs = lookedAt + settings.placementBatchMs - clock.monotonic();
      if (waitMs > 0) return waitMs;
      lookedAt = clock.monotonic();
      for (const id of [...claiming]) await followClaim(id);
      await bringBack();
      for (const vm of waiting()) await makeRoom(vm);
      return undefined;
    },
  };

  function note(id: string, vm: Vm | undefined): void {
    if (vm?.status.claim === undefined) claiming.delete(id);
    else claiming.add(id);
    if (vm?.status.yield === undefined) yielding.delete(id);
    else yielding.add(id);
    if (vm?.status.failover?.state === "waiting") lost.add(id);
    else lost.delete(id);
  }

  /** Whether somebody waits whom it may help. */
  function concerns({ kind, id, record, previous }: RecordChange): boolean {
    if (kind === "vm") {
      const [vm, before] = [record, previous] as (Vm | undefined)[]; // the kind says so
      note(id, vm);
      if (vm?.status.claim !== undefined || vm?.status.yield !== undefined) return true;
      if (vm?.status.placement?.pending !== undefined && vm.status.placement !== before?.status.placement) return true;
      if (vm?.status.failover?.state === "waiting" && vm.status.failover !== before?.status.failover) return true;
      const makesRoom = before && (vm?.placement !== before.placement || vm?.spec !== before.spec || vm.status.migration !== before.status.migration);
      return makesRoom === true && somebodyWaits();
    }
    const mayMakeRoom = kind === "host" || kind === "cluster" || kind === "pool" || kind === "network";
    return mayMakeRoom && somebodyWaits();
  }

  function somebodyWaits(): boolean {
    return claiming.size > 0 || yielding.size > 0 || lost.size > 0 || index.unplacedVms.size > 0;
  }

  /** A claim ends when its machine is placed, or when the host would not take it even without those that are still to leave. */
  async function followClaim(id: string): Promise<void> {
    const vm = cache.get("vm", id);
    const claim = vm?.status.claim;
    if (!vm || !claim) return;
    const isPlaced = vm.placement !== undefined && !isLost(vm);
    if (isPlaced || vm.deletedAt !== undefined) return drop(vm, "claim", claim);
    const leaving = claim.victims.filter((victim) => cache.get("vm", victim)?.status.yield?.to === id);
    const refusals = snapshot.without(leaving, () => refusalsOf(snapshot.request(vm), claim.host, snapshot));
    if (refusals.length === 0) return;
    logger.info({ vm: vm.name, refusals }, "a claim is given up: its host cannot take the machine any more");
    await drop(vm, "claim", claim);
  }

  /** The most important first, on their own hosts; where these stay full, elsewhere. */
  async function bringBack(): Promise<void> {
    const machines = [...yielding].flatMap((id) => cache.get("vm", id) ?? []);
    machines.sort((a, b) => b.spec.priority - a.spec.priority || (a.id < b.id ? -1 : 1));
    for (const vm of machines) {
      const { placement, status } = vm;
      if (status.yield === undefined || vm.deletedAt !== undefined) continue;
      if (placement === undefined || status.yield.epoch !== placement.epoch) await drop(vm, "yield", status.yield);
      else if (!moves.moving(vm)) await bringOneBack(vm, placement.host, status.yield);
    }
  }

  async function bringOneBack(vm: Vm, hostId: string, mark: VmYield): Promise<void> {
    const request = snapshot.request(vm);
    if (refusalsOf(request, hostId, snapshot).length === 0) {
      snapshot.reserve(request, hostId);
      try {
        await drop(vm, "yield", mark);
        logger.info({ vm: vm.name }, "a machine that gave way may run again");
      } finally {
        snapshot.release(request);
      }
      return;
    }
    const source = cache.get("host", hostId);
    const failed = moves.failure(vm.id, hostId);
    if (!source || !hasGivenWay(vm) || vm.spec.power === "stopped" || (failed && clock.now() - failed.at < moveAgainMs)) return;
    if (moves.refusal(vm, hostId) !== null) return;
    const reserved: PlacementRequest[] = [];
    try {
      const chosen = moves.choose(vm, source, reserved);
      if ("host" in chosen) await moves.start(vm.id, chosen.host, undefined);
    } finally {
      for (const one of reserved) moves.release(one);
    }
  }

  /** Refused machines that are to run, the most important first. */
  function waiting(): Vm[] {
    const found: Vm[] = [];
    for (const id of index.unplacedVms) {
      const vm = cache.get("vm", id);
      if (vm?.status.placement?.pending === undefined || vm.status.claim !== undefined || vm.spec.power === "stopped") continue;
      // For one of a gang nobody is stopped: the others may still find no room.
      if (vm.spec.placement.gang === undefined && context.heldBack?.(vm) !== true) found.push(vm);
    }
    for (const id of lost) {
      const vm = cache.get("vm", id);
      if (!vm || !isLost(vm) || vm.status.claim !== undefined) continue;
      const refusal = failOverRefusal({
        vm,
        heldBack: context.heldBack?.(vm) === true,
        volumes: volumesOf(vm, cache),
        pool: (pool) => cache.get("pool", pool),
      });
      if (refusal === null) found.push(vm);
    }
    return found.sort((a, b) => b.spec.priority - a.spec.priority || (a.id < b.id ? -1 : 1));
  }

  /** It waits for another host since its own was cut off. */
  function isLost({ placement, status: { failover } }: Vm): boolean {
    if (placement === undefined || failover?.state !== "waiting" || failover.from !== placement.host) return false;
    return cache.get("host", placement.host)?.status.fencing?.state === "fenced";
  }

  async function makeRoom(vm: Vm): Promise<void> {
    const own = cache.get("host", vm.placement?.host ?? "");
    const request = { ...snapshot.request(vm), ...(own === undefined ? {} : { cluster: own.spec.cluster }) };
    const way = giveWay(request, snapshot);
    // Where there is room by now, placement is about to give it.
    if (way === undefined || !place(request, snapshot).none) return;
    const placementKey = partKey("vm", vm.id, "placement");
    const placement = await context.store.get(placementKey);
    const there = placement === null ? undefined : (JSON.parse(placement.value) as Placement).host; // written by this package alone
    if (there !== vm.placement?.host) return;
    const victims = way.victims.flatMap(({ vm: id }) => cache.get("vm", id) ?? []);
    const now = clock.now();
    const then = [put(partKey("vm", vm.id, "status/claim"), claimOf(way, vm, now))];
    const compare: Compare[] = [
      { key: partKey("vm", vm.id, "spec"), modRevision: vm.specRevision },
      { key: placementKey, modRevision: placement?.modRevision ?? 0 },
      { key: partKey("vm", vm.id, "status/claim"), modRevision: 0 },
    ];
    for (const victim of victims) {
      compare.push(
        { key: partKey("vm", victim.id, "spec"), modRevision: victim.specRevision },
        { key: partKey("vm", victim.id, "status/yield"), modRevision: 0 },
        { key: partKey("vm", victim.id, "status/migration"), modRevision: 0 },
      );
      then.push(put(partKey("vm", victim.id, "status/yield"), yieldOf(victim, vm, now)), ...receipt(victim, vm, now));
    }
    // Nobody else is to decide on that room meanwhile.
    snapshot.reserve(request, way.host);
    const result = await commit(context, { compare, then }).finally(() => snapshot.release(request));
    if (!result.succeeded) throw new Overtaken(`machine ${vm.name}, or one that was to give way to it, changed meanwhile`);
    logger.info({ vm: vm.name, host: way.host, victims: victims.map(({ name }) => name) }, "machines give way");
  }

  /** Each machine that gives way has a task that says so. */
  function receipt(victim: Vm, to: Vm, now: number) {
    const id = uuidv7(now, random);
    const spec: TaskSpec = {
      verb: "give-way",
      target: { kind: "vm", id: victim.id, name: victim.name },
      parameters: { to: to.id },
      requestedBy: "system",
    };
    const message = `it stops and gives way to ${nameFor(victim, to)} (priority ${to.spec.priority}, its own ${victim.spec.priority}); it is started again when there is room`;
    const progress: TaskProgress = { state: "succeeded", message, percent: 100, startedAt: now, endedAt: now };
    return [put(partKey("task", id, "spec"), newTask(id, spec, now, victim.project)), put(partKey("task", id, "status/controller"), progress)];
  }

  async function drop(vm: Vm, part: "claim" | "yield", seen: VmClaim | VmYield): Promise<void> {
    const key = partKey("vm", vm.id, `status/${part}`);
    const entry = await context.store.get(key);
    // Another one has been written since: it is looked at by itself.
    if (entry === null || (JSON.parse(entry.value) as typeof seen).since !== seen.since) return; // written here alone
    const result = await commit(context, { compare: [{ key, modRevision: entry.modRevision }], then: [{ delete: key }] });
    if (!result.succeeded) throw new Overtaken(`machine ${vm.name} changed meanwhile`);
  }
}

const claimOf = (way: WayMade, { project }: Vm, since: number): VmClaim => ({
  host: way.host,
  victims: way.victims.map(({ vm }) => vm),
  reason: `it waits for others to stop: ${wayWords(way, project)}`,
  since,
});

const yieldOf = (victim: Vm, to: Vm, since: number): VmYield => ({
  epoch: victim.placement?.epoch ?? 0,
  to: to.id,
  reason: `it gave way to ${nameFor(victim, to)}, which is more important; it is started again when there is room`,
  since,
});

/** What a project may hear of another's machines is that there are some. */
const nameFor = (victim: Vm, to: Vm): string => (victim.project === to.project ? to.name : "a machine of another project");
