/**
 * Commits many small independent decisions in few transactions: as many in one as fit. Where somebody was quicker with one of them, that
 * one alone is given back. Called by the placement controller and gathered-commit.ts.
 */
import type { Compare, Entry, Operation } from "@sheaf/store";
import { commit, operationsPerTransaction, Overtaken, type CommitContext, type Transaction } from "./commit.ts";

export interface Decision<T> extends Transaction {
  readonly about: T;
}

/**
 * @returns those that were overtaken; all others are committed and seen by the cache
 * @throws Overtaken when this server does not lead any more; StoreError. What was not committed then is unknown to the caller: look again.
 */
export async function commitAll<T>(context: CommitContext, decisions: readonly Decision<T>[]): Promise<Decision<T>[]> {
  const overtaken: Decision<T>[] = [];
  for (const pack of packed(decisions)) {
    let rest = pack;
    while (rest.length > 0) {
      const result = await commit(context, { compare: rest.flatMap((one) => one.compare), then: rest.flatMap((one) => one.then) });
      if (result.succeeded) break;
      const lost = rest.filter((one) => one.compare.some((compare) => !holds(compare, result.current.get(compare.key) ?? null)));
      if (lost.length === 0) throw new Overtaken("this server does not lead any more");
      overtaken.push(...lost);
      rest = rest.filter((one) => !lost.includes(one));
    }
  }
  return overtaken;
}

function* packed<T>(decisions: readonly Decision<T>[]): Generator<Decision<T>[]> {
  let pack: Decision<T>[] = [];
  let compares = 0;
  let operations = 0;
  for (const decision of decisions) {
    if (
      pack.length > 0 &&
      (compares + decision.compare.length > operationsPerTransaction || operations + decision.then.length > operationsPerTransaction)
    ) {
      yield pack;
      pack = [];
      compares = 0;
      operations = 0;
    }
    pack.push(decision);
    compares += decision.compare.length;
    operations += decision.then.length;
  }
  if (pack.length > 0) yield pack;
}

function holds(compare: Compare, current: Entry | null): boolean {
  if ("value" in compare) return current?.value === compare.value;
  if ("modRevision" in compare) return (current?.modRevision ?? 0) === compare.modRevision;
  return (current?.createRevision ?? 0) === compare.createRevision;
}

export const put = (key: string, value: unknown): Operation => ({ put: key, value: JSON.stringify(value) });
