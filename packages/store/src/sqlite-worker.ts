/**
 * The thread that owns the data file. Started by `sqlite.ts` alone; takes batches, commits each once, answers in order. It never
 * waits for anything but the disk.
 */
import { parentPort, workerData } from "node:worker_threads";
import { SqliteDatabase } from "./sqlite-database.ts";
import type { SqliteDatabaseOptions } from "./sqlite-database.ts";
import { decodeTransactions, encodeEntries, encodeOutcomes, toFailure } from "./sqlite-protocol.ts";
import type { BatchMessage, Call, CallAnswer, WorkerMessage } from "./sqlite-protocol.ts";

if (parentPort === null) throw new Error("sqlite-worker.ts runs in a worker thread only; open the store with openSqliteStore");
const port = parentPort;
const send = (message: WorkerMessage): void => port.postMessage(message);

try {
  serve(new SqliteDatabase(workerData as SqliteDatabaseOptions /* given by sqlite.ts */));
} catch (error) {
  send({ type: "not-opened", failure: toFailure(error) });
  port.close();
}

function serve(database: SqliteDatabase): void {
  port.on("message", ({ nowMs, transactions, calls }: BatchMessage) => {
    const inputs = decodeTransactions(transactions);
    const outcomes = inputs.length === 0 ? [] : encodeOutcomes(database.commit(inputs, nowMs));
    const answers: CallAnswer[] = [];
    for (const { id, call } of calls) {
      try {
        const value = perform(database, call, nowMs);
        if (value instanceof Promise) answerLater(id, value);
        else answers.push({ id, value });
      } catch (error) {
        answers.push({ id, failure: toFailure(error) });
      }
    }
    send({ type: "batch", outcomes, answers, broken: database.broken === null ? null : toFailure(database.broken) });
    if (calls.some(({ call }) => call.call === "close")) port.close();
  });
  send({ type: "opened", incarnation: database.incarnation, leases: [...database.leases] });
}

function answerLater(id: number, value: Promise<unknown>): void {
  value.then(
    (result) => send({ type: "late", answer: { id, value: result } }),
    (error: unknown) => send({ type: "late", answer: { id, failure: toFailure(error) } }),
  );
}

function perform(database: SqliteDatabase, call: Call, nowMs: number): unknown {
  switch (call.call) {
    case "get":
      return database.get(call.key, call.revision ?? undefined);
    case "range": {
      const { entries, revision, more } = database.range(call.input);
      return { entries: encodeEntries(entries), revision, more };
    }
    case "history":
      return database.history(call.fromRevision);
    case "grant-lease":
      return database.grantLease(call.lease, call.ttlMs, nowMs);
    case "drop-lease": {
      const { revision, changes } = database.dropLease(call.lease, nowMs);
      return { revision, keys: changes.map(({ entry }) => entry.key) };
    }
    case "compact":
      return database.compact(call.revision, nowMs);
    case "revision":
      return database.revision;
    case "statistics":
      return database.statistics();
    case "backup":
      return database.backup(call.path);
    case "close":
      return database.close();
    default:
      return call satisfies never;
  }
}
