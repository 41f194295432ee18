/**
 * Recomputes the audit trail: every chain, every entry, every seal. Finds a changed byte, a missing, added or moved entry, a seal made
 * without the server's key, a chain that was cut short or taken out. Called by the API; reads only, at one revision, page by page.
 */
import { auditKey } from "@sheaf/model";
import type { Entry, Store } from "@sheaf/store";
import type { Secrets } from "../context.ts";
import { auditChains } from "./audit-chains.ts";
import { AuditSeal, ChainStart, SealHash, type AuditHead } from "./audit-seal.ts";
import { auditEntriesPrefix, auditSealsPrefix } from "./audit-trail.ts";

export interface Verification {
  readonly intact: boolean;
  readonly events: number;
  readonly sealed: number;
  readonly chains: number;
  /** What is wrong, one sentence each; at most 100. */
  readonly problems: readonly string[];
}

const problemLimit = 100;

/** @param live the chain that is being written, and what its newest seal must be at least */
export async function verifyAudit(store: Store, secrets: Secrets, live: { readonly chain: string; readonly head: AuditHead }): Promise<Verification> {
  const revision = await store.revision();
  const chains = await auditChains(store, revision);
  const problems: string[] = [];
  const tell = (problem: string): void => {
    if (problems.length < problemLimit) problems.push(problem);
  };
  let events = 0;
  let sealed = 0;
  let before: { chain: string; hash: string; to: number } = { chain: "", hash: "", to: 0 };
  for (const chain of chains) {
    const found = await verifyChain({ store, secrets, revision, chain, before, live: chain === live.chain, tell });
    events += found.entries;
    sealed += found.to;
    if (chain === live.chain && found.to < live.head.to)
      tell(`chain ${chain} ends at entry ${found.to}, but this server has sealed it up to ${live.head.to}: its end was cut off`);
    before = { chain, hash: found.hash, to: found.to };
  }
  if (!chains.includes(live.chain)) tell(`chain ${live.chain}, which this server writes, is missing`);
  return { intact: problems.length === 0, events, sealed, chains: chains.length, problems };
}

interface ChainInput {
  readonly store: Store;
  readonly secrets: Secrets;
  readonly revision: number;
  readonly chain: string;
  readonly before: { readonly chain: string; readonly hash: string; readonly to: number };
  readonly live: boolean;
  readonly tell: (problem: string) => void;
}

async function verifyChain(input: ChainInput): Promise<{ entries: number; to: number; hash: string }> {
  const { store, revision, chain, live, tell } = input;
  const seals = pages(store, auditSealsPrefix(chain), revision);
  let seal = await nextSeal(seals, tell);
  let previous = input.before.hash;
  let hash = new SealHash(previous);
  let sealedTo = 0;
  let last = 0;
  let entries = 0;
  for await (const entry of pages(store, auditEntriesPrefix(chain), revision)) {
    entries += 1;
    const sequence = Number(entry.key.slice(-12));
    // Beyond the last seal of the live chain numbers may still be under way.
    if (sequence !== last + 1 && (seal !== null || !live)) tell(`chain ${chain}: entries ${last + 1} to ${sequence - 1} are missing`);
    if (entry.key !== auditKey(chain, sequence)) tell(`chain ${chain}: "${entry.key}" is no key of an entry`);
    last = sequence;
    checkText(input, sequence, entry.value);
    if (sequence === 1) checkStart(input, entry.value);
    hash.add(sequence, entry.value);
    while (seal !== null && seal.to <= sequence) {
      checkSeal(input, seal, sealedTo, previous, hash.hex());
      previous = seal.hash;
      sealedTo = seal.to;
      hash = new SealHash(previous);
      seal = await nextSeal(seals, tell);
    }
  }
  if (seal !== null) tell(`chain ${chain}: entries ${last + 1} to ${seal.to} are sealed but missing`);
  if (!live && last > sealedTo) tell(`chain ${chain}: entries ${sealedTo + 1} to ${last} have no seal although the chain has ended`);
  return { entries, to: sealedTo, hash: previous };
}

function checkText({ chain, tell }: ChainInput, sequence: number, text: string): void {
  try {
    const event = JSON.parse(text) as { sequence?: unknown }; // looked at in the next line
    if (event.sequence !== sequence) tell(`chain ${chain}: entry ${sequence} calls itself ${String(event.sequence)}: it was moved`);
  } catch {
    tell(`chain ${chain}: entry ${sequence} cannot be read`);
  }
}

/** The first entry names the chain before and its last seal. */
function checkStart({ chain, before, tell }: ChainInput, text: string): void {
  let start: ChainStart | undefined;
  try {
    start = ChainStart.safeParse((JSON.parse(text) as { after?: unknown }).after).data; // checked by the schema
  } catch {
    // told by checkText
  }
  if (start === undefined || start.chain !== chain) tell(`chain ${chain}: its first entry does not begin it`);
  else if (start.previousChain !== before.chain)
    tell(
      `chain ${chain} follows ${start.previousChain || "nothing"}, but ${before.chain || "nothing"} is there before it: a chain was taken out or added`,
    );
  else if (start.previousHash !== before.hash || start.previousTo !== before.to)
    tell(`chain ${before.chain} does not end as it did when chain ${chain} began: its end was changed`);
}

function checkSeal({ chain, secrets, tell }: ChainInput, seal: AuditSeal, sealedTo: number, previous: string, hash: string): void {
  const which = `chain ${chain}: the seal of entries ${seal.from} to ${seal.to}`;
  if (seal.from !== sealedTo + 1) tell(`${which} does not follow the one before, which ends at ${sealedTo}`);
  if (seal.previous !== previous) tell(`${which} does not hold the seal before it`);
  if (seal.hash !== hash) tell(`${which} does not fit: one of them was changed, added, removed or moved`);
  let proof = "";
  try {
    proof = secrets.open(seal.proof);
  } catch {
    // Not made with this server's key.
  }
  if (proof !== seal.hash) tell(`${which} was not made by this server`);
}

async function nextSeal(seals: AsyncGenerator<Entry>, tell: (problem: string) => void): Promise<AuditSeal | null> {
  for (;;) {
    const { value, done } = await seals.next();
    if (done === true) return null;
    try {
      const seal = AuditSeal.parse(JSON.parse(value.value));
      if (value.key.endsWith(String(seal.to).padStart(12, "0"))) return seal;
    } catch {
      // told below
    }
    tell(`the seal "${value.key}" cannot be read`);
  }
}

export async function* pages(store: Store, prefix: string, revision: number): AsyncGenerator<Entry, undefined> {
  let after: string | undefined;
  for (;;) {
    const page = await store.range({ prefix, revision, ...(after === undefined ? {} : { after }) });
    yield* page.entries;
    after = page.entries.at(-1)?.key;
    if (!page.more || after === undefined) return undefined;
  }
}
