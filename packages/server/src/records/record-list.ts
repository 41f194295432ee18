/**
 * Lists: filter, sort, page, from memory. One walk over the kind's records keeps only the page's best, so a page of a hundred out of a
 * hundred thousand costs one walk and no sorting of all. Called by the routes.
 */
import { SheafError, isProjectKind, type Kind, type RecordOf } from "@sheaf/model";
import type { ServerContext } from "../context.ts";
import { maySee, type Caller } from "../identity/rights.ts";
import { checkedPath, fieldReader } from "./field-path.ts";
import { compileFilter, compileLabels, type RecordTest } from "./list-filter.ts";
import type { Presenter } from "./present.ts";

export interface ListRequest {
  readonly filter?: string | undefined;
  readonly label?: string | undefined;
  readonly sort?: string | undefined;
  readonly fields?: string | undefined;
  readonly limit: number;
  readonly cursor?: string | undefined;
  /** Id of the project to look in; absent: all that the caller may see. */
  readonly project?: string | undefined;
}

/** What a list is ordered by. Absent values come last, whichever way. */
type SortValue = string | number | null;
interface Row {
  readonly value: SortValue;
  readonly id: string;
  readonly record: RecordOf<Kind>;
}

export function listRecords(context: Pick<ServerContext, "cache">, presenter: Presenter, caller: Caller, kind: Kind, request: ListRequest): string {
  const { cache } = context;
  const nameOf = (field: string, id: string): string | undefined => cache.get(kindOf(field), id)?.name;
  const tests: RecordTest[] = [
    ...(request.label === undefined ? [] : compileLabels(request.label)),
    ...(request.filter === undefined ? [] : compileFilter(presenter, kind, request.filter, nameOf)),
  ];
  const { project } = request;
  if (project !== undefined && isProjectKind(kind)) tests.unshift((record) => record.project === project);
  const descending = request.sort?.startsWith("-") === true;
  const sortPath = request.sort === undefined ? undefined : checkedPath(kind, request.sort.replace(/^[-+]/, ""), "sort");
  const readSort = sortPath === undefined ? () => null : fieldReader(presenter, sortPath);
  const query = JSON.stringify([kind, request.filter ?? "", request.label ?? "", request.sort ?? "", project ?? ""]);
  const start = request.cursor === undefined ? null : readCursor(request.cursor, query);
  const direction = descending ? -1 : 1;
  const compare = (left: { value: SortValue; id: string }, right: { value: SortValue; id: string }): number => compareRows(left, right, direction);

  let total = 0;
  const page = new BestRows(request.limit + 1, compare);
  const everything = caller.rights.everywhere(viewPrivileges[kind]);
  scan: for (const record of cache.all(kind)) {
    for (const test of tests) if (!test(record)) continue scan;
    if (!everything && !maySee(caller, record)) continue;
    total += 1;
    const value = sortValue(readSort(record));
    if (start !== null && compare({ value, id: record.id }, start) <= 0) continue;
    page.offer(value, record);
  }
  const rows = page.sorted();
  const shown = rows.slice(0, request.limit);
  const last = shown.at(-1);
  const next = rows.length > request.limit && last !== undefined ? writeCursor(query, last) : undefined;
  const write = request.fields === undefined ? (record: RecordOf<Kind>) => presenter.text(record) : fieldWriter(presenter, kind, request.fields);
  const items = shown.map(({ record }) => write(record)).join(",");
  return `{"items":[${items}]${next === undefined ? "" : `,"next":"${next}"`},"total":${total},"revision":${cache.revision}}`;
}

const viewPrivileges = {
  host: "host.view",
  cluster: "cluster.view",
  pool: "pool.view",
  volume: "volume.view",
  image: "image.view",
  network: "network.view",
  vm: "vm.view",
  task: "task.view",
  project: "project.view",
  user: "user.view",
  role: "user.view",
  token: "user.change",
} as const satisfies Record<Kind, string>;

const kindOf = (field: string): Kind =>
  field === "project" ? "project" : field === "spec.cluster" ? "cluster" : field === "spec.pool" ? "pool" : "host";

const sortValue = (value: unknown): SortValue =>
  typeof value === "string" || typeof value === "number" ? value : typeof value === "boolean" ? String(value) : null;

/** Numbers before texts, absent ones last; equal ones by id, which is by age. */
function compareRows(left: { value: SortValue; id: string }, right: { value: SortValue; id: string }, direction: 1 | -1): number {
  const { value: a } = left;
  const { value: b } = right;
  if (a !== b) {
    if (a === null) return 1;
    if (b === null) return -1;
    if (typeof a === typeof b) return a < b ? -direction : direction;
    return typeof a === "number" ? -1 : 1;
  }
  return left.id < right.id ? -direction : left.id > right.id ? direction : 0;
}

/** Keeps the first `size` rows of all that are offered: a heap with the last of them on top. */
class BestRows {
  readonly #size: number;
  readonly #compare: (left: Row, right: Row) => number;
  readonly #heap: Row[] = [];

  constructor(size: number, compare: (left: Row, right: Row) => number) {
    this.#size = size;
    this.#compare = compare;
  }

  offer(value: SortValue, record: RecordOf<Kind>): void {
    const row = { value, id: record.id, record };
    const heap = this.#heap;
    if (heap.length < this.#size) {
      heap.push(row);
      this.#up(heap.length - 1);
      return;
    }
    const top = heap[0];
    if (top === undefined || this.#compare(row, top) >= 0) return;
    heap[0] = row;
    this.#down();
  }

  sorted(): Row[] {
    return [...this.#heap].sort(this.#compare);
  }

  #up(from: number): void {
    const heap = this.#heap;
    let index = from;
    while (index > 0) {
      const parent = (index - 1) >> 1;
      if (this.#compare(this.#at(index), this.#at(parent)) <= 0) return;
      [heap[index], heap[parent]] = [this.#at(parent), this.#at(index)];
      index = parent;
    }
  }

  #down(): void {
    const heap = this.#heap;
    let index = 0;
    for (;;) {
      let last = index;
      for (const child of [2 * index + 1, 2 * index + 2]) if (child < heap.length && this.#compare(this.#at(child), this.#at(last)) > 0) last = child;
      if (last === index) return;
      [heap[index], heap[last]] = [this.#at(last), this.#at(index)];
      index = last;
    }
  }

  #at(index: number): Row {
    return this.#heap[index] as Row; // callers stay below the length
  }
}

function fieldWriter(presenter: Presenter, kind: Kind, fields: string): (record: RecordOf<Kind>) => string {
  const paths = fields
    .split(",")
    .map((field) => field.trim())
    .filter((field) => field !== "")
    .map((field) => ({ field, segments: checkedPath(kind, field, "fields") }));
  if (paths.length > 64)
    throw new SheafError("invalid-input", "At most 64 fields can be chosen.", { errors: [{ at: "fields", message: "has more than 64" }] });
  return (record) => {
    const shown = presenter.show(record);
    const result: Record<string, unknown> = {};
    for (const { segments } of paths) copyPath(shown, result, segments);
    return JSON.stringify(result);
  };
}

function copyPath(from: Readonly<Record<string, unknown>>, to: Record<string, unknown>, segments: readonly string[]): void {
  let source: unknown = from;
  for (const segment of segments) {
    if (typeof source !== "object" || source === null || !Object.hasOwn(source, segment)) return;
    source = (source as Readonly<Record<string, unknown>>)[segment]; // own member, checked
  }
  let target = to;
  for (const segment of segments.slice(0, -1)) {
    const inner = Object.hasOwn(target, segment) ? target[segment] : undefined;
    const next: Record<string, unknown> = typeof inner === "object" && inner !== null ? { ...inner } : {};
    target[segment] = next;
    target = next;
  }
  const last = segments.at(-1);
  if (last !== undefined) target[last] = source;
}

const writeCursor = (query: string, { value, id }: Row): string => Buffer.from(JSON.stringify([value, id, shortHash(query)])).toString("base64url");

function readCursor(cursor: string, query: string): { value: SortValue; id: string } {
  try {
    const [value, id, hash] = JSON.parse(Buffer.from(cursor, "base64url").toString()) as [unknown, unknown, unknown]; // each is looked at below
    const fits = value === null || typeof value === "string" || typeof value === "number";
    if (fits && typeof id === "string" && hash === shortHash(query)) return { value, id };
  } catch {
    // told below
  }
  throw new SheafError("invalid-input", "The cursor does not belong to this list.", {
    next: "Use `next` of the page before, with the same filter, label, sort and project; or begin again without it.",
    errors: [{ at: "cursor", message: "does not belong to this list" }],
  });
}

/** Tells apart the lists a cursor may belong to; no more than that. */
function shortHash(text: string): number {
  let hash = 0;
  for (let index = 0; index < text.length; index += 1) hash = (Math.imul(hash, 31) + text.charCodeAt(index)) | 0;
  return hash;
}
