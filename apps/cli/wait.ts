/** Waiting without polling: a task is followed through `GET /watch` until it has ended; a lost connection resumes at the last revision. */
import { eventStreamParser } from "@sheaf/client";
import { apiPrefix, type WatchChange } from "@sheaf/contract";
import { SheafError, taskProgress, taskState, type ProblemCode, problems, type TaskStatus } from "@sheaf/model";
import type { Cli } from "./cli.ts";
import { httpsTransport, readText } from "./https-transport.ts";
import { everySecond, liveFigures, livePercent } from "./live-figures.ts";

/** Calls `seen` with each change until it returns true, or `signal` ends it. */
export async function follow(
  cli: Cli,
  query: string,
  fromRevision: number | undefined,
  seen: (change: WatchChange) => boolean,
  signal: AbortSignal = cli.interrupted,
): Promise<void> {
  const https = httpsTransport(await cli.connection());
  /** Where to go on after a break: the id names the life of the store too, which a revision does not. */
  let lastEventId = "";
  let failures = 0;
  try {
    for (;;) {
      try {
        const response = await https.stream(`${apiPrefix}/watch?${query}${fromRevision === undefined ? "" : `&revision=${fromRevision}`}`, {
          headers: { accept: "text/event-stream", ...(lastEventId === "" ? {} : { "last-event-id": lastEventId }) },
          signal,
        });
        if (response.statusCode !== 200) {
          const { toError } = await import("@sheaf/client");
          throw toError({ status: response.statusCode ?? 0, headers: {}, text: await readText(response) });
        }
        failures = 0;
        let done = false;
        const feed = eventStreamParser((event) => {
          if (event.id !== "") lastEventId = event.id;
          if (event.event === "change" && !done) done = seen(JSON.parse(event.data) as WatchChange /* the contract's schema for this event */);
        });
        response.setEncoding("utf8");
        for await (const chunk of response) {
          feed(chunk as string); // an encoding is set
          if (done) return;
        }
      } catch (error) {
        if (signal.aborted) throw new SheafError("cancelled", "Interrupted; the work goes on.", { next: "`sheaf task list` shows it." });
        const lost = !(error instanceof SheafError) || error.code === "unavailable";
        if (!lost || failures >= 30) throw error;
      }
      failures += 1;
      await new Promise((resolve) => setTimeout(resolve, Math.min(2000, 100 * failures)));
    }
  } finally {
    https.close();
  }
}

/** Follows tasks to their ends. @throws SheafError with the first failed task's problem. */
export async function waitForTasks(cli: Cli, ids: readonly string[], label: string): Promise<void> {
  const client = await cli.client();
  const open = new Set(ids);
  /** How far the open ones are, 0 to 1. */
  const shares = new Map<string, number>();
  const tell = (more: string): void => {
    const done = ids.length - open.size + [...shares.values()].reduce((sum, share) => sum + share, 0);
    cli.terminal.progress(`${label}: ${ids.length - open.size}/${ids.length}${more}`, done / Math.max(1, ids.length));
  };
  const failures: SheafError[] = [];
  let revision = 0;
  const look = (id: string, status: TaskStatus, name: string): void => {
    const progress = taskProgress(status);
    const state = taskState(status);
    if (state === "waiting" || state === "running") {
      const live = "live" in status ? status.live : undefined;
      const percent = livePercent(live) ?? progress?.percent;
      if (percent !== undefined) shares.set(id, Math.min(1, percent / 100));
      if (progress) tell(`  ${name}: ${progress.message} ${liveFigures(live)}`.trimEnd());
      return;
    }
    if (!open.delete(id)) return;
    shares.delete(id);
    tell("");
    if (state === "succeeded") return;
    const code = progress?.problem?.code ?? (state === "cancelled" ? "cancelled" : "internal");
    const next = progress?.problem?.next;
    const cause = progress?.problem?.cause;
    failures.push(
      new SheafError(
        Object.hasOwn(problems, code) ? (code as ProblemCode) : "internal",
        `${name}: ${progress?.problem?.detail ?? progress?.message ?? state}`,
        { ...(next === undefined ? {} : { next }), ...(cause === undefined ? {} : { cause }) },
      ),
    );
  };
  const ask = async (id: string): Promise<number> => {
    const task = await client.task.get({ params: { id } });
    look(id, task.status as TaskStatus /* the record's schema is loose here */, task.spec.target.name);
    return task.revision;
  };
  for (const id of ids) {
    const asked = await ask(id);
    revision = revision === 0 ? asked : Math.min(revision, asked);
  }
  if (open.size > 0) {
    // For whoever watches: no watch tells the figures.
    const [first] = open;
    const stopAsking =
      cli.terminal.interactive && open.size === 1 && first !== undefined ? everySecond(async () => void (await ask(first))) : () => {};
    await follow(cli, ids.length === 1 ? `kind=task&id=${ids[0]}` : "kind=task", revision, (change) => {
      if (open.has(change.id)) {
        if (change.record) {
          const task = change.record as { status: TaskStatus; spec: { target: { name: string } } }; // a task's record
          look(change.id, task.status, task.spec.target.name);
        } else open.delete(change.id);
      }
      return open.size === 0;
    }).finally(stopAsking);
  }
  cli.terminal.progress("");
  const [first] = failures;
  if (first) {
    for (const failure of failures.slice(1, 10)) cli.terminal.note(failure.message);
    throw failures.length === 1 ? first : new SheafError(first.code, `${failures.length} of ${ids.length} failed. ${first.message}`, first.extra);
  }
}
