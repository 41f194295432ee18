/** Maintenance of a whole cluster: asked for, paused, resumed, and told that the work on a host is done. All of it stands in its task; the rolling maintenance controller acts. */
import { partKey, SheafError, taskState, type RecordOf } from "@sheaf/model";
import { storedPart, type Written } from "./documents.ts";
import { Draft } from "./draft.ts";
import type { ChangeRequest, RecordServices, Work } from "./record-services.ts";
import { addTask } from "./tasks.ts";

/** @param names hosts in the order in which they are taken; absent: all of the cluster, by name. @throws SheafError `not-found`, `state-refused` */
export function maintainCluster(
  services: RecordServices,
  request: ChangeRequest,
  clusterId: string,
  names: readonly string[] | undefined,
): Promise<Written> {
  return services.writer.write(request.asker, () => {
    const { cache, clock } = services.context;
    const cluster = cache.get("cluster", clusterId);
    if (!cluster) throw new SheafError("not-found", `There is no cluster ${clusterId} any more.`);
    const underWay = rollingTask(services, clusterId);
    if (underWay)
      throw new SheafError("state-refused", `Cluster ${cluster.name} is in maintenance already.`, {
        next: `Follow it with \`sheaf task watch ${underWay.id}\`, or end it with \`sheaf task cancel\`.`,
      });
    const members = [...cache.all("host")].filter((host) => host.spec.cluster === clusterId && host.deletedAt === undefined);
    const wanted = names?.map((name, at) => services.references.above("host", name, `/hosts/${at}`)) ?? members.sort(byName);
    const stranger = wanted.find((host) => host.spec.cluster !== clusterId);
    if (stranger) throw new SheafError("state-refused", `Host ${stranger.name} is not of cluster ${cluster.name}.`);
    if (wanted.length === 0) throw new SheafError("state-refused", `Cluster ${cluster.name} has no hosts.`);
    const hosts = [...new Set(wanted.map(({ id }) => id))];
    const draft = new Draft();
    draft.unchanged(cluster);
    const work: Work = { services, request, draft, id: cluster.id, name: cluster.name, projectId: "", now: clock.now() };
    const task = addTask(work, { verb: "maintain", target: { kind: "cluster", id: cluster.id, name: cluster.name }, parameters: { hosts } });
    return {
      draft,
      target: `cluster/${cluster.id}`,
      after: JSON.stringify({ maintain: hosts }),
      receipt: { kind: "cluster", id: cluster.id, task },
      answer: (): Written => ({ id: cluster.id, specRevision: cluster.specRevision, record: services.presenter.text(cluster), task }),
    };
  });
}

type Word = { readonly paused: boolean } | { readonly done: RecordOf<"host"> };

/** @throws SheafError `state-refused` where no maintenance of the cluster is under way, or that host's turn has not come */
export function tellRolling(services: RecordServices, request: ChangeRequest, clusterId: string, word: Word): Promise<Written> {
  return services.writer.write(request.asker, () => {
    const before = rollingTask(services, clusterId);
    if (!before)
      throw new SheafError("state-refused", "No maintenance of this cluster is under way.", { next: "Begin one with `sheaf cluster maintain`." });
    const draft = new Draft();
    draft.unchanged(before);
    const parameters = { ...before.spec.parameters, ...("done" in word ? { done: doneWith(before, word.done) } : word) };
    const next = { ...storedPart<"task">(before), generation: before.generation + 1, spec: { ...before.spec, parameters } };
    draft.put(partKey("task", before.id, "spec"), next);
    return {
      draft,
      target: `task/${before.id}`,
      before: JSON.stringify(before.spec.parameters),
      after: JSON.stringify(parameters),
      receipt: { kind: "task", id: before.id, task: before.id },
      answer: (revision): Written => ({
        id: before.id,
        specRevision: revision,
        record: services.presenter.text({ ...before, ...next, revision, specRevision: revision }),
        task: before.id,
      }),
    };
  });
}

/** A word that comes before the host is empty would let it go on before anything was done. */
function doneWith(task: RecordOf<"task">, host: RecordOf<"host">): string[] {
  const hosts = task.status.controller?.result?.["hosts"];
  const phase = Array.isArray(hosts) ? (hosts as { id?: string; phase?: string }[]).find(({ id }) => id === host.id)?.phase : undefined; // its controller alone writes it
  if (phase !== "emptied")
    throw new SheafError(
      "state-refused",
      `Host ${host.name} is not waiting for this: ${phase === undefined ? "its turn has not come" : `it is ${phase}`}.`,
    );
  const done = task.spec.parameters["done"];
  return [...(Array.isArray(done) ? (done as string[]) : []), host.id]; // written here alone
}

function rollingTask(services: RecordServices, clusterId: string): RecordOf<"task"> | undefined {
  for (const task of services.context.cache.all("task")) {
    const { verb, target } = task.spec;
    if (verb === "maintain" && target.id === clusterId && ["waiting", "running"].includes(taskState(task.status))) return task;
  }
  return undefined;
}

const byName = (a: RecordOf<"host">, b: RecordOf<"host">): number => (a.name < b.name ? -1 : 1);
