/**
 * The `migrate.*` calls: one side of a live migration at the local libvirtd, phase by phase, as the migration controller asks. Each
 * can be repeated: keyed by the task, joined while it is under way, answered from what is noted on disk when it was done. Where a
 * session with libvirt was lost (an agent's restart), libvirt has undone its side; the answers say so truthfully.
 * Never decides where the machine belongs: that is the epoch's.
 */
import { type Clock, type Logger, type Timer } from "@sheaf/base";
import type { AgentCalls, MigrationCall, MigrationStatistics } from "@sheaf/contract";
import { type HostBinding, parseDomain, rebind, unbound } from "@sheaf/domain-xml";
import { type NumaPlacement, type RecordOf, SheafError } from "@sheaf/model";
import type { CallContext } from "./call-dispatch.ts";
import type { KeptState } from "./kept-state.ts";
import type { MachineSnapshots } from "./machine-snapshots.ts";
import { type MachineMemory, newMachineMemory } from "./machine-memory.ts";
import { type Domain, type Hypervisor, HypervisorError, type JobFigures, type MigrationOptions, type MigrationSession } from "./ports.ts";

type Vm = RecordOf<"vm">;

export interface MigrationsOptions {
  readonly hostId: string;
  readonly clock: Clock;
  readonly logger: Logger;
  readonly kept: KeptState;
  readonly hypervisor: Hypervisor;
  /** Runs while nothing else is done to that machine. */
  readonly exclusively: <T>(machineId: string, work: () => Promise<T>) => Promise<T>;
  /** The document, as soon as the server has sent it. */
  readonly document: (machineId: string, signal: AbortSignal) => Promise<Vm>;
  /** Makes all that the guest needs at the target but its disks' content: images, empty disks, seed, CDs. */
  readonly makeReady: (vm: Vm, disks: AgentCalls["migrate.prepare"]["in"]["copyVolumes"], signal: AbortSignal) => Promise<void>;
  /** Removes what `makeReady` made for a migration that was given up. */
  readonly giveUp: (vm: Vm | undefined, machineId: string, sharedStorage: boolean) => Promise<void>;
  /** The disks have come with the guest, under this placement. */
  readonly arrived: (vm: Vm | undefined, epoch: { readonly epoch: number; readonly incarnation: string }) => Promise<void>;
  /** The guest is gone from here: local files of its disks and its seed are the past. */
  readonly movedAway: (vm: Vm | undefined, machineId: string, sharedStorage: boolean) => Promise<void>;
  /** Disks of the machine that lie on this host alone, by path. */
  readonly localDisks: (vm: Vm) => readonly string[];
  /** Where a volume lies, or is to lie, on this host. */
  readonly volumePath: (volumeId: string) => string | undefined;
  /** Where on this host a machine would lie that has these cells of it. */
  readonly binding: (vm: Vm, numa: NumaPlacement | undefined) => HostBinding | undefined;
  readonly snapshots: MachineSnapshots;
  readonly certificateReady: () => Promise<boolean>;
  /** Whether the source will take this host for whom it is under that address. */
  readonly certificateNames: (address: string) => boolean;
  readonly progress: (taskId: string, fields: Record<string, unknown>) => void;
  readonly log: (taskId: string, text: string) => void;
}

interface Side {
  readonly session: MigrationSession;
  readonly taskId: string;
  readonly options: MigrationOptions;
  xml: string;
  begun: AgentCalls["migrate.begin"]["out"] | null;
  prepared: AgentCalls["migrate.prepare"]["out"] | null;
  /** Under way or done. */
  performing: Promise<AgentCalls["migrate.perform"]["out"]> | null;
  copying: boolean;
  figures: JobFigures | null;
}

const progressEveryMs = 500;
/** Rounds of copying after which memory that does not converge is fetched by the running target, where that is allowed. */
const postCopyAfterIterations = 4;

const base64 = (bytes: Uint8Array): string => Buffer.from(bytes).toString("base64");
const bytesOf = (text: string): Uint8Array => new Uint8Array(Buffer.from(text, "base64"));

export class Migrations {
  readonly #options: MigrationsOptions;
  readonly #sides = new Map<string, Side>();

  constructor(options: MigrationsOptions) {
    this.#options = options;
  }

  /** Whether a session with libvirt stands for this machine: nobody else may touch it. */
  active(machineId: string): boolean {
    return this.#sides.get(machineId)?.session.open ?? false;
  }

  close(): void {
    for (const side of this.#sides.values()) side.session.close();
    this.#sides.clear();
  }

  /**
   * The server has told that no migration of this machine is under way, or that the machine is not this host's any more: a session that
   * still stands was forgotten by it. libvirt undoes what was begun when it is closed; a copy whose memory has left stays paused.
   */
  settled(machineId: string): void {
    const side = this.#sides.get(machineId);
    if (!side || side.copying) return;
    side.session.close();
    this.#sides.delete(machineId);
  }

  begin(call: AgentCalls["migrate.begin"]["in"], _context: CallContext): Promise<AgentCalls["migrate.begin"]["out"]> {
    return this.#options.exclusively(call.vmId, async () => {
      const known = this.#side(call);
      if (known?.begun) return known.begun;
      const { kept, localDisks } = this.#options;
      const domain = await this.#managed(call.vmId);
      if (domain.state !== "running") throw refused(`it is ${domain.state} and not running`);
      const vm = kept.document("vm", call.vmId);
      const held = kept.machine(call.vmId)?.held;
      if (!vm || !held || held.epoch !== call.epoch) throw refused(`this host holds it under epoch ${held?.epoch ?? "none"}, not ${call.epoch}`);
      const copyDisks = call.sharedStorage ? [] : await this.#targets(call.vmId, localDisks(vm));
      const options = this.#migrationOptions(call, domain, { copyDisks });
      await this.#options.snapshots.putAside(vm, call.sharedStorage);
      const [side] = await Promise.all([this.#open(call, options), this.#note(call, { role: "source", phase: "begun" })]);
      const { cookie, xml } = await hypervisorStep(side, () => side.session.begin(options));
      side.xml = xml;
      side.begun = { cookie: base64(cookie), xml };
      return side.begun;
    });
  }

  async prepare(call: AgentCalls["migrate.prepare"]["in"], context: CallContext): Promise<AgentCalls["migrate.prepare"]["out"]> {
    const { document, makeReady, exclusively, certificateReady, certificateNames, hypervisor, volumePath } = this.#options;
    const vm = await document(call.vmId, context.signal);
    return exclusively(call.vmId, async () => {
      const known = this.#side(call);
      if (known?.prepared) return known.prepared;
      const [certified, there] = await Promise.all([certificateReady(), hypervisor.domain(call.vmId)]);
      if (!certified) throw refused("this host has no certificate for QEMU's migration yet");
      if (!certificateNames(call.targetAddress))
        throw refused(`the target host's certificate does not name ${call.targetAddress} yet: it is renewed within minutes of a change of address`);
      if (there && !there.mark) throw refused("a domain of this id that Sheaf did not make is on the target host");
      if (there && there.state !== "stopped") throw refused(`the target host has a domain of it already, which is ${there.state}`);
      const name = parseDomain(call.xml).name;
      const copyDisks = call.sharedStorage
        ? []
        : targetsOf(
            call.xml,
            call.copyVolumes.map(({ volumeId }) => volumePath(volumeId)),
          );
      const uri = `tcp://${bracketed(call.targetAddress)}${call.ports.migration === undefined ? "" : `:${call.ports.migration}`}`;
      const options = {
        ...this.#migrationOptions(call, { name }, { copyDisks }),
        uri,
        listenAddress: call.targetAddress,
      };
      const opening = this.#open(call, options);
      // Looked at below, after the rest is ready.
      opening.catch(() => {});
      try {
        await this.#note(call, { role: "target", phase: "preparing" });
        await makeReady(vm, call.sharedStorage ? [] : call.copyVolumes, context.signal);
      } catch (error) {
        await opening.then(
          () => this.#end(call.vmId),
          () => {},
        );
        throw error;
      }
      const side = await opening;
      // It was bound to the source's CPUs and memory.
      const bound = rebind(call.xml, this.#options.binding(vm, call.numa) ?? unbound);
      const { cookie, uri: listening } = await hypervisorStep(side, () => side.session.prepare(options, bound, bytesOf(call.cookie)));
      await this.#note(call, { role: "target", phase: "prepared" });
      side.prepared = { cookie: base64(cookie), uri: listening, certificateReady: true };
      return side.prepared;
    });
  }

  async perform(call: AgentCalls["migrate.perform"]["in"], context: CallContext): Promise<AgentCalls["migrate.perform"]["out"]> {
    const side = this.#side(call);
    // Without the session nothing was moved, or libvirt has called it back.
    if (!side) throw refused("this host does not know of that migration: its agent was restarted, and the guest runs on here");
    if (!side.performing) {
      side.copying = true;
      side.performing = this.#perform(side, call, context)
        .catch((error: unknown) => {
          side.performing = null;
          throw error;
        })
        .finally(() => (side.copying = false));
    }
    return side.performing;
  }

  finish(call: AgentCalls["migrate.finish"]["in"], _context: CallContext): Promise<AgentCalls["migrate.finish"]["out"]> {
    return this.#options.exclusively(call.vmId, () => (call.cancelled ? this.#withdraw(call) : this.#finish(call)));
  }

  confirm(call: AgentCalls["migrate.confirm"]["in"], _context: CallContext): Promise<AgentCalls["migrate.confirm"]["out"]> {
    return this.#options.exclusively(call.vmId, () => (call.cancelled ? this.#restore(call) : this.#letGo(call)));
  }

  async abort(call: AgentCalls["migrate.abort"]["in"], _context: CallContext): Promise<Record<string, never>> {
    const side = this.#side(call);
    if (side) await this.#options.hypervisor.abortJob(call.vmId);
    // The call that moves memory ends by it; only then do the next phases mean something.
    await side?.performing?.catch(() => {});
    return {};
  }

  async probe({ vmId }: AgentCalls["vm.probe"]["in"]): Promise<AgentCalls["vm.probe"]["out"]> {
    const { hypervisor, kept } = this.#options;
    const domain = await hypervisor.domain(vmId);
    const migration = kept.machine(vmId)?.migration;
    const migrating = this.active(vmId);
    const neverRan = migration?.role === "target" && !migration.mayHaveRun;
    // Gone with the session that had prepared it: asked for its end, this host can say that it never ran, and the source goes on.
    if (!domain?.mark) return { state: neverRan ? "incoming" : "absent", migrating };
    if (domain.state === "paused" && neverRan) return { state: "incoming", migrating };
    if (domain.state === "paused" && (domain.reason === "migration" || domain.reason === "starting-up") && migration?.role === "target")
      return { state: "incoming", migrating };
    switch (domain.state) {
      case "running":
      case "paused":
        return { state: domain.state, migrating };
      case "stopping":
        return { state: "running", migrating };
      case "stopped":
      case "crashed":
        return { state: "stopped", migrating };
    }
  }

  async #perform(side: Side, call: AgentCalls["migrate.perform"]["in"], context: CallContext): Promise<AgentCalls["migrate.perform"]["out"]> {
    const { hypervisor, log } = this.#options;
    await this.#note(call, { role: "source", phase: "performing" });
    const { bandwidthBytesPerSecond, autoConverge, uri } = call;
    const options: MigrationOptions = { ...side.options, uri, bandwidthBytesPerSecond, autoConverge };
    // libvirt keeps it for the job to come.
    await hypervisor.setMaximumDowntime(call.vmId, call.maximumDowntimeMs).catch(() => {});
    const stop = this.#watch(side, call);
    const onAbort = () => void hypervisor.abortJob(call.vmId).catch(() => {});
    context.signal.addEventListener("abort", onAbort, { once: true });
    try {
      log(call.taskId, `copying to ${uri}`);
      const cookie = await hypervisorStep(side, () => side.session.perform(options, side.xml, bytesOf(call.cookie), context.timeoutMs + 30_000));
      // Nothing is noted: the guest stands still from here to the target's finish.
      return { cookie: base64(cookie), stats: statisticsOf(side.figures) };
    } finally {
      stop();
      context.signal.removeEventListener("abort", onAbort);
    }
  }

  /** Tells progress while memory moves. @returns what ends it */
  #watch(side: Side, call: AgentCalls["migrate.perform"]["in"]): () => void {
    const { clock, hypervisor, progress, log } = this.#options;
    let timer: Timer | undefined;
    let over = false;
    let posted = false;
    let refusalTold = false;
    const look = async (): Promise<void> => {
      const figures = await hypervisor.job(call.vmId, "running").catch(() => null);
      if (over) return;
      if (figures) {
        side.figures = figures;
        const { totalBytes, processedBytes, remainingBytes, bytesPerSecond, elapsedMs, iterations } = figures;
        // What is written anew while it is copied counts as remaining again: it may go back, and is whole only at the end.
        const percent = totalBytes > 0 ? Math.min(99, Math.max(0, Math.floor((100 * (totalBytes - remainingBytes)) / totalBytes))) : 0;
        progress(call.taskId, { totalBytes, processedBytes, remainingBytes, bytesPerSecond, elapsedMs, iterations, percent });
        if (call.postCopy && !posted && iterations >= postCopyAfterIterations) {
          try {
            await hypervisor.startPostCopy(call.vmId);
            posted = true;
            log(
              call.taskId,
              `memory changes faster than it is copied: after ${iterations} rounds the guest goes on at the target and fetches the rest`,
            );
          } catch (error) {
            // Tried again at the next look, as long as memory is copied.
            if (!refusalTold) log(call.taskId, `the guest cannot go on at the target before its memory is there: ${String(error)}`);
            refusalTold = true;
          }
        }
      }
      if (!over) timer = clock.setTimer(progressEveryMs, () => void look());
    };
    timer = clock.setTimer(progressEveryMs, () => void look());
    return () => {
      over = true;
      timer?.cancel();
    };
  }

  async #finish(call: AgentCalls["migrate.finish"]["in"]): Promise<AgentCalls["migrate.finish"]["out"]> {
    const { hypervisor, kept, arrived, logger } = this.#options;
    const side = this.#side(call);
    const migration = kept.machine(call.vmId)?.migration;
    if (!side?.session.open) {
      const domain = await hypervisor.domain(call.vmId);
      // libvirt destroys a prepared guest when its session goes; one that runs was finished before.
      if (domain?.state === "running" || (domain?.state === "paused" && migration?.mayHaveRun)) {
        await this.#keepArrived(call, domain);
        return { cookie: "", running: true };
      }
      const neverRan = migration?.taskId === call.taskId ? !migration.mayHaveRun : migration === undefined && !kept.machine(call.vmId)?.expectRunning;
      if (domain && neverRan) await hypervisor.destroy(call.vmId);
      if (neverRan) await this.#giveUp(call);
      return { cookie: "", running: false, ...(neverRan ? { neverRan } : {}) };
    }
    if (!migration?.mayHaveRun) await this.#note(call, { role: "target", phase: "finishing", mayHaveRun: true });
    let cookie = "";
    try {
      cookie = base64(await hypervisorStep(side, () => side.session.finish(side.options, bytesOf(call.cookie), false)));
    } catch (error) {
      if (!(error instanceof HypervisorError) || error.kind !== "refused") throw error;
      logger.error({ vm: call.vmId, reason: error.message }, "the guest could not be taken over at the end of its migration");
    }
    const after = await hypervisor.domain(call.vmId);
    const running = after?.state === "running" || after?.state === "paused";
    this.#end(call.vmId);
    const vm = kept.document("vm", call.vmId);
    await Promise.all([
      after && running ? this.#keepArrived(call, after) : undefined,
      arrived(vm, { epoch: call.newEpoch, incarnation: this.#incarnation() }),
    ]);
    if (vm && running) await this.#bringBackSnapshots(vm);
    return { cookie, running };
  }

  /** A move has not failed because of them: they are tried again at the next look at the machine. */
  async #bringBackSnapshots(vm: Vm): Promise<void> {
    await this.#options.snapshots
      .bringBack(vm)
      .catch((error: unknown) =>
        this.#options.logger.warn({ vm: vm.id, reason: String(error) }, "a machine's snapshots could not be brought back yet"),
      );
  }

  /** The guest runs here: its domain carries the new epoch, so that it is known for what it is after any crash. */
  async #keepArrived(call: AgentCalls["migrate.finish"]["in"], domain: Domain): Promise<void> {
    const { hypervisor, kept, clock } = this.#options;
    const incarnation = this.#incarnation();
    if (domain.mark)
      await hypervisor.setMark(call.vmId, { ...domain.mark, epoch: call.newEpoch, incarnation }, { live: true, config: domain.persistent });
    const memory = kept.machine(call.vmId) ?? newMachineMemory(clock.now());
    const { spec, generation } = kept.document("vm", call.vmId) ?? {};
    await kept.putMachine(call.vmId, {
      ...memory,
      held: { epoch: call.newEpoch, incarnation },
      state: "running",
      since: clock.now(),
      history: [{ at: clock.now(), state: "running", reason: "it came from another host" }],
      reason: undefined,
      problem: undefined,
      startRequestSeen: spec?.startRequest ?? memory.startRequestSeen,
      observedGeneration: Math.max(memory.observedGeneration, generation ?? 0),
      migration: memory.migration && { ...memory.migration, phase: "finished", mayHaveRun: true, newEpoch: call.newEpoch },
    });
  }

  /** The store's present life, in which the epoch was moved: the document of the new placement may still be on its way. */
  #incarnation(): string {
    return this.#options.kept.welcome?.incarnation ?? "";
  }

  /** The target gives up what was prepared. */
  async #withdraw(call: AgentCalls["migrate.finish"]["in"]): Promise<AgentCalls["migrate.finish"]["out"]> {
    const { hypervisor, kept, logger } = this.#options;
    const side = this.#side(call);
    const migration = kept.machine(call.vmId)?.migration;
    let cookie = "";
    if (side?.session.open) {
      cookie = await side.session.finish(side.options, bytesOf(call.cookie), true).then(base64, (error: unknown) => {
        logger.debug({ vm: call.vmId, reason: String(error) }, "a given-up migration had nothing to finish");
        return "";
      });
    }
    this.#end(call.vmId);
    const domain = await hypervisor.domain(call.vmId);
    const neverRan = migration?.role === "target" && migration.taskId === call.taskId && !migration.mayHaveRun;
    if (domain?.mark && neverRan) await hypervisor.destroy(call.vmId);
    if (neverRan) await this.#giveUp(call);
    return { cookie, running: !neverRan && (domain?.state === "running" || domain?.state === "paused"), ...(neverRan ? { neverRan } : {}) };
  }

  async #giveUp(call: MigrationCall): Promise<void> {
    const { kept, giveUp } = this.#options;
    const vm = kept.document("vm", call.vmId);
    this.#end(call.vmId);
    await giveUp(vm, call.vmId, call.sharedStorage);
    await kept.removeMachine(call.vmId);
  }

  /** The source goes on as if nothing had been. */
  async #restore(call: AgentCalls["migrate.confirm"]["in"]): Promise<AgentCalls["migrate.confirm"]["out"]> {
    const { hypervisor, kept } = this.#options;
    const side = this.#side(call);
    await side?.performing?.catch(() => {});
    if (side?.session.open) {
      await side.session.confirm(side.options, bytesOf(call.cookie), true).catch((error: unknown) => {
        if (!(error instanceof HypervisorError) || error.kind !== "refused") throw error;
      });
    }
    this.#end(call.vmId);
    const domain = await hypervisor.domain(call.vmId);
    const memory = kept.machine(call.vmId);
    // libvirt leaves it paused where it cannot know whether the target runs; the server does know. What another migration left paused is
    // the past: the machine has run elsewhere since.
    const ownDoing = memory?.migration?.role === "source" && memory.migration.taskId === call.taskId;
    if (ownDoing && domain?.mark && domain.state === "paused" && domain.reason !== "user" && domain.reason !== "io-error")
      await hypervisor.resume(call.vmId);
    if (memory) await kept.putMachine(call.vmId, { ...memory, migration: undefined });
    const vm = kept.document("vm", call.vmId);
    if (vm) await this.#bringBackSnapshots(vm);
    const after = await hypervisor.domain(call.vmId);
    return { running: after?.state === "running" || after?.state === "paused" };
  }

  /** The machine runs elsewhere: its copy here goes. */
  async #letGo(call: AgentCalls["migrate.confirm"]["in"]): Promise<AgentCalls["migrate.confirm"]["out"]> {
    const { hypervisor, kept, movedAway } = this.#options;
    const side = this.#side(call);
    const vm = kept.document("vm", call.vmId);
    const open = side?.session.open === true;
    if (open) {
      await side.session.confirm(side.options, bytesOf(call.cookie), false).catch((error: unknown) => {
        if (!(error instanceof HypervisorError) || error.kind !== "refused") throw error;
      });
    }
    this.#end(call.vmId);
    const [domain, ended] = await Promise.all([
      hypervisor.domain(call.vmId),
      // Its downtime stands only in the record of the job that has ended.
      open ? hypervisor.job(call.vmId, "completed").catch(() => null) : null,
    ]);
    const figures = ended ?? side?.figures ?? null;
    if (domain?.mark) {
      if (domain.mark.epoch > call.epoch) throw refused("this host holds it under a newer epoch than the migration's");
      if (domain.state !== "stopped") await hypervisor.destroy(call.vmId);
      await hypervisor.undefine(call.vmId);
    }
    await movedAway(vm, call.vmId, call.sharedStorage);
    await kept.removeMachine(call.vmId);
    return { running: false, ...(figures ? { stats: statisticsOf(figures) } : {}) };
  }

  #side(call: MigrationCall): Side | undefined {
    const side = this.#sides.get(call.vmId);
    return side?.taskId === call.taskId ? side : undefined;
  }

  async #open(call: MigrationCall, options: MigrationOptions): Promise<Side> {
    this.#sides.get(call.vmId)?.session.close();
    const session = await this.#options.hypervisor.migration(call.vmId);
    const side: Side = {
      session,
      taskId: call.taskId,
      options,
      xml: "",
      begun: null,
      prepared: null,
      performing: null,
      copying: false,
      figures: null,
    };
    this.#sides.set(call.vmId, side);
    return side;
  }

  #end(machineId: string): void {
    this.#sides.get(machineId)?.session.close();
    this.#sides.delete(machineId);
  }

  async #note(
    call: MigrationCall,
    change: Pick<NonNullable<MachineMemory["migration"]>, "role" | "phase"> & { mayHaveRun?: boolean },
  ): Promise<void> {
    const { kept, clock } = this.#options;
    const memory = kept.machine(call.vmId) ?? newMachineMemory(clock.now());
    const before = memory.migration?.taskId === call.taskId ? memory.migration : undefined;
    await kept.putMachine(call.vmId, {
      ...memory,
      migration: { taskId: call.taskId, epoch: call.epoch, mayHaveRun: before?.mayHaveRun ?? false, ...change },
    });
  }

  async #managed(machineId: string): Promise<Domain> {
    const domain = await this.#options.hypervisor.domain(machineId);
    if (!domain?.mark) throw new SheafError("not-found", "this host has no such machine");
    return domain;
  }

  async #targets(machineId: string, paths: readonly string[]): Promise<string[]> {
    const { disks } = await this.#options.hypervisor.describe(machineId, "live");
    return disks.filter((disk) => paths.includes(disk.path)).map((disk) => disk.target);
  }

  #migrationOptions(call: MigrationCall, domain: { readonly name: string }, more: { readonly copyDisks: readonly string[] }): MigrationOptions {
    return {
      name: domain.name,
      copyDisks: more.copyDisks,
      // The base images are on both hosts, under one path: only what is the disk's own is copied.
      copyIncremental: true,
      autoConverge: false,
      postCopy: call.postCopy ?? false,
      tls: true,
      bandwidthBytesPerSecond: 0,
      tlsDestination: call.targetAddress,
    };
  }
}

/** A session in which a step failed is of no use: libvirt undoes what it began. */
async function hypervisorStep<T>(side: Side, step: () => Promise<T>): Promise<T> {
  if (!side.session.open) throw new HypervisorError("disconnected", "the connection to libvirtd that carried the migration was lost");
  return step();
}

function targetsOf(xml: string, paths: readonly (string | undefined)[]): string[] {
  return parseDomain(xml)
    .disks.filter((disk) => paths.includes(disk.path))
    .map((disk) => disk.target);
}

const bracketed = (address: string): string => (address.includes(":") ? `[${address}]` : address);

const refused = (why: string): SheafError => new SheafError("state-refused", `the migration cannot go on: ${why}`);

function statisticsOf(figures: JobFigures | null): MigrationStatistics {
  return {
    totalMs: figures?.elapsedMs ?? 0,
    downtimeMs: figures?.downtimeMs ?? 0,
    memoryBytes: figures?.memoryBytes ?? 0,
    diskBytes: figures?.diskBytes ?? 0,
    iterations: figures?.iterations ?? 0,
  };
}
