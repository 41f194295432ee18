/**
 * For `sqlite-kill.test.ts`: writes to the store at the path given until it is killed, and says so in lines, `ack <writer> <number>
 * <revision>`, once the store has acknowledged. Each transaction puts its number under several keys, so that half of one can be seen.
 * A writer that fails says `error <code>` and ends.
 */
import { randomBytes } from "node:crypto";
import { writeSync } from "node:fs";
import { openSqliteStore } from "../sqlite.ts";
import { StoreError } from "../store.ts";
import type { TransactionInput, TransactionResult } from "../store.ts";

/** Synchronously: an acknowledgement that was given must not be lost in a buffer. A full pipe is waited for. */
function say(line: string): void {
  for (;;) {
    try {
      writeSync(1, line);
      return;
    } catch (error) {
      if (!(error instanceof Error && "code" in error && error.code === "EAGAIN")) throw error;
    }
  }
}

const [path = "", cycle = ""] = process.argv.slice(2);
const store = await openSqliteStore({
  path,
  clock: {
    now: () => Date.now(),
    monotonic: () => performance.now(),
    setTimer: (delayMs, run) => {
      const timer = setTimeout(run, delayMs);
      return { cancel: () => clearTimeout(timer) };
    },
  },
  random: { bytes: (length) => new Uint8Array(randomBytes(length)) },
  historyRevisions: 200,
});
say(`open ${store.incarnation} ${await store.revision()}\n`);

async function attempt(input: TransactionInput): Promise<TransactionResult | null> {
  try {
    return await store.transact(input);
  } catch (error) {
    say(`error ${error instanceof StoreError ? error.code : String(error)}\n`);
    return null;
  }
}

const writers = 16;
await Promise.all(
  Array.from({ length: writers }, async (_, writer) => {
    for (let number = 1; ; number += 1) {
      const name = `w/${cycle}/${writer}`;
      const value = `${number}:${"x".repeat((number * 37) % 700)}`;
      const written = await attempt({
        compare: [],
        then: [
          { put: `${name}/first`, value },
          { put: `${name}/second`, value },
          { put: `log/${cycle}/${writer}/${number}`, value: String(number) },
        ],
      });
      if (written === null) return;
      say(`ack ${writer} ${number} ${written.revision}\n`);
    }
  }),
);

const read = await store.get("w/0/0/first").then(
  (entry) => (entry === null ? "nothing" : "entry"),
  (error) => (error instanceof StoreError ? error.code : String(error)),
);
say(`read ${read}\n`);
await store.close();
