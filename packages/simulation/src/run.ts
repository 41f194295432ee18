/**
 * One run: a site, a plan of faults and deeds, then quiet, then the final checks. The same options give the same run, event for event.
 * Called by the command, the tests and the shrinker.
 */
import { Chance } from "./chance.ts";
import { DeedMaker } from "./deed-maker.ts";
import { FaultMaker } from "./fault-maker.ts";
import { drawPlan, lastPhaseMs, type PlannedEvent, type Severity } from "./fault-plan.ts";
import { wanderingShare } from "./guest-loads.ts";
import { settle } from "./settle.ts";
import { Broken, SimulatedSite, type SiteOptions } from "./site.ts";
import type { StoryLine } from "./story.ts";

/** Of the seeds, unless said. */
const shareWithTwoServers = 0.25;

export interface RunOptions {
  readonly seed: number;
  readonly hosts: number;
  readonly durationMs: number;
  readonly faults: Severity;
  readonly deedsPerHour?: number;
  /** The server's machine is lost now and then, and a backup restored. */
  readonly disasters?: boolean;
  /** On one store; unless said, some seeds have two. */
  readonly servers?: number;
  /** Of the cluster: whether and how its hosts sleep. */
  readonly power?: object;
  /** Instead of what the seed draws. */
  readonly plan?: readonly PlannedEvent[];
  readonly listener?: (line: StoryLine) => void;
  readonly productLog?: boolean;
}

export interface RunResult {
  /** `null`: every promise was kept. */
  readonly broken: string | null;
  /** Equal for equal runs. */
  readonly digest: string;
  readonly events: number;
  readonly virtualMs: number;
  readonly plan: readonly PlannedEvent[];
  readonly lines: readonly StoryLine[];
}

/** Of the seeds, unless said. */
const shareBalanced = 0.3;

/** No fault keeps the server away for so long: a run without it would prove nothing. */
const serverAwayMs = 20 * 60_000;

export async function run(options: RunOptions): Promise<RunResult> {
  const { seed, hosts, durationMs } = options;
  const nature = new Chance(seed, "nature of the site");
  // Of its own stream: what a seed draws else is the same with one and with two.
  const servers = options.servers ?? (options.faults === "heavy" && new Chance(seed, "servers").happens(shareWithTwoServers) ? 2 : 1);
  const devices = nature.pick([[], ["ipmi"], ["ipmi", "redfish"], ["ipmi", "command"], ["command"]] as const);
  // Drawn by itself: what else a seed draws stays as it was.
  const ownNature = new Chance(seed, "watchdogs");
  const watchdog = ownNature.pick([null, null, "hardware", "hardware", "software"] as const);
  const order = ownNature.pick(["only", "only", "first", "last"] as const);
  const methods = { only: ["watchdog"], first: ["watchdog", ...devices], last: [...devices, "watchdog"] } as const;
  const site = await SimulatedSite.open({
    seed,
    hosts,
    fencing: watchdog === null ? devices : methods[order],
    ...(watchdog === null ? {} : { watchdog }),
    // Short: else few faults last as long.
    leaseMs: ownNature.pick([15_000, 15_000, 40_000]),
    highAvailability: {
      detection: nature.pick(["default", "fast"]),
      wideOutagePercent: nature.pick([40, 40, 60, 100]),
      toleratedHostFailures: nature.pick([0, 1]),
      enforceAdmission: nature.happens(0.3),
    },
    // Where storage locks disks, it hides much of what goes wrong.
    sharedLocks: nature.happens(0.5),
    servers,
    ...balanced(seed),
    ...(options.power ? { power: options.power } : {}),
    ...(options.listener ? { listener: options.listener } : {}),
    productLog: options.productLog ?? false,
  });
  const deedsPerHour = options.deedsPerHour ?? hosts * 100;
  const plan =
    options.plan ??
    drawPlan({
      seed,
      hosts,
      durationMs,
      faults: options.faults,
      deedsPerHour,
      disasters: options.disasters ?? false,
      longCuts: watchdog === "hardware",
      servers,
    });
  const faults = new FaultMaker(site);
  const deeds = new DeedMaker(site, hosts * 16);
  const beganAt = site.clock.monotonic();
  let broken: string | null = null;
  try {
    let calm = false;
    let servedAt = beganAt;
    for (const event of plan) {
      if (!calm && event.atMs >= durationMs - lastPhaseMs) {
        calm = true;
        await site.advance(Math.max(0, beganAt + durationMs - lastPhaseMs - site.clock.monotonic()));
        faults.healHosts();
      }
      await site.advance(Math.max(0, beganAt + event.atMs - site.clock.monotonic()));
      if (site.server.ready) servedAt = site.clock.monotonic();
      else if (site.clock.monotonic() - servedAt > serverAwayMs) throw new Error("the simulated server is away, and nothing starts it again");
      if (event.type === "fault") faults.make(event);
      else deeds.make(event);
    }
    await site.advance(Math.max(0, beganAt + durationMs - site.clock.monotonic()));
    faults.healAll();
    await settle(site);
    site.checkAtRest();
  } catch (error) {
    if (!(error instanceof Broken)) throw error;
    broken = error.message;
  }
  return {
    broken,
    digest: site.story.digest,
    events: site.story.events,
    virtualMs: site.clock.monotonic() - beganAt,
    plan,
    lines: site.story.lines,
  };
}

/** In some seeds guests have load, and balancing moves them by itself, oftener than anybody would let it. Of its own stream. */
function balanced(seed: number): Pick<SiteOptions, "balancing" | "busyShare"> {
  const nature = new Chance(seed, "balancing");
  if (!nature.happens(shareBalanced)) return {};
  const goal = nature.pick(["even", "hot-spots"] as const);
  const balancing = { mode: "automatic", goal, hotPercent: nature.pick([20, 40]), unevenPoints: 2, patienceMinutes: 0, pauseMinutes: 2 };
  return { balancing, busyShare: wanderingShare };
}
