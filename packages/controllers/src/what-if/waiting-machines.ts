/** What would become of the machines that wait for a host, decided as the placement controller does it, in the same order. Pure. */
import type { RecordOf } from "@sheaf/model";
import { shapeOf } from "@sheaf/planning";
import { type PlacementRequest, planBatch, type SnapshotIndex } from "@sheaf/scheduling";
import { batchSize } from "../placement-controller.ts";

export interface WaitingPlaced {
  readonly placed: readonly { readonly vm: RecordOf<"vm">; readonly host: string }[];
  readonly waiting: readonly { readonly vm: RecordOf<"vm">; readonly why: string }[];
}

/** Hosts that are chosen are reserved in `snapshot`. */
export function placeWaiting(vms: readonly RecordOf<"vm">[], snapshot: SnapshotIndex): WaitingPlaced {
  const refused = new Map<string, string>();
  const tried = new Set<string>();
  let fitting: { readonly vm: RecordOf<"vm">; readonly request: PlacementRequest; readonly shape: string }[] = [];
  const waiting: { vm: RecordOf<"vm">; why: string }[] = [];
  for (const vm of vms) {
    const request = snapshot.request(vm);
    const shape = shapeOf(request) ?? vm.id;
    if (!tried.has(shape)) {
      tried.add(shape);
      const [decided] = planBatch([request], snapshot);
      snapshot.release(request);
      if (decided?.decision.none) refused.set(shape, decided.decision.reason);
    }
    const why = refused.get(shape);
    if (why === undefined) fitting.push({ vm, request, shape });
    else waiting.push({ vm, why });
  }
  fitting.sort((a, b) => b.request.priority - a.request.priority || (a.vm.id < b.vm.id ? -1 : 1));
  const placed: { vm: RecordOf<"vm">; host: string }[] = [];
  const refuse = (vm: RecordOf<"vm">, shape: string, why: string): void => {
    refused.set(shape, why);
    waiting.push({ vm, why });
  };
  while (fitting.length > 0) {
    const now = fitting.slice(0, batchSize);
    const decisions = planBatch(
      now.map(({ request }) => request),
      snapshot,
    );
    for (const [at, { vm, shape }] of now.entries()) {
      const decision = decisions[at]?.decision;
      if (decision === undefined || decision.none) refuse(vm, shape, decision?.reason ?? "");
      else placed.push({ vm, host: decision.host });
    }
    const later = fitting.slice(batchSize);
    for (const { vm, shape } of later) if (refused.has(shape)) refuse(vm, shape, refused.get(shape) ?? "");
    fitting = later.filter(({ shape }) => !refused.has(shape));
  }
  return { placed, waiting };
}
