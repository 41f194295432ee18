/**
 * The data file: how it is opened, checked, made and brought up to date. Called by the worker's database and by restore.
 * A schema version never changes once released; a new one is a new migration at the end of the list.
 */
import { closeSync, mkdirSync, openSync } from "node:fs";
import { dirname } from "node:path";
import { DatabaseSync } from "node:sqlite";
import { StoreError } from "./store.ts";

/** "SHEF": tells our files from other SQLite files. */
const applicationId = 0x53484546;

/** Each brings the file from the version of its place in the list to the next. */
export type Migration = (database: DatabaseSync, context: { readonly incarnation: string }) => void;

export const migrations: readonly Migration[] = [
  (database, { incarnation }) => {
    database.exec(`
      CREATE TABLE meta (name TEXT PRIMARY KEY, value ANY NOT NULL) WITHOUT ROWID, STRICT;
      CREATE TABLE entries (
        key TEXT PRIMARY KEY, value TEXT NOT NULL, create_revision INTEGER NOT NULL, mod_revision INTEGER NOT NULL,
        version INTEGER NOT NULL, lease TEXT
      ) WITHOUT ROWID, STRICT;
      CREATE INDEX entries_by_lease ON entries (lease) WHERE lease IS NOT NULL;
      -- One row a revision: what it changed and what was there before (sqlite-history.ts), so that forgetting is cutting off the head.
      CREATE TABLE history (revision INTEGER PRIMARY KEY, committed_at INTEGER NOT NULL, bytes INTEGER NOT NULL, changes TEXT NOT NULL) STRICT;
      CREATE TABLE leases (id TEXT PRIMARY KEY, ttl_ms INTEGER NOT NULL) WITHOUT ROWID, STRICT;
    `);
    const insert = database.prepare("INSERT INTO meta (name, value) VALUES (?, ?)");
    insert.run("incarnation", incarnation);
    insert.run("compactRevision", 0);
  },
];

export interface OpenDatabaseOptions {
  readonly path: string;
  /** For a file that is made anew. */
  readonly incarnation: string;
  /** The data file grows no further than this. */
  readonly maxBytes?: number;
}

/**
 * Opens the file for this process alone, checks it, makes or migrates its tables.
 * @throws StoreError `locked`, `corrupt`, `newer-schema`, `full`, `unavailable`
 */
export function openDatabase({ path, incarnation, maxBytes }: OpenDatabaseOptions): DatabaseSync {
  let database: DatabaseSync | undefined;
  try {
    mkdirSync(dirname(path), { recursive: true, mode: 0o700 });
    makePrivate(path);
    database = new DatabaseSync(path);
    // Exclusive before the first access in WAL mode: the lock is held as long as the file is open, and no shared memory is needed.
    database.exec("PRAGMA locking_mode = EXCLUSIVE; PRAGMA journal_mode = WAL; PRAGMA synchronous = FULL; PRAGMA cache_size = -65536");
    // Checkpoints are rare and large: each costs two fsyncs. 8,192 pages of 4 KiB are 32 MiB.
    database.exec("PRAGMA wal_autocheckpoint = 8192; PRAGMA journal_size_limit = 67108864; PRAGMA temp_store = MEMORY");
    database.exec("BEGIN IMMEDIATE; COMMIT");
    if (maxBytes !== undefined) database.exec(`PRAGMA max_page_count = ${Math.max(1, Math.floor(maxBytes / readPragma(database, "page_size")))}`);
    checkIntegrity(database, path);
    migrate(database, path, migrations, { incarnation });
    return database;
  } catch (error) {
    database?.close();
    throw asOpenError(error, path);
  }
}

/** Secrets lie in the file, if only encrypted: it is nobody else's to read. SQLite gives the WAL the same mode. */
function makePrivate(path: string): void {
  try {
    closeSync(openSync(path, "wx", 0o600));
  } catch (error) {
    // A file that is there is not opened here: closing it would drop SQLite's own locks on it in this process (POSIX).
    if (!(error instanceof Error && "code" in error && error.code === "EEXIST")) throw error;
  }
}

function checkIntegrity(database: DatabaseSync, path: string): void {
  const rows = database.prepare("PRAGMA quick_check(5)").all();
  const findings = rows.map((row) => String(Object.values(row)[0]));
  if (findings.length !== 1 || findings[0] !== "ok") throw new StoreError("corrupt", `${path} is damaged (${findings.join("; ")}); restore a backup`);
}

/** @throws StoreError `corrupt`, `newer-schema` */
export function migrate(database: DatabaseSync, path: string, steps: readonly Migration[], context: { readonly incarnation: string }): void {
  const version = readPragma(database, "user_version");
  const id = readPragma(database, "application_id");
  const tables = Number(database.prepare("SELECT count(*) AS count FROM sqlite_schema").get()?.["count"]);
  if (id !== applicationId && tables > 0) throw new StoreError("corrupt", `${path} is a SQLite file, but not one of Sheaf's; choose another path`);
  if (version > steps.length)
    throw new StoreError(
      "newer-schema",
      `${path} was written by a newer Sheaf (schema ${version}, this one knows ${steps.length}); start that version, or restore an older backup`,
    );
  for (const [index, step] of steps.entries()) {
    if (index < version) continue;
    database.exec("BEGIN IMMEDIATE");
    step(database, context);
    database.exec(`PRAGMA application_id = ${applicationId}; PRAGMA user_version = ${index + 1}; COMMIT`);
  }
}

export function readPragma(database: DatabaseSync, name: string): number {
  return Number(Object.values(database.prepare(`PRAGMA ${name}`).get() ?? {})[0]);
}

export function readMeta(database: DatabaseSync, name: string): string | number {
  const value = database.prepare("SELECT value FROM meta WHERE name = ?").get(name)?.["value"];
  if (typeof value === "string" || typeof value === "number") return value;
  throw new StoreError("corrupt", `the data file lacks its ${name}; restore a backup`);
}

/** SQLite's primary result code, or `null` for an error that is not SQLite's. */
export function sqliteCode(error: unknown): number | null {
  return error instanceof Error && "errcode" in error && typeof error.errcode === "number" ? error.errcode & 0xff : null;
}

/** Primary result codes: https://sqlite.org/rescode.html */
export const resultCodes = { busy: 5, locked: 6, corrupt: 11, full: 13, notADatabase: 26 } as const;

function asOpenError(error: unknown, path: string): StoreError {
  if (error instanceof StoreError) return error;
  const text = error instanceof Error ? error.message : String(error);
  switch (sqliteCode(error)) {
    case resultCodes.busy:
    case resultCodes.locked:
      return new StoreError("locked", `${path} is open in another process; stop that one first`, { cause: error });
    case resultCodes.corrupt:
    case resultCodes.notADatabase:
      return new StoreError("corrupt", `${path} is damaged (${text}); restore a backup`, { cause: error });
    case resultCodes.full:
      return new StoreError("full", `there is no space to open ${path}; free some`, { cause: error });
    default:
      return new StoreError("unavailable", `${path} cannot be opened: ${text}`, { cause: error });
  }
}
