/** Verbs of hosts: cordon, drain, activate; fence and confirm-off; sleep and wake. Called by the routes; what follows is the drain, the fencing and the host-power controller's. */
import { sleepHindrance } from "@sheaf/controllers";
import {
  fenceRefusal,
  hostRefusal,
  partKey,
  powerRefusal,
  SheafError,
  type FenceAction,
  type HostAction,
  type PowerAction,
  type RecordOf,
} from "@sheaf/model";
import { requireRevision, storedPart, type Written } from "./documents.ts";
import { Draft } from "./draft.ts";
import type { ChangeRequest, RecordServices, Work } from "./record-services.ts";
import { addTask } from "./tasks.ts";

const wanted = { cordon: "cordoned", drain: "draining", maintain: "draining", activate: "open" } as const satisfies Record<
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
    const host = presentHost(services, id);
    const refusal = hostRefusal(action, host.spec);
    if (refusal !== null) throw new SheafError("state-refused", `Host ${host.name} cannot do "${action}" now: ${refusal}.`);
    const draft = new Draft();
    requireRevision(draft, request, host);
    const maintenance = action === "maintain" ? true : action === "activate" ? false : host.spec.maintenance;
    const spec = { ...host.spec, schedulable: wanted[action], maintenance };
    const next = { ...storedPart<"host">(host), generation: host.generation + 1, spec };
    draft.put(partKey("host", host.id, "spec"), next);
    const work: Work = { services, request, draft, id: host.id, name: host.name, projectId: "", now: services.context.clock.now() };
    // Opening a host is work only where machines are to come back.
    const isWork = action === "activate" ? host.spec.maintenance || host.status.maintenance !== undefined : action !== "cordon";
    const task =
      isWork && action !== "cordon"
        ? addTask(work, { verb: action, target: { kind: "host", id: host.id, name: host.name }, parameters: { ...parameters } })
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

/** What a person says of a lost host: its power is to be cut, or is off. A task; the fencing controller acts on it. */
export function askToFence(services: RecordServices, request: ChangeRequest, id: string, action: FenceAction): Promise<Written> {
  return services.writer.write(request.asker, () => {
    const host = presentHost(services, id);
    const refusal = fenceRefusal(action, host.status);
    if (refusal !== null) throw new SheafError("state-refused", `Host ${host.name} cannot do "${action}" now: ${refusal}.`);
    const draft = new Draft();
    requireRevision(draft, request, host);
    draft.unchanged(host);
    const work: Work = { services, request, draft, id: host.id, name: host.name, projectId: "", now: services.context.clock.now() };
    const task = addTask(work, { verb: action, target: { kind: "host", id: host.id, name: host.name } });
    return {
      draft,
      target: `host/${host.id}`,
      before: JSON.stringify(host.status.liveness ?? null),
      after: JSON.stringify({ [action]: request.caller.userName }),
      receipt: { kind: "host", id: host.id, task },
      answer: (): Written => ({ id: host.id, specRevision: host.specRevision, record: services.presenter.text(host), task }),
    };
  });
}

/** A host is to sleep, or to wake. A task; the host-power controller acts on it. */
export function askForPower(
  services: RecordServices,
  request: ChangeRequest,
  id: string,
  action: PowerAction,
  reason: string | undefined,
): Promise<Written> {
  return services.writer.write(request.asker, () => {
    const host = presentHost(services, id);
    const { cache, snapshot } = services.context;
    const refusal = powerRefusal(action, host.spec, host.status) ?? (action === "sleep" ? sleepHindrance(host, { cache, snapshot }) : null);
    if (refusal !== null) throw new SheafError("state-refused", `Host ${host.name} cannot do "${action}" now: ${refusal}.`);
    const draft = new Draft();
    requireRevision(draft, request, host);
    draft.unchanged(host);
    const work: Work = { services, request, draft, id: host.id, name: host.name, projectId: "", now: services.context.clock.now() };
    const parameters = reason === undefined ? {} : { reason };
    const task = addTask(work, { verb: action, target: { kind: "host", id: host.id, name: host.name }, parameters });
    return {
      draft,
      target: `host/${host.id}`,
      before: JSON.stringify(host.status.power ?? null),
      after: JSON.stringify({ [action]: request.caller.userName }),
      receipt: { kind: "host", id: host.id, task },
      answer: (): Written => ({ id: host.id, specRevision: host.specRevision, record: services.presenter.text(host), task }),
    };
  });
}

function presentHost(services: RecordServices, id: string): RecordOf<"host"> {
  const host = services.context.cache.get("host", id);
  if (host === undefined) throw new SheafError("not-found", `There is no host ${id} any more.`);
  if (host.deletedAt !== undefined) throw new SheafError("state-refused", `Host ${host.name} is being removed.`);
  return host;
}
