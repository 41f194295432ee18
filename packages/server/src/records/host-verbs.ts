/** Verbs of hosts: cordon, drain, activate. Called by the routes; what follows is the drain controller's. */
import { hostRefusal, partKey, SheafError, type HostAction, type RecordOf } from "@sheaf/model";
import { requireRevision, storedPart, type Written } from "./documents.ts";
import { Draft } from "./draft.ts";
import type { ChangeRequest, RecordServices, Work } from "./record-services.ts";
import { addTask } from "./tasks.ts";

const wanted = { cordon: "cordoned", drain: "draining", activate: "open" } as const satisfies Record<
  HostAction,
  RecordOf<"host">["spec"]["schedulable"]
>;

export function changeMaintenance(
  services: RecordServices,
  request: ChangeRequest,
  id: string,
  action: HostAction,
  parameters: Readonly<Record<string, unknown>> = {},
): Promise<Written> {
  return services.writer.write(request.asker, () => {
    const host = services.context.cache.get("host", id);
    if (host === undefined) throw new SheafError("not-found", `There is no host ${id} any more.`);
    if (host.deletedAt !== undefined) throw new SheafError("state-refused", `Host ${host.name} is being removed.`);
    const refusal = hostRefusal(action, host.spec);
    if (refusal !== null) throw new SheafError("state-refused", `Host ${host.name} cannot do "${action}" now: ${refusal}.`);
    const draft = new Draft();
    requireRevision(draft, request, host);
    const next = { ...storedPart<"host">(host), generation: host.generation + 1, spec: { ...host.spec, schedulable: wanted[action] } };
    draft.put(partKey("host", host.id, "spec"), next);
    const work: Work = { services, request, draft, id: host.id, name: host.name, projectId: "", now: services.context.clock.now() };
    const task =
      action === "drain"
        ? addTask(work, { verb: "drain", target: { kind: "host", id: host.id, name: host.name }, parameters: { ...parameters } })
        : undefined;
    return {
      draft,
      target: `host/${host.id}`,
      before: JSON.stringify(storedPart(host)),
      after: JSON.stringify(next),
      receipt: { kind: "host", id: host.id, ...(task === undefined ? {} : { task }) },
      answer: (revision): Written => ({
        id: host.id,
        specRevision: revision,
        record: services.presenter.text({ ...host, ...next, revision, specRevision: revision }),
        ...(task === undefined ? {} : { task }),
      }),
    };
  });
}
