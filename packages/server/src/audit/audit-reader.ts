/** Reads the audit trail for people: pages newest first with filters, and the whole as lines of JSON. Called by the API; never writes. */
import { AuditEvent, SheafError, auditKey } from "@sheaf/model";
import type { Store } from "@sheaf/store";
import { auditChains } from "./audit-chains.ts";
import { AuditHead } from "./audit-seal.ts";
import { auditEntriesPrefix, auditHeadKey, type AuditTrail } from "./audit-trail.ts";
import { pages } from "./audit-verify.ts";

export interface AuditQuery {
  readonly limit: number;
  readonly cursor?: string | undefined;
  readonly actor?: string | undefined;
  readonly target?: string | undefined;
  readonly from?: number | undefined;
  readonly to?: number | undefined;
}

/** Entries looked at for one page: a filter that fits little answers a short page and a cursor. */
const scanLimit = 20_000;
const pageEntries = 500;

export async function listAudit(store: Store, trail: AuditTrail, query: AuditQuery) {
  const revision = await store.revision();
  const chains = await auditChains(store, revision);
  const ends = new Map<string, number>();
  for (const chain of chains) ends.set(chain, chain === trail.chain ? trail.last : await chainEnd(store, chain));
  const total = [...ends.values()].reduce((sum, end) => sum + end, 0);
  let { index, below } = startOf(query.cursor, chains, ends);
  const items: AuditEvent[] = [];
  let scanned = 0;
  while (index >= 0) {
    const chain = chains[index] ?? ""; // index is in range
    if (below <= 1) {
      index -= 1;
      below = (ends.get(chains[index] ?? "") ?? 0) + 1;
      continue;
    }
    if (scanned >= scanLimit) break;
    const first = Math.max(1, below - pageEntries);
    const { entries } = await store.range({
      prefix: auditEntriesPrefix(chain),
      revision,
      limit: below - first,
      ...(first === 1 ? {} : { after: auditKey(chain, first - 1) }),
    });
    for (const entry of entries.filter((one) => one.key < auditKey(chain, below)).toReversed()) {
      scanned += 1;
      const event = AuditEvent.parse(JSON.parse(entry.value));
      if (query.from !== undefined && event.at < query.from) return { items, total, revision };
      if (!fits(event, query)) continue;
      items.push(event);
      if (items.length === query.limit) return { items, next: `${chain}:${event.sequence}`, total, revision };
    }
    below = first;
  }
  return index < 0 ? { items, total, revision } : { items, next: `${chains[index] ?? ""}:${below}`, total, revision };
}

/** Oldest first, one entry a line, seals left out. */
export async function* exportAudit(store: Store): AsyncGenerator<string> {
  const revision = await store.revision();
  for (const chain of await auditChains(store, revision))
    for await (const entry of pages(store, auditEntriesPrefix(chain), revision)) yield `{"chain":"${chain}",${entry.value.slice(1)}\n`;
}

function fits(event: AuditEvent, { actor, target, to }: AuditQuery): boolean {
  if (actor !== undefined && event.actor !== actor) return false;
  if (target !== undefined && event.target !== target && !event.target.startsWith(`${target}/`)) return false;
  return to === undefined || event.at <= to;
}

function startOf(cursor: string | undefined, chains: readonly string[], ends: ReadonlyMap<string, number>): { index: number; below: number } {
  if (cursor === undefined) return { index: chains.length - 1, below: (ends.get(chains.at(-1) ?? "") ?? 0) + 1 };
  const [chain = "", sequence = ""] = cursor.split(":");
  const index = chains.indexOf(chain);
  if (index === -1 || !/^\d{1,12}$/.test(sequence))
    throw new SheafError("invalid-input", "The cursor is not one that this server gave.", {
      errors: [{ at: "cursor", message: "begin again without it" }],
    });
  return { index, below: Number(sequence) };
}

async function chainEnd(store: Store, chain: string): Promise<number> {
  const head = await store.get(auditHeadKey(chain));
  return head === null ? 0 : AuditHead.parse(JSON.parse(head.value)).to;
}
