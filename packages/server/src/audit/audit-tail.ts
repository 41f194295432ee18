/**
 * Seals what somebody else left unsealed: an earlier run of this server that was killed, or another server that has been silent for a
 * while. A seal is written only where the chain's head is still as it was read, so nobody needs to know who is alive: whoever comes second
 * looks again. Called by the trail.
 */
import { auditEntriesPrefix, auditHeadKey, auditKey, auditSealKey } from "@sheaf/model";
import type { Compare, Operation } from "@sheaf/store";
import type { AuditContext } from "../context.ts";
import { auditText } from "./audit-entry.ts";
import { timeOf } from "./audit-file.ts";
import { SealHash, type AuditHead, type AuditSeal } from "./audit-seal.ts";
import { headOf, sequenceOf, type ChainParts } from "./audit-source.ts";

type Context = Pick<AuditContext, "store" | "secrets" | "clock">;

/**
 * @param olderThan only where the first unsealed entry is older than this (ms since the epoch); its own server is given that time
 * @returns where the chain stands then
 */
export async function sealTail(context: Context, parts: ChainParts, olderThan?: number): Promise<AuditHead> {
  const { store, secrets } = context;
  const { chain } = parts;
  const { head, text } = await headOf(store, parts);
  const hash = new SealHash(head.hash);
  let { to } = head;
  let after = to === 0 ? undefined : auditKey(chain, to);
  for (;;) {
    const page = await store.range({ prefix: auditEntriesPrefix(chain), ...(after === undefined ? {} : { after }) });
    for (const entry of page.entries) {
      if (to === head.to && olderThan !== undefined && timeOf(entry.value) > olderThan) return head;
      // A number that was under way when the server died was never committed: it is filled, so that the chain has no gap.
      for (const sequence = sequenceOf(entry); to + 1 < sequence; to += 1) hash.add(to + 1, await fillGap(context, chain, to + 1));
      to += 1;
      hash.add(to, entry.value);
      after = entry.key;
    }
    if (!page.more) break;
  }
  if (to === head.to) return head;
  const seal = { from: head.to + 1, to, previous: head.hash, hash: hash.hex(), final: true };
  const next: AuditHead = { ...head, to, hash: seal.hash };
  const { succeeded } = await store.transact({
    compare: [headUnchanged(chain, text)],
    then: sealOperations(chain, { ...seal, proof: secrets.seal(seal.hash) }, next),
  });
  return succeeded ? next : (await headOf(store, parts)).head;
}

async function fillGap({ store, clock }: Context, chain: string, sequence: number): Promise<string> {
  const text = auditText(sequence, clock.now(), {
    actor: "system",
    from: "local",
    action: "audit.fill",
    target: `audit/${chain}`,
    result: "failed",
    code: "unavailable",
  });
  const key = auditKey(chain, sequence);
  const { succeeded, current } = await store.transact({ compare: [{ key, createRevision: 0 }], then: [{ put: key, value: text }] });
  return succeeded ? text : (current.get(key)?.value ?? "");
}

/** @param text the head as it was read */
export const headUnchanged = (chain: string, text: string | null): Compare =>
  text === null ? { key: auditHeadKey(chain), createRevision: 0 } : { key: auditHeadKey(chain), value: text };

export function sealOperations(chain: string, seal: AuditSeal, head: AuditHead): Operation[] {
  return [
    { put: auditSealKey(chain, seal.to), value: JSON.stringify(seal) },
    { put: auditHeadKey(chain), value: JSON.stringify(head) },
  ];
}
