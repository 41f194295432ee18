/** Reads the audit trail for people: pages newest first with filters, and the whole as lines of JSON; files and store alike. Called by the API; never writes. */
import { AuditEvent, SheafError, auditEntriesPrefix, auditKey } from "@sheaf/model";
import type { Store } from "@sheaf/store";
import type { AuditFileRecord } from "./audit-file.ts";
import { auditChains, headOf, readRecorded, storedItems, type AuditFolder, type ChainParts } from "./audit-source.ts";
import type { AuditTrail } from "./audit-trail.ts";

export interface AuditQuery {
  readonly limit: number;
  readonly cursor?: string | undefined;
  readonly actor?: string | undefined;
  readonly target?: string | undefined;
  readonly from?: number | undefined;
  readonly to?: number | undefined;
}

interface Source {
  readonly store: Store;
  readonly folder: AuditFolder;
}

/** Entries looked at for one page: a filter that fits little answers a short page and a cursor. */
const scanLimit = 20_000;
const pageEntries = 500;

export async function listAudit(source: Source, trail: Pick<AuditTrail, "chain" | "last">, query: AuditQuery) {
  const { store } = source;
  const revision = await store.revision();
  const chains = await auditChains(store, revision);
  const ends = new Map<string, number>();
  for (const parts of chains) ends.set(parts.chain, parts.chain === trail.chain ? trail.last : await endOf(store, parts, revision));
  const total = [...ends.values()].reduce((sum, end) => sum + end, 0);
  let { index, below } = startOf(query.cursor, chains, ends);
  const items: AuditEvent[] = [];
  let scanned = 0;
  while (index >= 0) {
    const parts = chains[index];
    if (parts === undefined || below <= 1) {
      index -= 1;
      below = (ends.get(chains[index]?.chain ?? "") ?? 0) + 1;
      continue;
    }
    if (scanned >= scanLimit) break;
    const block = await blockBelow(source, parts, below, revision, query);
    for (const event of block.events.toReversed()) {
      scanned += 1;
      if (!fits(event, query)) continue;
      items.push(event);
      if (items.length === query.limit) return { items, next: `${parts.chain}:${event.sequence}`, total, revision };
    }
    // What is before it in this chain is older still.
    below = query.from !== undefined && block.firstAt < query.from ? 1 : block.first;
  }
  return index < 0 ? { items, total, revision } : { items, next: `${chains[index]?.chain ?? ""}:${below}`, total, revision };
}

interface Block {
  /** Sequence of the oldest entry that was looked at; the next block is below it. */
  readonly first: number;
  readonly firstAt: number;
  /** Oldest first. */
  readonly events: readonly AuditEvent[];
}

/** The newest entries below a sequence: as much as one file or one page of the store holds. */
async function blockBelow(source: Source, { chain, files, moved }: ChainParts, below: number, revision: number, query: AuditQuery): Promise<Block> {
  if (below - 1 <= moved.to) {
    const record = files.findLast((file) => file.from < below);
    if (record === undefined) return { first: 1, firstAt: 0, events: [] };
    const needless = (query.from !== undefined && record.lastAt < query.from) || (query.to !== undefined && record.firstAt > query.to);
    const events = needless ? [] : await eventsOf(source, chain, record);
    return { first: record.from, firstAt: record.firstAt, events: events.filter(({ sequence }) => sequence < below) };
  }
  const first = Math.max(moved.to + 1, below - pageEntries);
  const { entries } = await source.store.range({
    prefix: auditEntriesPrefix(chain),
    revision,
    limit: below - first,
    ...(first === 1 ? {} : { after: auditKey(chain, first - 1) }),
  });
  const events = entries.filter(({ key }) => key < auditKey(chain, below)).map(({ value }) => AuditEvent.parse(JSON.parse(value)));
  return { first, firstAt: events[0]?.at ?? 0, events };
}

/** What a file holds. What cannot be read of it is told in its place: a reader must not take a gap for quiet times. */
async function eventsOf({ folder }: Source, chain: string, record: AuditFileRecord): Promise<AuditEvent[]> {
  const { file, problem } = await readRecorded(folder, chain, record);
  const events: AuditEvent[] = [];
  for (const item of file?.items ?? []) {
    if (item.kind !== "entry" || item.sequence < record.from || item.sequence > record.to) continue;
    const event = AuditEvent.safeParse(parsed(item.text));
    if (event.success) events.push(event.data);
  }
  if (problem !== null) events.push(unreadable(record, problem));
  return events;
}

const unreadable = (record: AuditFileRecord, problem: string): AuditEvent => ({
  sequence: record.to,
  at: record.lastAt,
  actor: "system",
  from: "local",
  action: "audit.unreadable",
  target: `audit/${record.file}`,
  result: "failed",
  code: "internal",
  after: { problem, server: record.server, from: record.from, to: record.to },
});

function parsed(text: string): unknown {
  try {
    return JSON.parse(text);
  } catch {
    return null;
  }
}

/** Oldest first, one entry a line, seals left out. */
export async function* exportAudit(source: Source): AsyncGenerator<string> {
  const revision = await source.store.revision();
  const line = (chain: string, text: string): string => `{"chain":"${chain}",${text.slice(1)}\n`;
  for (const { chain, files, moved } of await auditChains(source.store, revision)) {
    for (const record of files) {
      const { file, problem } = await readRecorded(source.folder, chain, record);
      if (problem !== null) yield line(chain, JSON.stringify(unreadable(record, problem)));
      for (const item of file?.items ?? []) if (item.kind === "entry") yield line(chain, item.text);
    }
    for await (const item of storedItems(source.store, chain, moved.to, revision)) if (item.kind === "entry") yield line(chain, item.text);
  }
}

function fits(event: AuditEvent, { actor, target, from, to }: AuditQuery): boolean {
  if (actor !== undefined && event.actor !== actor) return false;
  if (target !== undefined && event.target !== target && !event.target.startsWith(`${target}/`)) return false;
  return (from === undefined || event.at >= from) && (to === undefined || event.at <= to);
}

function startOf(cursor: string | undefined, chains: readonly ChainParts[], ends: ReadonlyMap<string, number>): { index: number; below: number } {
  if (cursor === undefined) return { index: chains.length - 1, below: (ends.get(chains.at(-1)?.chain ?? "") ?? 0) + 1 };
  const [name = "", sequence = ""] = cursor.split(":");
  const index = chains.findIndex(({ chain }) => chain === name);
  if (index === -1 || !/^\d{1,12}$/.test(sequence))
    throw new SheafError("invalid-input", "The cursor is not one that this server gave.", {
      errors: [{ at: "cursor", message: "begin again without it" }],
    });
  return { index, below: Number(sequence) };
}

const endOf = async (store: Store, parts: ChainParts, revision: number): Promise<number> => (await headOf(store, parts, revision)).head.to;
