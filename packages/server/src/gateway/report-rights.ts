/**
 * May this agent write this part, now? Pure: a function of the report, the records and what concerns the host. Tested from the view of
 * somebody who holds a stolen certificate: nothing but the own host's observations can be written with it.
 */
import {
  HostObservation,
  ImageOnHost,
  NetworkOnHost,
  partKey,
  PoolOnHost,
  TaskProgress,
  VmObservation,
  VolumeObservation,
  type Kind,
  type RecordOf,
} from "@sheaf/model";
import type { Compare } from "@sheaf/store";
import type { ReportedPart } from "@sheaf/contract";
import type { RecordCache } from "../context.ts";
import { hostsOfVm, recordKey, type HostDocuments } from "./host-documents.ts";

export type Verdict =
  /** `guard` must hold in the store when it is written. */
  | { readonly verdict: "write"; readonly guard: Compare }
  /** `foreign`: the agent had no business there; counted in the audit. */
  | { readonly verdict: "refuse"; readonly why: string; readonly foreign: boolean }
  /** True soon, perhaps: the placement is about to arrive. Looked at again when the record changes. */
  | { readonly verdict: "park" };

const foreign = (why: string): Verdict => ({ verdict: "refuse", why, foreign: true });
const late = (why: string): Verdict => ({ verdict: "refuse", why, foreign: false });

export interface RightsView {
  readonly cache: Pick<RecordCache, "get">;
  readonly documents: Pick<HostDocuments, "concerns">;
}

export function judgeReport(hostId: string, part: ReportedPart, view: RightsView): Verdict {
  switch (part.kind) {
    case "vm":
      return part.part === "status/agent" ? judgeVm(hostId, part, view) : foreign(notYours(part));
    case "volume":
      return part.part === "status/agent" ? judgeVolume(hostId, part, view) : foreign(notYours(part));
    case "host":
      return part.part === "status/agent" && part.id === hostId ? guarded(part, view) : foreign(notYours(part));
    case "task": {
      if (part.part !== "status/agent") return foreign(notYours(part));
      const task = view.cache.get("task", part.id);
      return task && task.spec.host !== hostId ? foreign(`task ${part.id} is not this host's work`) : guarded(part, view);
    }
    case "pool":
    case "network":
    case "image":
      return part.part === `status/hosts/${hostId}` ? guarded(part, view) : foreign(notYours(part));
    default:
      return foreign(notYours(part));
  }
}

const notYours = (part: ReportedPart): string => `${part.part} of a ${part.kind} is not written by this host's agent`;
const absent = (part: ReportedPart): Verdict => late(`there is no ${part.kind} ${part.id}`);

/** The record must still be there when the part is written: a part of its own would outlive it. */
function guarded(part: ReportedPart, { cache }: RightsView): Verdict {
  const record = cache.get(part.kind, part.id);
  return record ? { verdict: "write", guard: { key: partKey(part.kind, part.id, "spec"), modRevision: record.specRevision } } : absent(part);
}

function judgeVm(hostId: string, part: ReportedPart, { cache }: RightsView): Verdict {
  const vm = cache.get("vm", part.id);
  if (!vm) return absent(part);
  const { placement } = vm;
  if (!placement || !hostsOfVm(vm).has(hostId)) return foreign(`machine ${part.id} is not placed on this host`);
  const epoch = epochOf(part.value);
  // What the source says after the epoch has moved on.
  if (placement.host !== hostId && vm.status.migration?.source === hostId) return late(`machine ${part.id} has moved to another host`);
  if (epoch !== null && epoch < placement.epoch)
    return late(`this was seen under epoch ${epoch} of the placement, the present one is ${placement.epoch}`);
  // The target's words, and what was seen under an epoch that this server's cache has not heard of yet.
  if (placement.host !== hostId || (epoch !== null && epoch > placement.epoch)) return { verdict: "park" };
  return { verdict: "write", guard: placementGuard(vm) };
}

function judgeVolume(hostId: string, part: ReportedPart, { cache, documents }: RightsView): Verdict {
  const volume = cache.get("volume", part.id);
  if (!volume) return absent(part);
  if (volume.placement?.host === hostId) return { verdict: "write", guard: placementGuard(volume) };
  return documents.concerns(hostId, recordKey("volume", part.id)) ? { verdict: "park" } : foreign(`volume ${part.id} is not placed on this host`);
}

function epochOf(value: unknown): number | null {
  return typeof value === "object" && value !== null && "epoch" in value && typeof value.epoch === "number" ? value.epoch : null;
}

/** By value: the cache does not know the part's revision. Where the store's text differs for another reason, the writer finds out. */
function placementGuard(record: RecordOf<"vm"> | RecordOf<"volume">): Compare {
  return { key: partKey(record.kind, record.id, "placement"), value: JSON.stringify(record.placement) };
}

const schemas = {
  vm: VmObservation,
  volume: VolumeObservation,
  host: HostObservation,
  task: TaskProgress,
  pool: PoolOnHost,
  network: NetworkOnHost,
  image: ImageOnHost,
} as const;

/** UTF-8. A host with hundreds of devices has more to tell; both stay below the store's limit of 256 KiB. */
export const reportedValueBytes = { host: 192 * 1024, others: 64 * 1024 } as const;

/** @returns why the value cannot be taken, or `null`. A value that says it comes from another host is not taken either. */
export function valueProblem(kind: Kind, hostId: string, value: unknown, json: string): string | null {
  const bytes = Buffer.byteLength(json);
  const limit = kind === "host" ? reportedValueBytes.host : reportedValueBytes.others;
  if (bytes > limit) return `the value has ${bytes} bytes, at most ${limit} are kept`;
  if (!Object.hasOwn(schemas, kind)) return `a ${kind} has no such part`;
  const result = schemas[kind as keyof typeof schemas].safeParse(value); // `hasOwn` has just said so
  if (!result.success) {
    const issue = result.error.issues[0];
    return `the value is malformed at ${issue?.path.join(".") ?? "?"}: ${issue?.message ?? ""}`;
  }
  const says = (kind === "vm" || kind === "volume") && typeof value === "object" && value !== null && "host" in value ? value.host : hostId;
  return says === hostId ? null : "the value says that it comes from another host";
}

/** The value that the cache has of a part; `undefined` where there is none. */
export function presentValue(cache: Pick<RecordCache, "get">, part: ReportedPart): unknown {
  const record = cache.get(part.kind, part.id);
  if (!record) return undefined;
  const [, first = "", second] = part.part.split("/");
  const status = (record.status as Record<string, unknown>)[first];
  if (second === undefined) return status;
  return typeof status === "object" && status !== null ? (status as Record<string, unknown>)[second] : undefined;
}
