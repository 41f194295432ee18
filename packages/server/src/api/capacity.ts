/**
 * The pool as one machine, and the hosts a machine could run on: both asked of the scheduler's own picture of the site, so that people see
 * the figures that placement works with. Called by the routes.
 */
import type { HostCells } from "@sheaf/contract";
import { evacuationOf } from "@sheaf/controllers";
import {
  devicesWords,
  hostOffer,
  isAtRest,
  type NumaPlacement,
  type PlacementPolicyName,
  SheafError,
  VmSpec,
  vmStates,
  type RecordOf,
} from "@sheaf/model";
import type { EvacuationCheck } from "@sheaf/planning";
import {
  explain,
  giveWay,
  failOverRoom,
  ifCreated,
  rank,
  type Creation,
  type Explanation,
  type FailOverRoom,
  type PlacementRequest,
  type RankedHost,
  type SnapshotIndex,
  wayWords,
} from "@sheaf/scheduling";
import type { ServerContext } from "../context.ts";
import type { Presenter } from "../records/present.ts";
import { hostCells } from "./host-cells.ts";

export interface Amount {
  installed: number;
  offered: number;
  promisable: number;
  allocated: number;
  used: number;
  free: number;
}

export interface CapacityFigures {
  readonly hosts: number;
  readonly ready: number;
  readonly asleep: number;
  readonly vms: Record<string, number>;
  readonly cpu: Amount;
  readonly memory: Amount;
  readonly storage: Amount;
  /** Installed. */
  readonly gpus: number;
  /** Thousandths: of those that hosts hand out, and what machines have of them. */
  readonly gpuMilli: { offered: number; allocated: number; free: number };
  /** Of each cluster that is to survive the loss of hosts. */
  readonly failOver: readonly (FailOverRoom & { readonly cluster: string })[];
}

export interface CapacityQuery {
  /** Id. */
  readonly cluster?: string | undefined;
  /** Failure domain, or what it begins with: `region/zone`. */
  readonly zone?: string | undefined;
}

/** One that nobody has made yet. */
export interface AskedMachine {
  readonly cpus: number;
  readonly memoryBytes: number;
  /** Id or name. */
  readonly cluster?: string | undefined;
  readonly policy?: PlacementPolicyName | undefined;
}

/** Figures of the whole site are counted at most so often. */
const keepMs = 1000;

export class Capacity {
  readonly #context: ServerContext;
  readonly #presenter: Presenter;
  readonly #snapshot: SnapshotIndex;
  readonly #kept = new Map<string, { readonly at: number; readonly figures: CapacityFigures }>();

  constructor(context: ServerContext, presenter: Presenter) {
    this.#context = context;
    this.#presenter = presenter;
    this.#snapshot = context.snapshot;
  }

  /** Best first, then those that do not fit, each with its reasons. */
  targets(vm: RecordOf<"vm">): readonly RankedHost[] {
    const moves = vm.placement !== undefined;
    return rank(this.#snapshot.request(vm, moves ? "move" : "place"), this.#snapshot).filter((host) => host.host !== vm.placement?.host);
  }

  /** Why it is where it is, as of when it was put there, and how all hosts look for it now. */
  explanation(vm: RecordOf<"vm">): Explanation & {
    readonly host?: string;
    readonly reason: string;
    readonly devices?: string;
    readonly numa?: NumaPlacement;
    readonly numaRefusal?: string;
  } {
    const moves = vm.placement !== undefined;
    const found = explain(this.#snapshot.request(vm, moves ? "move" : "place"), this.#snapshot);
    if (vm.placement !== undefined) {
      const { host, reason = "", numa } = vm.placement;
      const refused = vm.status.numa;
      const devices = devicesWords(vm.placement);
      return {
        ...found,
        host,
        reason: vm.status.yield?.reason ?? reason,
        ...(devices === "" ? {} : { devices }),
        ...(numa === undefined ? {} : { numa }),
        ...(refused === undefined ? {} : { numaRefusal: refused.reason }),
      };
    }
    const why = vm.status.placement?.pending?.reason ?? "it was not looked at yet";
    const way = vm.status.claim === undefined ? giveWay(this.#snapshot.request(vm), this.#snapshot) : undefined;
    return { ...found, reason: way === undefined || found.hosts.some(({ fits }) => fits) ? why : `${why}; ${wayWords(way, vm.project)}` };
  }

  /** Its NUMA cells, and which machines have what of them. */
  cells(host: RecordOf<"host">): HostCells {
    const isHere = ({ placement, status: { migration } }: RecordOf<"vm">): boolean =>
      placement?.host === host.id || migration?.source === host.id || migration?.target === host.id;
    return hostCells(host, [...this.#context.cache.all("vm")].filter(isHere), this.#snapshot);
  }

  ranking(asked: AskedMachine): Explanation {
    return explain(this.request(asked), this.#snapshot);
  }

  creation(asked: AskedMachine, count: number): Creation {
    return ifCreated(this.request(asked), count, this.#snapshot);
  }

  /** What a machine of that size would ask for. @throws SheafError `not-found` */
  request({ cpus, memoryBytes, cluster, policy }: AskedMachine): PlacementRequest {
    const id = this.cluster(cluster);
    const placement = { ...(id === undefined ? {} : { cluster: id }), ...(policy === undefined ? {} : { policy }) };
    const spec = VmSpec.parse({ cpu: { count: cpus }, memory: { bytes: memoryBytes }, placement, nics: [] });
    const head = { id: "asked", name: "asked", labels: {}, createdBy: "", finalizers: [], createdAt: 0, generation: 1, revision: 0, specRevision: 0 };
    return this.#snapshot.request({ ...head, kind: "vm", project: "", spec, status: {} });
  }

  /** What emptying the host would come to. */
  evacuation(host: RecordOf<"host">): EvacuationCheck {
    const { cache, agents } = this.#context;
    const vms = [...cache.all("vm")].filter((vm) => vm.placement?.host === host.id);
    return evacuationOf(host, vms, { cache, agents, snapshot: this.#snapshot });
  }

  figures(query: CapacityQuery): CapacityFigures {
    const now = this.#context.clock.monotonic();
    const key = `${query.cluster ?? ""} ${query.zone ?? ""}`;
    const kept = this.#kept.get(key);
    if (kept !== undefined && now - kept.at < keepMs) return kept.figures;
    const figures = this.#count(query);
    if (this.#kept.size > 100) this.#kept.clear();
    this.#kept.set(key, { at: now, figures });
    return figures;
  }

  #count({ cluster, zone }: CapacityQuery): CapacityFigures {
    const { cache } = this.#context;
    const hosts = new Set<string>();
    const cpu = nothing();
    const memory = nothing();
    let ready = 0;
    let asleep = 0;
    let gpus = 0;
    const gpuMilli = { offered: 0, allocated: 0, free: 0 };
    for (const host of cache.all("host")) {
      if (cluster !== undefined && host.spec.cluster !== cluster) continue;
      if (zone !== undefined && host.spec.failureDomain !== zone && !host.spec.failureDomain.startsWith(`${zone}/`)) continue;
      hosts.add(host.id);
      if (this.#presenter.state(host) === "ready") ready += 1;
      if (isAtRest(host.status.power)) asleep += 1;
      this.#addHost(host, cpu, memory);
      gpus += host.status.agent?.gpus.length ?? 0;
      const usage = this.#snapshot.usage(host.id);
      gpuMilli.offered += 1000 * (usage?.gpus ?? 0);
      gpuMilli.free += Math.round(1000 * (usage?.gpusIdle ?? 0));
    }
    const all = cluster === undefined && zone === undefined;
    const vms: Record<string, number> = Object.fromEntries(vmStates.map((state) => [state, 0]));
    for (const vm of cache.all("vm")) {
      if (!all && (vm.placement === undefined ? vm.spec.placement.cluster !== cluster || zone !== undefined : !hosts.has(vm.placement.host)))
        continue;
      const state = this.#presenter.vmState(vm);
      vms[state] = (vms[state] ?? 0) + 1;
      if (state !== "running") continue;
      cpu.used += vm.status.agent?.vcpus ?? vm.spec.cpu.count;
      memory.used += vm.status.agent?.memoryBytes ?? vm.spec.memory.bytes;
    }
    return {
      hosts: hosts.size,
      ready,
      asleep,
      vms,
      cpu: whole(cpu),
      memory: whole(memory),
      storage: whole(this.#storage(hosts, all)),
      gpus,
      gpuMilli: { ...gpuMilli, allocated: gpuMilli.offered - gpuMilli.free },
      failOver: this.#failOver(cluster),
    };
  }

  #failOver(cluster: string | undefined): CapacityFigures["failOver"] {
    return [...this.#context.cache.all("cluster")].flatMap(({ id, name }) => {
      const room = cluster === undefined || cluster === id ? failOverRoom(this.#snapshot, id) : undefined;
      return room ? [{ cluster: name, ...room }] : [];
    });
  }

  #addHost(host: RecordOf<"host">, cpu: Amount, memory: Amount): void {
    const seen = host.status.agent;
    if (seen === undefined) return;
    const offer = hostOffer(host.spec, seen);
    const usage = this.#snapshot.usage(host.id);
    cpu.installed += seen.cpu.count;
    cpu.offered += offer.cpus;
    memory.installed += seen.memoryBytes;
    memory.offered += offer.memoryBytes;
    if (usage === undefined) return;
    cpu.promisable += usage.cpuCapacity;
    cpu.allocated += usage.cpuUsed;
    memory.promisable += usage.memoryCapacityBytes + usage.hugepageCapacityBytes;
    memory.allocated += usage.memoryUsedBytes + usage.hugepageUsedBytes;
  }

  /** Local pools count on each host, shared ones once. */
  #storage(hosts: ReadonlySet<string>, all: boolean): Amount {
    const { cache } = this.#context;
    const sum = nothing();
    for (const pool of cache.all("pool")) {
      const seen = Object.entries(pool.status.hosts ?? {}).filter(([host, status]) => hosts.has(host) && status.state === "ready");
      for (const [, status] of pool.spec.type === "shared" ? seen.slice(0, 1) : seen) {
        sum.installed += status.capacityBytes;
        sum.offered += status.capacityBytes;
        sum.promisable += status.capacityBytes * pool.spec.overcommit;
        sum.used += status.capacityBytes - status.availableBytes;
      }
    }
    for (const volume of cache.all("volume"))
      if (all || (volume.placement !== undefined && hosts.has(volume.placement.host))) sum.allocated += volume.spec.sizeBytes;
    return sum;
  }

  /** @throws SheafError `not-found` */
  cluster(reference: string | undefined): string | undefined {
    if (reference === undefined) return undefined;
    const { cache } = this.#context;
    const found = cache.get("cluster", reference) ?? cache.byName("cluster", "-", reference);
    if (found === undefined) throw new SheafError("not-found", `There is no cluster ${reference}.`, { next: "Look at the list of clusters." });
    return found.id;
  }
}

const nothing = (): Amount => ({ installed: 0, offered: 0, promisable: 0, allocated: 0, used: 0, free: 0 });

function whole(amount: Amount): Amount {
  const rounded = Object.fromEntries(Object.entries(amount).map(([name, value]) => [name, Math.floor(value)])) as unknown as Amount; // the same members
  return { ...rounded, free: Math.max(0, rounded.promisable - rounded.allocated) };
}
