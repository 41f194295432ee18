/**
 * Figures of all hosts and machines over time. The server's gateway gives it what agents tell; the API asks for series and for the greatest;
 * whoever runs it calls `keep` every few seconds, which makes things durable, rolls them up and deletes what is too old. Nothing of it lies in the record
 * store. What an agent told is acknowledged (`durableUpTo`) when the window of five minutes it belongs to is on the disk: until then the
 * agent keeps it, so that no log of single samples is needed here.
 */
import type { Logger } from "@sheaf/base";
import { type MetricKind, metrics } from "@sheaf/model";
import { aggregate, type Aggregation } from "./aggregate.ts";
import { absent, quantaOf } from "./codes.ts";
import { FigureSum } from "./figure-sum.ts";
import { type FrameHead, type FrameWriter, tableOf } from "./frame.ts";
import { Greatest } from "./greatest.ts";
import { bitsOf, hoursKept, type Member, windowSlots, windowsKept } from "./member.ts";
import type { TelemetryFiles } from "./ports.ts";
import { RowGrid } from "./row-grid.ts";
import { type MemberFigures, type RowSink, Source } from "./source.ts";
import { Tier, type TierShape } from "./tier.ts";
import type { FrameRows } from "./tier-log.ts";

export const sampleMs = 10_000;
const windowMs = windowSlots * sampleMs;
const hourMs = 3_600_000;
const dayMs = 24 * hourMs;

/** Tiers below the hour, finest first, and the hour's. */
export interface TelemetryShape {
  readonly tiers: readonly TierShape[];
}

const fiveMinutes: TierShape = { stepMs: windowMs, keepMs: 30 * dayMs, fileMs: dayMs };
const hours: TierShape = { stepMs: hourMs, keepMs: 730 * dayMs, fileMs: 10 * dayMs };

export const telemetryShapes = {
  /** 24 h at 10 s, 30 days at 5 min, 2 years at 1 h. */
  full: { tiers: [{ stepMs: sampleMs, keepMs: dayMs, fileMs: 2 * hourMs }, fiveMinutes, hours] },
  /** 2 h at 10 s and 24 h at 1 min instead of the 24 h at 10 s: for sites of thousands of hosts. */
  short: {
    tiers: [{ stepMs: sampleMs, keepMs: 2 * hourMs, fileMs: hourMs }, { stepMs: 60_000, keepMs: dayMs, fileMs: 4 * hourMs }, fiveMinutes, hours],
  },
} as const satisfies Record<string, TelemetryShape>;

export interface TelemetryOptions {
  readonly files: TelemetryFiles;
  readonly logger: Logger;
  readonly directory: string;
  readonly shape: TelemetryShape;
}

export interface SeriesQuestion {
  readonly kind: MetricKind;
  readonly id: string;
  /** Names. */
  readonly metrics: readonly string[];
  /** Wall clock, ms; without `to`. */
  readonly from: number;
  readonly to: number;
  /** Time of one figure of the answer; taken to the next longer one that can be had. Absent: some 500 figures. */
  readonly stepMs?: number;
  readonly by: Aggregation;
}

export interface Series {
  /** Of the first figure. */
  readonly from: number;
  readonly stepMs: number;
  /** Resolution of the rows that it was made of. */
  readonly rowMs: number;
  /** By the metric's name, in its unit; `null` where nothing was measured. */
  readonly values: Readonly<Record<string, readonly (number | null)[]>>;
}

export interface RowsQuestion {
  readonly kind: MetricKind;
  readonly id: string;
  /** Wall clock, ms; without `to`. */
  readonly from: number;
  readonly to: number;
}

export interface FiveMinuteRows {
  readonly rowMs: number;
  /** In the metric's unit, what a row's samples were in the mean, at most or at least; `NaN`: not measured. */
  column(metric: string, which: "mean" | "greatest" | "least"): Float64Array;
}

export interface TopQuestion {
  readonly kind: MetricKind;
  readonly metric: string;
  /** The last so many ms: at most a day. */
  readonly windowMs: number;
  readonly by: "mean" | "max";
  readonly count: number;
  /** Who may be in it; all when not given. */
  readonly only?: (id: string) => boolean;
}

/** Agents that were cut off keep 72 h. */
const oldestMs = 80 * hourMs;
/** A silent source's window is given out so long after its end. */
const graceMs = 60_000;
const figuresPerSeries = 500;
const mostFigures = 20_000;

export class Telemetry {
  readonly #tiers: readonly Tier[];
  readonly #sources = new Map<string, Source>();
  /** Who tells of it, oldest first: one, but for machines that moved within a day. */
  readonly #holders = new Map<string, { readonly source: Source; readonly member: Member }[]>();
  readonly #sink: RowSink;
  readonly #listeners = new Set<(source: string, slot: number) => void>();
  #now: number;
  #commits: Promise<void> = Promise.resolve();
  /** Window in which it was last looked for what can be forgotten. */
  #swept = 0;
  #rows = 0;

  private constructor(options: TelemetryOptions, now: number, tiers: Tier[]) {
    this.#now = now;
    this.#tiers = tiers;
    this.#sink = {
      steps: options.shape.tiers.slice(0, -1).map(({ stepMs }) => stepMs / sampleMs),
      append: (tier: number, rows: FrameRows, write: (frame: FrameWriter) => void) => this.#tiers[tier]?.append(this.#now, rows, write),
    };
  }

  /** @param now wall clock, ms */
  static async open(options: TelemetryOptions, now: number): Promise<Telemetry> {
    const tiers: Tier[] = [];
    const telemetry = new Telemetry(options, now, tiers);
    const folders = options.shape.tiers.map(({ stepMs }) => `${stepMs / 1000}s`);
    // Of another shape, which was chosen before: nobody would ever delete it.
    for (const name of await options.files.list(options.directory))
      if (/^\d+s$/.test(name) && !folders.includes(name)) await options.files.remove(`${options.directory}/${name}`);
    for (const shape of options.shape.tiers) {
      const { files, logger } = options;
      const { stepMs } = shape;
      const directory = `${options.directory}/${stepMs / 1000}s`;
      // What is in memory of the last hour and day is read back from logs.
      const logsForMs = stepMs === windowMs ? hourMs : stepMs === hourMs ? dayMs : 0;
      const told = (frame: FrameHead): void => (stepMs === windowMs ? telemetry.#source(frame.source).told(frame.lastTold) : undefined);
      tiers.push(await Tier.open({ files, logger, directory, shape, logsForMs }, told));
    }
    await telemetry.#restore();
    return telemetry;
  }

  get bytes(): number {
    return this.#tiers.reduce((sum, tier) => sum + tier.bytes, 0);
  }

  /** Hosts, and hosts and machines, of which something is in memory; rows taken since the start. */
  get counts(): { readonly sources: number; readonly members: number; readonly rows: number } {
    return { sources: this.#sources.size, members: this.#holders.size, rows: this.#rows };
  }

  /**
   * One row of a host and its machines. Rows of one host come oldest first: older ones than it told last are left out.
   * @param now wall clock, ms
   * @param slot time of the row in steps of 10 s since the epoch
   * @returns whether it is new
   */
  take(now: number, source: string, slot: number, rows: readonly MemberFigures[]): boolean {
    this.#now = now;
    // A clock that is wrong must not make all that comes afterwards look old; nobody may fill the disk with what lies long ago.
    if (slot * sampleMs > now + windowMs || slot * sampleMs < now - oldestMs) return false;
    const taken = this.#source(source).take(slot, rows);
    if (taken) this.#rows += rows.length;
    return taken;
  }

  /** Newest slot up to which all that this host told is on the disk; -1: none. */
  durableUpTo(source: string): number {
    return this.#sources.get(source)?.durable ?? -1;
  }

  /** @param listener is told when more of what a host told is on the disk. @returns ends it */
  onDurable(listener: (source: string, slot: number) => void): () => void {
    this.#listeners.add(listener);
    return () => this.#listeners.delete(listener);
  }

  /** Resolves when all windows that are over are on the disk. @throws what the files throw; it is tried again with the next */
  commit(): Promise<void> {
    const run = this.#commits.then(() => this.#commit());
    this.#commits = run.catch(() => {});
    return run;
  }

  /** To be called every few seconds: gives out what silent hosts left, commits, puts files together, deletes old ones. @param now wall clock, ms */
  async keep(now: number): Promise<void> {
    this.#now = now;
    const settled = Math.floor((now - graceMs) / windowMs);
    for (const source of this.#sources.values()) source.settle(settled);
    if (settled !== this.#swept) this.#sweep(now);
    this.#swept = settled;
    await this.commit();
    for (const tier of this.#tiers) await tier.keep(now);
  }

  async series(question: SeriesQuestion): Promise<Series> {
    const { kind, id, by } = question;
    await this.commit();
    // Of what nobody keeps, and of what is still to come, there are no rows to hold places for.
    const longestMs = Math.max(...this.#tiers.map(({ shape }) => shape.keepMs));
    const span = { from: Math.max(question.from, this.#now - longestMs), to: Math.min(question.to, this.#now + hourMs) };
    const { tier, stepMs } = this.#choose({ ...question, ...span });
    const { stepMs: rowMs } = tier.shape;
    const from = Math.floor(span.from / stepMs) * stepMs;
    const rollUp = rowMs > sampleMs;
    const bits = bitsOf(kind);
    const grid = await this.#grid(tier, kind, id, { first: from / rowMs, last: Math.ceil(span.to / rowMs) - 1 });
    const values = Object.fromEntries(
      question.metrics.map((name) => {
        const number = metrics[kind].findIndex((metric) => metric.name === name);
        const quantum = metrics[kind][number]?.quantum ?? 1;
        const figures = aggregate(grid, rollUp, number, { bits: bits[number] ?? 8, perStep: stepMs / rowMs, by });
        return [name, figures.map((quanta) => (quanta === null ? null : rounded(quanta * quantum)))];
      }),
    );
    return { from, stepMs, rowMs, values };
  }

  /** All rows of five minutes in a span: for whoever has rules of his own. */
  async fiveMinuteRows({ kind, id, from, to }: RowsQuestion): Promise<FiveMinuteRows> {
    await this.commit();
    const tier = this.#tiers.find(({ shape }) => shape.stepMs === windowMs);
    if (!tier) throw new RangeError("telemetry without rows of five minutes");
    const oldest = Math.max(from, this.#now - tier.shape.keepMs);
    const grid = await this.#grid(tier, kind, id, { first: Math.floor(oldest / windowMs), last: Math.ceil(to / windowMs) - 1 });
    const { codes, columns, length } = grid;
    const column: FiveMinuteRows["column"] = (name, which) => {
      const number = metrics[kind].findIndex((metric) => metric.name === name);
      const { quantum = 1, significantBits = 8 } = metrics[kind][number] ?? {};
      const place = 1 + 3 * number + (which === "mean" ? 0 : which === "greatest" ? 1 : 2);
      const figures = new Float64Array(length).fill(Number.NaN);
      if (number < 0) return figures;
      for (let row = 0, at = 0; row < length; row += 1, at += columns) {
        const code = codes[at + place] ?? absent;
        if ((codes[at] ?? 0) > 0 && code !== absent) figures[row] = quantaOf(code, significantBits) * quantum;
      }
      return figures;
    };
    return { rowMs: windowMs, column };
  }

  /** The hosts or machines with the greatest figures, greatest first. From memory. @param now wall clock, ms */
  top(now: number, { kind, metric, windowMs: span, by, count, only }: TopQuestion): { readonly id: string; readonly value: number }[] {
    const number = metrics[kind].findIndex(({ name }) => name === metric);
    const { quantum = 1, significantBits = 8 } = metrics[kind][number] ?? {};
    const fromWindow = Math.floor((now - span) / windowMs);
    const fromHour = span > hourMs ? Math.floor((now - span) / hourMs) : null;
    const sum = new FigureSum(number, significantBits);
    const greatest = new Greatest<string>(count);
    const moved = new Set<string>();
    const offer = (id: string): void => {
      if (sum.samples > 0) greatest.offer(id, by === "max" ? sum.greatest : sum.mean);
      sum.clear();
    };
    for (const source of this.#sources.values()) {
      const rows = source.rowsSince(fromWindow, fromHour);
      for (const member of source.members.values()) {
        if (member.kind !== kind || (only && !only(member.id))) continue;
        if (member.shared) {
          moved.add(member.id);
          continue;
        }
        source.addRecent(member, rows, sum, by === "max");
        offer(member.id);
      }
    }
    for (const id of moved) {
      for (const { source, member } of this.#holders.get(id) ?? [])
        source.addRecent(member, source.rowsSince(fromWindow, fromHour), sum, by === "max");
      offer(id);
    }
    return greatest.items.map(({ item, value }) => ({ id: item, value: rounded(value * quantum) }));
  }

  async close(): Promise<void> {
    await this.#commits;
    for (const tier of this.#tiers) await tier.close();
  }

  #source(id: string): Source {
    let source = this.#sources.get(id);
    if (!source) {
      source = new Source(id, this.#sink, (member) => this.#joined(id, member));
      this.#sources.set(id, source);
    }
    return source;
  }

  #joined(sourceId: string, member: Member): void {
    const source = this.#sources.get(sourceId);
    if (!source) return;
    const holders = this.#holders.get(member.id);
    if (holders) {
      holders.push({ source, member });
      for (const holder of holders) holder.member.shared = true;
    } else this.#holders.set(member.id, [{ source, member }]);
  }

  #left(member: Member): void {
    const others = this.#holders.get(member.id)?.filter((holder) => holder.member !== member) ?? [];
    if (others.length > 0) this.#holders.set(member.id, others);
    else this.#holders.delete(member.id);
  }

  /** Forgets what nobody has told of for longer than a day: its rows are in files. */
  #sweep(now: number): void {
    const oldest = Math.floor((now - dayMs - hourMs) / sampleMs);
    for (const source of this.#sources.values()) {
      source.forgetBefore(oldest, (member) => this.#left(member));
      if (source.members.size === 0 && source.lastTold < oldest) this.#sources.delete(source.id);
    }
  }

  async #commit(): Promise<void> {
    const told = new Map<Source, number>();
    for (const source of this.#sources.values()) if (source.givenOut > source.durable) told.set(source, source.givenOut);
    // Finest first: what is rolled up is never on the disk before what it stands for.
    for (const tier of this.#tiers) await tier.commit();
    for (const [source, slot] of told) {
      source.durable = slot;
      for (const listener of this.#listeners) listener(source.id, slot);
    }
  }

  /** The finest rows that reach back to `from` and are not finer than the step asked for; without one, of about 500 figures. */
  #choose({ from, to, stepMs, by }: SeriesQuestion): { readonly tier: Tier; readonly stepMs: number } {
    const reaching = this.#tiers.filter(({ shape }) => from >= this.#now - shape.keepMs - shape.stepMs);
    const candidates = reaching.length > 0 ? reaching : this.#tiers.slice(-1);
    const wanted = Math.max(stepMs ?? (to - from) / figuresPerSeries, (to - from) / mostFigures);
    const [finest] = candidates;
    // Percentiles of means are not those of what was measured.
    const chosen = typeof by === "object" ? finest : (candidates.findLast(({ shape }) => shape.stepMs <= wanted) ?? finest);
    if (!chosen) throw new RangeError("telemetry without tiers");
    const rowMs = chosen.shape.stepMs;
    return { tier: chosen, stepMs: Math.max(1, Math.ceil(wanted / rowMs)) * rowMs };
  }

  async #grid(tier: Tier, kind: MetricKind, id: string, { first, last }: { readonly first: number; readonly last: number }): Promise<RowGrid> {
    const { stepMs: rowMs } = tier.shape;
    const grid = new RowGrid(bitsOf(kind), rowMs > sampleMs, first, last);
    for (const table of await tier.read(id, first, last)) grid.add(table);
    for (const { source, member } of this.#holders.get(id) ?? []) this.#addRunning(grid, rowMs, source, member);
    return grid;
  }

  /** What is not in any file yet. */
  #addRunning(grid: RowGrid, rowMs: number, source: Source, member: Member): void {
    if (rowMs === sampleMs) grid.add(source.runningSamples(member));
    else if (rowMs <= windowMs) source.runningRows(member, rowMs / sampleMs, (slot, row) => grid.addRow(slot, row));
    else {
      source.looseHours(member, (hour, row) => grid.addRow(hour, row));
    }
  }

  /** Of the time before the server ended, whenever that was: an hour that it did not see the end of is given out by what comes next. */
  async #restore(): Promise<void> {
    for (const tier of this.#tiers.slice(-2)) {
      const isWindows = tier.shape.stepMs === windowMs;
      // One more: the window in which the hour before is given out.
      for await (const frame of tier.recent(isWindows ? windowsKept + 1 : hoursKept)) {
        const source = this.#source(frame.source);
        for (const member of frame.members) {
          const table = tableOf(frame, member);
          for (let row = 0; row < table.slots.length; row += 1)
            if (isWindows) source.restoreWindow(member.id, member.kind, table, row);
            else source.restoreHour(member.id, member.kind, table, row);
        }
      }
    }
  }
}

/** A tenth of the finest quantum that there is; the digits behind stand for nothing. */
const rounded = (value: number): number => Math.round(value * 10_000) / 10_000;
