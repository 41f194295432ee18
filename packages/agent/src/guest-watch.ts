/**
 * Resets guests that hang, where their machine asks for it (`restart.onHang`): the guest's agent has answered since its start, its channel is
 * still open, and for some time every question has gone unanswered. A guest that ends its agent in an orderly way (a shutdown, a reboot, an
 * update) closes the channel, and is left alone. Called after each question to a guest's agent.
 */
import type { Clock, Logger } from "@sheaf/base";
import type { RecordOf } from "@sheaf/model";
import type { GuestAnswer } from "./host-keeper.ts";
import type { KeptState } from "./kept-state.ts";
import type { MachineMemory } from "./machine-memory.ts";
import { recentFailures } from "./plan-machine.ts";
import type { Hypervisor } from "./ports.ts";

type Vm = RecordOf<"vm">;

interface Silence {
  /** Monotonic ms of the first and the last question that went unanswered. */
  readonly first: number;
  readonly last: number;
  readonly asked: number;
}

export interface GuestWatchOptions {
  readonly hostId: string;
  readonly clock: Clock;
  readonly logger: Logger;
  readonly kept: KeptState;
  readonly hypervisor: Hypervisor;
  readonly withMachine: <T>(machineId: string, work: () => Promise<T>) => Promise<T>;
}

/** One lost answer is nothing. */
const minimumQuestions = 3;
/** How long libvirt itself waits for an answer, and some more. */
const answerMs = 15_000;

export class GuestWatch {
  readonly #options: GuestWatchOptions;
  readonly #watched = new Set<string>();
  readonly #silences = new Map<string, Silence>();
  /** Wall clock of the last answer. */
  readonly #answeredAt = new Map<string, number>();

  constructor(options: GuestWatchOptions) {
    this.#options = options;
  }

  /** Whether the machine's guest is to be asked from now on and was not before. */
  begins(id: string): boolean {
    const wanted = this.#wanted(id) !== undefined;
    const begins = wanted && !this.#watched.has(id);
    if (wanted) this.#watched.add(id);
    else this.#forget(id);
    return begins;
  }

  /** @returns when to ask again, ms; absent: for this watch never */
  async look(id: string, answer: GuestAnswer["answer"]): Promise<number | undefined> {
    const vm = this.#wanted(id);
    if (!vm || answer === "off") {
      this.#forget(id);
      return undefined;
    }
    const { clock, kept } = this.#options;
    const everyMs = Math.max(1000, Math.min(10_000, vm.spec.restart.hangAfterMs / 6));
    // The host's own trouble says nothing of the guest.
    if (answer === "unknown") return everyMs;
    if (answer === "answers") {
      this.#silences.delete(id);
      this.#answeredAt.set(id, clock.now());
      await this.#note(id, (memory) => (memory.guestAnswered === memory.startedAt ? null : { ...memory, guestAnswered: memory.startedAt }));
      return everyMs;
    }
    const memory = kept.machine(id);
    // It has not answered since its start: it may have no agent at all.
    if (!memory || memory.startedAt === undefined || memory.guestAnswered !== memory.startedAt) return everyMs;
    const now = clock.monotonic();
    const before = this.#silences.get(id);
    // An agent that was itself away has asked nobody meanwhile.
    const goesOn = before !== undefined && now - before.last <= 2 * everyMs + answerMs;
    const silence: Silence = goesOn ? { ...before, last: now, asked: before.asked + 1 } : { first: now, last: now, asked: 1 };
    this.#silences.set(id, silence);
    if (silence.asked >= minimumQuestions && now - silence.first >= vm.spec.restart.hangAfterMs) await this.#hangs(id, vm, now - silence.first);
    return everyMs;
  }

  async #hangs(id: string, vm: Vm, silentMs: number): Promise<void> {
    const { clock, hypervisor, logger, withMachine, kept } = this.#options;
    await withMachine(id, async () => {
      const domain = await hypervisor.domain(id);
      const memory = kept.machine(id);
      if (!memory || domain?.state !== "running" || !this.#wanted(id)) return;
      this.#silences.delete(id);
      if (!(await hypervisor.guestChannelOpen(id))) {
        logger.info({ vm: id }, "a guest has ended its agent: it is watched again when that answers");
        return kept.putMachine(id, { ...memory, guestAnswered: undefined });
      }
      const now = clock.now();
      const failures = recentFailures(memory.failures, now);
      if (failures.length >= vm.spec.restart.maximumTries) {
        logger.warn({ vm: id, silentMs }, "a guest hangs and was reset too often within ten minutes: it is left alone");
        return undefined;
      }
      logger.warn({ vm: id, silentMs }, "a guest answers no more: it is reset");
      // The reset first: one that is noted and was not made would leave the guest as it is for good.
      await hypervisor.reset(id);
      return kept.putMachine(id, {
        ...memory,
        guestAnswered: undefined,
        startedAt: now,
        lastEnd: { at: this.#answeredAt.get(id) ?? now - Math.round(silentMs), by: "hang" },
        restarts: memory.restarts + 1,
        failures: [...failures, now],
      });
    });
  }

  #note(id: string, change: (memory: MachineMemory) => MachineMemory | null): Promise<void> {
    const { kept, withMachine } = this.#options;
    const memory = kept.machine(id);
    if (!memory || change(memory) === null) return Promise.resolve();
    return withMachine(id, async () => {
      const present = kept.machine(id);
      const next = present && change(present);
      if (next) await kept.putMachine(id, next);
    });
  }

  #wanted(id: string): Vm | undefined {
    const { kept, hostId } = this.#options;
    const vm = kept.document("vm", id);
    if (!vm || vm.placement?.host !== hostId || vm.deletedAt !== undefined || vm.status.migration || kept.machine(id)?.migration) return undefined;
    // A machine that was stored before there was a watch has no word of it.
    return vm.spec.restart.onHang === "restart" && vm.spec.guestAgent && vm.spec.power === "running" ? vm : undefined;
  }

  #forget(id: string): void {
    this.#watched.delete(id);
    this.#silences.delete(id);
    this.#answeredAt.delete(id);
  }
}
