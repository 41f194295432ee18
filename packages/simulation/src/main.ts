/**
 * `npm run simulate -- --seed N --hosts 20 --hours 2 --faults heavy`: runs one seed, or `--seeds A-B` one after the other, tells the
 * story, and says how to see a failure again. Ends with 1 where a promise was broken.
 */
import { parseArgs } from "node:util";
import { eventText, type Severity } from "./fault-plan.ts";
import { run, type RunOptions } from "./run.ts";
import { shrink } from "./shrink.ts";
import { lineText, timeText, type Voice } from "./story.ts";

const { values } = parseArgs({
  options: {
    seed: { type: "string", default: "1" },
    seeds: { type: "string" },
    hosts: { type: "string", default: "5" },
    hours: { type: "string", default: "1" },
    faults: { type: "string", default: "heavy" },
    /** Things people ask for in an hour. */
    deeds: { type: "string" },
    /** The server's machine is lost now and then, and a backup restored. */
    disasters: { type: "boolean", default: false },
    /** On one store; unless said, some seeds have two. */
    servers: { type: "string" },
    /** Only the result. */
    quiet: { type: "boolean", default: false },
    /** The product's own warnings, too. */
    log: { type: "boolean", default: false },
    /** No further seed after one that fails. */
    "stop-at-first": { type: "boolean", default: false },
    /** Search for fewer faults and deeds that still fail, in so many runs at most. */
    shrink: { type: "string" },
  },
});

const out = (text: string): void => void process.stdout.write(`${text}\n`);
const severity = (["none", "light", "heavy"] as const).find((each) => each === values.faults);
if (severity === undefined) throw new Error("--faults must be none, light or heavy");

const [first = 1, last = first] = (values.seeds ?? values.seed).split("-").map(Number);
process.exit((await all(severity)) === 0 ? 0 : 1);

/** @returns how many seeds failed */
async function all(faults: Severity): Promise<number> {
  let failed = 0;
  for (let seed = first; seed <= last && !(values["stop-at-first"] && failed > 0); seed += 1) if (!(await one(seed, faults))) failed += 1;
  if (last > first) out(`${last - first + 1} seeds, ${failed} failed`);
  return failed;
}

async function one(seed: number, faults: Severity): Promise<boolean> {
  const options: RunOptions = {
    seed,
    hosts: Number(values.hosts),
    durationMs: Number(values.hours) * 3_600_000,
    faults,
    disasters: values.disasters,
    productLog: values.log,
    ...(values.servers === undefined ? {} : { servers: Number(values.servers) }),
    ...(values.deeds === undefined ? {} : { deedsPerHour: Number(values.deeds) }),
  };
  const silent = new Set<Voice>(values.quiet ? ["operator", "fault", "site", "log", "check"] : []);
  const began = process.hrtime.bigint();
  const result = await run({ ...options, listener: (line) => (silent.has(line.voice) ? undefined : out(lineText(line))) });
  const realMs = Number(process.hrtime.bigint() - began) / 1e6;
  const memory = Math.round(process.memoryUsage().rss / 2 ** 20);
  out(
    `seed ${seed}: ${result.broken === null ? "every promise was kept" : `BROKEN: ${result.broken}`} · ${timeText(result.virtualMs)} simulated in ${(realMs / 1000).toFixed(1)} s (${Math.round(result.virtualMs / realMs)} ×), ${result.events} events, ${memory} MiB, digest ${result.digest}`,
  );
  if (result.broken === null) return true;
  const more = `${values.deeds === undefined ? "" : ` --deeds ${values.deeds}`}${values.disasters ? " --disasters" : ""}${values.servers === undefined ? "" : ` --servers ${values.servers}`}`;
  const flags = `--seed ${seed} --hosts ${values.hosts} --hours ${values.hours} --faults ${faults}${more}`;
  out(`see it again: npm run simulate -- ${flags}`);
  if (values.shrink === undefined) return false;
  const upTo = result.plan.filter(({ atMs }) => atMs <= result.virtualMs);
  const small = await shrink(upTo, async (plan) => (await run({ ...options, plan })).broken !== null, Number(values.shrink));
  out(`still broken by ${small.length} of ${result.plan.length} events:`);
  for (const event of small) out(`  ${timeText(event.atMs)} ${eventText(event)}`);
  const again = await run({ ...options, plan: small });
  for (const line of again.lines.slice(-60)) out(lineText(line));
  return false;
}
