/** Advice on machines' sizes as it is shown: one, or the machines of a site that it is worth looking at, with what following it would give back. */
import { adviceDismissed, type RecordOf, type SizeVerdict } from "@sheaf/model";
import { type MachineSize, sizeWords } from "@sheaf/planning";
import type { ServerContext } from "../context.ts";
import type { Surveyed, UseSurvey } from "./use-survey.ts";

type Takes = "now" | "next-start" | "nothing";

export interface SizeAdvice {
  readonly id: string;
  readonly name: string;
  readonly project?: string;
  readonly verdict: SizeVerdict;
  readonly dismissed: boolean;
  readonly given: MachineSize;
  readonly suggested: MachineSize;
  readonly saving: Saving;
  /** When a change to the size suggested would take effect. */
  readonly effect: { readonly cpus: Takes; readonly memory: Takes };
  readonly confidence: "none" | "low" | "medium" | "high";
  readonly days: number;
  readonly at: number;
  readonly reasons: readonly string[];
  readonly risks: readonly string[];
}

/** Less than nothing: it needs more. In percent of what its cluster can promise. */
export interface Saving extends MachineSize {
  readonly cpuPercent: number;
  readonly memoryPercent: number;
}

export interface SizeQuestion {
  /** Id. */
  readonly cluster?: string | undefined;
  readonly verdict?: SizeVerdict | undefined;
  readonly dismissed: boolean;
  readonly mayShow: (vm: RecordOf<"vm">) => boolean;
  readonly skip: number;
  readonly count: number;
}

export interface SizeList {
  readonly items: readonly SizeAdvice[];
  /** That are shown with other `skip` and `count`. */
  readonly total: number;
  /** Of all that may be shown in the cluster: looked at yet, and not. */
  readonly looked: number;
  readonly waiting: number;
  readonly verdicts: Readonly<Record<SizeVerdict, number>>;
  /** Of all of `total`. */
  readonly saving: MachineSize;
}

type Context = Pick<ServerContext, "cache" | "snapshot" | "clock">;
/** What a cluster can promise, by its id. */
type Capacities = (cluster: string) => MachineSize;

export function adviceOf(context: Context, vm: RecordOf<"vm">, surveyed: Surveyed, capacities = capacitiesOf(context)): SizeAdvice {
  const { use, advice, given, at } = surveyed;
  const size = { cpus: given.cpus, memoryBytes: given.memoryBytes };
  return {
    ...{ id: vm.id, name: vm.name, ...(vm.project === undefined ? {} : { project: vm.project }) },
    verdict: advice.verdict,
    dismissed: adviceDismissed(vm.labels, context.clock.now()),
    given: size,
    suggested: advice.suggested,
    saving: inShares(context, vm, savingOf(surveyed), capacities),
    effect: effectOf(vm, surveyed),
    ...{ confidence: advice.confidence, days: Math.round(use.days * 10) / 10, at },
    ...sizeWords(use, size, advice),
  };
}

/** What it is worth most to look at first: what is too small, then what gives most back. */
export function listAdvice(context: Context, survey: UseSurvey, question: SizeQuestion): SizeList {
  const { cache, clock } = context;
  const verdicts: Record<SizeVerdict, number> = { idle: 0, "too-large": 0, "too-small": 0, right: 0, unknown: 0 };
  const found: Found[] = [];
  const saving = { cpus: 0, memoryBytes: 0 };
  let [looked, waiting] = [0, 0];
  const now = clock.now();
  for (const vm of cache.all("vm")) {
    if (!isIn(context, vm, question.cluster) || !question.mayShow(vm)) continue;
    const surveyed = survey.known(vm);
    if (surveyed === undefined) {
      waiting += 1;
      continue;
    }
    looked += 1;
    if (!question.dismissed && adviceDismissed(vm.labels, now)) continue;
    const { verdict } = surveyed.advice;
    verdicts[verdict] += 1;
    if (question.verdict === undefined ? verdict === "right" || verdict === "unknown" : verdict !== question.verdict) continue;
    const its = savingOf(surveyed);
    saving.cpus += its.cpus;
    saving.memoryBytes += its.memoryBytes;
    found.push({ vm, surveyed, worth: worthOf(verdict, its) });
  }
  const capacities = capacitiesOf(context);
  const items = page(found, question).map(({ vm, surveyed }) => adviceOf(context, vm, surveyed, capacities));
  return { items, total: found.length, looked, waiting, verdicts, saving };
}

interface Found {
  readonly vm: RecordOf<"vm">;
  readonly surveyed: Surveyed;
  readonly worth: number;
}

/** Of 100,000 machines none is put in order that is not shown: numbers alone are sorted, to see who may be on the page. */
function page(found: readonly Found[], { skip, count }: SizeQuestion): Found[] {
  const worths = Float64Array.from(found, ({ worth }) => worth).sort();
  const least = worths[Math.max(0, worths.length - skip - count)] ?? 0;
  return found
    .filter(({ worth }) => worth >= least)
    .sort((one, other) => other.worth - one.worth || (one.vm.id < other.vm.id ? -1 : 1))
    .slice(skip, skip + count);
}

function isIn({ cache }: Context, vm: RecordOf<"vm">, cluster: string | undefined): boolean {
  return cluster === undefined || (vm.placement !== undefined && cache.get("host", vm.placement.host)?.spec.cluster === cluster);
}

/** Of an idle machine all of it: it is to be stopped. */
function savingOf({ given, advice: { verdict, suggested } }: Surveyed): MachineSize {
  if (verdict === "idle") return { cpus: given.cpus, memoryBytes: given.memoryBytes };
  return { cpus: given.cpus - suggested.cpus, memoryBytes: given.memoryBytes - suggested.memoryBytes };
}

/** A vCPU counts as much as 4 GiB: about as they are sold together. */
const worthOf = (verdict: SizeVerdict, { cpus, memoryBytes }: MachineSize): number =>
  verdict === "too-small" ? Number.MAX_VALUE : cpus + memoryBytes / (4 * 2 ** 30);

function inShares({ cache }: Context, vm: RecordOf<"vm">, saving: MachineSize, capacities: Capacities): Saving {
  const cluster = vm.placement === undefined ? undefined : cache.get("host", vm.placement.host)?.spec.cluster;
  const all = cluster === undefined ? { cpus: 0, memoryBytes: 0 } : capacities(cluster);
  const percent = (part: number, whole: number): number => (whole > 0 ? Math.round((part / whole) * 100_000) / 1000 : 0);
  return { ...saving, cpuPercent: percent(saving.cpus, all.cpus), memoryPercent: percent(saving.memoryBytes, all.memoryBytes) };
}

/** Looks through all hosts once for each cluster that is asked for. */
function capacitiesOf({ cache, snapshot }: Context): Capacities {
  const known = new Map<string, MachineSize>();
  return (cluster) => {
    let all = known.get(cluster);
    if (all === undefined) {
      let [cpus, memoryBytes] = [0, 0];
      for (const { id, spec } of cache.all("host")) {
        const usage = spec.cluster === cluster ? snapshot.usage(id) : undefined;
        cpus += usage?.cpuCapacity ?? 0;
        memoryBytes += usage?.memoryCapacityBytes ?? 0;
      }
      known.set(cluster, (all = { cpus, memoryBytes }));
    }
    return all;
  };
}

/** vCPUs are plugged in live up to `cpu.maximum` and never taken out; memory goes to the balloon, and comes back up to `memory.maximumBytes`. */
function effectOf({ spec, status }: RecordOf<"vm">, { given, use, advice: { suggested } }: Surveyed): SizeAdvice["effect"] {
  const runs = status.agent?.state === "running";
  const effect = (difference: number, live: boolean): Takes => (difference === 0 ? "nothing" : runs && live ? "now" : "next-start");
  const moreCpus = suggested.cpus > given.cpus && suggested.cpus <= (spec.cpu.maximum ?? spec.cpu.count);
  const memoryLive =
    suggested.memoryBytes < given.memoryBytes
      ? use.memory.known === "guest"
      : suggested.memoryBytes <= (spec.memory.maximumBytes ?? spec.memory.bytes);
  return { cpus: effect(suggested.cpus - given.cpus, moreCpus), memory: effect(suggested.memoryBytes - given.memoryBytes, memoryLive) };
}
