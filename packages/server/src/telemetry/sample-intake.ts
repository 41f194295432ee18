/** Brings agents' samples into the telemetry files: metrics by their names, machines by whether this host may tell of them. Called by the gateway for every message. */
import type { SampleBatch } from "@sheaf/contract";
import { type MetricKind, metricNumber } from "@sheaf/model";
import type { MemberFigures, Telemetry } from "@sheaf/telemetry";

/** Lists of names that agents send: one for each version of the agent. */
const listsKept = 64;

export class SampleIntake {
  readonly #telemetry: Pick<Telemetry, "take">;
  readonly #numbers = new Map<string, Int16Array>();

  constructor(telemetry: Pick<Telemetry, "take">) {
    this.#telemetry = telemetry;
  }

  /**
   * @param now wall clock, ms
   * @param mayTellOf whether a machine is this host's
   * @returns how many rows were new
   */
  take(now: number, hostId: string, batch: SampleBatch, mayTellOf: (vmId: string) => boolean): number {
    const ofHost = this.#numbersOf("host", batch.hostMetrics);
    const ofVm = this.#numbersOf("vm", batch.vmMetrics);
    let taken = 0;
    for (const { slot, host, vms } of batch.rows) {
      const members: MemberFigures[] = [{ id: hostId, kind: "host", figures: host, numbers: ofHost }];
      for (const { id, figures } of vms) if (mayTellOf(id)) members.push({ id, kind: "vm", figures, numbers: ofVm });
      if (this.#telemetry.take(now, hostId, slot, members)) taken += 1;
    }
    return taken;
  }

  /** A metric that is not known here, of a newer agent, is left out. */
  #numbersOf(kind: MetricKind, names: readonly string[]): Int16Array {
    const key = `${kind} ${names.join(" ")}`;
    let numbers = this.#numbers.get(key);
    if (!numbers) {
      numbers = Int16Array.from(names, (name) => metricNumber(kind, name));
      if (this.#numbers.size >= listsKept) this.#numbers.clear();
      this.#numbers.set(key, numbers);
    }
    return numbers;
  }
}
