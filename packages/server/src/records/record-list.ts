/**
 * Lists: filter, sort, page, from memory. Filters narrow the rows field by field along columns (list-table); of what is left only the page's
 * best are kept, so a page of a hundred out of a hundred thousand costs a few short walks and no sorting of all. Called by the routes.
 */
import { SheafError, isProjectKind, kinds, type Kind, type RecordOf } from "@sheaf/model";
import type { ServerContext } from "../context.ts";
import { maySee, type Caller } from "../identity/rights.ts";
import { checkedPath } from "./field-path.ts";
import { compileFilter, compileLabels, type ReferenceNames } from "./list-filter.ts";
import { ageOf, ListTable, type FieldTest, type SortColumn } from "./list-table.ts";
import type { Presenter } from "./present.ts";
import { compareKeys, compareValues, type SortValue } from "./sort-column.ts";

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

interface Place {
  readonly value: SortValue;
  readonly age: number;
  readonly id: string;
}

export class RecordLists {
  readonly #cache: ServerContext["cache"];
  readonly #presenter: Presenter;
  readonly #names: ReferenceNames = {
    nameOf: (field, id) => this.#cache.get(kindOf(field), id)?.name,
    // All that are referred to so stand above projects.
    idOf: (field, name) => this.#cache.byName(kindOf(field), "-", name)?.id,
  };
  /** By kind, made when it is listed for the first time. */
  readonly #tables = new Map<Kind, ListTable>();

  constructor({ cache, agents }: Pick<ServerContext, "cache" | "agents">, presenter: Presenter) {
    this.#cache = cache;
    this.#presenter = presenter;
    cache.subscribe((_revision, changes) => {
      for (const change of changes) {
        this.#tables.get(change.kind)?.update(change);
        if (change.kind === "host") this.#tables.get("vm")?.hostChanged(change.id);
      }
    });
    agents.subscribe(({ hostId }) => this.#tables.get("vm")?.hostChanged(hostId));
  }

  /** Makes what most lists will need before anybody waits for it. Called once the cache is loaded. */
  prepare(): void {
    for (const kind of kinds) {
      const table = this.#table(kind);
      const fields = [...usualFields, ...(kind === "vm" ? usualFieldsOfMachines : [])].map((path) => checkedPath(kind, path, "sort"));
      const labels = table.usualLabels(usualLabelsLimit).map((key) => ["labels", key]);
      for (const segments of [...fields, ...labels]) {
        table.column(segments);
        table.sortColumn(segments);
      }
    }
  }

  /** @returns the page as JSON. @throws SheafError `invalid-input` */
  list(caller: Caller, kind: Kind, request: ListRequest): string {
    const { project, limit } = request;
    const presenter = this.#presenter;
    const tests: FieldTest[] = [
      ...(project !== undefined && isProjectKind(kind) ? [{ segments: ["project"], test: (value: unknown) => value === project }] : []),
      ...(request.label === undefined ? [] : compileLabels(request.label)),
      ...(request.filter === undefined ? [] : compileFilter(kind, request.filter, this.#names)),
    ];
    const sortPath = request.sort === undefined ? undefined : checkedPath(kind, request.sort.replace(/^[-+]/, ""), "sort");
    const write = request.fields === undefined ? (record: RecordOf<Kind>) => presenter.text(record) : fieldWriter(presenter, kind, request.fields);
    const query = JSON.stringify([kind, request.filter ?? "", request.label ?? "", request.sort ?? "", project ?? ""]);
    const start = request.cursor === undefined ? null : readCursor(request.cursor, query);

    const table = this.#table(kind);
    const everything = caller.rights.everywhere(viewPrivileges[kind]);
    const selected = table.select(tests, everything ? null : (record) => maySee(caller, record));
    const rows = bestRows(table, selected, {
      sortBy: sortPath === undefined ? null : table.sortColumn(sortPath),
      direction: request.sort?.startsWith("-") === true ? -1 : 1,
      start,
      size: limit + 1,
    });
    const shown = rows.slice(0, limit);
    const last = shown.at(-1);
    const next = rows.length > limit && last !== undefined ? writeCursor(query, last) : undefined;
    const items = shown.map(({ record }) => write(record)).join(",");
    return `{"items":[${items}]${next === undefined ? "" : `,"next":"${next}"`},"total":${selected.length},"revision":${this.#cache.revision}}`;
  }

  #table(kind: Kind): ListTable {
    let table = this.#tables.get(kind);
    if (table === undefined) this.#tables.set(kind, (table = new ListTable(this.#presenter, kind, this.#cache.all(kind))));
    return table;
  }
}

/** What command line, console and dashboards show, filter and sort by. Other fields get their columns when they are asked for. */
const usualFields = ["name", "displayName", "state", "createdAt", "createdBy", "project", "revision"];
const usualFieldsOfMachines = ["number", "host", "spec.power", "spec.cpu.count", "spec.memory.bytes", "spec.priority", "status.agent.state"];
/** Labels are how people sort what they have many of. */
const usualLabelsLimit = 6;

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

interface Order {
  /** By row; absent: by age alone. */
  readonly sortBy: SortColumn | null;
  readonly direction: 1 | -1;
  /** Rows up to here were on earlier pages. */
  readonly start: Place | null;
  readonly size: number;
}

/** The first `size` of the selected rows, in order. Equal ones are in order of their ids, which is that of their age. */
function bestRows(table: ListTable, selected: Uint32Array, { sortBy, direction, start, size }: Order): (Place & { record: RecordOf<Kind> })[] {
  const { rows, ages } = table;
  const idOf = (row: number): string => (rows[row] as RecordOf<Kind>).id; // selected rows are there
  const compareIds = (left: string, right: string): number => (left < right ? -direction : left > right ? direction : 0);
  const valueOf = (row: number): SortValue => sortBy?.values[row] ?? null;
  const keys = sortBy?.ordered?.keys ?? null;
  const valuesMatter = sortBy !== null && sortBy.ordered?.exact !== true;
  const compareByKey = (left: number, right: number): number =>
    keys === null ? 0 : compareKeys(keys[left] as number, keys[right] as number, direction); // as above
  const compare = (left: number, right: number): number => {
    const byKey = compareByKey(left, right);
    if (byKey !== 0) return byKey;
    const byValue = valuesMatter ? compareValues(valueOf(left), valueOf(right), direction) : 0;
    if (byValue !== 0) return byValue;
    const byAge = (ages[left] as number) - (ages[right] as number); // as above
    return byAge !== 0 ? byAge * direction : compareIds(idOf(left), idOf(right));
  };
  const isBehind = (row: number, place: Place): boolean => {
    const byValue = sortBy === null ? 0 : compareValues(valueOf(row), place.value, direction);
    if (byValue !== 0) return byValue > 0;
    const byAge = ((ages[row] as number) - place.age) * direction; // as above
    return byAge !== 0 ? byAge > 0 : compareIds(idOf(row), place.id) > 0;
  };
  const best = new BestRows(size, compare);
  let { last } = best;
  const look = (row: number): void => {
    if (last !== undefined) {
      // Most rows end here.
      const byKey = compareByKey(row, last);
      if (byKey > 0) return;
      if (byKey === 0 && !valuesMatter && ((ages[row] as number) - (ages[last] as number)) * direction > 0) return; // as above
    }
    if (!best.wants(row) || (start !== null && !isBehind(row, start))) return;
    best.offer(row);
    ({ last } = best);
  };
  // Rows lie mostly in order of age: those that are wanted among equals come first this way round. What sorts against it would displace the
  // whole page again and again: a sample of all is looked at before.
  const count = selected.length;
  const at = (index: number): number => selected[direction === 1 ? index : count - 1 - index] as number; // callers stay below the length
  for (let index = 0; index < count; index += sampleStep) look(at(index));
  for (let index = 0; index < count; index += 1) if (index % sampleStep !== 0) look(at(index));
  return best.sorted().map((row) => {
    const record = rows[row] as RecordOf<Kind>; // as above
    return { value: valueOf(row), age: ages[row] ?? 0, id: record.id, record };
  });
}

/** A prime: what recurs in the rows does not choose the sample. */
const sampleStep = 61;

/** Keeps the first `size` rows of all that are offered: a heap with the last of them on top. */
class BestRows {
  readonly #size: number;
  readonly #compare: (left: number, right: number) => number;
  readonly #heap: number[] = [];

  constructor(size: number, compare: (left: number, right: number) => number) {
    this.#size = size;
    this.#compare = compare;
  }

  /** What another row would take the place of; `undefined` while there is room. */
  get last(): number | undefined {
    return this.#heap.length < this.#size ? undefined : this.#heap[0];
  }

  /** Whether it would be kept. */
  wants(row: number): boolean {
    const top = this.#heap[0];
    return this.#heap.length < this.#size || top === undefined || this.#compare(row, top) < 0;
  }

  /** A row that is wanted. */
  offer(row: number): void {
    const heap = this.#heap;
    if (heap.length < this.#size) {
      heap.push(row);
      this.#up(heap.length - 1);
      return;
    }
    heap[0] = row;
    this.#down();
  }

  sorted(): number[] {
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

  #at(index: number): number {
    return this.#heap[index] as number; // callers stay below the length
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

const writeCursor = (query: string, { value, id }: Place): string => Buffer.from(JSON.stringify([value, id, shortHash(query)])).toString("base64url");

function readCursor(cursor: string, query: string): Place {
  try {
    const [value, id, hash] = JSON.parse(Buffer.from(cursor, "base64url").toString()) as [unknown, unknown, unknown]; // each is looked at below
    const fits = value === null || typeof value === "string" || typeof value === "number";
    if (fits && typeof id === "string" && hash === shortHash(query)) return { value, id, age: ageOf(id) };
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
