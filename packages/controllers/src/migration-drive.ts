/**
 * Takes one migration from state to state until it has ended: does what planning's table says, persists each state before it does what belongs
 * to it, and moves the epoch in the transaction that enters `switched` (or leaves it again). Started by the migration controller, one a machine;
 * runs beside the keyed queue, because copying takes minutes. After a restart of the server a new drive begins where the record stands.
 */
import { deadline, sleep } from "@sheaf/base";
import { partKey, SheafError, type Placement, type TaskProgress } from "@sheaf/model";
import {
  lostOrFenced,
  migrationCanBeCancelled,
  migrationMessages,
  migrationSteps,
  migrationTable,
  nextMigrationStep,
  ownerOf,
  type MigrationEvent,
  type MigrationStep,
} from "@sheaf/planning";
import { StoreError, type Compare, type Operation, type TransactionResult } from "@sheaf/store";
import type { ControllerContext } from "./context.ts";
import { failureOf, takeStep } from "./migration-calls.ts";
import type { MigrationRecord } from "./migration-record.ts";
import { hostName, volumesOf } from "./records.ts";

export interface DriveInput {
  readonly context: ControllerContext;
  readonly vmId: string;
  /** Ends the drive where it stands: this server leads no more, or stops. */
  readonly stop: AbortSignal;
}

/** This server does not lead, or another has taken the migration on. */
class Deposed extends Error {
  override readonly name = "Deposed";
}

export class MigrationDrive {
  readonly #context: ControllerContext;
  readonly #vmId: string;
  readonly #stop: AbortSignal;
  readonly #key: string;
  /** Aborted by a person or the deadline: has an effect in states that can be cancelled. */
  readonly #cancel = new AbortController();
  #wake: AbortController | null = null;
  #record!: MigrationRecord; // set by run, before anything else
  #revision = 0;
  #xml = "";

  constructor({ context, vmId, stop }: DriveInput) {
    this.#context = context;
    this.#vmId = vmId;
    this.#stop = stop;
    this.#key = partKey("vm", vmId, "status/migration");
  }

  /** Has no effect once the machine is the target's. */
  cancel(reason: SheafError): void {
    if (!this.#cancel.signal.aborted) this.#cancel.abort(reason);
  }

  /** A host has come back: what waits for it is tried now. */
  hurry(): void {
    this.#wake?.abort();
  }

  /**
   * Resolves when the migration has ended and its task with it, or when the drive was stopped.
   * @param recovered the record was read back: what its state stands for may or may not have been begun
   */
  async run(record: MigrationRecord, recovered: boolean): Promise<void> {
    const { clock, logger } = this.#context;
    this.#record = record;
    const leftMs = record.startedAt + record.deadlineMs - clock.now();
    const timer = clock.setTimer(Math.max(0, leftMs), () =>
      this.cancel(
        new SheafError("timed-out", `it did not end within its deadline of ${record.deadlineMs} ms`, {
          next: "Give it more time or bandwidth, or let it auto-converge.",
        }),
      ),
    );
    try {
      const entry = await this.#look();
      if (!entry) return;
      this.#revision = entry.modRevision;
      let event: MigrationEvent | null = recovered ? "restarted" : null;
      let tries = 0;
      let rounds = 0;
      while (!this.#stop.aborted) {
        const state = this.#record.phase;
        if (migrationTable[state].act.does === "end") return await this.#end();
        let learnt: Partial<MigrationRecord> = {};
        if (event === null) ({ event, learnt } = await this.#act());
        const step: MigrationStep = nextMigrationStep(state, event, tries);
        tries = step.tries;
        if (step.again) {
          if (event !== "restarted") await this.#pause(tries);
          // A person's wish ends the waiting where it still can.
          event = this.#cancelled ? "cancel" : null;
          continue;
        }
        // A target that has the guest and does not start it is asked again and again, not faster and faster.
        if (event === "waiting") await this.#pause((rounds += 1));
        const moved = await this.#enter(step, event, learnt);
        event = moved ? null : "failed";
      }
    } catch (error) {
      if (error instanceof Deposed || this.#stop.aborted)
        logger.info({ vm: this.#vmId, why: String(error) }, "a migration was left to whoever leads now");
      else throw error;
    } finally {
      timer.cancel();
    }
  }

  get #cancelled(): boolean {
    return this.#cancel.signal.aborted && migrationCanBeCancelled(this.#record.phase);
  }

  async #act(): Promise<{ event: MigrationEvent; learnt: Partial<MigrationRecord> }> {
    const { agents, clock, settings, tasks } = this.#context;
    const record = this.#record;
    if (this.#cancelled) return { event: "cancel", learnt: { problem: this.#cancelProblem() } };
    const cancellable = migrationCanBeCancelled(record.phase);
    const long = record.phase === "prepared" || record.phase === "performed" || (record.phase === "switched" && record.postCopy);
    const leftMs = Math.max(1000, record.startedAt + record.deadlineMs - clock.now());
    const timeoutMs = long ? leftMs + settings.migrationCallMs : settings.migrationCallMs;
    // What may be cancelled is let go of when it is; everything is when this server stops.
    const signal = cancellable ? AbortSignal.any([this.#stop, this.#cancel.signal]) : this.#stop;
    const limit = deadline(
      clock,
      timeoutMs,
      () => new SheafError("timed-out", `${migrationMessages[record.phase]}: no answer within ${timeoutMs} ms`),
      signal,
    );
    try {
      const answer = await takeStep({
        vmId: this.#vmId,
        record,
        xml: this.#xml,
        call: (on, method, parameters) => {
          const onProgress = (fields: Record<string, unknown>) => tasks.progress(record.task, { ...fields, phase: record.phase });
          return orAborted(
            agents.call(on === "source" ? record.source : record.target, method, parameters, { timeoutMs, signal: limit.signal, onProgress }),
            limit.signal,
          );
        },
      });
      if (answer.xml !== undefined) this.#xml = answer.xml;
      return answer;
    } catch (error) {
      if (this.#stop.aborted) throw error;
      if (this.#cancelled) return { event: "cancel", learnt: { problem: this.#cancelProblem() } };
      const { event: failure, problem } = failureOf(error);
      const event = failure === "lost" ? lostOrFenced(record.phase, this.#fenced()) : failure;
      tasks.append(record.task, `${migrationMessages[record.phase]}: ${problem.detail}${problem.cause === undefined ? "" : ` (${problem.cause})`}`);
      // What went wrong on the way back is not why it went back.
      return { event, learnt: ownerOf(record.phase) === "source" && cancellable ? { problem } : {} };
    } finally {
      limit.done();
    }
  }

  /** The host of the step under way is off for certain. */
  #fenced(): boolean {
    const { act } = migrationTable[this.#record.phase];
    if (act.does !== "call") return false;
    const host = this.#context.cache.get("host", act.on === "source" ? this.#record.source : this.#record.target);
    return host?.status.fencing?.state === "fenced";
  }

  #cancelProblem(): NonNullable<MigrationRecord["problem"]> {
    const reason = this.#cancel.signal.reason as SheafError; // `cancel` takes nothing else
    return { code: reason.code, detail: reason.message, ...(reason.extra.next === undefined ? {} : { next: reason.extra.next }) };
  }

  async #pause(tries: number): Promise<void> {
    const { clock, settings } = this.#context;
    const [first, last] = settings.migrationRetryMs;
    this.#wake = new AbortController();
    const signals = [this.#stop, this.#wake.signal, ...(migrationCanBeCancelled(this.#record.phase) ? [this.#cancel.signal] : [])];
    try {
      await sleep(clock, Math.min(last, first * 2 ** Math.min(20, Math.max(0, tries - 1))), AbortSignal.any(signals));
    } catch {
      // Woken early: the loop looks why.
    } finally {
      this.#wake = null;
    }
  }

  /** @returns false where the placement could not be moved because it was changed by somebody else: the state stays. */
  async #enter(step: MigrationStep, event: MigrationEvent, learnt: Partial<MigrationRecord>): Promise<boolean> {
    const { clock, tasks, logger } = this.#context;
    const from = this.#record.phase;
    if (step.state === from) return true;
    const { problem: known } = this.#record;
    const next: MigrationRecord = {
      ...this.#record,
      ...learnt,
      ...(known === undefined ? {} : { problem: known }),
      phase: step.state,
      since: clock.now(),
    };
    const value = JSON.stringify(next);
    const move = step.placement === undefined ? { compare: [], then: [] } : await this.#placementMove(step.placement);
    if (move === null) return false;
    const outcome = await this.#transact(
      { compare: [{ key: this.#key, modRevision: this.#revision }, ...move.compare], then: [{ put: this.#key, value }, ...move.then] },
      value,
    );
    if (outcome === null) return false;
    this.#revision = outcome;
    this.#record = next;
    tasks.append(next.task, `${from} → ${step.state} (${event})`);
    tasks.progress(next.task, { phase: step.state, message: migrationMessages[step.state], steps: migrationSteps(step.state) });
    logger.info({ vm: this.#vmId, task: next.task, from, to: step.state, why: event }, "a migration went on");
    return true;
  }

  /** The machine and its disks, from where they are to the other side, the epoch one higher. @returns `null` where they are not where they should be */
  async #placementMove(side: "source" | "target"): Promise<{ compare: Compare[]; then: Operation[] } | null> {
    const { cache, store, clock } = this.#context;
    const { source, target, sourceNuma, targetNuma } = this.#record;
    const [from, to] = side === "target" ? [source, target] : [target, source];
    const vm = cache.get("vm", this.#vmId);
    const keys = [
      partKey("vm", this.#vmId, "placement"),
      ...(vm ? volumesOf(vm, cache) : []).map((volume) => partKey("volume", volume.id, "placement")),
    ];
    const compare: Compare[] = [];
    const then: Operation[] = [];
    // At once: the guest may stand still meanwhile.
    const entries = await Promise.all(keys.map((key) => store.get(key)));
    for (const [position, key] of keys.entries()) {
      const entry = entries[position] ?? null;
      const before = entry === null ? null : (JSON.parse(entry.value) as Placement); // written by this package alone
      if (entry === null || before?.host !== from) {
        if (position === 0) return null;
        continue;
      }
      compare.push({ key, modRevision: entry.modRevision });
      const { adoption: _adoption, numa: _numa, ...kept } = before;
      const numa = side === "target" ? targetNuma : sourceNuma;
      const after: Placement = {
        ...kept,
        host: to,
        epoch: before.epoch + 1,
        incarnation: store.incarnation,
        reason: `moved from ${hostName(from, cache)}`,
        ...(position === 0 && numa !== undefined ? { numa } : {}),
        at: clock.now(),
      };
      then.push({ put: key, value: JSON.stringify(after) });
    }
    return { compare, then };
  }

  async #end(): Promise<void> {
    const { tasks } = this.#context;
    const record = this.#record;
    const moved = record.phase === "confirmed";
    const progress = moved ? this.#success() : this.#failure();
    const then: Operation[] = [{ delete: this.#key }, { put: partKey("task", record.task, "status/controller"), value: JSON.stringify(progress) }];
    await this.#transact({ compare: [{ key: this.#key, modRevision: this.#revision }], then }, null);
    tasks.append(record.task, progress.message);
  }

  #success(): TaskProgress {
    const { cache, clock } = this.#context;
    const { source, target, startedAt, stats, problem } = this.#record;
    const moved = `moved from ${hostName(source, cache)} to ${hostName(target, cache)}`;
    const ended = {
      startedAt,
      endedAt: clock.now(),
      result: { source, target, ...(stats ? { ...stats, bytes: stats.memoryBytes + stats.diskBytes } : {}) },
    };
    // It is there, and that is no success.
    if (problem) return { state: "failed", message: `${moved}, but ${problem.detail}`, problem, ...ended };
    const message = `${moved}${stats ? `, paused for ${stats.downtimeMs} ms` : ""}`;
    return { state: "succeeded", message, percent: 100, steps: migrationSteps("confirmed"), ...ended };
  }

  #failure(): TaskProgress {
    const { cache, clock } = this.#context;
    const { source, target, startedAt, problem = { code: "internal", detail: "it went back for a reason that was not kept" } } = this.#record;
    const message = `not moved, it stays on ${hostName(source, cache)}: ${problem.detail}`;
    const ended = { message, startedAt, endedAt: clock.now(), result: { source, target } };
    return problem.code === "cancelled" ? { state: "cancelled", ...ended } : { state: "failed", ...ended, problem };
  }

  async #look() {
    return this.#patiently(() => this.#context.store.get(this.#key));
  }

  /**
   * @param value what the migration's key holds when an earlier try of the same transaction was made after all; `null`: nothing
   * @returns revision, or `null` where another condition than the migration's own did not hold
   * @throws Deposed
   */
  async #transact(transaction: { compare: Compare[]; then: Operation[] }, value: string | null): Promise<number | null> {
    const { store, cache, leadership } = this.#context;
    if (this.#stop.aborted) throw new Deposed("this server leads no more");
    const input = { compare: [...leadership(), ...transaction.compare], then: transaction.then };
    const result: TransactionResult = await this.#patiently(() => store.transact(input));
    if (result.succeeded) {
      await cache.waitFor(result.revision);
      return result.revision;
    }
    const now = result.current.get(this.#key) ?? null;
    if (now?.modRevision === this.#revision) {
      // Either the leader's condition or a placement's.
      if (leadership().some((compare) => !holdsFor(compare, result))) throw new Deposed("this server does not lead any more");
      return null;
    }
    // The answer to an earlier try was lost, the transaction was made: nobody else writes this very text.
    if (value === null ? now === null : now?.value === value) {
      await cache.waitFor(result.revision);
      return now?.modRevision ?? result.revision;
    }
    throw new Deposed("another server has taken the migration on");
  }

  /** Until the store answers: a migration cannot be decided without it. */
  async #patiently<T>(work: () => Promise<T>): Promise<T> {
    for (let tries = 1; ; tries += 1) {
      try {
        return await work();
      } catch (error) {
        if (!(error instanceof StoreError) || (error.code !== "uncertain" && error.code !== "unavailable" && error.code !== "full")) throw error;
        this.#context.logger.warn({ vm: this.#vmId, error: error.message }, "a migration waits for the store");
        await this.#pause(tries);
        if (this.#stop.aborted) throw error;
      }
    }
  }
}

function holdsFor(compare: Compare, { current }: TransactionResult): boolean {
  const entry = current.get(compare.key) ?? null;
  if ("value" in compare) return entry?.value === compare.value;
  if ("modRevision" in compare) return (entry?.modRevision ?? 0) === compare.modRevision;
  return (entry?.createRevision ?? 0) === compare.createRevision;
}

/** An agents' port that does not listen to its signal must not hold the drive. */
function orAborted<T>(work: Promise<T>, signal: AbortSignal): Promise<T> {
  return new Promise((resolve, reject) => {
    const onAbort = () => reject(signal.reason);
    if (signal.aborted) onAbort();
    else signal.addEventListener("abort", onAbort, { once: true });
    work.then(resolve, reject).finally(() => signal.removeEventListener("abort", onAbort));
  });
}
