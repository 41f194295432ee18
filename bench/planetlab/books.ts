/**
 * Who gets how much CPU at a moment. While a machine migrates it is on both hosts' books: it runs on the source, with 10 % less, and a tenth
 * of what it asks for is booked at the target (CloudSim 3.0.3, `VmSchedulerTimeSharedOverSubscription`). Called by the experiment.
 */
import type { HostModel, Machine } from "./fleet.ts";
import { stepSeconds } from "./trace.ts";

export interface Books {
  /** Per host, MIPS: what its machines ask for, with all of what those ask for that are on their way to it. */
  readonly hostAsked: Float64Array;
  /** Per host, MIPS: what it gives, with what is lost to migrations. */
  readonly hostGiven: Float64Array;
  /** Per machine, MIPS; 0 where it has left. */
  readonly asked: Float64Array;
  readonly given: Float64Array;
  readonly migrating: Uint8Array;
}

const sourceShare = 0.9;
const targetShare = 0.1;
/** CloudSim begins a moment after 0: demand is always a trifle on the way to its next value, and nothing only where two values in a row are. */
const clockOffsetSeconds = 0.1;

type BookKeeper = (seconds: number, hostOf: Int32Array, targetOf: ReadonlyMap<number, number>) => Books;

export function bookKeeper(machines: readonly Machine[], hosts: readonly HostModel[]): BookKeeper {
  const coreMips = hosts.map((host) => host.coreMips);
  // A machine has one virtual CPU: it gets what one core gives.
  const capped = (mips: number, host: number): number => Math.min(mips, coreMips[host] ?? 0);
  return (seconds, hostOf, targetOf) => {
    const asked = Float64Array.from(machines, ({ demand }, machine) =>
      at(hostOf, machine) < 0 ? 0 : demandAt(demand, seconds + clockOffsetSeconds),
    );
    const hostAsked = new Float64Array(hosts.length);
    const booked = new Float64Array(hosts.length);
    const onBooks = (host: number, machine: number, share: number): void => {
      if (host < 0) return;
      hostAsked[host] = at(hostAsked, host) + at(asked, machine);
      booked[host] = at(booked, host) + share * capped(at(asked, machine), host);
    };
    for (let machine = 0; machine < machines.length; machine += 1) onBooks(at(hostOf, machine), machine, 1);
    for (const [machine, host] of targetOf) onBooks(host, machine, targetShare);

    // A host that is asked for more than it has gives all the same part.
    const scale = booked.map((mips, host) => (mips === 0 ? 1 : Math.min(1, (hosts[host]?.mips ?? 0) / mips)));
    const given = asked.map((mips, machine) => {
      const host = at(hostOf, machine);
      return host < 0 ? 0 : capped(mips, host) * at(scale, host) * (targetOf.has(machine) ? sourceShare : 1);
    });
    return {
      hostAsked,
      hostGiven: booked.map((mips, host) => mips * at(scale, host)),
      asked,
      given,
      migrating: Uint8Array.from(machines, (_, machine) => (targetOf.has(machine) ? 1 : 0)),
    };
  };
}

/** Between two steps the demand goes from one to the other in a straight line. */
function demandAt(demand: Float64Array, seconds: number): number {
  const step = Math.min(seconds / stepSeconds, demand.length - 1);
  const before = at(demand, Math.floor(step));
  return before + (at(demand, Math.ceil(step)) - before) * (step - Math.floor(step));
}

/** The index is within the array: it counts hosts, machines or steps. */
const at = (values: Float64Array | Int32Array, index: number): number => values[index] ?? 0;
