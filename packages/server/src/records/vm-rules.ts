/** Rules for machines: references and defaults, secrets sealed, what the image and each other field allow. */
import { SheafError, type RecordOf, type SpecOf } from "@sheaf/model";
import type { KindRules } from "./kind-rules.ts";
import { secretText } from "./present.ts";
import type { Work } from "./record-services.ts";
import { invalid } from "./refusals.ts";
import { changedDisks, newDisks } from "./vm-disks.ts";
import { restartAfter } from "./vm-restart-after.ts";
import { ordinaryStop } from "./vm-verbs.ts";
import { changedNics, defaultNics, newNics } from "./vm-nics.ts";

type Spec = SpecOf<"vm">;

export const vmRules: KindRules<"vm"> = {
  // The names of model's vmFinalizers: the domain goes first, then its volumes.
  finalizers: ["domain", "volumes"],
  verbs: { create: "create", change: "change", delete: "delete" },
  referred: false,
  create(work, given, raw) {
    const { disks, uses } = newDisks(work, given.disks);
    const nics = newNics(work, has(raw, "nics") ? given.nics : defaultNics(work));
    const spec: Spec = {
      ...ordinaryStop(given),
      startRequest: 0,
      disks,
      nics,
      cdroms: cdroms(work, given),
      placement: placement(work, given),
      restart: restartAfter(work, given, undefined),
      cloudInit: sealed(work, given, undefined),
      firmware: has(raw, "firmware") ? given.firmware : firmware(work, given, disks),
    };
    checkMemory(work, spec);
    return { spec, alsoUses: uses };
  },
  change(work, before, given) {
    if (work.services.presenter.vmState(before) === "migrating")
      throw new SheafError("state-refused", `Machine ${before.name} is moving to another host.`, { next: "Wait for the migration, or cancel it." });
    checkDevices(before, given);
    const { disks, uses } = changedDisks(work, before, given.disks);
    const starts = before.spec.power === "stopped" && given.power !== "stopped";
    const once = before.spec.stopGraceOnceMs;
    const spec: Spec = {
      ...ordinaryStop(given),
      // A stop that is under way keeps its grace, whatever else of the machine is changed.
      ...(given.power !== "stopped" || once === undefined ? {} : { stopGraceOnceMs: once }),
      startRequest: before.spec.startRequest + (starts ? 1 : 0),
      disks,
      nics: changedNics(work, before, given.nics),
      cdroms: cdroms(work, given),
      placement: placement(work, given),
      restart: restartAfter(work, given, before),
      cloudInit: sealed(work, given, before),
    };
    if (spec.memory.bytes !== before.spec.memory.bytes) checkMemory(work, spec);
    return { spec, alsoUses: uses };
  },
  refuseDelete: (_work, record) => (record.spec.protected ? "it is protected: clear `protected` first" : null),
};

const has = (given: unknown, field: string): boolean => typeof given === "object" && given !== null && Object.hasOwn(given, field);

function cdroms(work: Work, spec: Spec): Spec["cdroms"] {
  const names = new Set(spec.disks.map(({ name }) => name));
  return spec.cdroms.map((cdrom, index) => {
    const at = `/spec/cdroms/${index}`;
    if (names.has(cdrom.name)) throw invalid(`${at}/name`, `is there twice: ${cdrom.name}`);
    names.add(cdrom.name);
    if (cdrom.image === null) return cdrom;
    const image = work.services.references.shared("image", work.projectId, cdrom.image, `${at}/image`);
    if (image.spec.type !== "iso") throw invalid(`${at}/image`, `names ${image.name}, which is no ISO: use it for a disk`);
    work.draft.unchanged(image);
    return { ...cdrom, image: image.id };
  });
}

function placement(work: Work, spec: Spec): Spec["placement"] {
  const { references } = work.services;
  const host = spec.placement.host === undefined ? undefined : references.above("host", spec.placement.host, "/spec/placement/host");
  const named = spec.placement.cluster === undefined ? undefined : references.above("cluster", spec.placement.cluster, "/spec/placement/cluster");
  if (host !== undefined && named !== undefined && host.spec.cluster !== named.id)
    throw invalid("/spec/placement/host", `is not in cluster ${named.name}`);
  const cluster = named?.id ?? host?.spec.cluster ?? references.defaultCluster()?.id;
  return { ...spec.placement, ...(cluster === undefined ? {} : { cluster }), ...(host === undefined ? {} : { host: host.id }) };
}

/** Encrypts what is secret. A write of `(secret)` keeps what is there. */
function sealed(work: Work, spec: Spec, before: RecordOf<"vm"> | undefined): Spec["cloudInit"] {
  const { userData, password } = spec.cloudInit;
  if (userData === undefined && password === undefined) return spec.cloudInit;
  const seal = (field: "userData" | "password", text: string | undefined): Record<string, string> => {
    if (text === undefined) return {};
    if (text !== secretText) return { [field]: work.services.context.secrets.seal(text) };
    const kept = before?.spec.cloudInit[field];
    if (kept === undefined)
      throw invalid(`/spec/cloudInit/${field}`, `is "${secretText}", which stands for a value that is there already; there is none`);
    return { [field]: kept };
  };
  return { ...spec.cloudInit, ...seal("userData", userData), ...seal("password", password) };
}

/** What the boot disk's image needs, where the request does not say. */
function firmware(work: Work, spec: Spec, disks: Spec["disks"]): Spec["firmware"] {
  const image = work.services.context.cache.get("image", disks[0]?.image ?? "");
  return image?.spec.firmware === "uefi" ? { ...spec.firmware, type: "uefi" } : spec.firmware;
}

/** Which devices a machine has is decided with its host; a placement is of what was asked for then. */
function checkDevices(before: RecordOf<"vm">, given: Spec): void {
  for (const field of ["gpus", "pciDevices"] as const) {
    if (before.placement === undefined || JSON.stringify(given[field] ?? []) === JSON.stringify(before.spec[field] ?? [])) continue;
    throw new SheafError(
      "state-refused",
      `The ${field} of machine ${before.name} were chosen when it got its host, and cannot be changed any more.`,
      {
        next: "Make a new machine with what is wanted, and attach the disks of this one to it.",
      },
    );
  }
}

function checkMemory(work: Work, spec: Spec): void {
  for (const { image: id } of [...spec.disks, ...spec.cdroms]) {
    const image = id == null ? undefined : work.services.context.cache.get("image", id);
    if (image !== undefined && spec.memory.bytes < image.spec.minimumMemoryBytes)
      throw invalid("/spec/memory/bytes", `must be at least ${image.spec.minimumMemoryBytes}, which image ${image.name} needs`);
  }
}
