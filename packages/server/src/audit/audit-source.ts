/**
 * Where the trail lies: older parts in sealed files, the newest in the store. Finds chains, reads their pieces in order. Called by
 * reading, verification, the archive and the trail; never writes.
 */
import { auditEntriesPrefix, auditFilesPrefix, auditHeadKey, auditKey, auditPrefix, auditSealKey, auditSealsPrefix } from "@sheaf/model";
import type { Entry, Store } from "@sheaf/store";
import type { AuditItem } from "./audit-check.ts";
import { AuditFileRecord, digestOfFile, readAuditFile, type AuditFile } from "./audit-file.ts";
import { AuditHead, AuditSeal } from "./audit-seal.ts";

/** The part of the file system that the trail needs. */
export interface AuditFiles {
  list(directory: string): Promise<string[]>;
  read(path: string): Promise<Uint8Array | null>;
  /** The whole file or none of it, durable when it resolves. */
  writeAtomic(path: string, content: string, options: { readonly mode: number }): Promise<void>;
  makeDirectory(path: string): Promise<void>;
}

export interface AuditFolder {
  readonly files: AuditFiles;
  readonly directory: string;
}

const nameLength = 36;
export const sequenceOf = (entry: Entry): number => Number(entry.key.slice(-12));

/** Chains with anything in the store, oldest first: their names are UUIDs of version 7, so keys sort by time. */
export async function storedChains(store: Store, revision: number): Promise<string[]> {
  const chains: string[] = [];
  let after: string | undefined;
  for (;;) {
    const { entries } = await store.range({ prefix: auditPrefix, limit: 1, revision, ...(after === undefined ? {} : { after }) });
    const key = entries[0]?.key;
    if (key === undefined) return chains;
    const chain = /^a\/([0-9a-f-]{36})\//.exec(key)?.[1];
    if (chain === undefined) {
      after = key;
      continue;
    }
    chains.push(chain);
    after = `${auditPrefix}${chain.slice(0, nameLength)}/~`; // behind every key of this chain
  }
}

/** What the store knows of files, by chain; each chain's in order. */
export async function fileRecords(store: Store, revision: number): Promise<Map<string, AuditFileRecord[]>> {
  const found = new Map<string, AuditFileRecord[]>();
  for await (const entry of pages(store, auditFilesPrefix, revision)) {
    const chain = entry.key.slice(auditFilesPrefix.length, auditFilesPrefix.length + nameLength);
    const records = found.get(chain);
    const record = AuditFileRecord.parse(JSON.parse(entry.value));
    if (records === undefined) found.set(chain, [record]);
    else records.push(record);
  }
  return found;
}

export interface ChainParts {
  readonly chain: string;
  readonly files: readonly AuditFileRecord[];
  /** Up to here it lies in files. What the store still has of that is about to be deleted, and is read by nobody. */
  readonly moved: { readonly to: number; readonly hash: string };
  readonly stored: boolean;
}

/** Every chain at one revision, oldest first. */
export async function auditChains(store: Store, revision: number): Promise<ChainParts[]> {
  const records = await fileRecords(store, revision);
  const stored = new Set(await storedChains(store, revision));
  return [...new Set([...records.keys(), ...stored])].sort().map((chain) => {
    const files = records.get(chain) ?? [];
    return { chain, files, moved: { to: files.at(-1)?.to ?? 0, hash: files.at(-1)?.hash ?? "" }, stored: stored.has(chain) };
  });
}

/** How far the chain is sealed, and the text it is stored as. */
export async function headOf(
  store: Store,
  parts: Pick<ChainParts, "chain" | "files" | "moved">,
  revision?: number,
): Promise<{ readonly head: AuditHead; readonly text: string | null }> {
  const entry = await store.get(auditHeadKey(parts.chain), revision === undefined ? {} : { revision });
  if (entry === null) return { head: { ...parts.moved, server: parts.files.at(-1)?.server ?? "local" }, text: null };
  return { head: AuditHead.parse(JSON.parse(entry.value)), text: entry.value };
}

/** What the store has of a chain behind one sequence, in order. */
export async function* storedItems(store: Store, chain: string, after: number, revision: number): AsyncGenerator<AuditItem, undefined> {
  const seals = readSeals(store, chain, after, revision);
  let next = await seals.next();
  const behind = after === 0 ? undefined : auditKey(chain, after);
  for await (const entry of pages(store, auditEntriesPrefix(chain), revision, behind)) {
    const sequence = sequenceOf(entry);
    if (entry.key === auditKey(chain, sequence)) yield { kind: "entry", sequence, text: entry.value };
    else yield { kind: "broken", problem: `"${entry.key}" is no key of an entry` };
    while (next.done !== true && (next.value.kind !== "seal" || next.value.seal.to <= sequence)) {
      yield next.value;
      next = await seals.next();
    }
  }
  for (; next.done !== true; next = await seals.next()) yield next.value;
  return undefined;
}

async function* readSeals(store: Store, chain: string, after: number, revision: number): AsyncGenerator<AuditItem, undefined> {
  for await (const entry of pages(store, auditSealsPrefix(chain), revision, after === 0 ? undefined : auditSealKey(chain, after))) {
    const seal = sealOf(entry);
    yield seal !== null && entry.key === auditSealKey(chain, seal.to)
      ? { kind: "seal", seal }
      : { kind: "broken", problem: `the seal "${entry.key}" cannot be read` };
  }
  return undefined;
}

function sealOf(entry: Entry): AuditSeal | null {
  try {
    return AuditSeal.parse(JSON.parse(entry.value));
  } catch {
    return null;
  }
}

/** A file that the store knows of. @returns what can be read of it, and what is wrong with it */
export async function readRecorded(
  folder: AuditFolder,
  chain: string,
  record: AuditFileRecord,
): Promise<{ readonly file: AuditFile | null; readonly problem: string | null }> {
  const bytes = await folder.files.read(pathOf(folder, record.file));
  const which = `the file ${record.file} (entries ${record.from} to ${record.to})`;
  if (bytes === null) return { file: null, problem: `${which} is missing` };
  const file = readAuditFile(Buffer.from(bytes).toString("utf8"));
  if (file.chain !== chain || file.from !== record.from || file.previous !== record.previous)
    return { file, problem: `${which} is not the one that was written: it begins otherwise` };
  if (file.end.to === 0) return { file, problem: `${which} was cut off` };
  if (digestOfFile(bytes) !== record.digest) return { file, problem: `${which} was changed since it was written` };
  return { file, problem: null };
}

export const pathOf = (folder: AuditFolder, file: string): string => `${folder.directory}/${file}`;

export async function* pages(store: Store, prefix: string, revision: number, behind?: string): AsyncGenerator<Entry, undefined> {
  let after = behind;
  for (;;) {
    const page = await store.range({ prefix, revision, ...(after === undefined ? {} : { after }) });
    yield* page.entries;
    after = page.entries.at(-1)?.key;
    if (!page.more || after === undefined) return undefined;
  }
}
