/**
 * Keeps the machines of this host as they are wanted: looks at one, asks the planner, acts, looks again. Called under the machine's
 * key by the agent, at every document, event of the hypervisor and timer. What it decides stands in plan-machine.ts; what a domain is
 * made of in machine-input.ts. A call of the hypervisor that hangs holds up this machine alone.
 */
import type { Clock, Logger } from "@sheaf/base";
import { compareDomains, describeDomain, type DomainDescription, type DomainInput, renderDescription } from "@sheaf/domain-xml";
import { type RecordOf, type VmObservation } from "@sheaf/model";
import { seedPath } from "./host-paths.ts";
import type { KeptState } from "./kept-state.ts";
import type { LiveChanges, LiveDifference } from "./live-changes.ts";
import { type MachineMemory, newMachineMemory } from "./machine-memory.ts";
import type { MachineInput } from "./machine-input.ts";
import { afterRefusal, planMachine, type Situation, type Step } from "./plan-machine.ts";
import type { MediatedDevices } from "./mediated-devices.ts";
import { type Domain, type Files, type Hypervisor, HypervisorError } from "./ports.ts";
import type { SelfFence } from "./self-fence.ts";
import { seedContent, type SeedContent, seedDigest, writeSeed } from "./seed.ts";

type Vm = RecordOf<"vm">;

export interface MachineReconcilerOptions {
  readonly hostId: string;
  readonly bootId: string;
  readonly clock: Clock;
  readonly logger: Logger;
  readonly kept: KeptState;
  readonly files: Files;
  readonly hypervisor: Hypervisor;
  readonly liveChanges: LiveChanges;
  readonly mediatedDevices: MediatedDevices;
  readonly input: (vm: Vm) => MachineInput;
  readonly synced: () => boolean;
  readonly isCurrent: (machineId: string) => boolean;
  readonly lease: Pick<SelfFence, "mayStart" | "forAll" | "start">;
  /** The host is about to sleep. */
  readonly quiet: () => boolean;
  /** A migration's calls hold this machine. */
  readonly migrating: (machineId: string) => boolean;
  readonly report: (machineId: string, value: VmObservation) => void;
  readonly forgotten: (machineId: string) => void;
  /** A domain that was nobody's is Sheaf's now. */
  readonly takenOver: () => void;
}

/** One look may lead to another, as many times as a life has stages; more is a defect and is left to the next look. */
const maximumRounds = 8;
/** Nothing is polled; this is for what no event tells (a domain changed by hand). */
const lookEveryMs = 300_000;

interface Look {
  readonly situation: Situation;
  readonly vm: Vm | undefined;
  readonly wanted: DomainDescription | null;
  readonly running: DomainDescription | null;
  readonly difference: LiveDifference;
  readonly input: DomainInput | null;
}

const noDifference: LiveDifference = { due: [], waiting: false, pending: [] };

export class MachineReconciler {
  readonly #options: MachineReconcilerOptions;
  /** What the guest's agent said last, and whether it answers. */
  readonly #guests = new Map<string, NonNullable<VmObservation["guestAgent"]>>();

  /** Digests of the seeds that documents ask for. */
  readonly #seeds = new WeakMap<Vm, { readonly networks: readonly (RecordOf<"network"> | undefined)[]; readonly digest: string }>();

  constructor(options: MachineReconcilerOptions) {
    this.#options = options;
  }

  async reconcile(id: string): Promise<{ againAfterMs?: number } | void> {
    const { kept } = this.#options;
    for (let round = 0; round < maximumRounds; round += 1) {
      const look = await this.#look(id);
      const plan = planMachine(look.situation);
      if (plan.memory) await this.#remember(id, plan.memory);
      if (plan.report && plan.memory) this.#report(look, plan.memory);
      for (const step of plan.steps) if (!(await this.#act(id, look, step))) return { againAfterMs: retryAfterMs(look.vm) };
      if (plan.steps.length === 0) return { againAfterMs: Math.min(plan.againAfterMs ?? lookEveryMs, lookEveryMs) };
      if (!kept.machine(id) && !kept.document("vm", id)) return;
    }
    return { againAfterMs: 1000 };
  }

  /** A look that failed because the hypervisor does not answer: the machine must not look healthy. */
  async failed(id: string, error: unknown): Promise<void> {
    const { kept, logger } = this.#options;
    const vm = kept.document("vm", id);
    const memory = kept.machine(id);
    const why = error instanceof Error ? error.message : String(error);
    logger.warn({ vm: id, reason: why }, "a machine could not be looked after; it is tried again");
    if (!vm || !memory || vm.placement?.host !== this.#options.hostId) return;
    await this.#remember(id, { ...memory, problem: why });
    this.#report({ vm, running: null }, { ...memory, problem: why });
  }

  /** The guest's agent came or went; `null`: it does not answer. @returns whether that is news */
  guestAgent(id: string, facts: NonNullable<VmObservation["guestAgent"]> | null): boolean {
    const before = JSON.stringify(this.#guests.get(id) ?? null);
    if (facts) this.#guests.set(id, facts);
    else this.#guests.delete(id);
    return before !== JSON.stringify(facts);
  }

  async #look(id: string): Promise<Look> {
    const { kept, hypervisor, clock, hostId, bootId, liveChanges, files, mediatedDevices } = this.#options;
    const vm = kept.document("vm", id);
    const memory = kept.machine(id);
    const domain = await hypervisor.domain(id);
    const now = clock.now();
    const managed = vm?.placement?.host === hostId && vm.deletedAt === undefined && (!domain || domain.mark !== undefined);
    const made = vm && managed ? this.#options.input(vm) : null;
    const active = domain !== null && (domain.state === "running" || domain.state === "paused");
    // What is not there yet is described for a start to come; a running machine is not given it.
    const input = made && (!active || made.needs.state === "ready") ? made.input : null;
    const [definition, running] = domain && input ? await this.#descriptions(domain) : [null, null];
    const wanted = input ? describeDomain(input, definition ?? undefined) : null;
    if (!active) liveChanges.forget(id);
    // What a machine that does not run had of a GPU is another's to have.
    const mayHaveSlice = vm === undefined || vm.spec.gpus !== undefined;
    if (mayHaveSlice && isDown(domain) && !this.#options.migrating(id)) await mediatedDevices.release(id);
    const difference = running && wanted && input && vm ? liveChanges.compare(id, running, wanted, input.host, vm.generation, now) : noDifference;
    const seed = vm && managed && vm.spec.cloudInit.seed !== false ? this.#seedDigest(vm) : null;
    const seedThere = seed === null || (memory?.seedDigest === seed && (active || (await files.facts(seedPath(id))) !== null));
    return {
      vm,
      wanted,
      running,
      difference,
      input,
      situation: {
        now,
        hostId,
        bootId,
        welcome: kept.welcome,
        synced: this.#options.synced(),
        isCurrent: this.#options.isCurrent(id),
        leaseHolds: this.#options.lease.mayStart,
        leaseForAll: this.#options.lease.forAll,
        quiet: this.#options.quiet(),
        vm,
        memory,
        domain,
        needs: made?.needs ?? { state: "waiting", why: "it waits for its document" },
        definable: wanted !== null,
        definitionOutdated: definition !== null && wanted !== null && isOutdated(definition, wanted, input),
        liveOutdated: difference.due.length > 0,
        liveWaiting: difference.waiting,
        // While disks are looked at again after an agent's start, what was pending still is.
        pendingChanges: running ? difference.pending : (memory?.pendingChanges ?? []),
        seedOutdated: !seedThere,
        migrating: this.#options.migrating(id),
      },
    };
  }

  async #descriptions(domain: Domain): Promise<[DomainDescription | null, DomainDescription | null]> {
    const { hypervisor } = this.#options;
    const active = domain.state === "running" || domain.state === "paused";
    return Promise.all([
      domain.persistent ? hypervisor.describe(domain.uuid, "definition") : null,
      active ? hypervisor.describe(domain.uuid, "live") : null,
    ]);
  }

  #seed(vm: Vm): SeedContent {
    return seedContent(vm, new Map(this.#networksOf(vm).flatMap((network) => (network ? [[network.id, network]] : []))));
  }

  /** Documents are never changed in place: as long as they are the same, so is the seed. */
  #seedDigest(vm: Vm): string {
    const networks = this.#networksOf(vm);
    const known = this.#seeds.get(vm);
    if (known && known.networks.every((network, index) => network === networks[index])) return known.digest;
    const digest = seedDigest(this.#seed(vm));
    this.#seeds.set(vm, { networks, digest });
    return digest;
  }

  #networksOf(vm: Vm): (RecordOf<"network"> | undefined)[] {
    return vm.spec.nics.map(({ network }) => this.#options.kept.document("network", network));
  }

  /** @returns false when the hypervisor refused: what is left of the plan means nothing then */
  async #act(id: string, look: Look, step: Step): Promise<boolean> {
    const { logger, clock, kept } = this.#options;
    const before = clock.monotonic();
    try {
      await this.#do(id, look, step);
      logger.info(
        { vm: id, step: step.do, durationMs: Math.round(clock.monotonic() - before), ...("why" in step ? { why: step.why } : {}) },
        "acted on a machine",
      );
      return true;
    } catch (error) {
      if (!(error instanceof HypervisorError) || error.kind === "timed-out" || error.kind === "disconnected") throw error;
      logger.warn({ vm: id, step: step.do, reason: error.message }, "the hypervisor refused a step");
      const memory = kept.machine(id);
      if (!look.vm || !memory) return false;
      const next = afterRefusal({ now: clock.now() }, look.vm, memory, step, error.message);
      await this.#remember(id, next);
      this.#report(look, next);
      return false;
    }
  }

  async #do(id: string, look: Look, step: Step): Promise<void> {
    const { hypervisor, kept, files, liveChanges, clock, forgotten, mediatedDevices } = this.#options;
    const { vm, wanted, input } = look;
    switch (step.do) {
      case "define":
        if (wanted) await hypervisor.define(renderDescription(wanted));
        return;
      case "mark":
        return this.#mark(id, look);
      case "take-over":
        return this.#takeOver(id, look);
      case "seed": {
        if (!vm) return;
        const seed = this.#seed(vm);
        await writeSeed(files, seedPath(id), seed);
        const memory = kept.machine(id) ?? newMachineMemory(clock.now());
        return this.#remember(id, { ...memory, seedDigest: seedDigest(seed) });
      }
      case "start":
        if (!vm) return;
        await mediatedDevices.ensure(vm);
        await this.#options.lease.start(vm, step.paused);
        return this.#started(id, look, step.paused);
      case "press-power":
        return hypervisor.shutdown(id);
      case "destroy":
        return hypervisor.destroy(id);
      case "suspend":
        return hypervisor.suspend(id);
      case "resume":
        return hypervisor.resume(id);
      case "apply-live": {
        for (const change of look.difference.due) if (vm) await liveChanges.apply(hypervisor, id, change, vm.generation, clock.now());
        // What it will start with next, whatever of it could be changed now.
        if (wanted && input && look.situation.definitionOutdated) await hypervisor.define(renderDescription(wanted));
        return;
      }
      case "undefine":
        return hypervisor.undefine(id);
      case "remove-seed":
        await files.remove(seedPath(id));
        return;
      case "forget":
        // It may have come back while it was taken away: what is kept now is then another document, or its removal was taken back.
        if (kept.document("vm", id) !== vm || kept.machine(id)?.removal !== look.situation.memory?.removal) return;
        await kept.removeDocument("vm", id);
        await kept.removeMachine(id);
        liveChanges.forget(id);
        this.#guests.delete(id);
        return forgotten(id);
    }
  }

  /** Told as soon as the hypervisor has said so; the next look, which asks again how it is, need not be waited for. */
  async #started(id: string, look: Look, paused: boolean): Promise<void> {
    const { kept, clock } = this.#options;
    const { situation, wanted, input, vm } = look;
    if (!wanted || !input || !vm) return;
    const mark = { id, epoch: input.epoch, incarnation: input.incarnation, generation: vm.generation, cpu: "", boot: [] };
    const domain: Domain = { uuid: id, name: wanted.name, persistent: true, state: paused ? "paused" : "running", reason: "other", mark };
    const now = clock.now();
    const { memory, report } = planMachine({ ...situation, now, domain, memory: kept.machine(id), definitionOutdated: false, liveOutdated: false });
    if (!memory || !report) return;
    this.#report({ vm, running: wanted }, memory);
    await this.#remember(id, memory);
  }

  async #mark(id: string, look: Look): Promise<void> {
    const { domain } = look.situation;
    const placement = look.vm?.placement;
    if (!domain?.mark || !placement) return;
    const active = domain.state !== "stopped";
    const mark = { ...domain.mark, epoch: placement.epoch, incarnation: placement.incarnation };
    await this.#options.hypervisor.setMark(id, mark, { live: active, config: domain.persistent });
  }

  /** A domain found here becomes Sheaf's. It is not changed but for who may start it, and the mark: that comes last, so that all else is done by then. */
  async #takeOver(id: string, look: Look): Promise<void> {
    const { hypervisor } = this.#options;
    const { domain, vm } = look.situation;
    if (!domain || !vm?.placement) return;
    // Nothing starts before the server was heard: libvirtd must not do it by itself.
    await hypervisor.setAutostart(id, false);
    const { epoch, incarnation } = vm.placement;
    const { cpu, bootOrder } = vm.spec;
    const mark = { id, epoch, incarnation, generation: vm.generation, cpu: cpu.model, boot: bootOrder };
    await hypervisor.setMark(id, mark, { live: domain.state !== "stopped" && domain.state !== "crashed", config: domain.persistent });
    this.#options.takenOver();
  }

  async #remember(id: string, memory: MachineMemory): Promise<void> {
    const { kept, logger } = this.#options;
    const before = kept.machine(id);
    if (before?.state !== memory.state || before.stoppedBy !== memory.stoppedBy) {
      const { state, stoppedBy, reason, problem } = memory;
      logger.info({ vm: id, from: before?.state ?? "nothing", to: state, stoppedBy, why: reason, problem }, "a machine's state changed");
    }
    await kept.putMachine(id, memory);
  }

  #report({ vm, running }: Pick<Look, "vm" | "running">, memory: MachineMemory): void {
    const { hostId, bootId } = this.#options;
    if (!vm?.placement || vm.placement.host !== hostId) return;
    const active = memory.state === "running" || memory.state === "paused";
    const guest = this.#guests.get(vm.id);
    const { reason, problem, stoppedBy, startedAt, lastEnd } = memory;
    const observation: VmObservation = {
      state: memory.state,
      epoch: vm.placement.epoch,
      host: hostId,
      bootId,
      observedGeneration: memory.observedGeneration,
      since: memory.since,
      startRequestSeen: memory.startRequestSeen,
      restarts: memory.restarts,
      ...(memory.history === undefined ? {} : { history: [...memory.history] }),
      pendingChanges: [...memory.pendingChanges],
      ...(reason === undefined ? {} : { reason }),
      ...(problem === undefined ? {} : { problem }),
      ...(stoppedBy === undefined ? {} : { stoppedBy }),
      ...(startedAt === undefined || !memory.expectRunning ? {} : { startedAt }),
      ...(lastEnd === undefined ? {} : { lastEnd }),
      ...(memory.awaitsTurn ? { awaitsTurn: true } : {}),
      ...(memory.gaveWay === undefined ? {} : { gaveWay: memory.gaveWay }),
      ...(active && guest ? { guestAgent: guest } : {}),
      ...(running ? { vcpus: running.vcpus.current, memoryBytes: running.memory.currentBytes, accelerated: running.type === "kvm" } : {}),
    };
    this.#options.report(vm.id, observation);
  }
}

const isDown = (domain: Domain | null): boolean => domain === null || domain.state === "stopped" || domain.state === "crashed";

/** What libvirt would start it with, compared as if that ran: every difference counts, be it changeable live or not. */
function isOutdated(definition: DomainDescription, wanted: DomainDescription, input: DomainInput | null): boolean {
  if (!input) return false;
  const { live, restart } = compareDomains(definition, wanted, input.host);
  return live.length > 0 || restart.length > 0;
}

const retryAfterMs = (vm: Vm | undefined): number => Math.max(500, Math.min(vm?.spec.restart.delayMs ?? 1000, 30_000));
