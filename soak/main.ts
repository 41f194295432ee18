/** `npm run soak`: plays stories, at most half an hour a run; what runs came to adds up in the ledger. See docs/reference/soak.md. */
import { randomInt } from "node:crypto";
import { mkdir } from "node:fs/promises";
import { join, resolve } from "node:path";
import { parseArgs } from "node:util";
import { listSites, removeLeftovers } from "./leftovers.ts";
import { readLedger } from "./ledger.ts";
import { ledgerIn, play } from "./play.ts";
import { reportText } from "./report.ts";
import { stories } from "./stories.ts";

const longestMinutes = 30;
const { values, positionals } = parseArgs({
  allowPositionals: true,
  options: {
    data: { type: "string", default: join(import.meta.dirname, "../.sheaf") },
    minutes: { type: "string", default: String(longestMinutes) },
    seed: { type: "string" },
    rounds: { type: "string" },
  },
});
const directory = join(resolve(values.data), "soak");

function usage(why: string): never {
  const names = stories.map(({ name, summary }) => `  ${name.padEnd(16)} ${summary}`).join("\n");
  process.stderr.write(
    `${why}\n\nnpm run soak -- [STORY …] [--minutes M] [--seed N] [--rounds R] [--data DIR]\nnpm run soak -- report\n\n${names}\n`,
  );
  process.exit(2);
}

function whole(name: "minutes" | "seed" | "rounds", least: number, most: number): number | undefined {
  const text = values[name];
  if (text === undefined) return undefined;
  const number = Number(text);
  if (!/^\d+$/.test(text) || number < least || number > most) usage(`--${name} must be a whole number from ${least} to ${most}.`);
  return number;
}

const minutes = whole("minutes", 1, longestMinutes) ?? longestMinutes;
const rounds = whole("rounds", 1, 1_000_000);
const seed = whole("seed", 0, 2 ** 32 - 1) ?? randomInt(2 ** 32);

if (positionals[0] === "report") process.stdout.write(reportText(await readLedger(ledgerIn(directory))));
else {
  const chosen =
    positionals.length === 0
      ? stories.filter(({ onlyByName }) => !onlyByName)
      : positionals.map((word) => stories.find(({ name }) => name === word) ?? usage(`There is no story ${word}.`));
  const say = (text: string): void => void process.stdout.write(`${text}\n`);
  await mkdir(directory, { recursive: true });
  await removeLeftovers(directory);
  listSites(directory);
  const stop = new AbortController();
  for (const signal of ["SIGINT", "SIGTERM"] as const) process.on(signal, () => stop.abort(new Error(`stopped by ${signal}`)));
  let passed = true;
  for (const story of chosen) {
    if (stop.signal.aborted) break;
    // Several stories share the time.
    const share = minutes / chosen.length;
    say(`${story.name} for ${share.toFixed(1)} minutes, first seed ${seed}: ${story.summary}`);
    passed =
      (await play(story, { directory, firstSeed: seed, minutes: share, stop: stop.signal, ...(rounds === undefined ? {} : { rounds }), say })) &&
      passed;
  }
  process.stdout.write(`\n${reportText(await readLedger(ledgerIn(directory)))}`);
  process.exit(passed ? 0 : 1);
}
