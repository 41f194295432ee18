/**
 * The form of a sealed audit file: lines of JSON. The first says whose chain it is, where the file begins and the hash of the seal
 * before; then entries as they were stored, each seal behind the last entry under it; the last line holds the file's own end. A file is
 * written once and never changed. Pure; called by the archive that makes files and by those who read them.
 */
import { createHash } from "node:crypto";
import { z } from "zod";
import type { AuditItem } from "./audit-check.ts";
import { AuditSeal } from "./audit-seal.ts";

/** What the store knows of a file: written in one transaction once the file is durable; from then on the file is what counts. */
export const AuditFileRecord = z.looseObject({
  file: z.string(),
  server: z.string(),
  from: z.int().min(1),
  to: z.int().min(1),
  /** Hash of the seal before the file, and of its last one. */
  previous: z.string(),
  hash: z.string(),
  /** sha256 of the file. */
  digest: z.string(),
  bytes: z.int(),
  /** Times of the oldest and the newest entry, ms since the epoch. */
  firstAt: z.int(),
  lastAt: z.int(),
  /** The store did not have all of it: the file is newer than the backup that was restored. */
  newerThanStore: z.boolean().optional(),
});
export type AuditFileRecord = z.infer<typeof AuditFileRecord>;

const Header = z.looseObject({ auditFile: z.literal(1), chain: z.string(), server: z.string(), from: z.int().min(1), previous: z.string() });
const Ending = z.strictObject({ end: z.strictObject({ to: z.int().min(1), hash: z.string() }) });

export interface AuditFile {
  readonly chain: string;
  readonly server: string;
  readonly from: number;
  readonly previous: string;
  readonly items: readonly AuditItem[];
  readonly end: { readonly to: number; readonly hash: string };
}

export const auditFileName = (chain: string, from: number, to: number): string =>
  `${chain}-${String(from).padStart(12, "0")}-${String(to).padStart(12, "0")}.jsonl`;
export const isAuditFileName = (name: string): boolean => /^[0-9a-f-]{36}-\d{12}-\d{12}\.jsonl$/.test(name);

export const digestOfFile = (bytes: Uint8Array): string => createHash("sha256").update(bytes).digest("hex");

export function renderAuditFile({ chain, server, from, previous, items, end }: AuditFile): string {
  const lines = [JSON.stringify({ auditFile: 1, chain, server, from, previous })];
  for (const item of items) {
    if (item.kind === "entry") lines.push(item.text);
    else if (item.kind === "seal") lines.push(JSON.stringify({ seal: item.seal }));
  }
  lines.push(JSON.stringify({ end }));
  return `${lines.join("\n")}\n`;
}

/** What can be read of it. @returns `chain` empty where the first line is broken, `end.to` 0 where the last one is */
export function readAuditFile(text: string): AuditFile {
  const lines = text.split("\n");
  const header = parsed(Header, lines[0]);
  const ending = lines.at(-1) === "" ? parsed(Ending, lines.at(-2)) : null;
  const items = lines.slice(1, ending === null ? undefined : -2).map((line): AuditItem => readLine(line));
  return {
    chain: header?.chain ?? "",
    server: header?.server ?? "",
    from: header?.from ?? 0,
    previous: header?.previous ?? "",
    items,
    end: ending?.end ?? { to: 0, hash: "" },
  };
}

function readLine(line: string): AuditItem {
  const sequence = /^\{"sequence":(\d{1,12}),/.exec(line)?.[1];
  if (sequence !== undefined) return { kind: "entry", sequence: Number(sequence), text: line };
  const found = parsed(z.strictObject({ seal: AuditSeal }), line);
  return found === null ? { kind: "broken", problem: `a line of a file cannot be read: ${line.slice(0, 40)}` } : { kind: "seal", seal: found.seal };
}

function parsed<T>(schema: z.ZodType<T>, line: string | undefined): T | null {
  try {
    return schema.parse(JSON.parse(line ?? ""));
  } catch {
    return null;
  }
}

/** Time of an entry; 0 where it cannot be read. */
export const timeOf = (text: string): number => Number(/^\{"sequence":\d+,"at":(\d+),/.exec(text)?.[1] ?? 0);
