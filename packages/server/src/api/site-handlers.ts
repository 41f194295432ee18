/** Handlers of joining, tasks, projects' usage, the audit trail and the system itself. */
import { routes } from "@sheaf/contract";
import { kinds, partKey, SheafError, taskState, type RecordOf } from "@sheaf/model";
import { availabilityReport } from "./availability-report.ts";
import { listAudit } from "../audit/audit-reader.ts";
import { joinLine } from "../identity/join-line.ts";
import { inviteHost, joinHost } from "../identity/joining.ts";
import { storedPart } from "../records/documents.ts";
import { Draft } from "../records/draft.ts";
import { json, on, written, type AnyHandler, type Answer, type Call } from "./call.ts";

const { host, task, project, audit, system } = routes;
const apiVersion = "v1";

export const siteHandlers: readonly (readonly [string, AnyHandler])[] = [
  on(host.invite, async (call) => {
    call.everywhere("host.change");
    const { authority, joinFiles, settings } = call.services.context;
    if (settings.simulated)
      throw new SheafError("state-refused", "This data centre is simulated: no real host can join it.", {
        next: "Start Sheaf without --demo, with a data folder of its own.",
      });
    const { line, ...wanted } = call.body;
    // First: an invitation whose line cannot be told would be of no use.
    const archives = line ? await joinFiles.agents() : [];
    const made = await inviteHost(call.services.records, call.asker, { ...wanted, createdBy: call.caller.userName });
    const answer = { token: made.token, caFingerprint: authority.fingerprint, expiresAt: made.expiresAt };
    if (!line) return json(answer);
    const { script } = joinFiles;
    return json({
      ...answer,
      command: joinLine({ server: settings.publicAddress, script, token: made.token, fingerprint: authority.fingerprint, archives }),
    });
  }),
  on(host.join, async (call) => {
    const { authority, settings } = call.services.context;
    const joined = await joinHost(call.services.records, call.asker, call.body);
    return json({ ...joined, authority: authority.certificate, agentPort: settings.agentPort });
  }),
  on(task.cancel, (call) => cancelTask(call, call.target("task", call.params.id, call.query.project))),
  on(task.log, (call) => json({ lines: call.services.context.tasks.lines(call.target("task", call.params.id, call.query.project).id) })),
  on(project.usage, (call) => {
    const found = call.target("project", call.params.id, undefined);
    return json({ quota: found.spec.quota, used: call.services.records.index.usage(found.id) });
  }),
  on(audit.list, async (call) => {
    call.everywhere("audit.view");
    const { store, audit: folder } = call.services.context;
    return json(await listAudit({ store, folder }, call.services.trail, call.query));
  }),
  on(audit.verify, async (call) => {
    call.everywhere("audit.view");
    return json(await call.services.audit.verify());
  }),
  on(system.capacity, (call) => {
    const { capacity } = call.services;
    return json(capacity.figures({ cluster: capacity.cluster(call.query.cluster), zone: call.query.zone }));
  }),
  on(system.availability, async (call) => json(await availabilityReport(call))),
  on(system.version, (call) => {
    const { settings, store, clock } = call.services.context;
    return json({
      version: settings.version,
      api: apiVersion,
      incarnation: store.incarnation,
      now: clock.now(),
      simulated: settings.simulated === true,
    });
  }),
  on(system.backup, async (call) => {
    call.everywhere("system.maintain");
    const done = await call.services.context.maintenance.backup();
    await call.services.trail.record({
      actor: call.asker.actor,
      from: call.asker.from,
      action: call.asker.action,
      target: "system",
      result: "done",
      requestId: call.asker.requestId,
      after: JSON.stringify(done),
    });
    return json(done);
  }),
  on(system.supportBundle, (call) => {
    call.everywhere("system.maintain");
    return supportBundle(call);
  }),
];

async function cancelTask(call: Call, found: RecordOf<"task">): Promise<Answer> {
  const { writer, presenter } = call.services.records;
  const { cache, clock } = call.services.context;
  return written(
    await writer.write(call.asker, () => {
      const before = cache.get("task", found.id);
      if (before === undefined) throw new SheafError("not-found", `There is no task ${found.id} any more.`);
      const state = taskState(before.status);
      if (state !== "waiting" && state !== "running")
        throw new SheafError("state-refused", `The task ${before.name} has ended: it ${state === "cancelled" ? "was cancelled" : state}.`);
      const answer = (record: RecordOf<"task">) => ({
        id: record.id,
        specRevision: record.specRevision,
        record: presenter.text(record),
        task: record.id,
      });
      if (before.spec.cancelRequestedAt !== undefined) return { unchanged: answer(before) };
      const draft = new Draft();
      draft.unchanged(before);
      const next = { ...storedPart(before), generation: before.generation + 1, spec: { ...before.spec, cancelRequestedAt: clock.now() } };
      draft.put(partKey("task", before.id, "spec"), next);
      return {
        draft,
        target: `task/${before.id}`,
        project: before.project,
        after: JSON.stringify(next),
        receipt: { kind: "task", id: before.id, task: before.id },
        answer: (revision: number) => answer({ ...before, ...next, revision, specRevision: revision }),
      };
    }),
  );
}

/** Addresses that were signed for one download carry their secret in the query. */
function withoutUrlSecrets(image: object): unknown {
  return JSON.parse(
    JSON.stringify(image, (key, value: unknown) => (key === "url" && typeof value === "string" ? value.replace(/[?#].*$/s, "?(secret)") : value)),
  );
}

/** For whoever helps: what there is and how it stands. Records go through the presenter, so no secret is in it. */
function supportBundle(call: Call): Answer {
  const { context, records, trail, hub, sessions } = call.services;
  const shown = (kind: "host" | "cluster" | "pool" | "network" | "image") =>
    [...context.cache.all(kind)].map((record) => records.presenter.show(record));
  const vms: Record<string, number> = {};
  for (const vm of context.cache.all("vm")) {
    const state = records.presenter.vmState(vm);
    vms[state] = (vms[state] ?? 0) + 1;
  }
  const failed = [...context.cache.all("task")]
    .filter(({ status }) => taskState(status) === "failed")
    .sort((left, right) => right.createdAt - left.createdAt);
  return json({
    at: context.clock.now(),
    version: context.settings.version,
    incarnation: context.store.incarnation,
    settings: context.settings,
    revision: context.cache.revision,
    counts: Object.fromEntries(kinds.map((kind) => [kind, context.cache.count(kind)])),
    vms,
    audit: { chain: trail.chain, last: trail.last, sealed: trail.head.to },
    watchers: hub.size,
    sessions: sessions.size,
    transactions: records.writer.counts,
    hosts: shown("host"),
    clusters: shown("cluster"),
    pools: shown("pool"),
    networks: shown("network"),
    images: shown("image").map(withoutUrlSecrets),
    failedTasks: failed.slice(0, 100).map((record) => records.presenter.show(record)),
    log: context.maintenance.logs(1000),
  });
}
