/** Writes task records: the receipts of changes that take effect later, and verbs with work of their own. */
import { partKey, type Kind, type TaskSpec } from "@sheaf/model";
import type { Work } from "./record-services.ts";

export interface NewTask {
  readonly verb: TaskSpec["verb"];
  readonly target: { readonly kind: Kind; readonly id: string; readonly name: string };
  /** Done when this generation was seen. Absent for work of its own. */
  readonly generation?: number;
  /** Host whose agent does it. */
  readonly host?: string;
  readonly parameters?: Record<string, unknown>;
}

/** @returns the task's id */
export function addTask(work: Work, task: NewTask): string {
  const id = work.services.newId();
  const { userName } = work.request.caller;
  const spec: TaskSpec = {
    verb: task.verb,
    target: task.target,
    parameters: task.parameters ?? {},
    requestedBy: userName,
    ...(task.generation === undefined ? {} : { generation: task.generation }),
    ...(task.host === undefined ? {} : { host: task.host }),
  };
  work.draft.put(partKey("task", id, "spec"), {
    kind: "task",
    id,
    // Tasks are found by id; the name only has to be a name.
    name: `${task.verb}-${id.slice(-12)}`,
    ...(work.projectId === "" ? {} : { project: work.projectId }),
    labels: {},
    generation: 1,
    createdAt: work.now,
    createdBy: userName,
    finalizers: [],
    spec,
  });
  return id;
}
