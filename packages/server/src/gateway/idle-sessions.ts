/** Which hosts' connections may be given up without disturbing anything. Called by the gateway before agents are sent to another server. */
import { taskState } from "@sheaf/model";
import type { RecordCache } from "../context.ts";
import type { AgentSession } from "./agent-session.ts";
import { recordKey, type HostDocuments } from "./host-documents.ts";

/** Who has just come, perhaps from there, stays for a while, ms. */
const settledMs = 30_000;

/**
 * Those without a call, console, report or unsent document under way, and without a task that runs: between two steps of a migration
 * nothing moves on the connection, and yet it is needed. Longest connected first.
 */
export function idleSessions(
  sessions: Iterable<AgentSession>,
  { cache, documents, now }: { readonly cache: RecordCache; readonly documents: HostDocuments; readonly now: number },
): AgentSession[] {
  const quiet = [...sessions].filter(
    ({ calls, streams, unanswered, backlog, since }) =>
      calls.count === 0 && streams.count === 0 && unanswered === 0 && backlog === 0 && now - since >= settledMs,
  );
  const running = [...cache.all("task")].filter(({ status }) => taskState(status) === "running").map(({ spec }) => spec);
  return quiet.filter(
    ({ hostId }) => !running.some(({ host, target }) => host === hostId || documents.concerns(hostId, recordKey(target.kind, target.id))),
  );
}
