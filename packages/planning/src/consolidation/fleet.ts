/** The snapshot as it changes with every move that is decided; who may take what; what a move costs. Handed on between the planner's steps. */
import type { ConsolidationInput, ConsolidationMove, ConsolidationOptions, HostChange } from "./consolidation-input.ts";
import { forecast } from "./forecast.ts";
import { HostLoad, type PlannedMachine } from "./host-load.ts";

const bytesPerGib = 2 ** 30;

export class Fleet {
  readonly options: ConsolidationOptions;
  readonly moves: ConsolidationMove[] = [];
  readonly wake: HostChange[] = [];
  /** In the order of their ids: the input's order plays no part. */
  readonly awake: HostLoad[];
  /** Those that may wake, the ones first that do most for a watt. */
  readonly #asleep: HostLoad[];
  /** Took or gave a machine in this plan. */
  readonly #touched = new Set<HostLoad>();
  readonly #allowed: (machineId: string, hostId: string) => boolean;

  constructor({ hosts, machines, allowed }: ConsolidationInput, options: ConsolidationOptions) {
    this.options = options;
    this.#allowed = allowed ?? (() => true);
    const loads = hosts.toSorted(byId).map((host) => new HostLoad(host, options.windowSamples));
    const loadOf = new Map(loads.map((load) => [load.host.id, load]));
    for (const machine of machines.toSorted(byId)) loadOf.get(machine.host)?.add({ machine, forecast: forecast(machine, options) });
    this.awake = loads.filter(({ host }) => host.state === "awake");
    this.#asleep = loads.filter(({ host }) => host.state === "asleep" && host.usable).toSorted((a, b) => wattsPerMillicore(a) - wattsPerMillicore(b));
  }

  /** What share of a host is spoken for, with its head-room, when it takes the machine; `undefined`: it does not take it. */
  shareWith(load: HostLoad, { machine, forecast: more }: PlannedMachine): number | undefined {
    const { host } = load;
    const { headRoomSigmas, targetShare } = this.options;
    if (!host.usable || !load.known) return undefined;
    if (load.level + more.level > host.cpuMillicores || load.now + more.now > host.cpuMillicores * targetShare) return undefined;
    if (more.peak > host.coreMillicores * machine.cpus || load.memoryBytes + machine.memoryBytes > host.memoryBytes) return undefined;
    const share = load.need(headRoomSigmas, more) / host.cpuMillicores;
    return share <= 1 && this.#allowed(machine.id, host.id) ? share : undefined;
  }

  /** Whether a host has too much to do, with so much less than it has: @param without millicores of expected level, and of this moment's demand */
  isHot(load: HostLoad, without = { level: 0, now: 0 }): boolean {
    const { cpuMillicores } = load.host;
    const { reliefShare, reliefSigmas } = this.options;
    return load.now - without.now > cpuMillicores * reliefShare || load.need(reliefSigmas) - without.level > cpuMillicores;
  }

  /** What is not known cannot be weighed: a machine without samples stays, and so does its host. */
  movable({ machine }: PlannedMachine): boolean {
    return machine.movable && machine.demand.length > 0;
  }

  costJoules({ machine }: PlannedMachine): number {
    return this.options.moveJoules + (this.options.moveJoulesPerGib * machine.memoryBytes) / bytesPerGib;
  }

  get movesLeft(): number {
    return this.options.maximumMoves - this.moves.length;
  }

  touched(load: HostLoad): boolean {
    return this.#touched.has(load);
  }

  move(planned: PlannedMachine, source: HostLoad, target: HostLoad, why: Pick<ConsolidationMove, "cause" | "reason" | "gainJoules">): void {
    source.remove(planned);
    target.add(planned);
    this.#touched.add(source).add(target);
    this.moves.push({ machine: planned.machine.id, from: source.host.id, to: target.host.id, ...why });
  }

  /** Wakes the best of the sleeping hosts that will do. */
  wakeOne(reason: string, will: (load: HostLoad) => boolean): HostLoad | undefined {
    const index = this.#asleep.findIndex(will);
    const [load] = index === -1 ? [] : this.#asleep.splice(index, 1);
    if (load === undefined) return undefined;
    this.awake.push(load);
    this.wake.push({ host: load.host.id, reason });
    return load;
  }
}

/** What a host draws for what it can do, when it is full. */
export const wattsPerMillicore = ({ host }: HostLoad): number => (host.powerCurve.at(-1) ?? 0) / host.cpuMillicores;

const byId = (a: { readonly id: string }, b: { readonly id: string }): number => (a.id < b.id ? -1 : a.id > b.id ? 1 : 0);
