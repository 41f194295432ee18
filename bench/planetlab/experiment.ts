/**
 * The classical experiment over one day, as CloudSim 3.0.3 plays it: every 300 s a policy sees what was asked for so far and may migrate
 * machines; a migration takes the machine's RAM ÷ half the target's link. A host without machines sleeps. Called with one policy after another.
 */
import { type Books, bookKeeper } from "./books.ts";
import type { HostModel, Machine } from "./fleet.ts";
import { type Measures, MeasuresLedger } from "./measures.ts";
import { stepSeconds } from "./trace.ts";

export interface Move {
  readonly machine: number;
  readonly host: number;
}

/** What a policy may look at: nothing of what is still to come. */
export interface View {
  readonly hosts: readonly HostModel[];
  readonly machines: readonly Pick<Machine, "mips" | "ramMb">[];
  /** The machine's demand at every step up to this one, oldest first, MIPS. */
  readonly seen: (machine: number) => Float64Array;
  /** Each machine's host; `gone` where it has left. */
  readonly hostOf: Int32Array;
}

export const gone = -1;

/** Where a machine is moved twice, it goes to the last target; both moves are counted, as CloudSim does. */
export type Policy = (view: View) => readonly Move[];

export interface Experiment {
  readonly machines: readonly Machine[];
  readonly hosts: readonly HostModel[];
  /** Each machine's host at time 0. */
  readonly initial: Int32Array;
  /**
   * Whether a machine that asks for nothing leaves for good. CloudSim 3.0.3 takes it for finished, so that half of the machines are gone
   * before the day is over; its published figures come about like that.
   */
  readonly idleLeave: boolean;
}

export const migrationSeconds = ({ ramMb }: Pick<Machine, "ramMb">, target: HostModel): number => ramMb / (target.linkMb / 2);

export function play({ machines, hosts, initial, idleLeave }: Experiment, policy: Policy): Measures {
  const steps = machines[0]?.demand.length ?? 0;
  const hostOf = initial.slice();
  const ledger = new MeasuresLedger(hosts);
  const book = bookKeeper(machines, hosts);
  const lookAt = (seconds: number, targetOf: ReadonlyMap<number, number>): Books => {
    const books = book(seconds, hostOf, targetOf);
    ledger.advance(seconds, books);
    if (idleLeave) for (const [machine, asked] of books.asked.entries()) if (asked === 0 && !targetOf.has(machine)) hostOf[machine] = gone;
    return books;
  };
  // As in CloudSim, the account begins with the first decision: nothing was seen before.
  for (let step = 1; step < steps; step += 1) {
    const from = step * stepSeconds;
    lookAt(from, new Map());
    const moves = policy({ hosts, machines, hostOf: hostOf.slice(), seen: (machine) => at(machines, machine).demand.subarray(0, step + 1) });
    ledger.countMigrations(moves.length);
    const targetOf = new Map(moves.map(({ machine, host }) => [machine, host]));
    const endOf = new Map([...targetOf].map(([machine, host]) => [machine, from + migrationSeconds(at(machines, machine), at(hosts, host))]));
    lookAt(from, targetOf);
    for (const end of [...new Set(endOf.values())].toSorted((a, b) => a - b)) {
      lookAt(end, targetOf);
      for (const [machine, host] of targetOf) {
        if (endOf.get(machine) !== end) continue;
        hostOf[machine] = host;
        targetOf.delete(machine);
      }
      lookAt(end, targetOf);
    }
  }
  lookAt(steps * stepSeconds, new Map());
  return ledger.measures();
}

function at<T>(list: readonly T[], index: number): T {
  const found = list[index];
  if (found === undefined) throw new Error(`There is no number ${index} among ${list.length}.`);
  return found;
}
