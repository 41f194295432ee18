/**
 * Why a host must not be put to sleep now: what it holds, what its cluster would lack. For the power controllers, and for the API, which refuses
 * on it before anything is begun. Changes nothing.
 */
import { powerRefusal, serverMembersPrefix, type RecordOf } from "@sheaf/model";
import { failOverRoom, type SnapshotIndex } from "@sheaf/scheduling";
import type { Store } from "@sheaf/store";
import { powerOf } from "./cluster-problem.ts";
import type { RecordCache } from "./context.ts";
import { clusterOf } from "./records.ts";

type Host = RecordOf<"host">;

export interface SleepSite {
  readonly cache: RecordCache;
  readonly snapshot: SnapshotIndex;
}

/** @returns `null`: nothing speaks against it */
export function sleepHindrance(host: Host, { cache, snapshot }: SleepSite): string | null {
  const lasting = lastingHindrance(host, volumesHeldAlone(cache));
  if (lasting !== null) return lasting;
  if (host.deletedAt !== undefined) return "it is being removed";
  // Reservations and migrations under way count as machines.
  const machines = snapshot.usage(host.id)?.machines ?? 0;
  if (machines > 0) return `${machines} ${machines === 1 ? "machine is" : "machines are"} placed there: \`sheaf host drain\` empties it`;
  const cluster = clusterOf(host, cache);
  const others = [...cache.all("host")].filter((other) => other.id !== host.id && other.spec.cluster === host.spec.cluster && isAwake(other));
  if (others.length === 0) return "it is the last host of its cluster that is awake";
  if (!cluster) return null;
  const empty = others.filter(({ id }) => (snapshot.usage(id)?.machines ?? 0) === 0).length;
  const { spareHosts } = powerOf(cluster);
  if (empty < spareHosts) return `its cluster keeps ${spareHosts} hosts without machines awake (power.spareHosts), and ${empty} would be left`;
  const room = failOverRoom(snapshot, cluster.id, new Set([host.id]));
  return room !== undefined && room.spareMemoryBytes < 0 ? "its cluster would lack the room that it keeps for the loss of hosts" : null;
}

/**
 * What would keep it awake also were its machines elsewhere.
 * @param volumes what hosts hold alone
 * @returns `null`: nothing
 */
export function lastingHindrance(host: Host, volumes: ReadonlyMap<string, string>): string | null {
  const refusal = powerRefusal("sleep", host.spec, host.status);
  if (refusal !== null) return refusal;
  const volume = volumes.get(host.id);
  if (volume !== undefined) return `volume ${volume} lies there alone`;
  const active = host.status.agent?.unmanaged.find(({ state }) => state === "running" || state === "paused");
  if (active) return `domain ${active.name}, which is not Sheaf's, runs there`;
  if (isLocalTo(host)) return "a Sheaf server runs on the same machine";
  return null;
}

/** By host: a volume in a local pool that would not go along with a machine of that host. O(volumes and machines). */
export function volumesHeldAlone(cache: RecordCache): Map<string, string> {
  const hostOf = new Map<string, string>();
  for (const { spec, placement } of cache.all("vm"))
    for (const { volume } of spec.disks) if (volume !== undefined && placement) hostOf.set(volume, placement.host);
  const held = new Map<string, string>();
  for (const { id, name, spec, placement } of cache.all("volume"))
    if (placement && hostOf.get(id) !== placement.host && cache.get("pool", spec.pool)?.spec.type !== "shared") held.set(placement.host, name);
  return held;
}

const isAwake = ({ spec, status }: Host): boolean => spec.schedulable === "open" && status.liveness?.state === "ready" && status.power === undefined;

/** Its agent reaches the server by the loopback: both are on one machine. */
const isLocalTo = ({ status: { agent } }: Host): boolean => agent !== undefined && /^(127\.|::1$|localhost$)/.test(agent.address);

/** Whether one of the site's servers runs on this host, by the names and addresses that the servers give themselves. */
export async function holdsServer({ name, status: { agent } }: Host, store: Pick<Store, "range">): Promise<boolean> {
  const own = new Set([name, agent?.hostname, agent?.address, ...(agent?.interfaces ?? []).flatMap(({ addresses }) => addresses.map(bare))]);
  const { entries } = await store.range({ prefix: serverMembersPrefix });
  return entries.some(({ value }) => serverNames(value).some((each) => own.has(each)));
}

const bare = (address: string): string => address.split("/", 1)[0] ?? address;

/** As servers write themselves: `url`, `agentUrl`. */
function serverNames(value: string): string[] {
  const { url, agentUrl, name } = JSON.parse(value) as { readonly url?: string; readonly agentUrl?: string; readonly name?: string }; // server-directory's
  const named = [url, agentUrl].flatMap((each) =>
    each !== undefined && URL.canParse(each) ? [new URL(each).hostname.replaceAll(/^\[|\]$/g, "")] : [],
  );
  return [...named, ...named.map((each) => each.split(".", 1)[0] ?? each), ...(name === undefined ? [] : [name])];
}
