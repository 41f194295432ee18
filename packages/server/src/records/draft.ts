/**
 * One transaction in the making: conditions, each with what it means when it does not hold, and operations. Filled by the record rules,
 * committed by the writer. A draft is made anew for every try; it does no I/O.
 */
import { nameKey, partKey, type Kind, type RecordOf, type SheafError } from "@sheaf/model";
import { storeLimits, type Compare, type Entry, type Operation } from "@sheaf/store";

export interface Condition {
  readonly compare: Compare;
  /** Why the request is refused when this does not hold. Absent: look again and make a new draft. */
  readonly refusal?: (current: Entry | null) => SheafError;
  /** Told when this does not hold and the request is tried again. */
  readonly lost?: () => void;
}

export class Draft {
  readonly conditions: Condition[] = [];
  readonly operations: Operation[] = [];
  readonly #abandoned: (() => void)[] = [];

  require(condition: Condition): void {
    this.conditions.push(condition);
  }

  put(key: string, value: unknown): void {
    this.operations.push({ put: key, value: JSON.stringify(value) });
  }

  putText(key: string, value: string, lease?: string): void {
    this.operations.push(lease === undefined ? { put: key, value } : { put: key, value, lease });
  }

  /** What this draft claims and gives back at once stays with its holder. */
  delete(key: string): void {
    const put = this.operations.find((operation) => "put" in operation && operation.put === key);
    if (put === undefined) this.operations.push({ delete: key });
    else if ("put" in put) this.#keep(key, put.value);
  }

  /** A key that must be free, and belongs to `id` from then on. One that this draft gives back may be claimed again. */
  claim(key: string, id: string, otherwise: Omit<Condition, "compare">): void {
    const given = this.operations.findIndex((operation) => "delete" in operation && operation.delete === key);
    if (given !== -1) this.operations.splice(given, 1);
    this.require({ compare: { key, createRevision: 0 }, ...otherwise });
    this.operations.push({ put: key, value: id });
    if (given !== -1) this.#keep(key, id);
  }

  /** Instead of being free, the key must belong to its holder. */
  #keep(key: string, id: string): void {
    const index = this.conditions.findIndex(({ compare }) => compare.key === key);
    const condition = this.conditions[index];
    if (condition !== undefined) this.conditions[index] = { ...condition, compare: { key, value: id } };
  }

  claimName(kind: Kind, scope: string, name: string, id: string, otherwise: Omit<Condition, "compare">): void {
    this.claim(nameKey(kind, scope, name), id, otherwise);
  }

  /** The record's spec must still be what was looked at: it is neither changed nor deleted meanwhile. */
  unchanged(record: RecordOf<Kind>, refusal?: Condition["refusal"]): void {
    const key = partKey(record.kind, record.id, "spec");
    if (this.conditions.some(({ compare }) => compare.key === key)) return;
    this.require({ compare: { key, modRevision: record.specRevision }, ...(refusal === undefined ? {} : { refusal }) });
  }

  /** Called when this draft is not committed: gives back what it took from the counters in memory. */
  whenAbandoned(undo: () => void): void {
    this.#abandoned.push(undo);
  }

  abandon(): void {
    for (const undo of this.#abandoned.splice(0)) undo();
  }

  /** Room is kept for the idempotency key, the audit entry and the quota. */
  get tooLarge(): boolean {
    return this.conditions.length > storeLimits.operations - 4 || this.operations.length > storeLimits.operations - 4;
  }
}

export function holds(compare: Compare, current: Entry | null): boolean {
  if ("value" in compare) return current !== null && current.value === compare.value;
  if ("modRevision" in compare) return (current?.modRevision ?? 0) === compare.modRevision;
  return (current?.createRevision ?? 0) === compare.createRevision;
}
