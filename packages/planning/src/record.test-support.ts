/** Small records for tests of the stories. Never imported by code that runs in production. */
import { VmSpec, type AnyRecord, type Kind, type Placement, type RecordOf, type VmObservation } from "@sheaf/model";

const id = (number: number): string => `00000000-0000-7000-8000-${String(number).padStart(12, "0")}`;
export const ids = {
  vm: id(1),
  host: id(2),
  otherHost: id(3),
  volume: id(4),
  volume2: id(5),
  task: id(6),
  pool: id(7),
  image: id(8),
  project: id(9),
};

export const placedOn = (host: string, epoch = 1): Placement => ({ host, epoch, incarnation: "i", at: 0 });

export function record<K extends Kind>(
  kind: K,
  recordId: string,
  spec: RecordOf<K>["spec"],
  rest: Partial<RecordOf<K>> = {},
): RecordOf<K> & { readonly kind: K } {
  // The parts are those that every record has; the kind's own come from the caller.
  return {
    kind,
    id: recordId,
    name: `${kind}-a`,
    labels: {},
    generation: 1,
    createdAt: 1000,
    createdBy: "admin",
    finalizers: [],
    revision: 1,
    specRevision: 1,
    status: {},
    spec,
    ...rest,
  } as unknown as RecordOf<K> & { readonly kind: K };
}
export const vm = (spec: Record<string, unknown> = {}, rest: Partial<RecordOf<"vm">> = {}) =>
  record("vm", ids.vm, VmSpec.parse(spec), { project: ids.project, ...rest });
export const volume = (rest: Partial<RecordOf<"volume">> = {}) =>
  record("volume", ids.volume, { pool: ids.pool, sizeBytes: 2 ** 20, format: "qcow2", protected: false }, { project: ids.project, ...rest });
export const task = (
  verb: RecordOf<"task">["spec"]["verb"],
  target: AnyRecord,
  rest: Partial<RecordOf<"task">> = {},
  spec: Partial<RecordOf<"task">["spec"]> = {},
) =>
  record(
    "task",
    ids.task,
    { verb, target: { kind: target.kind, id: target.id, name: target.name }, generation: 1, parameters: {}, requestedBy: "admin", ...spec },
    rest,
  );
export const seen = (state: VmObservation["state"], rest: Partial<VmObservation> = {}): VmObservation => ({
  state,
  epoch: 1,
  host: ids.host,
  bootId: "b",
  observedGeneration: 1,
  since: 0,
  startRequestSeen: 0,
  restarts: 0,
  pendingChanges: [],
  ...rest,
});
