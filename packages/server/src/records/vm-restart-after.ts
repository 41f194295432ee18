/** `restart.after` of machines: names become ids, and circles are refused, also those that two requests at once would make. */
import type { RecordOf, SpecOf } from "@sheaf/model";
import type { Work } from "./record-services.ts";
import { invalid } from "./refusals.ts";

type Vm = RecordOf<"vm">;
type Restart = SpecOf<"vm">["restart"];

/** All that a machine is started after, directly or not: each is a condition of the transaction. */
const chainLimit = 64;

export function restartAfter(work: Work, { restart }: SpecOf<"vm">, before: Vm | undefined): Restart {
  const { after, ...rest } = restart;
  if (after === undefined) return restart;
  const { cache } = work.services.context;
  const known = new Set(before?.spec.restart.after?.machines);
  const named = after.machines.flatMap((reference, index) => {
    // One that was deleted since is not waited for, and does not make the document wrong.
    if (known.has(reference) && isGone(cache.get("vm", reference))) return [];
    return [work.services.references.vm(work.projectId, reference, `/spec/restart/after/machines/${index}`)];
  });
  const machines = [...new Set(named.map(({ id }) => id))];
  // A machine that is being made is named by none; what leads nowhere new needs no look.
  if (before !== undefined && machines.some((id) => !known.has(id))) refuseCircle(work, before, named);
  return machines.length === 0 ? rest : { ...rest, after: { ...after, machines } };
}

const isGone = (vm: Vm | undefined): boolean => vm === undefined || vm.deletedAt !== undefined;

function refuseCircle(work: Work, vm: Vm, named: readonly Vm[]): void {
  const { cache } = work.services.context;
  const at = "/spec/restart/after/machines";
  const found = new Set<string>();
  const open = named.map((next) => ({ next, path: [vm.name, next.name] }));
  for (let look = open.pop(); look !== undefined; look = open.pop()) {
    const { next, path } = look;
    if (next.id === vm.id) throw invalid(at, `makes a circle: ${path.join(" after ")}`);
    if (found.has(next.id)) continue;
    found.add(next.id);
    if (found.size > chainLimit) throw invalid(at, `leads to more than ${chainLimit} machines`);
    // Another request may be about to make it start after this one.
    work.draft.unchanged(next);
    for (const id of next.spec.restart.after?.machines ?? []) {
      const other = cache.get("vm", id);
      if (other !== undefined) open.push({ next: other, path: [...path, other.name] });
    }
  }
}
