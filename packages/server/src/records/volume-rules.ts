/** Rules for volumes, those of machines included: where they may lie, what they may be made of, how they grow. */
import { formatBytes } from "@sheaf/base";
import { noUsage, partKey, SheafError, vmRefusal, volumeFinalizers, type RecordOf, type SpecOf, type VolumeSpec } from "@sheaf/model";
import type { KindRules } from "./kind-rules.ts";
import type { Work } from "./record-services.ts";
import { fixed, invalid, sameJson } from "./refusals.ts";

export const volumeRules: KindRules<"volume"> = {
  finalizers: volumeFinalizers,
  verbs: { create: "create", change: "change", delete: "delete" },
  referred: true,
  create(work, spec) {
    if (spec.file !== undefined) throw invalid("/spec/file", "is set by adoption alone: a volume of your own lies where Sheaf puts it");
    const pool = work.services.references.above("pool", spec.pool, "/spec/pool");
    usePool(work, pool, spec.sizeBytes);
    const host = spec.host === undefined ? undefined : work.services.references.above("host", spec.host, "/spec/host");
    if (host !== undefined && pool.spec.type === "shared")
      throw invalid("/spec/host", "goes with local pools only: a shared pool is on all of its hosts");
    if (host !== undefined) work.draft.unchanged(host);
    return { spec: { ...spec, pool: pool.id, ...(host === undefined ? {} : { host: host.id }), ...source(work, spec) } };
  },
  change(work, before, spec) {
    const { references } = work.services;
    if (references.above("pool", spec.pool, "/spec/pool").id !== before.spec.pool)
      throw fixed("/spec/pool", "The pool of a volume", "Make a new volume there.");
    if (spec.format !== before.spec.format) throw fixed("/spec/format", "The format of a volume", "Make a new volume.");
    if (spec.file !== before.spec.file) throw fixed("/spec/file", "The file of a volume", "Make a new volume.");
    if (!sameSource(work, before, spec)) throw fixed("/spec/source", "The source of a volume", "Make a new volume.");
    const host = spec.host === undefined ? undefined : references.above("host", spec.host, "/spec/host").id;
    if (host !== before.spec.host) throw fixed("/spec/host", "The host of a volume", "Make a new volume there.");
    checkGrowth(work, before, spec.sizeBytes, "/spec/sizeBytes");
    return { spec: { ...before.spec, sizeBytes: spec.sizeBytes, protected: spec.protected } };
  },
  refuseDelete: (_work, record) => (record.spec.protected ? "it is protected: clear `protected` first" : null),
};

/** The pool stays, and has room by what its hosts say. */
export function usePool(work: Work, pool: RecordOf<"pool">, sizeBytes: number): void {
  work.draft.unchanged(pool);
  if (pool.spec.type !== "shared") return; // a local pool's room is looked at host by host, when one is chosen
  const seen = Object.values(pool.status.hosts ?? {}).find((host) => host.state === "ready");
  if (seen === undefined || seen.capacityBytes === 0) return;
  if (seen.availableBytes / seen.capacityBytes < pool.spec.minimumFreeRatio || sizeBytes > seen.capacityBytes * pool.spec.overcommit)
    throw new SheafError(
      "no-capacity",
      `Pool ${pool.name} has ${formatBytes(seen.availableBytes)} of ${formatBytes(seen.capacityBytes)} left, too little for a new volume of ${formatBytes(sizeBytes)}.`,
      { next: "Remove volumes, use another pool, or add storage." },
    );
}

/** The image stays, can be a disk, and fits. */
export function useImage(work: Work, image: RecordOf<"image">, sizeBytes: number | undefined, at: string): void {
  work.draft.unchanged(image);
  if (image.spec.type === "iso") throw invalid(`${at}/image`, `names ${image.name}, an ISO: insert it as a CD-ROM (cdroms)`);
  const library = image.status.library;
  if (library?.state === "failed")
    throw new SheafError("state-refused", `The image ${image.name} could not be imported: ${library.problem ?? "see its task"}.`, {
      next: "Import it again, or use another.",
    });
  const virtual = library?.virtualSizeBytes;
  if (virtual !== undefined && sizeBytes !== undefined && sizeBytes < virtual)
    throw invalid(`${at}/sizeBytes`, `must be at least ${virtual} (${formatBytes(virtual)}), the size of image ${image.name}`);
}

function source(work: Work, spec: SpecOf<"volume">): Pick<SpecOf<"volume">, "source"> {
  if (spec.source === undefined) return {};
  const { references, index, context, presenter } = work.services;
  if ("image" in spec.source) {
    const image = references.shared("image", work.projectId, spec.source.image, "/spec/source/image");
    useImage(work, image, spec.sizeBytes, "/spec/source");
    if (spec.source.clone === "linked" && spec.format !== "qcow2") throw invalid("/spec/format", "must be qcow2 for a linked clone");
    return { source: { ...spec.source, image: image.id } };
  }
  const volume = references.volume(work.projectId, spec.source.volume, "/spec/source/volume");
  touchVolume(work, volume, {});
  if (spec.sizeBytes < volume.spec.sizeBytes)
    throw invalid("/spec/sizeBytes", `must be at least ${volume.spec.sizeBytes}, the size of volume ${volume.name}`);
  const vm = context.cache.get("vm", index.vmOfVolume(volume.id) ?? "");
  const refusal = vm === undefined ? null : vmRefusal("clone", presenter.vmState(vm), vm.spec);
  if (refusal !== null) throw new SheafError("state-refused", `Volume ${volume.name} belongs to machine ${vm?.name ?? ""}: ${refusal}.`);
  return { source: { volume: volume.id } };
}

/** Rewrites a volume's record, changed or not, so that two changes that both looked at it (one may be its deletion) cannot both be made. */
export function touchVolume(work: Work, volume: RecordOf<"volume">, change: Partial<VolumeSpec>): void {
  work.draft.unchanged(volume);
  const { status: _status, placement: _placement, revision: _revision, specRevision: _specRevision, ...part } = volume;
  const grows = Object.keys(change).length > 0;
  work.draft.put(partKey("volume", volume.id, "spec"), {
    ...part,
    generation: volume.generation + (grows ? 1 : 0),
    spec: { ...volume.spec, ...change },
  });
}

function sameSource(work: Work, before: RecordOf<"volume">, spec: SpecOf<"volume">): boolean {
  const old = before.spec.source;
  if (old === undefined || spec.source === undefined) return old === spec.source;
  const found =
    "image" in spec.source
      ? { ...spec.source, image: work.services.references.findShared("image", work.projectId, spec.source.image)?.id ?? spec.source.image }
      : { volume: work.services.context.cache.byName("volume", work.projectId, spec.source.volume)?.id ?? spec.source.volume };
  return sameJson(found, old);
}

/** @returns by how much it grows, as usage */
export function checkGrowth(work: Work, before: RecordOf<"volume">, sizeBytes: number, at: string) {
  const more = sizeBytes - before.spec.sizeBytes;
  if (more < 0)
    throw new SheafError(
      "state-refused",
      `Volume ${before.name} has ${formatBytes(before.spec.sizeBytes)} and cannot shrink: a guest's data would be cut off.`,
      {
        next: "Make a smaller volume and copy inside the guest.",
        errors: [{ at, message: `must be at least ${before.spec.sizeBytes}` }],
      },
    );
  if (more > 0) {
    const pool = work.services.context.cache.get("pool", before.spec.pool);
    if (pool !== undefined) usePool(work, pool, more);
  }
  return { ...noUsage, diskBytes: more };
}
