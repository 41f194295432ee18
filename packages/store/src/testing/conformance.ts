/**
 * What every store must do, as test cases. Called by the test file of each backend with a factory; a backend that passes may stand
 * behind the server. Time is simulated: a factory must give leases the clock it is handed.
 */
import { eachCase } from "./conformance-kit.ts";
import type { OpenStore } from "./conformance-kit.ts";
import { readingCases } from "./conformance-reading.ts";
import { transactionCases } from "./conformance-transactions.ts";
import { watchingCases } from "./conformance-watching.ts";

export function storeConformance(name: string, open: OpenStore): void {
  const each = eachCase(open);
  transactionCases(name, each);
  readingCases(name, each);
  watchingCases(name, each);
}
