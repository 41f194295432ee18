/** Tells what changes in the records as a person would follow it: machines, hosts, migrations, tasks. One line a change; nothing is kept. */
import { devicesWords, type PlacedDevices } from "@sheaf/model";
import type { Commit, Part, PartChange, RecordsWatch } from "./records-watch.ts";

const devices = (placement: PlacedDevices): string => {
  const words = devicesWords(placement);
  return words === "" ? "" : `, with ${words}`;
};

export function narrate(records: RecordsWatch, tell: (text: string) => void): void {
  const machine = (id: string): string => records.name("vm", id);
  const host = (id: string): string => records.name("host", id);
  const line = (change: PartChange): string | null => {
    const { kind, id, part, now, before } = change;
    switch (`${kind} ${part}`) {
      case "vm spec":
        return machineSpec(machine(id), now, before);
      case "vm placement":
        if (!now) return null;
        return before
          ? `${machine(id)} belongs on ${host(now.host)} from now on, no more on ${host(before.host)} (epoch ${now.epoch})${devices(now)}`
          : `${machine(id)} is placed on ${host(now.host)} (epoch ${now.epoch})${devices(now)}`;
      case "vm status/placement":
        return now?.pending && now.pending.reason !== before?.pending?.reason ? `${machine(id)} waits: ${now.pending.reason}` : null;
      case "vm status/agent":
        return observation(`${machine(id)}${now ? ` on ${host(now.host)}` : ""}`, now, before);
      case "vm status/migration":
        if (!now) return before ? `${machine(id)}: the migration is over` : null;
        return now.phase === before?.phase ? null : `${machine(id)}: migration from ${host(now.source)} to ${host(now.target)}: ${now.phase}`;
      case "host spec":
        if (!now) return `host ${host(id)} is gone`;
        return before && now.spec.schedulable !== before.spec.schedulable ? `host ${now.name} is ${now.spec.schedulable}` : null;
      case "host status/agent":
        return now && before && now.agentVersion !== before.agentVersion ? `host ${host(id)} runs agent ${now.agentVersion}` : null;
      case "host status/liveness":
        return now && now.state !== before?.state ? `host ${host(id)} is ${now.state}${now.reason ? ` (${now.reason})` : ""}` : null;
      case "host status/fencing":
        if (!now) return `host ${host(id)} is let in again`;
        return now.state === before?.state && now.reason === before?.reason ? null : `host ${host(id)} is ${now.state}: ${now.reason}`;
      case "host status/power":
        if (!now) return before ? `host ${host(id)} counts again` : null;
        return now.state === before?.state && now.step === before?.step ? null : `host ${host(id)} is ${now.step ?? now.state}: ${now.reason}`;
      case "vm status/failover":
        if (!now || (now.state === before?.state && now.reason === before?.reason)) return null;
        return now.state === "moved"
          ? `${machine(id)} is started on ${host(now.to)} instead of ${host(now.from)}`
          : `${machine(id)} on ${host(now.from)} is not started elsewhere: ${now.reason}`;
      case "vm status/order":
        if (!now || (now.state === before?.state && now.reason === before?.reason)) return null;
        return now.state === "go" ? `it is the turn of ${machine(id)} to be started` : `${machine(id)} waits for its turn: ${now.reason}`;
      case "host status/drain":
        return now?.done && !before?.done ? `host ${host(id)} is empty` : null;
      case "host status/clock":
        return now ? `the clock of host ${host(id)} is off by ${now.skewMs} ms` : `the clock of host ${host(id)} is right again`;
      case "volume status/agent":
        return now?.problem !== undefined && now.problem !== before?.problem ? `volume ${records.name("volume", id)}: ${now.problem}` : null;
      case "task status/controller":
      case "task status/agent":
        return now && now.state !== "running" && now.state !== before?.state ? task(records.part("task", id, "spec"), now) : null;
      default:
        return null;
    }
  };
  records.subscribe(({ parts, restored }: Commit) => {
    if (restored) return;
    for (const change of parts) {
      const text = line(change);
      if (text !== null) tell(text);
    }
  });
}

function machineSpec(name: string, now: Part | undefined, before: Part | undefined): string | null {
  if (!now) return `${name} is gone`;
  if (!before) return `${name} is wanted ${now.spec.power}`;
  if (now.deletedAt !== undefined && before.deletedAt === undefined) return `${name} is to be deleted`;
  if (now.spec.power !== before.spec.power) return `${name} is wanted ${now.spec.power}`;
  return null;
}

function observation(name: string, now: Part | undefined, before: Part | undefined): string | null {
  if (!now) return null;
  if (now.problem !== undefined && now.problem !== before?.problem) return `${name} is ${now.state}; ${now.problem}`;
  if (now.state !== before?.state || now.host !== before?.host) return `${name} is ${now.state}${now.reason === undefined ? "" : ` (${now.reason})`}`;
  return null;
}

function task(head: Part | undefined, progress: Part): string | null {
  if (!head) return null;
  const why = progress.state === "succeeded" ? "" : `: ${progress.problem?.detail ?? progress.message}`;
  return `task ${head.spec.verb} ${head.spec.target.name} ${progress.state}${why}`;
}
