/** Turns parts into records and back: which member of a record a part is. Used by the cache alone. */
import type { Kind, RecordOf } from "@sheaf/model";

export type StoredRecord = RecordOf<Kind>;
/** While it is put together; handed out as a record only when its spec is there, and never changed afterwards. */
type Members = Record<string, unknown> & { status: Record<string, unknown>; revision: number };

const empty = (): Members => ({ status: {}, revision: 0, specRevision: 0 });

function read(text: string): object | null {
  try {
    const value: unknown = JSON.parse(text);
    return typeof value === "object" ? value : null;
  } catch {
    return null;
  }
}

/**
 * The same as `withPart` one part after the other, without the copies in between: a site of a hundred thousand machines is read this way.
 * @param parts by name
 * @param unreadable called for each part that is no JSON object, or no part of a record; it is left out
 */
export function ofParts(
  parts: ReadonlyMap<string, { readonly value: string; readonly modRevision: number }>,
  unreadable: (part: string) => void,
): Members | undefined {
  const status: Record<string, unknown> = {};
  let head: object = {};
  let placement: object | undefined;
  let specRevision = 0;
  let revision = 0;
  for (const [part, entry] of parts) {
    const value = read(entry.value);
    const [first, writer, key] = part.split("/");
    if (value === null || (part !== "spec" && part !== "placement" && (first !== "status" || writer === undefined))) {
      unreadable(part);
      continue;
    }
    revision = Math.max(revision, entry.modRevision);
    if (part === "spec") {
      head = value;
      specRevision = entry.modRevision;
    } else if (part === "placement") placement = value;
    else if (writer !== undefined && key === undefined) status[writer] = value;
    else if (writer !== undefined && key !== undefined) {
      const members = (status[writer] ??= {}) as Record<string, unknown>; // parts kept per host are objects by host
      members[key] = value;
    }
  }
  if (revision === 0) return undefined;
  return { ...head, status, ...(placement === undefined ? {} : { placement }), specRevision, revision };
}

/** @returns a new record with the part put in; the old one stays as it is. `null` where the value is no JSON object. */
export function withPart(record: Members | undefined, part: string, text: string, revision: number): Members | null {
  const value = read(text);
  if (value === null) return null;
  const old = record ?? empty();
  if (part === "spec") {
    // The whole head is this part's: what the old one had and the new one lacks must go.
    const { status, placement } = old;
    return {
      ...value,
      status,
      ...(placement === undefined ? {} : { placement }),
      specRevision: revision,
      revision: Math.max(old.revision, revision),
    };
  }
  if (part === "placement") return { ...old, placement: value, revision };
  const [first, writer, key] = part.split("/");
  if (first !== "status" || writer === undefined) return null;
  const member =
    key === undefined ? value : { ...(old.status[writer] as object | undefined) /* parts kept per host are objects by host */, [key]: value };
  return { ...old, status: { ...old.status, [writer]: member }, revision };
}

/** @returns the record without the part; `undefined` when nothing of it is left. */
export function withoutPart(record: Members, part: string, revision: number): Members | undefined {
  if (part === "spec") {
    const rest: Members = {
      status: record.status,
      revision,
      specRevision: 0,
      ...(record["placement"] === undefined ? {} : { placement: record["placement"] }),
    };
    return isEmpty(rest) ? undefined : rest;
  }
  if (part === "placement") {
    const { placement: _, ...rest } = record;
    return leftOf({ ...rest, status: record.status, revision });
  }
  const [, writer = "", key] = part.split("/");
  const { [writer]: member, ...others } = record.status;
  if (key === undefined) return leftOf({ ...record, status: others, revision });
  const { [key]: _, ...hosts } = (member ?? {}) as Record<string, unknown>; // parts kept per host are objects by host
  return leftOf({ ...record, status: Object.keys(hosts).length === 0 ? others : { ...others, [writer]: hosts }, revision });
}

/** @returns the record with those parts only that are listed, the same object when nothing is to go; `undefined` when nothing is left. */
export function withOnly(record: Members, listed: ReadonlySet<string>, revision: number): Members | undefined {
  let left: Members | undefined = record;
  for (const part of partsOf(record, listed)) if (!listed.has(part)) left = left && withoutPart(left, part, revision);
  return left;
}

/** A writer's member is one part, or one a key below it: what is listed tells which. */
function* partsOf(record: Members, listed: ReadonlySet<string>): Generator<string, void, undefined> {
  if (record["id"] !== undefined) yield "spec";
  if (record["placement"] !== undefined) yield "placement";
  for (const [writer, member] of Object.entries(record.status)) {
    const part = `status/${writer}`;
    const nested = !listed.has(part) && [...listed].some((other) => other.startsWith(`${part}/`));
    if (!nested) yield part;
    else for (const key of Object.keys(member as object /* made by withPart */)) yield `${part}/${key}`;
  }
}

const leftOf = (record: Members): Members | undefined => (isEmpty(record) ? undefined : record);
const isEmpty = (record: Members): boolean =>
  record["id"] === undefined && record["placement"] === undefined && Object.keys(record.status).length === 0;

/** A record is there for others once its spec is. */
export const visible = (record: Members | undefined): StoredRecord | undefined =>
  record?.["id"] === undefined ? undefined : (record as unknown as StoredRecord); // put together from the parts of one

export type { Members };
