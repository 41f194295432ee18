/**
 * The main side's link to the worker thread: gathers what is asked while the worker is busy into the next batch, so that many
 * transactions share one fsync, and gives every answer back to its caller. Called by `sqlite.ts` alone.
 */
import { Worker } from "node:worker_threads";
import type { Clock, Timer } from "@sheaf/base";
import type { SqliteDatabaseOptions } from "./sqlite-database.ts";
import { decodeOutcomes, encodeTransaction, fromFailure } from "./sqlite-protocol.ts";
import type { BatchMessage, Call, CallAnswer, Item, WorkerMessage } from "./sqlite-protocol.ts";
import { StoreError } from "./store.ts";
import type { TransactionInput, TransactionResult, WatchEvent } from "./store.ts";

/** While one batch is written the next one already lies at the worker's door. */
const maxBatchesUnderWay = 2;
const maxTransactionsPerBatch = 512;

interface Settle<Value> {
  resolve(value: Value): void;
  reject(error: StoreError): void;
}

interface WaitingTransaction extends Settle<TransactionResult> {
  readonly input: TransactionInput;
}

interface WaitingCall extends Settle<unknown> {
  readonly id: number;
  readonly call: Call;
}

interface Batch {
  readonly transactions: readonly WaitingTransaction[];
  readonly calls: readonly WaitingCall[];
  readonly timer: Timer;
}

export interface LinkOptions {
  readonly clock: Clock;
  /** A batch unanswered for this long is given up: its transactions are uncertain. */
  readonly answerTimeoutMs: number;
  /** Called for each transaction that changed something, in order of revisions, before its caller hears of it. */
  readonly committed: (revision: number, events: readonly WatchEvent[]) => void;
  /** Called once when the worker can do no more; everything asked afterwards is refused with this. */
  readonly failed: (error: StoreError) => void;
}

export class WorkerLink {
  readonly #worker: Worker;
  readonly #options: LinkOptions;
  readonly #lateCalls = new Map<number, WaitingCall>();
  #waitingTransactions: WaitingTransaction[] = [];
  #waitingCalls: WaitingCall[] = [];
  #underWay: Batch[] = [];
  #flushScheduled = false;
  #nextId = 1;
  #failure: StoreError | null = null;
  /** Set while the worker owes an answer for too long: asking more would only make the queue longer. */
  #stalled: StoreError | null = null;
  /** Batches sent, transactions in them: how well commits are grouped. */
  batches = 0;
  transactions = 0;

  private constructor(worker: Worker, options: LinkOptions) {
    this.#worker = worker;
    this.#options = options;
    worker.on("message", (message: WorkerMessage) => this.#received(message));
    worker.on("error", (error) =>
      this.#fail(new StoreError("unavailable", `the store's thread ended: ${String(error)}; start the server again`, { cause: error })),
    );
    worker.on("exit", () => this.#fail(new StoreError("unavailable", "the store's thread has ended; start the server again")));
  }

  /** @throws StoreError as `openDatabase` */
  static open(
    database: SqliteDatabaseOptions,
    options: LinkOptions,
  ): Promise<{ link: WorkerLink; incarnation: string; leases: readonly (readonly [id: string, ttlMs: number])[] }> {
    const worker = new Worker(new URL("./sqlite-worker.ts", import.meta.url), { workerData: database, name: "store" });
    return new Promise((resolve, reject) => {
      const onError = (error: unknown): void =>
        reject(new StoreError("unavailable", `the store's thread did not start: ${String(error)}`, { cause: error }));
      worker.once("error", onError);
      worker.once("message", (message: WorkerMessage) => {
        worker.off("error", onError);
        if (message.type === "opened") resolve({ link: new WorkerLink(worker, options), incarnation: message.incarnation, leases: message.leases });
        else
          reject(
            message.type === "not-opened"
              ? fromFailure(message.failure)
              : new StoreError("unavailable", "the store's thread answered before it was asked"),
          );
      });
    });
  }

  transact(input: TransactionInput): Promise<TransactionResult> {
    return new Promise((resolve, reject) => {
      const refusal = this.#failure ?? this.#stalled;
      if (refusal !== null) return reject(refusal);
      this.#waitingTransactions.push({ input, resolve, reject });
      this.#schedule();
    });
  }

  /** @returns what the worker's `perform` returns for the call; the caller knows its shape */
  call(call: Call): Promise<unknown> {
    return new Promise((resolve, reject) => {
      const refusal = this.#failure ?? this.#stalled;
      if (refusal !== null) return reject(refusal);
      this.#waitingCalls.push({ id: this.#nextId++, call, resolve, reject });
      this.#schedule();
    });
  }

  /** Closes the file after all that was asked before, and waits for the thread's end. */
  async close(): Promise<void> {
    const exited = new Promise((resolve) => this.#worker.once("exit", resolve));
    try {
      await this.call({ call: "close" });
    } catch (error) {
      // What cannot be closed in good order is let go of by the thread's end; the file is safe either way.
      await this.#worker.terminate();
      if (this.#failure === null) throw error;
      return;
    }
    await exited;
  }

  #schedule(): void {
    if (this.#flushScheduled || this.#underWay.length >= maxBatchesUnderWay) return;
    this.#flushScheduled = true;
    // After the current turn: what is asked in one turn goes into one batch.
    setImmediate(() => {
      this.#flushScheduled = false;
      this.#flush();
    });
  }

  #flush(): void {
    if (this.#failure !== null || this.#underWay.length >= maxBatchesUnderWay) return;
    if (this.#waitingTransactions.length === 0 && this.#waitingCalls.length === 0) return;
    const transactions = this.#waitingTransactions.splice(0, maxTransactionsPerBatch);
    const calls = this.#waitingCalls;
    this.#waitingCalls = [];
    const items: Item[] = [];
    for (const { input } of transactions) encodeTransaction(items, input);
    const batch: Batch = {
      transactions,
      calls,
      timer: this.#options.clock.setTimer(this.#options.answerTimeoutMs, () => this.#timedOut(batch)),
    };
    this.#underWay.push(batch);
    this.batches += 1;
    this.transactions += transactions.length;
    const message: BatchMessage = { nowMs: this.#options.clock.now(), transactions: items, calls: calls.map(({ id, call }) => ({ id, call })) };
    this.#worker.postMessage(message);
    if (this.#waitingTransactions.length > 0) this.#schedule();
  }

  #received(message: WorkerMessage): void {
    if (message.type === "late") return this.#answerLate(message.answer);
    if (message.type !== "batch") return;
    const batch = this.#underWay.shift();
    if (batch === undefined) return;
    batch.timer.cancel();
    this.#stalled = null;
    const inputs = batch.transactions.map(({ input }) => input);
    const outcomes = decodeOutcomes(message.outcomes, inputs);
    // All is published before anyone is answered: a caller that then reads its own watch's state is not surprised.
    for (const outcome of outcomes)
      if ("result" in outcome && outcome.events.length > 0) this.#options.committed(outcome.result.revision, outcome.events);
    for (const [index, outcome] of outcomes.entries()) {
      const waiting = batch.transactions[index];
      if ("error" in outcome) waiting?.reject(outcome.error);
      else waiting?.resolve(outcome.result);
    }
    this.#answerCalls(batch, message.answers);
    if (message.broken !== null) return this.#fail(fromFailure(message.broken));
    this.#flush();
  }

  #answerCalls(batch: Batch, answers: readonly CallAnswer[]): void {
    const byId = new Map(answers.map((answer) => [answer.id, answer]));
    for (const waiting of batch.calls) {
      const answer = byId.get(waiting.id);
      if (answer === undefined) this.#lateCalls.set(waiting.id, waiting);
      else settle(waiting, answer);
    }
  }

  #answerLate(answer: CallAnswer): void {
    const waiting = this.#lateCalls.get(answer.id);
    if (waiting === undefined) return;
    this.#lateCalls.delete(answer.id);
    settle(waiting, answer);
  }

  /** The disk hangs. What is under way may still be written; what waits behind it was never sent. */
  #timedOut(batch: Batch): void {
    const seconds = this.#options.answerTimeoutMs / 1000;
    const uncertain = new StoreError(
      "uncertain",
      `the store did not answer within ${seconds} s; the transaction is perhaps committed: look before repeating it`,
    );
    const unavailable = new StoreError(
      "unavailable",
      `the store does not answer (for ${seconds} s now); its disk may hang. Nothing was changed; try again later`,
    );
    this.#stalled = unavailable;
    for (const waiting of batch.transactions) waiting.reject(uncertain);
    for (const waiting of batch.calls) waiting.reject(unavailable);
    for (const waiting of this.#waitingTransactions.splice(0)) waiting.reject(unavailable);
    for (const waiting of this.#waitingCalls.splice(0)) waiting.reject(unavailable);
  }

  #fail(error: StoreError): void {
    if (this.#failure !== null) return;
    this.#failure = error;
    const uncertain = new StoreError("uncertain", `${error.message} (the transaction is perhaps committed: look before repeating it)`, {
      cause: error,
    });
    for (const batch of this.#underWay.splice(0)) {
      batch.timer.cancel();
      for (const waiting of batch.transactions) waiting.reject(uncertain);
      for (const waiting of batch.calls) waiting.reject(error);
    }
    for (const waiting of [...this.#waitingTransactions.splice(0), ...this.#waitingCalls.splice(0), ...this.#lateCalls.values()])
      waiting.reject(error);
    this.#lateCalls.clear();
    this.#options.failed(error);
  }
}

function settle(waiting: WaitingCall, answer: CallAnswer): void {
  if ("failure" in answer) waiting.reject(fromFailure(answer.failure));
  else waiting.resolve(answer.value);
}
