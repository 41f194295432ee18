/**
 * Disks of machines: a disk of a request becomes a volume record beside the machine's, or takes an existing volume. On a change, disks are
 * matched by name (or volume): the same document can be applied again. A disk taken out of the document is detached; its volume stays.
 */
import { toHex } from "@sheaf/base";
import { addUsage, noUsage, partKey, SheafError, volumeFinalizers, VolumeSpec, type QuotaUsage, type RecordOf, type VmDisk } from "@sheaf/model";
import type { Work } from "./record-services.ts";
import { fixed, invalid } from "./refusals.ts";
import { checkGrowth, touchVolume, useImage, usePool } from "./volume-rules.ts";

type Stored = VmDisk & { readonly volume: string };

export interface Disks {
  readonly disks: VmDisk[];
  readonly uses: QuotaUsage;
}

export function newDisks(work: Work, disks: readonly VmDisk[]): Disks {
  checkNames(disks);
  return collect(
    disks.map((disk, index) => (disk.volume === undefined ? makeVolume(work, disk, index) : takeVolume(work, disk, disk.volume, index))),
  );
}

export function changedDisks(work: Work, before: RecordOf<"vm">, disks: readonly VmDisk[]): Disks {
  checkNames(disks);
  const old = before.spec.disks as readonly Stored[]; // stored disks always have their volume
  const left = new Set(old);
  const made = disks.map((disk, index) => {
    const volumeId =
      disk.volume === undefined ? undefined : work.services.references.volume(work.projectId, disk.volume, `/spec/disks/${index}/volume`).id;
    const same = old.find((one) => left.has(one) && (volumeId === undefined ? one.name === disk.name : one.volume === volumeId));
    if (same === undefined) return disk.volume === undefined ? makeVolume(work, disk, index) : takeVolume(work, disk, disk.volume, index);
    left.delete(same);
    return keepDisk(work, same, disk, index);
  });
  // A volume that leaves stays what it is; its record is written so that nobody takes it on an older view of things.
  for (const gone of left) {
    const volume = work.services.context.cache.get("volume", gone.volume);
    if (volume !== undefined) touchVolume(work, volume, {});
  }
  return collect(made);
}

function keepDisk(work: Work, old: Stored, disk: VmDisk, index: number): { disk: VmDisk; uses: QuotaUsage } {
  const at = `/spec/disks/${index}`;
  const { references, context } = work.services;
  const volume = context.cache.get("volume", old.volume);
  const image = disk.image === undefined ? undefined : (references.findShared("image", work.projectId, disk.image)?.id ?? disk.image);
  if (image !== undefined && image !== old.image)
    throw fixed(`${at}/image`, `The image of disk ${old.name}`, "Add another disk, or make a new machine.");
  if (disk.pool !== undefined && references.above("pool", disk.pool, `${at}/pool`).id !== volume?.spec.pool)
    throw fixed(`${at}/pool`, `The pool of disk ${old.name}`, "Add another disk there.");
  let uses = noUsage;
  const size = disk.sizeBytes;
  // The size in the machine's document may be older than the volume's own: only a change of it asks for something.
  if (size !== undefined && size !== old.sizeBytes && volume !== undefined && size !== volume.spec.sizeBytes) {
    uses = checkGrowth(work, volume, size, `${at}/sizeBytes`);
    touchVolume(work, volume, { sizeBytes: size });
  }
  const { image: oldImage, pool, sizeBytes, clone } = old;
  const kept: VmDisk = {
    ...disk,
    volume: old.volume,
    clone,
    ...(oldImage === undefined ? {} : { image: oldImage }),
    ...(pool === undefined ? {} : { pool }),
    ...((size ?? sizeBytes) === undefined ? {} : { sizeBytes: size ?? sizeBytes }),
  };
  return { disk: kept, uses };
}

/** An existing, free volume of the same project. */
function takeVolume(work: Work, disk: VmDisk, reference: string, index: number): { disk: VmDisk; uses: QuotaUsage } {
  const at = `/spec/disks/${index}`;
  const volume = work.services.references.volume(work.projectId, reference, `${at}/volume`);
  for (const field of ["image", "pool"] as const)
    if (disk[field] !== undefined) throw invalid(`${at}/${field}`, "does not go with volume: the volume has its own");
  if (disk.sizeBytes !== undefined && disk.sizeBytes !== volume.spec.sizeBytes)
    throw invalid(`${at}/sizeBytes`, "does not go with volume: grow the volume instead");
  const holder = work.services.index.vmOfVolume(volume.id);
  if (holder !== undefined) {
    const name = work.services.context.cache.get("vm", holder)?.name ?? holder;
    throw new SheafError("in-use", `Volume ${volume.name} is attached to machine ${name}: a volume belongs to one machine at a time.`, {
      next: `Detach it from ${name} first (take the disk out of its document).`,
      errors: [{ at: `${at}/volume`, message: "is attached to another machine" }],
    });
  }
  if (volume.status.agent?.state === "failed")
    throw new SheafError("state-refused", `Volume ${volume.name} could not be made: ${volume.status.agent.problem ?? "see its task"}.`);
  touchVolume(work, volume, {});
  const { sizeBytes: _size, ...rest } = disk;
  return { disk: { ...rest, volume: volume.id, pool: volume.spec.pool, sizeBytes: volume.spec.sizeBytes }, uses: noUsage };
}

function makeVolume(work: Work, disk: VmDisk, index: number): { disk: VmDisk; uses: QuotaUsage } {
  const at = `/spec/disks/${index}`;
  const { references } = work.services;
  const image = disk.image === undefined ? undefined : references.shared("image", work.projectId, disk.image, `${at}/image`);
  if (image !== undefined) useImage(work, image, disk.sizeBytes, at);
  const sizeBytes = disk.sizeBytes ?? roundUp(image?.status.library?.virtualSizeBytes);
  if (sizeBytes === undefined) {
    if (image === undefined) throw invalid(`${at}/sizeBytes`, "is needed for a disk without image or volume");
    throw new SheafError("state-refused", `The size of image ${image.name} is not known yet: it is still being imported.`, {
      next: "Wait until the image is ready, or say the disk's size.",
      errors: [{ at: `${at}/sizeBytes`, message: "is needed until the image is ready" }],
    });
  }
  const pool = disk.pool === undefined ? references.defaultPool(`${at}/pool`) : references.above("pool", disk.pool, `${at}/pool`);
  usePool(work, pool, sizeBytes);
  const spec: VolumeSpec = {
    pool: pool.id,
    sizeBytes,
    format: "qcow2",
    ...(image === undefined ? {} : { source: { image: image.id, clone: disk.clone } }),
    protected: false,
  };
  const volumeId = addVolume(work, `${work.name}-${disk.name}`, spec);
  const stored: VmDisk = { ...disk, volume: volumeId, pool: pool.id, sizeBytes, ...(image === undefined ? {} : { image: image.id }) };
  return { disk: stored, uses: { ...noUsage, diskBytes: sizeBytes } };
}

/** Writes a new volume's record. @returns its id */
export function addVolume(work: Work, wantedName: string, spec: VolumeSpec): string {
  const { context } = work.services;
  const id = work.services.newId();
  const name = freeName(work, wantedName);
  work.draft.claimName("volume", work.projectId, name, id, {});
  work.draft.put(partKey("volume", id, "spec"), {
    kind: "volume",
    id,
    name,
    project: work.projectId,
    labels: {},
    generation: 1,
    createdAt: context.clock.now(),
    createdBy: work.request.caller.userName,
    finalizers: [...volumeFinalizers],
    spec,
  });
  return id;
}

function freeName(work: Work, wanted: string): string {
  const { cache, random } = work.services.context;
  const base = wanted.slice(0, 63).replace(/-+$/, "");
  if (cache.byName("volume", work.projectId, base) === undefined) return base;
  for (;;) {
    const name = `${wanted.slice(0, 56).replace(/-+$/, "")}-${toHex(random.bytes(3))}`;
    if (cache.byName("volume", work.projectId, name) === undefined) return name;
  }
}

function checkNames(disks: readonly VmDisk[]): void {
  const seen = new Set<string>();
  for (const [index, { name }] of disks.entries()) {
    if (seen.has(name)) throw invalid(`/spec/disks/${index}/name`, `is there twice: ${name}`);
    seen.add(name);
  }
  const volumes = new Set<string>();
  for (const [index, { volume }] of disks.entries()) {
    if (volume === undefined) continue;
    if (volumes.has(volume)) throw invalid(`/spec/disks/${index}/volume`, "is there twice");
    volumes.add(volume);
  }
}

/** Disks have whole sectors; images need not. */
const roundUp = (bytes: number | undefined): number | undefined =>
  bytes === undefined ? undefined : Math.max(2 ** 20, Math.ceil(bytes / 512) * 512);

const collect = (made: readonly { disk: VmDisk; uses: QuotaUsage }[]): Disks => ({
  disks: made.map(({ disk }) => disk),
  uses: made.reduce((sum, { uses }) => addUsage(sum, uses), noUsage),
});
