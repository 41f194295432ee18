/**
 * What a machine needs around it on this host: images, disks, seed, networks looked up for its domain; made ready for one that comes by
 * migration, cleared away behind one that left. Called by the machine reconciler, the migration calls and the intake of documents.
 */
import type { AgentCalls, ServerMessage } from "@sheaf/contract";
import type { Clock } from "@sheaf/base";
import type { DomainHost, HostBinding } from "@sheaf/domain-xml";
import { type Kind, type NumaPlacement, type RecordOf, SheafError } from "@sheaf/model";
import { z } from "zod";
import { imagePath, seedPath, volumePath } from "./host-paths.ts";
import type { ImageCache } from "./image-cache.ts";
import type { KeptState } from "./kept-state.ts";
import type { SeenDevices } from "./host-device-needs.ts";
import { bindingOf, cdromPool, machineInput, type MachineInput } from "./machine-input.ts";
import { newMachineMemory } from "./machine-memory.ts";
import type { NetworkReconciler } from "./network-reconciler.ts";
import type { Files, Processes } from "./ports.ts";
import { seedContent, seedDigest, writeSeed } from "./seed.ts";
import { VolumeFiles } from "./volume-files.ts";
import type { VolumeReconciler } from "./volume-reconciler.ts";

type Vm = RecordOf<"vm">;
type Image = RecordOf<"image">;
type CopyVolumes = AgentCalls["migrate.prepare"]["in"]["copyVolumes"];

export interface MachineEquipmentOptions {
  readonly hostId: string;
  readonly clock: Clock;
  readonly kept: KeptState;
  readonly files: Files;
  readonly processes: Processes;
  readonly images: ImageCache;
  readonly volumes: VolumeReconciler;
  readonly networks: NetworkReconciler;
  readonly signal: AbortSignal;
  readonly host: () => Pick<DomainHost, "accelerated" | "cgroupVersion" | "cells"> | null;
  readonly devices: () => SeenDevices | null;
  readonly changed: (machineId: string) => void;
}

const Release = z.looseObject({
  kind: z.enum(["volume", "image"]),
  id: z.string(),
  gone: z.boolean(),
  placement: z.looseObject({ epoch: z.int(), incarnation: z.string() }).optional(),
  image: z.unknown().optional(),
});
type Release = z.infer<typeof Release>;

type CdromState = { readonly path: string } | { readonly waiting: string } | { readonly failed: string; readonly at: number };
/** A fetch that failed is tried again by the first look after this. */
const fetchAgainMs = 20_000;

const incomingNote = (volumeId: string): string => `incoming-${volumeId}`;
const releaseNote = (id: string): string => `release-${id}`;

export class MachineEquipment {
  readonly #options: MachineEquipmentOptions;
  /** CD images known to be there, on their way, or why not. */
  readonly #cdroms = new Map<string, CdromState>();

  constructor(options: MachineEquipmentOptions) {
    this.#options = options;
  }

  input(vm: Vm): MachineInput {
    const { kept, hostId, host, devices, volumes, networks } = this.#options;
    return machineInput(vm, {
      ...{ kept, hostId, host, devices },
      volumeState: (id) => volumes.observation(id),
      networkState: (id) => networks.observation(id),
      cdromImage: (image, poolPath, machineId) => this.#cdromImage(image, poolPath, machineId),
    });
  }

  /** Where on this host it would lie, had it these cells of it. */
  binding(vm: Vm, numa: NumaPlacement | undefined): HostBinding | undefined {
    return bindingOf(vm, numa, this.#options);
  }

  /** Disks of the machine that lie on this host alone, by path. */
  localDisks(vm: Vm): string[] {
    return this.#localVolumes(vm).map(({ path }) => path);
  }

  #localVolumes(vm: Vm): { volume: RecordOf<"volume">; path: string }[] {
    const { kept } = this.#options;
    return vm.spec.disks.flatMap((disk) => {
      const volume = disk.volume === undefined ? undefined : kept.document("volume", disk.volume);
      const pool = volume && kept.document("pool", volume.spec.pool);
      return volume && pool?.spec.type === "local" ? [{ volume, path: volumePath(pool, volume) }] : [];
    });
  }

  /** Where a volume lies, or is to lie, on this host. */
  volumePath(volumeId: string): string | undefined {
    const { kept } = this.#options;
    const volume = kept.document("volume", volumeId);
    const pool = volume && kept.document("pool", volume.spec.pool);
    return volume && pool && volumePath(pool, volume);
  }

  /** For a machine that comes by migration. @throws SheafError for what this host cannot give it */
  async makeReady(vm: Vm, disks: CopyVolumes, signal: AbortSignal): Promise<void> {
    const { kept, images, files, networks } = this.#options;
    for (const nic of vm.spec.nics) {
      const seen = networks.observation(nic.network);
      if (seen?.state !== "ready")
        throw notReady(`its network ${nic.name} is not usable here${seen?.problem === undefined ? "" : `: ${seen.problem}`}`);
    }
    const pool = cdromPool(kept);
    for (const cdrom of vm.spec.cdroms) {
      const image = cdrom.image === null ? undefined : kept.document("image", cdrom.image);
      if (cdrom.image === null) continue;
      if (!image || !pool) throw notReady(`its CD image ${cdrom.image} is not known here`);
      await images.ensure(image, pool.spec.path, signal);
    }
    for (const disk of disks) await this.#emptyDisk(disk, signal);
    if (vm.spec.cloudInit.seed === false) return;
    const networkDocuments = new Map(kept.documents("network").map((network) => [network.id, network]));
    const seed = seedContent(vm, networkDocuments);
    await writeSeed(files, seedPath(vm.id), seed);
    const memory = kept.machine(vm.id) ?? newMachineMemory(this.#options.clock.now());
    await kept.putMachine(vm.id, { ...memory, seedDigest: seedDigest(seed) });
  }

  /** A migration to this host came to nothing. */
  async giveUp(vm: Vm | undefined, machineId: string, sharedStorage: boolean): Promise<void> {
    // Placed here means that the machine is this host's: nothing of it is thrown away.
    if (vm?.placement?.host === this.#options.hostId) return;
    await this.movedAway(vm, machineId, sharedStorage);
    for (const disk of vm?.spec.disks ?? []) if (disk.volume !== undefined) await this.#options.kept.removeNote(incomingNote(disk.volume));
  }

  async arrived(vm: Vm | undefined, epoch: { readonly epoch: number; readonly incarnation: string }): Promise<void> {
    const { kept, volumes } = this.#options;
    for (const disk of vm?.spec.disks ?? []) {
      const volume = disk.volume === undefined ? undefined : kept.document("volume", disk.volume);
      const pool = volume && kept.document("pool", volume.spec.pool);
      if (!volume || !pool) continue;
      await volumes.arrived(volume, pool, volume.spec.sizeBytes, epoch);
      await kept.removeNote(incomingNote(volume.id));
    }
  }

  async movedAway(vm: Vm | undefined, machineId: string, sharedStorage: boolean): Promise<void> {
    const { files, volumes } = this.#options;
    await files.remove(seedPath(machineId));
    if (sharedStorage) return;
    for (const disk of vm?.spec.disks ?? []) if (disk.volume !== undefined) await volumes.movedAway(disk.volume);
  }

  /** The server told that this volume or image is not this host's any more: noted first, done under the thing's key. */
  async released(message: Extract<ServerMessage, { type: "remove" }>): Promise<void> {
    const { kept } = this.#options;
    const { kind, id, gone, placement } = message;
    if (kind === "image" && !gone) return kept.removeDocument(kind, id);
    const image = kind === "image" ? { image: kept.document("image", id) } : {};
    await kept.putNote(releaseNote(id), { kind, id, gone, ...(placement ? { placement } : {}), ...image });
  }

  /** It is this host's again: a release that was not done is the past. What its document says of its place is what counts. */
  async returned(id: string): Promise<void> {
    if (this.#release(id)) await this.#options.kept.removeNote(releaseNote(id));
  }

  /** Releases that were not done when the agent last ended. */
  unreleased(): { kind: Kind; id: string }[] {
    return this.#options.kept.notes("release-").flatMap((note) => {
      const release = Release.safeParse(note).data;
      return release ? [{ kind: release.kind, id: release.id }] : [];
    });
  }

  /** @returns true when the volume was to be released, and is */
  async releasedVolume(id: string): Promise<boolean> {
    const { kept, volumes } = this.#options;
    const release = this.#release(id);
    if (!release) return false;
    const done = await volumes.removed(id, release.gone, release.placement, () => this.#release(id) !== undefined);
    if (!done) return false;
    for (const note of [incomingNote(id), releaseNote(id)]) await kept.removeNote(note);
    return true;
  }

  /** Drops the cached copies of an image whose record is gone. */
  async releasedImage(id: string): Promise<void> {
    const { kept, images } = this.#options;
    const release = this.#release(id);
    if (!release) return;
    const image = release.image as Image | undefined; // a document as it was kept
    if (image)
      await images.drop(
        image,
        kept.documents("pool").map((pool) => pool.spec.path),
      );
    await kept.removeDocument("image", id);
    await kept.removeNote(releaseNote(id));
    this.#cdroms.delete(id);
  }

  /** Paths of images that volumes and drives of this host's machines ask for. */
  wantedImages(): Set<string> {
    const { kept } = this.#options;
    const found = new Set<string>();
    const add = (imageId: string, pool: RecordOf<"pool"> | undefined): void => {
      const image = kept.document("image", imageId);
      if (image?.status.library?.digest !== undefined && pool) found.add(imagePath(pool.spec.path, image));
    };
    for (const { spec, deletedAt } of kept.documents("volume"))
      if (deletedAt === undefined && spec.source && "image" in spec.source) add(spec.source.image, kept.document("pool", spec.pool));
    const drives = cdromPool(kept);
    for (const { spec, deletedAt } of kept.documents("vm"))
      for (const { image } of spec.cdroms) if (image !== null && deletedAt === undefined) add(image, drives);
    return found;
  }

  /** An image was taken out of its pool: a drive that asks for it later has it fetched again. */
  imageRemoved(path: string): void {
    for (const [key, state] of this.#cdroms) if ("path" in state && state.path === path) this.#cdroms.delete(key);
  }

  #release(id: string): Release | undefined {
    return Release.safeParse(this.#options.kept.note(releaseNote(id))).data;
  }

  async #emptyDisk(disk: CopyVolumes[number], signal: AbortSignal): Promise<void> {
    const { kept, images, files, processes, volumes } = this.#options;
    const volume = kept.document("volume", disk.volumeId);
    const pool = volume && kept.document("pool", volume.spec.pool);
    if (!volume || !pool) throw notReady(`its volume ${disk.volumeId} or its pool is not known here`);
    const format = volume.spec.format;
    const path = volumePath(pool, volume);
    // An adopted disk has a name that others may have used here before. The note says that what is there is of an earlier try.
    const ours = volume.spec.file === undefined || kept.note(incomingNote(volume.id)) !== undefined;
    if (!ours && (await files.facts(path)) !== null)
      throw notReady(`its disk is to be copied to ${path}, where another file is: move that away, or choose another host`);
    if (volume.spec.file !== undefined) await kept.putNote(incomingNote(volume.id), { path });
    // Known before it is there: given up in whatever way, it goes when the server says that the volume is not this host's.
    await volumes.arrived(volume, pool, disk.sizeBytes, { epoch: 0, incarnation: kept.welcome?.incarnation ?? "" });
    // What an earlier try left, or a copy from before the machine moved away the last time.
    await files.remove(path);
    await files.makeDirectory(path.slice(0, path.lastIndexOf("/")), 0o755);
    const image = disk.image === undefined ? undefined : kept.document("image", disk.image);
    if (disk.image !== undefined && !image) throw notReady(`the image ${disk.image} that its disk is based on is not known here`);
    const maker = new VolumeFiles(files, processes);
    if (!image) return maker.make(path, format, disk.sizeBytes, { type: "empty" });
    const base = await images.ensure(image, pool.spec.path, signal);
    return maker.make(path, format, disk.sizeBytes, {
      type: "linked",
      path: base,
      format: image.status.library?.format === "qcow2" ? "qcow2" : "raw",
    });
  }

  #cdromImage(image: Image, poolPath: string, machineId: string): CdromState {
    const { images, signal, changed, clock } = this.#options;
    const key = `${image.id}/${image.status.library?.digest ?? ""}`;
    const known = this.#cdroms.get(key);
    if (known && (!("failed" in known) || clock.monotonic() - known.at < fetchAgainMs)) return known;
    const waiting = { waiting: `it waits for the CD image ${image.name} to be fetched` };
    this.#cdroms.set(key, waiting);
    images
      .ensure(image, poolPath, signal)
      .then(
        (path) => this.#cdroms.set(key, { path }),
        (error: unknown) => {
          const why = error instanceof Error ? error.message : String(error);
          this.#cdroms.set(key, { failed: `CD image ${image.name}: ${why}`, at: clock.monotonic() });
        },
      )
      .finally(() => changed(machineId));
    return known ?? waiting;
  }
}

const notReady = (why: string): SheafError => new SheafError("state-refused", `this host cannot take the machine: ${why}`);
