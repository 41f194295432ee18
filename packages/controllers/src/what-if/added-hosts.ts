/** Hosts that are not there, like one that is: its record with another identifier, empty, seen by the same pools and networks. Pure. */
import type { HostObservation, RecordOf } from "@sheaf/model";
import type { SnapshotIndex } from "@sheaf/scheduling";

export interface HostShape {
  readonly cpus?: number | undefined;
  readonly memoryBytes?: number | undefined;
}

/** After all that a server gives: of hosts that are equally good the one with the smaller identifier is taken, and new ones have greater ones. */
const addedHostId = (number: number): string => `ffffffff-ffff-7fff-bfff-${number.toString(16).padStart(12, "0")}`;

/** @returns names of the new hosts by their identifiers */
export function addHosts(
  snapshot: SnapshotIndex,
  like: RecordOf<"host">,
  count: number,
  shape: HostShape,
  records: { readonly pools: Iterable<RecordOf<"pool">>; readonly networks: Iterable<RecordOf<"network">> },
): ReadonlyMap<string, string> {
  const names = new Map(Array.from({ length: count }, (_, number) => [addedHostId(number + 1), `new-${number + 1}`]));
  const ids = [...names.keys()];
  for (const [id, name] of names) snapshot.update({ type: "upsert", record: addedHost(like, id, name, shape) });
  for (const pool of records.pools) {
    const there = pool.status.hosts?.[like.id];
    if (there === undefined) continue;
    // A directory of its own is empty, a shared one is as full as it is.
    const here = pool.spec.type === "local" ? { ...there, availableBytes: there.capacityBytes } : there;
    const hosts = { ...pool.status.hosts, ...Object.fromEntries(ids.map((id) => [id, here])) };
    snapshot.update({
      type: "upsert",
      record: { ...pool, kind: "pool", spec: withHosts(pool.spec, ids, like.id), status: { ...pool.status, hosts } },
    });
  }
  for (const network of records.networks) {
    const there = network.status.hosts?.[like.id];
    const hosts = there === undefined ? network.status.hosts : { ...network.status.hosts, ...Object.fromEntries(ids.map((id) => [id, there])) };
    const status = hosts === undefined ? network.status : { ...network.status, hosts };
    snapshot.update({ type: "upsert", record: { ...network, kind: "network", spec: withHosts(network.spec, ids, like.id), status } });
  }
  return names;
}

const withHosts = <S extends { readonly hosts?: string[] | undefined }>(spec: S, ids: readonly string[], like: string): S =>
  spec.hosts?.includes(like) ? { ...spec, hosts: [...spec.hosts, ...ids] } : spec;

function addedHost(like: RecordOf<"host">, id: string, name: string, { cpus, memoryBytes }: HostShape): RecordOf<"host"> & { readonly kind: "host" } {
  const { offeredCpus, offeredMemoryBytes, ...spec } = like.spec;
  const { agent, liveness } = like.status;
  return {
    ...like,
    ...{ kind: "host", id, name },
    spec: {
      ...spec,
      ...{ schedulable: "open", maintenance: false },
      // A share that is offered is one of that host's size.
      ...(offeredCpus === undefined || cpus !== undefined ? {} : { offeredCpus }),
      ...(offeredMemoryBytes === undefined || memoryBytes !== undefined ? {} : { offeredMemoryBytes }),
    },
    status: {
      ...(agent === undefined ? {} : { agent: shaped(agent, cpus ?? agent.cpu.count, memoryBytes ?? agent.memoryBytes) }),
      liveness: { since: 0, ...liveness, state: "ready", reason: "as if it were there" },
    },
  };
}

/** Of another size it has one cell and no huge pages: nobody has said how they would be shared out. */
function shaped(agent: HostObservation, cpus: number, memoryBytes: number): HostObservation {
  if (cpus === agent.cpu.count && memoryBytes === agent.memoryBytes) return agent;
  const cell = { cell: 0, cpus: Array.from({ length: cpus }, (_, cpu) => cpu), memoryBytes, hugepages: [] };
  return { ...agent, memoryBytes, cpu: { ...agent.cpu, sockets: 1, cores: cpus, threads: 1, count: cpus }, numa: [cell] };
}
