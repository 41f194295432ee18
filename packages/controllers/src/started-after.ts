/** What the fail-over and start-order controllers ask about machines that others are started after (`restart.after`). */
import type { RecordOf } from "@sheaf/model";
import type { ControllerContext, RecordChange } from "./context.ts";
import type { SiteIndex } from "./site-index.ts";

/** What is on record of the machine's run was seen in the present boot of a host that is heard. */
export function isTrueOfRun({ placement, status }: RecordOf<"vm">, { agents, cache }: ControllerContext): boolean {
  const host = placement && cache.get("host", placement.host);
  return host !== undefined && agents.connected(host.id) && status.agent?.bootId === (agents.bootId(host.id) ?? host.status.agent?.bootId);
}

/** Machines that may go on now. */
export function* startedAfterChange({ kind, id, record, previous }: RecordChange, index: SiteIndex): Iterable<string> {
  if (kind === "vm") {
    const [vm, before] = [record, previous] as (RecordOf<"vm"> | undefined)[]; // the kind says so
    if (vm?.spec !== before?.spec || vm?.placement !== before?.placement || vm?.status.agent !== before?.status.agent) yield* index.startedAfter(id);
  } else if (kind === "host") {
    const [host, before] = [record, previous] as (RecordOf<"host"> | undefined)[]; // the kind says so
    if (host?.status.liveness === before?.status.liveness && host?.status.agent?.bootId === before?.status.agent?.bootId) return;
    for (const vm of index.vmsOnHost(id)) yield* index.startedAfter(vm);
  }
}
