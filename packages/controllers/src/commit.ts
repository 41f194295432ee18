/** The only way a controller writes: with the condition that this server leads, and seen by the cache before the next look. */
import type { Compare, Operation, TransactionResult } from "@sheaf/store";
import type { ControllerContext } from "./context.ts";

export interface Transaction {
  readonly compare: readonly Compare[];
  readonly then: readonly Operation[];
}

export type CommitContext = Pick<ControllerContext, "store" | "cache" | "leadership">;

/**
 * @returns the result; when it did not succeed somebody was quicker, or this server leads no more: look again.
 * @throws StoreError; `uncertain` included: what was looked at may have changed, look again
 */
export async function commit(context: CommitContext, transaction: Transaction): Promise<TransactionResult> {
  const result = await context.store.transact({ compare: [...context.leadership(), ...transaction.compare], then: transaction.then });
  await context.cache.waitFor(result.revision);
  return result;
}

/** What a controller may put on record besides the leader's condition(s). */
export const operationsPerTransaction = 96;

/** Thrown to be looked at again after a pause: what was decided on has changed. */
export class Overtaken extends Error {
  override readonly name = "Overtaken";
}
