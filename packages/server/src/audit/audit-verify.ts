/**
 * Recomputes the audit trail: every chain, every entry, every seal, in files and store alike. Finds a changed byte, a missing, added or moved
 * entry, a seal made without the server's key, a chain that was cut short or taken out, a file that was changed, cut off, removed or put in
 * another's place. Called by the API; reads only, at one revision of the store, page by page.
 */
import type { Store } from "@sheaf/store";
import type { Secrets } from "../context.ts";
import { ChainCheck } from "./audit-check.ts";
import type { AuditFileRecord } from "./audit-file.ts";
import type { AuditHead, ChainTies } from "./audit-seal.ts";
import { auditChains, headOf, readRecorded, storedItems, type AuditFolder, type ChainParts } from "./audit-source.ts";

export interface Verification {
  readonly intact: boolean;
  readonly events: number;
  readonly sealed: number;
  readonly chains: number;
  readonly files: number;
  /** What is wrong, one sentence each; at most 100. */
  readonly problems: readonly string[];
  /** What is no sign of tampering but should be known: parts at other servers, what a restored backup did not have. */
  readonly notes: readonly string[];
}

export interface VerifyInput {
  readonly store: Store;
  readonly secrets: Secrets;
  readonly folder: AuditFolder;
  readonly serverName: string;
  /** The chain that is being written, and what its newest seal must be at least. */
  readonly live: { readonly chain: string; readonly head: Pick<AuditHead, "to" | "hash"> };
  /** Files in the folder that are no part of the trail, and why. */
  readonly strangeFiles: ReadonlyMap<string, string>;
}

const sentenceLimit = 100;

interface Checked {
  readonly chain: string;
  readonly to: number;
  /** Hash of each seal by where it ends, as far as it was seen. */
  readonly seals: ReadonlyMap<number, string>;
  /** What lies with other servers, so that no seal of it was seen. */
  readonly elsewhere: readonly AuditFileRecord[];
  readonly ties: readonly ChainTies[];
}

export async function verifyAudit(input: VerifyInput): Promise<Verification> {
  const { store, live } = input;
  const revision = await store.revision();
  const problems: string[] = [];
  const notes: string[] = [];
  const tell = (problem: string): void => void (problems.length < sentenceLimit && problems.push(problem));
  const note = (text: string): void => void (notes.length < sentenceLimit && notes.push(text));
  const chains = await auditChains(store, revision);
  const checked = new Map<string, Checked>();
  let events = 0;
  let sealed = 0;
  for (const parts of chains) {
    const { check, seals, elsewhere } = await verifyChain(input, parts, revision, tell, note);
    events += check.entries;
    sealed += check.head.to;
    checked.set(parts.chain, { chain: parts.chain, to: check.head.to, seals, elsewhere, ties: check.ties });
  }
  const found = checked.get(live.chain);
  if (found === undefined) tell(`chain ${live.chain}, which this server writes, is missing`);
  else if (found.to < live.head.to)
    tell(`chain ${live.chain} ends at entry ${found.to}, but this server has sealed it up to ${live.head.to}: its end was cut off`);
  checkTies(checked, tell, note);
  for (const [file, why] of input.strangeFiles) tell(`the file ${file} is no part of the trail: ${why}`);
  const files = chains.reduce((sum, parts) => sum + parts.files.length, 0);
  return { intact: problems.length === 0, events, sealed, chains: chains.length, files, problems, notes };
}

async function verifyChain(
  { store, secrets, folder, serverName, live }: VerifyInput,
  { chain, files, moved }: ChainParts,
  revision: number,
  tell: (problem: string) => void,
  note: (text: string) => void,
): Promise<{ readonly check: ChainCheck } & Pick<Checked, "seals" | "elsewhere">> {
  const check = new ChainCheck({ chain, secrets, tell });
  const seals = new Map<number, string>();
  const elsewhere: AuditFileRecord[] = [];
  for (const record of files) {
    const { file, problem } = await readRecorded(folder, chain, record);
    if (record.newerThanStore === true)
      note(
        `chain ${chain}: the file ${record.file} is newer than the store, a backup that was restored: entries up to ${record.to} are known from it`,
      );
    if (file === null && record.server !== serverName) {
      elsewhere.push(record);
      note(`chain ${chain}: the file ${record.file} lies with the server ${record.server}: verify it there`);
    } else {
      if (problem !== null) tell(`chain ${chain}: ${problem}`);
      if (record.from !== check.last + 1)
        tell(`chain ${chain}: entries ${check.last + 1} to ${record.from - 1} are missing: the record of a file is gone`);
      if (record.from !== 1 && record.previous !== check.head.hash) tell(`chain ${chain}: the file ${record.file} does not hold the seal before it`);
    }
    if (file !== null && problem === null) {
      for (const item of file.items) {
        check.add(item);
        if (item.kind === "seal") seals.set(item.seal.to, item.seal.hash);
      }
      if (check.head.to !== record.to || check.head.hash !== record.hash) tell(`chain ${chain}: the file ${record.file} does not end as it did`);
    }
    // What one broken file holds is told once; the next one begins with the hash that is on record.
    check.resume(record);
    seals.set(record.to, record.hash);
  }
  for await (const item of storedItems(store, chain, moved.to, revision)) {
    check.add(item);
    if (item.kind === "seal") seals.set(item.seal.to, item.seal.hash);
  }
  // Another server's chain may be growing; an earlier one of this server may not.
  const { head } = await headOf(store, { chain, files, moved }, revision);
  check.end(chain === live.chain || head.server !== serverName);
  return { check, seals, elsewhere };
}

/** What chains say of each other must hold. What was lost with a store that a backup replaced is told, not held against the trail. */
function checkTies(checked: ReadonlyMap<string, Checked>, tell: (problem: string) => void, note: (text: string) => void): void {
  for (const teller of checked.values())
    for (const known of teller.ties.flatMap(knownIn)) {
      if (known.to === 0) continue;
      const found = checked.get(known.chain);
      if (found?.seals.get(known.to) === known.hash) continue;
      if (found?.elsewhere.some(({ from, to }) => from <= known.to && known.to < to) === true) continue;
      const text =
        found === undefined
          ? `chain ${known.chain}, which chain ${teller.chain} knows up to entry ${known.to}, is missing`
          : `chain ${known.chain} is not as chain ${teller.chain} knows it: entry ${known.to} has another seal or none, its end was changed`;
      if (lostByRestore(checked, teller.chain, known.chain, found)) note(`${text}; the backup that was restored did not have it`);
      else tell(text);
    }
}

const knownIn = (ties: ChainTies): { chain: string; to: number; hash: string }[] =>
  ties.previousChain === "" ? ties.knows : [...ties.knows, { chain: ties.previousChain, to: ties.previousTo, hash: ties.previousHash }];

/** Whether a chain that was begun on a restored store, after `teller` was, says that it found this chain as it is found now. */
function lostByRestore(checked: ReadonlyMap<string, Checked>, teller: string, chain: string, found: Checked | undefined): boolean {
  for (const later of checked.values()) {
    if (later.chain <= teller) continue;
    const begin = later.ties[0];
    if (begin?.restoredFrom === undefined) continue;
    const stood = begin.knows.find((known) => known.chain === chain);
    if (stood === undefined ? found === undefined && chain > oldest(begin) : found?.to === stood.to && found.seals.get(stood.to) === stood.hash)
      return true;
  }
  return false;
}

const oldest = (ties: ChainTies): string => ties.knows.reduce((least, { chain }) => (chain < least ? chain : least), "~");
