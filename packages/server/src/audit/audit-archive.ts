/**
 * Moves what is sealed out of the store into files that are written once. In this order: the file is durable; the store's record of it is
 * written (from then on the file counts, and nobody reads the store's copy); the copy is deleted. A crash in between leaves a file that is
 * not recorded, which is taken over, or a copy that nobody reads, which is deleted. A file that is newer than the store (a backup was
 * restored) is taken over the same way: nothing in it is lost. What does not verify is left where it is, for whoever looks into it.
 */
import { auditEntriesPrefix, auditFileKey, auditHeadKey, auditKey, auditSealKey, auditSealsPrefix } from "@sheaf/model";
import type { Operation } from "@sheaf/store";
import type { AuditContext } from "../context.ts";
import { ChainCheck, type AuditItem } from "./audit-check.ts";
import {
  auditFileName,
  digestOfFile,
  isAuditFileName,
  readAuditFile,
  renderAuditFile,
  timeOf,
  type AuditFile,
  type AuditFileRecord,
} from "./audit-file.ts";
import { auditChains, headOf, pathOf, sequenceOf, storedItems, type ChainParts } from "./audit-source.ts";
import { headUnchanged } from "./audit-tail.ts";

export interface AuditFileLimits {
  /** A file is closed at the first seal behind so many entries or bytes. */
  readonly entries: number;
  readonly bytes: number;
  /** What is sealed lies in the store for this long at most, ms. */
  readonly ageMs: number;
}
export const defaultAuditFileLimits: AuditFileLimits = { entries: 10_000, bytes: 4 * 2 ** 20, ageMs: 24 * 3_600_000 };

const deletesAtOnce = 90; // of at most 100 operations
const readOnly = 0o400;

export class AuditArchive {
  readonly #context: AuditContext;
  #pass: Promise<void> = Promise.resolve();
  /** Files that are no part of the trail, and why. */
  readonly #strange = new Map<string, string>();

  constructor(context: AuditContext) {
    this.#context = context;
  }

  async start(): Promise<void> {
    const { files, directory } = this.#context.audit;
    await files.makeDirectory(directory);
    await this.#takeOver();
  }

  /**
   * Takes over files that the store does not know, and moves what is due of this server's chains.
   * @param live the chain that is being written; of every other one all is due
   */
  pass(live: string): Promise<void> {
    const run = this.#pass.then(async () => {
      await this.#takeOver();
      const { store, serverName } = this.#context;
      for (const parts of await auditChains(store, await store.revision()))
        if (parts.stored && (await headOf(store, parts)).head.server === serverName) await this.#moveChain(parts, parts.chain === live);
    });
    this.#pass = run.catch(() => undefined);
    return run;
  }

  /** Resolves once no pass is under way. @returns files in the folder that are no part of the trail, and why */
  async strangeFiles(): Promise<ReadonlyMap<string, string>> {
    await this.#pass;
    return this.#strange;
  }

  async #moveChain(parts: ChainParts, live: boolean): Promise<void> {
    let moved = parts.moved;
    for (;;) {
      const made = await this.#makeFile({ ...parts, moved }, live);
      if (made === null) break;
      moved = made;
    }
    await this.#deleteCopies(parts.chain, moved.to);
    if (!live) await this.#forget(parts, moved.to);
  }

  /** One file of what is sealed and due. @returns where it ends; `null` where nothing is due */
  async #makeFile(parts: ChainParts, live: boolean): Promise<{ to: number; hash: string } | null> {
    const { store, audit, serverName, clock } = this.#context;
    const { limits } = audit;
    const revision = await store.revision();
    const taken: AuditItem[] = [];
    let sealed = 0;
    let bytes = 0;
    let entries = 0;
    for await (const item of storedItems(store, parts.chain, parts.moved.to, revision)) {
      taken.push(item);
      if (item.kind === "entry") {
        entries += 1;
        bytes += item.text.length;
      } else if (item.kind === "seal") {
        sealed = taken.length;
        if (entries >= limits.entries || bytes >= limits.bytes) break;
      }
    }
    if (sealed === 0) return null;
    const [first] = taken;
    const full = entries >= limits.entries || bytes >= limits.bytes;
    const old = first?.kind === "entry" && timeOf(first.text) <= clock.now() - limits.ageMs;
    if (live && !full && !old) return null;
    const items = taken.slice(0, sealed);
    const last = items.at(-1);
    if (last?.kind !== "seal") return null; // never: `sealed` counts up to a seal
    const previous = parts.moved.to === 0 ? firstPrevious(items) : parts.moved.hash;
    const file: AuditFile = {
      chain: parts.chain,
      server: serverName,
      from: parts.moved.to + 1,
      previous,
      items,
      end: { to: last.seal.to, hash: last.seal.hash },
    };
    const problem = this.#problemOf(file);
    if (problem !== null) {
      this.#context.logger.error({ problem }, "a part of the audit trail does not verify: it is left in the store as it is");
      return null;
    }
    const text = renderAuditFile(file);
    const name = auditFileName(file.chain, file.from, file.end.to);
    await audit.files.writeAtomic(pathOf(audit, name), text, { mode: readOnly });
    const key = auditFileKey(file.chain, file.end.to);
    await store.transact({
      compare: [{ key, createRevision: 0 }],
      then: [{ put: key, value: JSON.stringify(recordOf(name, file, Buffer.from(text))) }],
    });
    return file.end;
  }

  /** What is wrong with a file by itself. */
  #problemOf(file: AuditFile): string | null {
    let problem: string | null = null;
    const tell = (what: string): void => void (problem ??= what);
    const after = { to: file.from - 1, hash: file.from === 1 ? "" : file.previous };
    const check = new ChainCheck({ chain: file.chain, secrets: this.#context.secrets, tell, after });
    for (const item of file.items) check.add(item);
    check.end(false);
    if (check.head.to !== file.end.to || check.head.hash !== file.end.hash) tell("it does not end as it says");
    return problem;
  }

  /** Files in the folder that the store does not know. */
  async #takeOver(): Promise<void> {
    const { store, audit } = this.#context;
    const names = (await audit.files.list(audit.directory)).filter(isAuditFileName);
    const known = new Map((await auditChains(store, await store.revision())).map((parts) => [parts.chain, parts]));
    const recorded = new Set([...known.values()].flatMap(({ files }) => files.map(({ file }) => file)));
    this.#strange.clear();
    for (const name of names) {
      if (recorded.has(name)) continue;
      const problem = await this.#takeOverFile(name, known);
      if (problem === null) continue;
      this.#strange.set(name, problem);
      this.#context.logger.warn({ file: name, problem }, "a file among the audit trail's is no part of it");
    }
  }

  async #takeOverFile(name: string, known: Map<string, ChainParts>): Promise<string | null> {
    const { store, audit, logger } = this.#context;
    const bytes = await audit.files.read(pathOf(audit, name));
    if (bytes === null) return "it cannot be read";
    const file = readAuditFile(Buffer.from(bytes).toString("utf8"));
    if (name !== auditFileName(file.chain, file.from, file.end.to)) return "it does not hold what its name says";
    const wrong = this.#problemOf(file);
    if (wrong !== null) return wrong;
    const parts: ChainParts = known.get(file.chain) ?? { chain: file.chain, files: [], moved: { to: 0, hash: "" }, stored: false };
    if (file.from !== parts.moved.to + 1 || (parts.moved.to > 0 && file.previous !== parts.moved.hash))
      return `it does not follow what is known of its chain, which lies in files up to entry ${parts.moved.to}`;
    const revision = await store.revision();
    const texts = new Map(file.items.flatMap((item) => (item.kind === "entry" ? [[item.sequence, item.text] as const] : [])));
    const seals = new Map(file.items.flatMap((item) => (item.kind === "seal" ? [[item.seal.to, item.seal.hash] as const] : [])));
    for await (const item of storedItems(store, file.chain, parts.moved.to, revision)) {
      if (item.kind === "broken") return "the store's part of this chain is broken";
      const at = item.kind === "entry" ? item.sequence : item.seal.to;
      if (at > file.end.to) break;
      if (item.kind === "entry" ? texts.get(at) !== item.text : seals.get(at) !== item.seal.hash) return `the store says otherwise about entry ${at}`;
    }
    const { head, text } = await headOf(store, parts, revision);
    const newerThanStore = head.to < file.end.to;
    const key = auditFileKey(file.chain, file.end.to);
    const record = { ...recordOf(name, file, bytes), ...(newerThanStore ? { newerThanStore } : {}) };
    const { succeeded } = await store.transact({
      compare: [{ key, createRevision: 0 }, headUnchanged(file.chain, text)],
      then: [
        { put: key, value: JSON.stringify(record) },
        ...(newerThanStore && text !== null ? [{ put: auditHeadKey(file.chain), value: JSON.stringify({ ...head, ...file.end }) }] : []),
      ],
    });
    if (!succeeded) return null; // its server was quicker; looked at again in the next pass
    known.set(file.chain, { ...parts, files: [...parts.files, record], moved: file.end });
    logger.info({ file: name, newerThanStore }, "a file of the audit trail that the store did not know was taken over");
    return null;
  }

  /** The store's copies of what lies in files. */
  async #deleteCopies(chain: string, to: number): Promise<void> {
    if (to === 0) return;
    const { store } = this.#context;
    for (const [prefix, end] of [
      [auditEntriesPrefix(chain), auditKey(chain, to)],
      [auditSealsPrefix(chain), auditSealKey(chain, to)],
    ] as const)
      for (;;) {
        const { entries } = await store.range({ prefix, limit: deletesAtOnce });
        const then: Operation[] = entries.filter(({ key }) => key <= end).map(({ key }) => ({ delete: key }));
        if (then.length === 0) break;
        await store.transact({ compare: [], then });
      }
  }

  /** A chain that has ended and lies in files altogether: nothing of it stays in the store but what is known of its files. */
  async #forget(parts: ChainParts, moved: number): Promise<void> {
    const { store } = this.#context;
    const { head, text } = await headOf(store, parts);
    const { entries } = await store.range({ prefix: auditEntriesPrefix(parts.chain), limit: 1 });
    if (text === null || head.to !== moved || entries.some((entry) => sequenceOf(entry) > moved)) return;
    await store.transact({ compare: [headUnchanged(parts.chain, text)], then: [{ delete: auditHeadKey(parts.chain) }] });
  }
}

const firstPrevious = (items: readonly AuditItem[]): string => {
  const seal = items.find((item) => item.kind === "seal");
  return seal?.kind === "seal" ? seal.seal.previous : "";
};

function recordOf(name: string, file: AuditFile, bytes: Uint8Array): AuditFileRecord {
  const times = file.items.flatMap((item) => (item.kind === "entry" ? [timeOf(item.text)] : []));
  return {
    file: name,
    server: file.server,
    from: file.from,
    to: file.end.to,
    previous: file.previous,
    hash: file.end.hash,
    digest: digestOfFile(bytes),
    bytes: bytes.length,
    firstAt: times.reduce((least, at) => Math.min(least, at), Infinity),
    lastAt: times.reduce((most, at) => Math.max(most, at), 0),
  };
}
