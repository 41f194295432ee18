/** What one line of the audit trail looks like, and how it becomes text. Called by the trail and by every write; knows no store. */
import type { AuditEvent } from "@sheaf/model";

/** What a caller of the trail gives; the trail adds sequence and time. */
export interface AuditFields {
  readonly actor: string;
  readonly from: string;
  readonly action: string;
  readonly target: string;
  readonly project?: string;
  readonly result: AuditEvent["result"];
  readonly code?: string;
  readonly requestId?: string;
  /** JSON texts, secrets blanked. */
  readonly before?: string;
  readonly after?: string;
  readonly count?: number;
}

/** Documents above this are left out of an entry, so that it always fits into one value of the store. */
const documentLimit = 96 * 1024;

/** The text that is stored and hashed. Written by hand because `before` and `after` are JSON already: they are not parsed again for each change. */
export function auditText(sequence: number, at: number, fields: AuditFields): string {
  const text = (name: string, value: string | undefined): string => (value === undefined ? "" : `,"${name}":${JSON.stringify(value)}`);
  const json = (name: string, value: string | undefined): string =>
    value === undefined ? "" : `,"${name}":${value.length > documentLimit ? '"(too large to keep)"' : value}`;
  return (
    `{"sequence":${sequence},"at":${at},"actor":${JSON.stringify(fields.actor)},"from":${JSON.stringify(fields.from)}` +
    `,"action":${JSON.stringify(fields.action)},"target":${JSON.stringify(fields.target)}` +
    text("project", fields.project) +
    `,"result":"${fields.result}"` +
    text("code", fields.code) +
    text("requestId", fields.requestId) +
    json("before", fields.before) +
    json("after", fields.after) +
    (fields.count === undefined ? "" : `,"count":${fields.count}`) +
    "}"
  );
}
