/**
 * Makes, grows and deletes the volumes placed on this host. Called under the volume's key by the agent. A volume that was ready once
 * and whose file is gone is never made anew: that would hand an empty disk to a machine whose data is elsewhere.
 */
import type { Logger } from "@sheaf/base";
import { type RecordOf, SheafError, type VolumeObservation } from "@sheaf/model";
import { z } from "zod";
import { volumePath } from "./host-paths.ts";
import type { ImageCache } from "./image-cache.ts";
import type { KeptState } from "./kept-state.ts";
import { mayDestroy } from "./plan-machine.ts";
import type { Files, Hypervisor } from "./ports.ts";
import type { VolumeFiles, VolumeSource } from "./volume-files.ts";

type Volume = RecordOf<"volume">;
type Pool = RecordOf<"pool">;

/** What this host knows of a volume it made or found. */
const VolumeNote = z.looseObject({ path: z.string(), sizeBytes: z.int(), epoch: z.int(), incarnation: z.string(), local: z.boolean() });
type VolumeNote = z.infer<typeof VolumeNote>;

export interface VolumeReconcilerOptions {
  readonly hostId: string;
  readonly logger: Logger;
  readonly kept: KeptState;
  readonly files: Files;
  readonly volumeFiles: VolumeFiles;
  readonly hypervisor: Hypervisor;
  readonly images: ImageCache;
  readonly signal: AbortSignal;
  /** Runs while nothing else is done to that machine. */
  readonly withMachine: <T>(machineId: string, work: () => Promise<T>) => Promise<T>;
  /** The disk's name in the running domain of this machine (`vda`); `null` when the domain does not have it. */
  readonly diskTarget: (machineId: string, path: string) => Promise<string | null>;
  readonly report: (volumeId: string, value: VolumeObservation) => void;
  /** Machines whose needs may be met now. */
  readonly changed: (volumeId: string) => void;
}

/** How often usage is measured. */
const measureEveryMs = 300_000;

const noteName = (id: string): string => `volume-${id}`;

export class VolumeReconciler {
  readonly #options: VolumeReconcilerOptions;
  readonly #seen = new Map<string, VolumeObservation>();

  constructor(options: VolumeReconcilerOptions) {
    this.#options = options;
  }

  /** What was last concluded about a volume; undefined before the first look since the agent's start. */
  observation(volumeId: string): VolumeObservation | undefined {
    return this.#seen.get(volumeId);
  }

  async reconcile(volumeId: string): Promise<{ againAfterMs?: number } | void> {
    const { kept, hostId } = this.#options;
    const volume = kept.document("volume", volumeId);
    if (!volume) return;
    if (volume.placement && volume.placement.host !== hostId) return this.#elsewhere(volume);
    const pool = kept.document("pool", volume.spec.pool);
    if (!pool)
      return this.#fail(volume, "", `its pool ${volume.spec.pool} is not known on this host: give the pool this host, or place it elsewhere`);
    const path = volumePath(pool, volume);
    if (volume.deletedAt !== undefined) return this.#delete(volume, path);
    if (!volume.placement) return;
    try {
      await this.#ensure(volume, pool, path);
    } catch (error) {
      this.#fail(volume, path, error instanceof Error ? error.message : String(error));
      throw error;
    }
    return { againAfterMs: measureEveryMs };
  }

  /**
   * The record is gone for good, or the volume is told to be elsewhere.
   * @param stands asked after each wait: false once the volume is this host's again
   * @returns whether it was let go
   */
  async removed(
    volumeId: string,
    gone: boolean,
    placement?: { readonly epoch: number; readonly incarnation: string },
    stands: () => boolean = () => true,
  ): Promise<boolean> {
    const { kept, volumeFiles, logger } = this.#options;
    const note = this.#note(volumeId);
    const present = kept.welcome?.incarnation;
    // A shared pool's file is the new host's now; only a record that is gone lets go of it.
    if (note && present !== undefined && (gone || note.local) && mayDestroy(note, present, placement)) {
      await this.#mustBeUnused(volumeId);
      if (!stands()) return false;
      await volumeFiles.remove(note.path);
      logger.info({ volume: volumeId, path: note.path, gone }, "a volume's file was removed from this host");
    }
    if (!stands()) return false;
    await kept.removeDocument("volume", volumeId);
    await kept.removeNote(noteName(volumeId));
    this.#seen.delete(volumeId);
    return true;
  }

  /** A migration copied the disk away; the file here is the past. */
  async movedAway(volumeId: string): Promise<void> {
    const { kept, volumeFiles } = this.#options;
    const note = this.#note(volumeId);
    if (!note?.local) return;
    await volumeFiles.remove(note.path);
    await kept.removeNote(noteName(volumeId));
    this.#seen.delete(volumeId);
  }

  /** A migration brought the disk here, or is about to. */
  async arrived(volume: Volume, pool: Pool, sizeBytes: number, epoch: { readonly epoch: number; readonly incarnation: string }): Promise<void> {
    await this.#keep(volume.id, {
      path: volumePath(pool, volume),
      sizeBytes,
      local: pool.spec.type === "local",
      epoch: epoch.epoch,
      incarnation: epoch.incarnation,
    });
  }

  #note(volumeId: string): VolumeNote | undefined {
    return VolumeNote.safeParse(this.#options.kept.note(noteName(volumeId))).data;
  }

  async #keep(volumeId: string, note: VolumeNote): Promise<void> {
    await this.#options.kept.putNote(noteName(volumeId), note);
  }

  async #elsewhere(volume: Volume): Promise<void> {
    // While its machine moves, the migration's calls look after both files.
    if (this.#machineOf(volume.id)?.status.migration) return;
    if (volume.placement && this.#note(volume.id)) await this.removed(volume.id, false, volume.placement);
  }

  async #ensure(volume: Volume, pool: Pool, path: string): Promise<void> {
    const { files, volumeFiles } = this.#options;
    const { placement, spec } = volume;
    if (!placement) return;
    const note = this.#note(volume.id);
    const facts = await files.facts(path);
    const held = { epoch: placement.epoch, incarnation: placement.incarnation, local: pool.spec.type === "local", path };
    if (!facts) {
      if (note || hasExisted(volume.status.agent) || spec.file !== undefined) {
        throw new SheafError(
          "state-refused",
          `its file ${path} is not on this host any more; it is not made anew, so that nothing is lost: put the file back, or delete the volume`,
        );
      }
      if (!this.#seen.has(volume.id))
        this.#observe(volume, path, { state: "creating", sizeBytes: spec.sizeBytes, allocatedBytes: 0, observedGeneration: 0 });
      const [source] = await Promise.all([this.#source(volume, pool), files.makeDirectory(`${pool.spec.path}/volumes`, 0o755)]);
      await volumeFiles.make(path, spec.format, spec.sizeBytes, source);
      const [made] = await Promise.all([files.facts(path), this.#keep(volume.id, { ...held, sizeBytes: spec.sizeBytes })]);
      return this.#ready(volume, path, spec.sizeBytes, spec.format === "raw" ? 0 : (made?.sizeBytes ?? 0));
    }
    const measured = await volumeFiles.measure(path, spec.format);
    let sizeBytes = measured.virtualBytes;
    if (spec.sizeBytes > sizeBytes) sizeBytes = await this.#grow(volume, path);
    await this.#keep(volume.id, { ...held, sizeBytes });
    if (spec.sizeBytes < sizeBytes) {
      return this.#fail(volume, path, `it has ${sizeBytes} bytes and cannot be made smaller: set its size to that, or copy it to a new volume`);
    }
    this.#ready(volume, path, sizeBytes, measured.allocatedBytes);
  }

  async #source(volume: Volume, pool: Pool): Promise<VolumeSource> {
    const { kept, images, signal } = this.#options;
    const { source } = volume.spec;
    if (!source) return { type: "empty" };
    if ("image" in source) {
      const image = kept.document("image", source.image);
      if (!image) throw new SheafError("state-refused", `its image ${source.image} is not known on this host yet`);
      const path = await images.ensure(image, pool.spec.path, signal);
      return { type: source.clone, path, format: image.status.library?.format === "qcow2" ? "qcow2" : "raw" };
    }
    const original = kept.document("volume", source.volume);
    const originalPool = original && kept.document("pool", original.spec.pool);
    if (!original || !originalPool) throw new SheafError("state-refused", `the volume ${source.volume} that it is a copy of is not on this host`);
    const user = this.#machineOf(original.id);
    const domain = user && (await this.#options.hypervisor.domain(user.id));
    if (domain && domain.state !== "stopped")
      throw new SheafError("state-refused", `the volume ${original.name} that it is a copy of is in use by machine ${user.name}: stop that first`);
    return { type: "copy", path: volumePath(originalPool, original), format: original.spec.format };
  }

  async #grow(volume: Volume, path: string): Promise<number> {
    const { hypervisor, volumeFiles, withMachine, diskTarget } = this.#options;
    const { sizeBytes, format } = volume.spec;
    const machine = this.#machineOf(volume.id);
    if (!machine) {
      await volumeFiles.grow(path, format, sizeBytes);
      return sizeBytes;
    }
    // Under the machine's key: it can neither start nor stop between looking and growing.
    await withMachine(machine.id, async () => {
      const domain = await hypervisor.domain(machine.id);
      if (machine.status.migration) throw new SheafError("state-refused", "its machine is moving: it grows afterwards");
      const target = domain && domain.state !== "stopped" ? await diskTarget(machine.id, path) : null;
      if (target === null) await volumeFiles.grow(path, format, sizeBytes);
      else await hypervisor.resizeDisk(machine.id, target, sizeBytes);
    });
    return sizeBytes;
  }

  async #delete(volume: Volume, path: string): Promise<void> {
    const { volumeFiles, kept } = this.#options;
    if (this.#seen.get(volume.id)?.state !== "gone") {
      await this.#mustBeUnused(volume.id);
      await volumeFiles.remove(path);
      await kept.removeNote(noteName(volume.id));
    }
    this.#observe(volume, path, { state: "gone", sizeBytes: 0, allocatedBytes: 0, observedGeneration: volume.generation });
  }

  async #mustBeUnused(volumeId: string): Promise<void> {
    const machine = this.#machineOf(volumeId);
    const domain = machine && (await this.#options.hypervisor.domain(machine.id));
    if (domain?.mark && domain.state !== "stopped")
      throw new SheafError("in-use", `machine ${machine?.name ?? ""} still uses it: it is removed when that has stopped`);
  }

  #machineOf(volumeId: string): RecordOf<"vm"> | undefined {
    return this.#options.kept.documents("vm").find((vm) => vm.spec.disks.some((disk) => disk.volume === volumeId));
  }

  #ready(volume: Volume, path: string, sizeBytes: number, allocatedBytes: number): void {
    // In steps, so that a guest's every write does not make news.
    const step = Math.max(2 ** 20, Math.floor(sizeBytes / 128));
    const rounded = Math.ceil(allocatedBytes / step) * step;
    this.#observe(volume, path, { state: "ready", sizeBytes, allocatedBytes: rounded, observedGeneration: volume.generation });
  }

  #fail(volume: Volume, path: string, problem: string): void {
    const before = this.#seen.get(volume.id) ?? volume.status.agent;
    const { sizeBytes = 0, allocatedBytes = 0 } = before ?? {};
    const existed = hasExisted(before) || hasExisted(volume.status.agent) ? { existed: true } : {};
    this.#observe(volume, path, { state: "failed", sizeBytes, allocatedBytes, observedGeneration: volume.generation, problem, ...existed });
  }

  #observe(volume: Volume, path: string, value: Omit<VolumeObservation, "host" | "path">): void {
    const { hostId, report, changed } = this.#options;
    const observation = { ...value, host: hostId, path } as VolumeObservation; // the index signature of a loose object is lost in Omit
    const before = this.#seen.get(volume.id);
    this.#seen.set(volume.id, observation);
    report(volume.id, observation);
    if (before?.state !== observation.state || before.problem !== observation.problem) changed(volume.id);
  }
}

const hasExisted = (seen: VolumeObservation | undefined): boolean => seen?.state === "ready" || seen?.existed === true;
