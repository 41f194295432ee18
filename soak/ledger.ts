/**
 * The soak's ledger: one line of JSON for each round that began and each that ended, appended and brought to the disk at once. A run
 * that is killed at any moment loses nothing that has ended; the round under way stays as one that was broken off. Lines are never changed.
 */
import { mkdir, open, readFile } from "node:fs/promises";
import { dirname } from "node:path";

export type LedgerLine =
  | { readonly line: "began"; readonly round: string; readonly story: string; readonly seed: number; readonly at: string; readonly commit?: string }
  | {
      readonly line: "ended";
      readonly round: string;
      readonly outcome: "passed" | "failed";
      readonly at: string;
      readonly durationMs: number;
      /** What was measured, by a name that says its unit. */
      readonly figures?: Readonly<Record<string, readonly number[]>>;
      /** Why it failed, and where its logs are. */
      readonly why?: string;
      readonly log?: string;
    };

/** Appends whole lines, each durable when this resolves. */
export async function appendToLedger(path: string, line: LedgerLine): Promise<void> {
  await mkdir(dirname(path), { recursive: true });
  const file = await open(path, "a+");
  try {
    const { size } = await file.stat();
    // A crash in the middle of a line: what was torn must not take the next one with it.
    const torn = size > 0 && (await file.read(Buffer.alloc(1), 0, 1, size - 1)).buffer[0] !== 10;
    // One write of a file opened for appending: two soaks at a time do not mix their lines.
    await file.write(`${torn ? "\n" : ""}${JSON.stringify(line)}\n`);
    await file.sync();
  } finally {
    await file.close();
  }
}

/** @returns the lines that are whole; an empty list where there is no ledger yet */
export async function readLedger(path: string): Promise<LedgerLine[]> {
  const text = await readFile(path, "utf8").catch((error: NodeJS.ErrnoException) => {
    if (error.code === "ENOENT") return "";
    throw error;
  });
  return text.split("\n").flatMap((line): LedgerLine[] => {
    try {
      return line === "" ? [] : [JSON.parse(line) as LedgerLine]; // written by appendToLedger
    } catch {
      return []; // torn by a crash
    }
  });
}

export interface StoryTotal {
  readonly story: string;
  /** `began` = `passed` + `failed` + `brokenOff`; a round that is under way now counts as broken off. */
  began: number;
  passed: number;
  failed: number;
  brokenOff: number;
  durationMs: number;
  /** Different ones that passed and never failed. */
  seeds: number;
  /** Of every round that ended, by name. */
  readonly figures: Map<string, number[]>;
  readonly failures: { readonly seed: number; readonly at: string; readonly why: string; readonly log: string }[];
}

/** Adds up, by story, in the order in which stories were first played. */
export function totals(lines: readonly LedgerLine[]): StoryTotal[] {
  const byStory = new Map<string, StoryTotal>();
  const open = new Map<string, { readonly total: StoryTotal; readonly seed: number }>();
  const outcomes = new Map<StoryTotal, { readonly passed: Set<number>; readonly failed: Set<number> }>();
  for (const line of lines) {
    if (line.line === "began") {
      const total = byStory.get(line.story) ?? {
        story: line.story,
        began: 0,
        passed: 0,
        failed: 0,
        brokenOff: 0,
        durationMs: 0,
        seeds: 0,
        figures: new Map(),
        failures: [],
      };
      byStory.set(line.story, total);
      if (!outcomes.has(total)) outcomes.set(total, { passed: new Set(), failed: new Set() });
      total.began += 1;
      total.brokenOff += 1;
      open.set(line.round, { total, seed: line.seed });
      continue;
    }
    const found = open.get(line.round);
    if (!found) continue; // its beginning was torn: it was never counted
    open.delete(line.round);
    const { total, seed } = found;
    total.brokenOff -= 1;
    total.durationMs += line.durationMs;
    total[line.outcome] += 1;
    for (const [name, figures] of Object.entries(line.figures ?? {})) total.figures.set(name, [...(total.figures.get(name) ?? []), ...figures]);
    outcomes.get(total)?.[line.outcome].add(seed);
    if (line.outcome === "failed") total.failures.push({ seed, at: line.at, why: line.why ?? "", log: line.log ?? "" });
  }
  for (const [total, { passed, failed }] of outcomes) total.seeds = [...passed].filter((seed) => !failed.has(seed)).length;
  return [...byStory.values()];
}
