/**
 * The envelope every record has, and how one document is cut into parts in the store: each part
 * has one writer and its own revision, so a flood of status never makes an operator's change fail.
 */
import { z } from "zod";
import { DisplayName, Labels, Name, RecordId, Timestamp } from "./fields.ts";
import { PlacedGpu, PlacedPciDevice } from "./passthrough.ts";
import { NumaPlacement } from "./numa.ts";

export const kinds = ["host", "cluster", "pool", "volume", "image", "network", "vm", "task", "project", "user", "role", "token"] as const;
export type Kind = (typeof kinds)[number];

/** Kinds that belong to a project; the others stand above projects. */
export const projectKinds = ["volume", "image", "network", "vm", "task"] as const satisfies readonly Kind[];
export type ProjectKind = (typeof projectKinds)[number];
export const isProjectKind = (kind: Kind): kind is ProjectKind => (projectKinds as readonly Kind[]).includes(kind); // widened to search with any kind

/** What the user's part holds besides the spec. Stored records are read kindly: unknown fields are kept. */
export const RecordHead = z.looseObject({
  kind: z.enum(kinds),
  id: RecordId,
  name: Name,
  /** Id of the project; absent on kinds above projects. */
  project: z.string().optional(),
  displayName: DisplayName.optional(),
  labels: Labels,
  /** Grows by one at every change of the spec that asks for something. */
  generation: z.int().min(1),
  createdAt: Timestamp,
  createdBy: z.string(),
  /** Set once; from then on the record only waits for its finalisers. */
  deletedAt: Timestamp.optional(),
  /** Names of what must be released before the record may go; each is removed by the controller that owns it. */
  finalizers: z.array(z.string()),
  /** Short number for machines and images: said aloud, used by Proxmox clients. */
  number: z.int().optional(),
});
export type RecordHead = z.infer<typeof RecordHead>;

/** The value under `r/<kind>/<id>/spec`. */
export type SpecPart<Spec = unknown> = RecordHead & { readonly spec: Spec };

/**
 * A record as controllers, agents and clients see it: assembled from its parts. `status` has one member a writer:
 * `status.agent` for the part `status/agent`; parts kept per host are nested: `status.hosts[hostId]` for `status/hosts/<hostId>`.
 */
export interface SheafRecord<Spec = unknown, Status = Record<string, unknown>> extends RecordHead {
  readonly spec: Spec;
  readonly status: Status;
  readonly placement?: Placement;
  /** Store revision of the newest part. */
  readonly revision: number;
  /** Store revision of the spec part: what `If-Match` compares. */
  readonly specRevision: number;
}

/** Where something runs or lives; sole writer: the placement controller (and migration, by compare-and-set). */
export const Placement = z.looseObject({
  host: RecordId,
  /**
   * Fencing token: grows at every move, never falls. An agent starts a machine only with the newest epoch that the
   * server told it since the host booted.
   */
  epoch: z.int().min(1),
  /** The store's incarnation in which the epoch was given; a restored store starts a new one. */
  incarnation: z.string(),
  /**
   * The task by which the machine was adopted, while it is where it was found: its host's agent takes the domain of this UUID over although it
   * does not carry Sheaf's mark yet. A later placement does not have it.
   */
  adoption: RecordId.optional(),
  /** What of the host it has for itself: nobody else gets these while it is placed here. */
  gpus: z.array(PlacedGpu).optional(),
  pciDevices: z.array(PlacedPciDevice).optional(),
  /** A machine's NUMA cells and physical CPUs on that host. Absent: it floats. A move gives others, a change of the spec may without one: the epoch stays then. */
  numa: NumaPlacement.optional(),
  /** Reasons for the choice, for people. */
  reason: z.string().optional(),
  at: Timestamp,
});
export type Placement = z.infer<typeof Placement>;
