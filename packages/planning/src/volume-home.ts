/**
 * On which host a volume is made and held: with its machine, else where its pool and its source say, else where there is room. Called by the
 * placement controller. Pure.
 */
import type { RecordOf } from "@sheaf/model";
import type { PlacementRequest } from "@sheaf/scheduling";

export interface VolumeHomeInput {
  readonly volume: RecordOf<"volume">;
  /** The machine that has it as a disk. */
  readonly owner: RecordOf<"vm"> | undefined;
  readonly pool: RecordOf<"pool"> | undefined;
  /** The volume it is copied from. */
  readonly original: RecordOf<"volume"> | undefined;
  /** Whether the host it is placed on still has a record. */
  readonly hostExists: boolean;
}

export type VolumeHome =
  /** What stands is right, or others decide. */
  | { readonly do: "nothing" }
  | { readonly do: "put"; readonly host: string; readonly reason: string }
  | { readonly do: "place"; readonly request: PlacementRequest };

const nothing: VolumeHome = { do: "nothing" };

export function planVolumeHome({ volume, owner, pool, original, hostExists }: VolumeHomeInput): VolumeHome {
  if (volume.deletedAt !== undefined) return nothing;
  const here = volume.placement?.host;
  const shared = pool?.spec.type === "shared";
  if (owner) {
    // With a machine that has no host yet it is placed together; one on the move takes its disks along.
    const home = owner.placement?.host;
    if (home === undefined || owner.status.migration !== undefined || here === home) return nothing;
    // What lies on another host alone cannot follow: the machine's agent says so.
    return here === undefined || shared ? { do: "put", host: home, reason: `with machine ${owner.name}` } : nothing;
  }
  if (here !== undefined && (hostExists || !shared)) return nothing;
  const pinnedTo = shared ? undefined : (volume.spec.host ?? original?.placement?.host);
  return {
    do: "place",
    request: {
      vm: volume.id,
      name: volume.name,
      priority: 100,
      cpus: 0,
      memoryBytes: 0,
      hugepages: false,
      cpuModel: "host-passthrough",
      machineType: "q35",
      uefi: false,
      secureBoot: false,
      tpm: false,
      ...(volume.spec.host === undefined ? {} : { host: volume.spec.host }),
      hostSelector: {},
      networks: [],
      volumes: [{ volume: volume.id, pool: volume.spec.pool, sizeBytes: volume.spec.sizeBytes, ...(pinnedTo === undefined ? {} : { pinnedTo }) }],
      unknownVolumes: [],
      rules: [],
      licences: [],
    },
  };
}

/**
 * Requests of one shape fit or do not fit together, on any snapshot: where one was refused the others need not be tried.
 * @returns `null` where the answer also depends on which machine asks (groups, disks that exist already)
 */
export function shapeOf(request: PlacementRequest): string | null {
  if (request.together !== undefined || request.apart !== undefined || request.unknownVolumes.length > 0) return null;
  if (request.volumes.some((need) => need.pinnedTo !== undefined)) return null;
  const { vm: _vm, name: _name, priority: _priority, volumes, ...rest } = request;
  return JSON.stringify([rest, volumes.map((need) => [need.pool, need.sizeBytes]).toSorted()]);
}
