/** Reads what agents told of their load into a book, for every server: advice is given by each of them. Ends with `close`. */
import type { Timer } from "@sheaf/base";
import type { HostLoad } from "@sheaf/contract";
import type { RecordOf } from "@sheaf/model";
import { UseBook } from "@sheaf/planning";
import type { ControllerContext } from "./context.ts";

const sampleMs = 15_000;

export class UseSampler {
  readonly book = new UseBook();
  readonly #context: Pick<ControllerContext, "cache" | "clock" | "agents">;
  #timer: Timer;

  constructor(context: Pick<ControllerContext, "cache" | "clock" | "agents">) {
    this.#context = context;
    this.#timer = context.clock.setTimer(sampleMs, () => this.#sample());
  }

  close(): void {
    this.#timer.cancel();
  }

  #sample(): void {
    const { cache, clock, agents } = this.#context;
    this.#timer = clock.setTimer(sampleMs, () => this.#sample());
    const now = clock.monotonic();
    for (const host of cache.all("host")) {
      const load = agents.load(host.id);
      if (load) this.book.add(host.id, readingOf(host, load), now);
    }
    this.book.sweep(now);
  }
}

/** Of a host that offers a share of itself, what its machines use counts: the rest is not its own. */
function readingOf({ spec, status }: RecordOf<"host">, load: HostLoad) {
  const machines = load.vms.map(({ id, cpu, memoryUsedBytes }) => ({ id, cpus: cpu, memoryBytes: memoryUsedBytes }));
  const sum = (figure: (machine: (typeof machines)[number]) => number): number => machines.reduce((all, machine) => all + figure(machine), 0);
  return {
    cpus: spec.offeredCpus === undefined ? load.cpu * (status.agent?.cpu.count ?? 0) : sum(({ cpus }) => cpus),
    memoryBytes: spec.offeredMemoryBytes === undefined ? load.memoryUsedBytes : sum(({ memoryBytes }) => memoryBytes),
    machines,
  };
}
