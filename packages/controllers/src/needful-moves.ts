/**
 * Moves that a cluster needs whatever its balancing is for: machines that stand where a rule forbids it are moved, and room is made for a machine
 * that fits nowhere although enough is free in pieces. For the balancing controller and the API. Changes nothing.
 */
import type { AdviceCause, RecordOf } from "@sheaf/model";
import { planMending, planRoom, type OrderedMove } from "@sheaf/planning";
import { brokenRules, lacksOnlyRoom, type PlacementRequest, type SnapshotIndex } from "@sheaf/scheduling";
import type { BalanceSite, ClusterProblem } from "./cluster-problem.ts";

type Vm = RecordOf<"vm">;

export interface NeedfulMoves {
  readonly cause: AdviceCause;
  readonly moves: readonly OrderedMove[];
  readonly reason: (move: OrderedMove) => string;
}

export interface MoveLimits {
  readonly hotUse: number;
  readonly maximumMoves: number;
}

/** So many machines that wait are looked at for one plan, of different sizes: each costs a look at all hosts. */
const mostWaiting = 5;

/** Whether there may be any: cheap, asked at every look. O(machines + hosts) */
export const callsForMoves = (cluster: RecordOf<"cluster">, site: BalanceSite, { vms, hosts }: ClusterProblem): boolean =>
  vms.some((vm) => breaksRules(vm, site.snapshot)) ||
  waitingIn(cluster, site).some(({ request }) => hosts.some(({ id }) => lacksOnlyRoom(request, id, site.snapshot)));

/** Broken rules come first: what waits may need the room that they leave. `undefined`: nothing is to be done, or can be. */
export function needfulMoves(cluster: RecordOf<"cluster">, site: BalanceSite, seen: ClusterProblem, limits: MoveLimits): NeedfulMoves | undefined {
  return mending(site, seen, limits) ?? room(cluster, site, seen, limits);
}

/** Whether what moves were needed for is still so. @returns why not; `null`: it is */
export function causeGone(cause: AdviceCause, machines: readonly Vm[], { cache, snapshot }: Pick<BalanceSite, "cache" | "snapshot">): string | null {
  if (cause.kind === "rules") return machines.some((vm) => breaksRules(vm, snapshot)) ? null : "its machines break no rule any more";
  return waits(cache.get("vm", cause.vm)) ? null : `${cause.name} does not wait any more`;
}

function mending({ snapshot }: BalanceSite, { problem, vms, hosts }: ClusterProblem, limits: MoveLimits): NeedfulMoves | undefined {
  const why = new Map<number, string>();
  const misplaced = vms.flatMap((vm, machine) => {
    if (!hasRules(vm)) return [];
    const { reasons, groups } = brokenRules(snapshot.request(vm, "move"), vm.placement?.host ?? "", snapshot);
    if (reasons.length === 0) return [];
    why.set(machine, `${hosts[problem.machines[machine]?.host ?? -1]?.name ?? "its host"} ${reasons.join(", ")}`);
    return [{ machine, groups }];
  });
  const moves = misplaced.length === 0 ? [] : planMending(problem, misplaced, limits);
  return moves.length === 0 ? undefined : { cause: { kind: "rules" }, moves, reason: ({ machine }) => why.get(machine) ?? "makes way" };
}

function room(cluster: RecordOf<"cluster">, site: BalanceSite, { problem, hosts }: ClusterProblem, limits: MoveLimits): NeedfulMoves | undefined {
  for (const { vm, request } of waitingIn(cluster, site)) {
    const mayRun = (host: number): boolean => lacksOnlyRoom(request, hosts[host]?.id ?? "", site.snapshot);
    const plan = planRoom(problem, { cpus: request.cpus, memoryBytes: request.memoryBytes, mayRun }, limits);
    if (!plan || plan.moves.length === 0) continue;
    const reason = (): string => `makes room for ${vm.name} on ${hosts[plan.host]?.name ?? "its host"}`;
    return { cause: { kind: "room", vm: vm.id, name: vm.name }, moves: plan.moves, reason };
  }
  return undefined;
}

interface Waiting {
  readonly vm: Vm;
  readonly request: PlacementRequest;
}

/** Those that would come into this cluster, the most important first; a few, of different sizes. */
function waitingIn(cluster: RecordOf<"cluster">, { cache, snapshot }: BalanceSite): Waiting[] {
  const here = (wanted: string | undefined): boolean => wanted === undefined || wanted === cluster.id || wanted === cluster.name;
  const all = [...cache.all("vm")].filter((vm) => waits(vm) && here(vm.spec.placement.cluster));
  const bySize = new Map<string, Waiting>();
  for (const vm of all.sort((a, b) => b.spec.priority - a.spec.priority || a.createdAt - b.createdAt || (a.id < b.id ? -1 : 1))) {
    if (bySize.size >= mostWaiting) break;
    const request = snapshot.request(vm, "place");
    // Whose promises are weighed otherwise are not counted here.
    if (request.hugepages || request.terms !== undefined) continue;
    const size = JSON.stringify([request.cpus, request.memoryBytes, request.hostSelector, request.apart, request.rules, request.networks]);
    if (!bySize.has(size)) bySize.set(size, { vm, request });
  }
  return [...bySize.values()];
}

const waits = (vm: Vm | undefined): vm is Vm =>
  vm !== undefined &&
  vm.placement === undefined &&
  vm.status.placement?.pending !== undefined &&
  vm.spec.power !== "stopped" &&
  vm.deletedAt === undefined;

const breaksRules = (vm: Vm, snapshot: SnapshotIndex): boolean =>
  hasRules(vm) && brokenRules(snapshot.request(vm, "move"), vm.placement?.host ?? "", snapshot).reasons.length > 0;

/** Most have none: they are not looked at any further. */
function hasRules({ spec: { placement } }: Vm): boolean {
  const { cluster, host, hostSelector, together, apart, rules, neighbours, licences } = placement;
  if ([cluster, host, together, apart, neighbours].some((rule) => rule !== undefined) || Object.keys(hostSelector).length > 0) return true;
  return (rules?.length ?? 0) > 0 || (licences?.length ?? 0) > 0;
}
