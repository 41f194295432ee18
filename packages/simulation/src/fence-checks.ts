/**
 * What must never be otherwise when hosts are cut off: none is called off that is on, and no machine is given to another host while its
 * CPUs run on the first one. Fed by every commit.
 */
import type { PartChange, RecordsWatch } from "./records-watch.ts";
import type { SimulatedHost } from "./simulated-host.ts";
import type { Truth } from "./truth.ts";

export interface FenceChecks {
  readonly records: RecordsWatch;
  readonly truth: Truth;
  readonly broke: (what: string) => void;
  readonly host: (id: string) => SimulatedHost | null;
  /** A device of that host lies: nobody can know better. */
  readonly deceived: (host: SimulatedHost) => boolean;
}

export function checkFences({ records, truth, broke, host: hostOf, deceived }: FenceChecks): void {
  const fence = ({ id, now, before }: PartChange): void => {
    const host = hostOf(id);
    if (!host || now?.state !== "fenced" || before?.state === "fenced" || deceived(host)) return;
    // One that fenced itself may be on: it has stopped its machines, or was reset.
    if (now.byItself === true) {
      if (host.hypervisor.inner.active().length > 0) broke(`${host.name} is said to run nothing (${now.reason}) and does`);
      return;
    }
    // A host that came up anew meanwhile runs nothing before it was heard.
    if (host.powered && host.bootId === now.bootId) broke(`${host.name} is said to be off (${now.reason}) and is on`);
  };
  const placement = ({ id, now, before }: PartChange): void => {
    if (!now || !before || now.host === before.host || records.part("vm", id, "status/migration")) return;
    const from = hostOf(before.host);
    if (from && !deceived(from) && truth.runningOn(id).includes(from.name))
      broke(`${records.name("vm", id)} is given to ${hostOf(now.host)?.name} while it runs on ${from.name}`);
  };
  records.subscribe(({ parts, restored }) => {
    if (restored) return;
    for (const change of parts) {
      if (change.kind === "host" && change.part === "status/fencing") fence(change);
      if (change.kind === "vm" && change.part === "placement") placement(change);
    }
  });
}
