/**
 * How many transactions the embedded store makes durable: 64 callers, ten puts each, new keys and then random updates, and how
 * quickly everything is read again. `node bench/store.ts [seconds]`; no target, no test asserts the figures.
 */
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { SystemClock, systemRandom } from "@sheaf/adapters";
import { openSqliteStore } from "@sheaf/store";
import { publish } from "./outcome.ts";

const seconds = Number(process.argv[2] ?? 5);
const callers = 64;
const directory = mkdtempSync(join(tmpdir(), "sheaf-bench-"));
const path = join(directory, "store.db");
const options = { path, clock: new SystemClock(), random: systemRandom };
const value = JSON.stringify({ state: "running", reason: "x".repeat(60), epoch: 1, labels: { tier: "web" } });
const key = (record: number, part: number): string => `r/vm/${String(record).padStart(9, "0")}/${part}`;

try {
  const store = await openSqliteStore(options);
  let made = 0;
  const create = await load(() => {
    made += 1;
    return made;
  });
  const update = await load(() => Math.floor(Math.random() * Math.min(made, 20_000)));
  let entries = 0;
  const started = performance.now();
  for (let after: string | undefined, revision: number | undefined; ;) {
    const page = await store.range({ prefix: "r/", ...(after === undefined ? {} : { after }), ...(revision === undefined ? {} : { revision }) });
    entries += page.entries.length;
    after = page.entries.at(-1)?.key;
    ({ revision } = page);
    if (!page.more) break;
  }
  const listMs = performance.now() - started;
  await store.close();
  const opening = performance.now();
  await (await openSqliteStore(options)).close();
  publish([], { create, update, listed: entries, listMs: Math.round(listMs), openAndCloseMs: Math.round(performance.now() - opening) });

  async function load(next: () => number) {
    const latencies: number[] = [];
    const before = await store.statistics();
    const start = performance.now();
    const end = start + seconds * 1000;
    await Promise.all(
      Array.from({ length: callers }, async () => {
        while (performance.now() < end) {
          const record = next();
          const asked = performance.now();
          await store.transact({ compare: [], then: Array.from({ length: 10 }, (_, part) => ({ put: key(record, part), value })) });
          latencies.push(performance.now() - asked);
        }
      }),
    );
    const tookMs = performance.now() - start;
    const after = await store.statistics();
    latencies.sort((left, right) => left - right);
    const at = (share: number): number => Number((latencies[Math.floor(latencies.length * share)] ?? 0).toFixed(2));
    return {
      transactionsPerSecond: Math.round((latencies.length / tookMs) * 1000),
      medianMs: at(0.5),
      p99Ms: at(0.99),
      perCommit: Math.round((after.transactions - before.transactions) / (after.batches - before.batches)),
    };
  }
} finally {
  rmSync(directory, { recursive: true });
}
