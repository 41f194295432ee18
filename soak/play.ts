/** Plays one story round after round until its time is over, and keeps the ledger. Called by main.ts. */
import { execFileSync } from "node:child_process";
import { randomUUID } from "node:crypto";
import { cp, mkdir, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { seededRandom } from "@sheaf/base";
import { appendToLedger } from "./ledger.ts";
import type { OpenStory, Story } from "./story.ts";

export interface PlayOptions {
  /** The ledger and the logs of failed rounds. */
  readonly directory: string;
  /** The first round's; each further one's is one higher. */
  readonly firstSeed: number;
  /** No round begins after this; one at least is played. */
  readonly minutes: number;
  readonly rounds?: number;
  readonly say: (text: string) => void;
  /** Breaks off the round under way; its site is taken down when it has ended. */
  readonly stop?: AbortSignal;
}

export const ledgerIn = (directory: string): string => join(directory, "ledger.jsonl");

/** @returns whether every round passed */
export async function play(story: Story, options: PlayOptions): Promise<boolean> {
  const { directory, firstSeed, minutes, rounds = Infinity, say, stop = new AbortController().signal } = options;
  const end = performance.now() + minutes * 60_000;
  const commit = commitNow();
  let site: OpenStory | undefined;
  let failures = 0;
  for (let index = 0; index < rounds && (index === 0 || performance.now() < end); index += 1) {
    if (stop.aborted) break;
    const seed = (firstSeed + index) % 2 ** 32;
    const round = `${story.name}-${seed}-${randomUUID().slice(0, 8)}`;
    const lines: string[] = [];
    const started = performance.now();
    const log = (text: string): void => void lines.push(`${((performance.now() - started) / 1000).toFixed(3)} ${text}`);
    await appendToLedger(ledgerIn(directory), {
      line: "began",
      round,
      story: story.name,
      seed,
      at: now(),
      ...(commit === undefined ? {} : { commit }),
    });
    const figures: Record<string, number[]> = {};
    const measured = (name: string, figure: number): void => void (figures[name] ??= []).push(figure);
    const over = () => ({ line: "ended", round, at: now(), durationMs: Math.round(performance.now() - started), figures }) as const;
    try {
      site ??= await story.open();
      stop.throwIfAborted();
      // Not left alone when it is stopped: it would start again what is being taken down.
      await site.round({ seed, random: seededRandom(seed), log, measured, stop });
      await appendToLedger(ledgerIn(directory), { ...over(), outcome: "passed" });
      say(`${story.name} seed ${seed}: passed in ${Math.round((performance.now() - started) / 1000)} s`);
    } catch (error) {
      if (stop.aborted) break; // its beginning stands in the ledger
      failures += 1;
      const why = error instanceof Error ? error.message : String(error);
      const kept = join(directory, "failures", round);
      await mkdir(kept, { recursive: true });
      await writeFile(join(kept, "round.log"), [...lines, error instanceof Error ? (error.stack ?? why) : why, ""].join("\n"));
      if (site?.logDirectory !== undefined) await cp(site.logDirectory, join(kept, "site"), { recursive: true }).catch(() => {});
      await appendToLedger(ledgerIn(directory), { ...over(), outcome: "failed", why: why.split("\n", 1).join(""), log: kept });
      say(`${story.name} seed ${seed}: FAILED: ${why}\n  again: npm run soak -- ${story.name} --seed ${seed} --rounds 1\n  logs: ${kept}`);
      // What a failed round leaves behind must not be the next one's beginning.
      await site?.close();
      site = undefined;
    }
  }
  await site?.close();
  return failures === 0;
}

const now = (): string => new Date().toISOString();

/** What was played: absent outside a clone. */
function commitNow(): string | undefined {
  try {
    return execFileSync("git", ["describe", "--always", "--dirty"], { cwd: import.meta.dirname, stdio: ["ignore", "pipe", "ignore"] })
      .toString()
      .trim();
  } catch {
    return undefined;
  }
}
