/** What more hosts, or fewer, would come to: asked of a copy of the scheduler's picture, answered in names. Called by the routes; changes nothing. */
import { copySite, ifHostsAdded, ifHostsRemoved, mostMachines } from "@sheaf/controllers";
import { type RecordOf, SheafError } from "@sheaf/model";
import type { PlacementRequest } from "@sheaf/scheduling";
import type { ServerContext } from "../context.ts";

type Context = Pick<ServerContext, "cache" | "snapshot" | "clock" | "agents">;

export interface AdditionQuery {
  readonly count: number;
  readonly like?: RecordOf<"host"> | undefined;
  /** Id. */
  readonly cluster?: string | undefined;
  readonly cpus?: number | undefined;
  readonly memoryBytes?: number | undefined;
  readonly size?: PlacementRequest | undefined;
}

/** Machines that are named; all are counted. */
const mostNamed = 1000;

/** @throws SheafError `state-refused` where there is no host that they could be like */
export async function hostAddition(query: AdditionQuery, context: Context) {
  const { cache, snapshot, clock } = context;
  const like = query.like ?? firstOf(query.cluster, context);
  const agent = like?.status.agent;
  if (like === undefined || agent === undefined)
    throw new SheafError(
      "state-refused",
      like === undefined ? "There is no host that the new ones could be like." : `Nothing is known of host ${like.name} yet.`,
      {
        next: "Name one that is ready with `like`.",
      },
    );
  const { count, cpus, memoryBytes, size } = query;
  const copy = await copySite(cache, snapshot, clock);
  const found = ifHostsAdded({ like, count, shape: { cpus, memoryBytes }, size }, copy, cache);
  const names = (id: string): string => found.added.get(id) ?? nameOf(id, context);
  return {
    cluster: cache.get("cluster", like.spec.cluster)?.name ?? like.spec.cluster,
    host: { like: like.name, cpus: cpus ?? agent.cpu.count, memoryBytes: memoryBytes ?? agent.memoryBytes },
    before: found.before,
    after: found.after,
    placedCount: found.placed.length,
    placed: found.placed.slice(0, mostNamed).map(({ vm, host }) => ({ ...named(vm), host: names(host) })),
    waitingCount: found.waiting.length,
    waiting: found.waiting.slice(0, mostNamed).map(({ vm, why }) => ({ ...named(vm), why })),
    ...(found.room ? { room: { ...found.room, more: found.room.after >= mostMachines } } : {}),
  };
}

export async function hostRemoval(hosts: readonly RecordOf<"host">[], context: Context) {
  const { cache, snapshot, clock, agents } = context;
  const copy = await copySite(cache, snapshot, clock);
  const { clusters, moves, stuck, moving } = ifHostsRemoved(hosts, { cache, agents, snapshot: copy });
  const names = (id: string): string => nameOf(id, context);
  return {
    clusters: clusters.map(({ cluster, ...outlook }) => ({ cluster: cache.get("cluster", cluster)?.name ?? cluster, ...outlook })),
    moveCount: moves.length,
    moves: moves.slice(0, mostNamed).map(({ vm, from, to }) => ({ ...named(vm), from: names(from), to: names(to) })),
    stuckCount: stuck.length,
    stuck: stuck.slice(0, mostNamed).map(({ vm, from, why }) => ({ ...named(vm), from: names(from), why })),
    moving,
  };
}

/** The one with the least identifier: always the same. */
function firstOf(cluster: string | undefined, { cache }: Context): RecordOf<"host"> | undefined {
  let first: RecordOf<"host"> | undefined;
  for (const host of cache.all("host")) {
    if (cluster !== undefined && host.spec.cluster !== cluster) continue;
    if (host.spec.schedulable !== "open" || host.status.liveness?.state !== "ready" || host.status.agent === undefined) continue;
    if (first === undefined || host.id < first.id) first = host;
  }
  return first;
}

const named = ({ id, name }: RecordOf<"vm">) => ({ vm: id, name });
const nameOf = (id: string, { cache }: Context): string => cache.get("host", id)?.name ?? id;
