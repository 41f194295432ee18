/**
 * Decides which hosts of clusters with `power.mode: automatic` sleep and which are woken, and makes tasks of it, which the host-power controller
 * carries out: for machines that wait for room, before use grows above what hosts carry, and where hosts have nothing to do. Asks planning/power.
 */
import { uuidv7 } from "@sheaf/base";
import { partKey, wakeMethods, type ClusterPower, type RecordOf, type TaskSpec } from "@sheaf/model";
import { planClusterPower, type BalanceProblem, type ClusterPowerInput, type PowerChange, type PowerHost, type UseBook } from "@sheaf/planning";
import { fitsWhenWoken, place, type PlacementRequest, type SnapshotIndex } from "@sheaf/scheduling";
import { balancingOf, powerOf, problemOf } from "./cluster-problem.ts";
import { commit, Overtaken } from "./commit.ts";
import type { ControllerContext } from "./context.ts";
import type { Controller } from "./controller.ts";
import { newTask } from "./machine-moves.ts";
import { put } from "./packed-commit.ts";
import type { SiteIndex } from "./site-index.ts";
import { sleepHindrance } from "./sleep-hindrance.ts";

type Cluster = RecordOf<"cluster">;
type Host = RecordOf<"host">;
type Vm = RecordOf<"vm">;

/** Machines that wait and are looked at at once: each look wakes what they need, and there is another one soon. */
const mostWaiting = 64;

/** Of all machines together: now, or in the busiest of the hours to come that are known. */
function mostCpus({ machines, hoursAhead = 0 }: BalanceProblem): number {
  let most = machines.reduce((sum, { usedCpus }) => sum + usedCpus, 0);
  for (let hour = 0; hour < hoursAhead; hour += 1)
    most = Math.max(
      most,
      machines.reduce((sum, { aheadCpus, usedCpus }) => sum + (aheadCpus?.[hour] ?? usedCpus), 0),
    );
  return most;
}

/** A host's certificate is renewed thirty days before its end: none sleeps through that. */
const longestSleepMs = 21 * 86_400_000;

export interface PowerDemandParts {
  readonly index: SiteIndex;
  readonly snapshot: SnapshotIndex;
  readonly book: UseBook;
}

export function powerDemandController(context: ControllerContext, { index, snapshot, book }: PowerDemandParts): Controller {
  const { agents, cache, clock, random, settings, logger } = context;
  /** Clusters with hosts that sleep: only they are woken by machines that wait. */
  const withSleepers = new Set<string>();
  return {
    name: "power-demand",
    reads: ["cluster", "host", "vm"],
    writes: ["task/spec (sleep, wake of a host, in automatic mode)"],
    initialKeys: () => [...cache.all("cluster")].map(({ id }) => id),
    *keysFor({ kind, id, record, previous }) {
      if (kind === "cluster") yield id;
      else if (kind === "host") {
        const [host, before] = [record as Host | undefined, previous as Host | undefined]; // the kind says so
        if (host && host.status.power?.state !== before?.status.power?.state) yield host.spec.cluster;
      } else if (kind === "vm") {
        const [vm, before] = [record as Vm | undefined, previous as Vm | undefined]; // as above
        const waits = vm?.status.placement !== before?.status.placement || vm?.status.failover !== before?.status.failover;
        if (vm && (waits || vm.placement !== before?.placement)) yield* withSleepers;
      }
    },
    async reconcile(clusterId) {
      const cluster = cache.get("cluster", clusterId);
      if (!cluster || cluster.deletedAt !== undefined) return undefined;
      const power = powerOf(cluster);
      const members = [...cache.all("host")].filter((host) => host.spec.cluster === cluster.id && host.deletedAt === undefined);
      if (members.some(({ status }) => status.power !== undefined)) withSleepers.add(clusterId);
      else withSleepers.delete(clusterId);
      const automatic = power.mode === "automatic";
      if (!automatic && !withSleepers.has(clusterId)) return undefined;
      const hosts = members.toSorted((a, b) => (a.id < b.id ? -1 : 1));
      const plan = automatic ? planClusterPower(inputOf(cluster, power, hosts)) : { wake: strandedOn(hosts), sleep: [] };
      for (const change of plan.wake) await ask("wake", change);
      for (const change of plan.sleep) await ask("sleep", change);
      return settings.powerLookMs;
    },
  };

  function inputOf(cluster: Cluster, power: ClusterPower, hosts: readonly Host[]): ClusterPowerInput {
    const { hotPercent } = balancingOf(cluster);
    const { problem, hosts: known } = problemOf(cluster, { cache, clock, agents, snapshot, book });
    const own = new Map(known.map(({ id }, at) => [id, problem.hosts[at]]));
    const all = hosts.flatMap((host): PowerHost[] => {
      const state = stateOf(host);
      const usage = snapshot.usage(host.id);
      if (state === null || !usage) return [];
      const balanced = own.get(host.id);
      const cpus = balanced?.cpus ?? host.status.agent?.cpu.count ?? 0;
      return [
        {
          id: host.id,
          state,
          cpus,
          memoryBytes: balanced?.memoryBytes ?? host.status.agent?.memoryBytes ?? 0,
          usedCpus: balanced?.usedCpus ?? 0,
          usedMemoryBytes: balanced?.usedMemoryBytes ?? 0,
          promisableCpus: balanced?.promisableCpus ?? usage.cpuCapacity,
          promisableMemoryBytes: balanced?.promisableMemoryBytes ?? usage.memoryCapacityBytes,
          rested: isRested(host, power),
          overdue: host.status.power?.state === "asleep" && clock.now() - host.status.power.since > longestSleepMs,
          idleWatts: host.spec.powerWatts?.[0] ?? cpus,
        },
      ];
    });
    const { wanted, somethingWaits } = wantedHosts(cluster, hosts);
    const allKnown = all.every(({ id, state }) => state !== "awake" || own.has(id));
    const sum = (figure: (machine: (typeof problem.machines)[number]) => number): number =>
      problem.machines.reduce((total, one) => total + figure(one), 0);
    return {
      hosts: all,
      taken: allKnown
        ? {
            cpus: mostCpus(problem),
            memoryBytes: sum(({ usedMemoryBytes }) => usedMemoryBytes),
            promisedCpus: sum(({ promisedCpus }) => promisedCpus),
            promisedMemoryBytes: sum(({ promisedMemoryBytes }) => promisedMemoryBytes),
          }
        : undefined,
      wanted,
      somethingWaits,
      hotUse: hotPercent / 100,
      targetUse: Math.min(power.targetPercent, hotPercent) / 100,
      spareHosts: power.spareHosts,
      hindrance: (id) => {
        const host = cache.get("host", id);
        return host ? sleepHindrance(host, { cache, snapshot }) : "it is gone";
      },
    };
  }

  /** `null`: it counts neither way. */
  function stateOf({ spec, status }: Host): PowerHost["state"] | null {
    if (spec.schedulable !== "open") return null;
    switch (status.power?.state) {
      case undefined:
        return status.liveness?.state === "ready" ? "awake" : null;
      case "falling-asleep":
        return "going";
      case "asleep":
        return wakeMethods(spec).length > 0 ? "asleep" : null;
      case "waking":
        return "coming";
      case "not-woken":
        return null;
    }
  }

  function isRested({ status: { power, liveness } }: Host, { minimumAwakeMinutes, minimumAsleepMinutes }: ClusterPower): boolean {
    if (power) return clock.now() - power.since >= minimumAsleepMinutes * 60_000;
    return clock.now() - (liveness?.since ?? clock.now()) >= minimumAwakeMinutes * 60_000;
  }

  /** Machines that were placed on a host while it fell asleep: they run nowhere else. */
  function strandedOn(hosts: readonly Host[]): PowerChange[] {
    return hosts.flatMap((host) => {
      const vm = [...index.vmsOnHost(host.id)].map((id) => cache.get("vm", id)).find((each) => each && each.spec.power !== "stopped");
      return vm && host.status.power?.state === "asleep" ? [{ host: host.id, reason: `machine ${vm.name} is placed there` }] : [];
    });
  }

  function wantedHosts(cluster: Cluster, hosts: readonly Host[]): { wanted: Map<string, string>; somethingWaits: boolean } {
    const wanted = new Map(strandedOn(hosts).map(({ host, reason }) => [host, reason]));
    const coming = hosts.filter((host) => stateOf(host) === "coming").map(({ id }) => id);
    const asleep = hosts.filter((host) => stateOf(host) === "asleep").map(({ id }) => id);
    const reserved: PlacementRequest[] = [];
    let somethingWaits = false;
    try {
      for (const { vm, request } of waiting(cluster, hosts)) {
        if (reserved.length >= mostWaiting) break;
        // It was not looked at since a host came: it will be, in a moment.
        if (!place(request, snapshot).none) {
          somethingWaits = true;
          continue;
        }
        const host = [...coming, ...wanted.keys(), ...asleep].find((id) => fitsWhenWoken(request, id, snapshot));
        if (host === undefined) continue;
        somethingWaits = true;
        snapshot.reserve(request, host);
        reserved.push(request);
        if (!coming.includes(host) && !wanted.has(host)) wanted.set(host, `machine ${vm.name} fits on no host that is awake`);
      }
      return { wanted, somethingWaits };
    } finally {
      for (const request of reserved) snapshot.release(request);
    }
  }

  /** Machines that fit nowhere: new ones, and those of lost hosts. */
  function* waiting(cluster: Cluster, hosts: readonly Host[]): Generator<{ readonly vm: Vm; readonly request: PlacementRequest }> {
    for (const host of hosts) {
      if (host.status.fencing?.state !== "fenced") continue;
      for (const id of index.vmsOnHost(host.id)) {
        const vm = cache.get("vm", id);
        if (vm?.status.failover?.state === "waiting") yield { vm, request: { ...snapshot.request(vm), cluster: cluster.id } };
      }
    }
    for (const id of index.unplacedVms) {
      const vm = cache.get("vm", id);
      if (vm?.status.placement?.pending) yield { vm, request: snapshot.request(vm) };
    }
  }

  async function ask(verb: "sleep" | "wake", { host: hostId, reason }: PowerChange): Promise<void> {
    const host = cache.get("host", hostId);
    const underWay = [...index.openTasks(hostId)].some((id) => ["sleep", "wake"].includes(cache.get("task", id)?.spec.verb ?? ""));
    if (!host || underWay) return;
    const id = uuidv7(clock.now(), random);
    const spec: TaskSpec = { verb, target: { kind: "host", id: hostId, name: host.name }, parameters: { reason }, requestedBy: "system" };
    const result = await commit(context, {
      compare: [{ key: partKey("host", hostId, "spec"), modRevision: host.specRevision }],
      then: [put(partKey("task", id, "spec"), newTask(id, spec, clock.now()))],
    });
    if (!result.succeeded) throw new Overtaken(`host ${host.name} changed meanwhile`);
    logger.info({ host: host.name, why: reason }, verb === "wake" ? "a host is to be woken" : "a host is to sleep");
  }
}
