/** Every kind with its schema: what the store's parts are checked against, and what `SheafRecord` means for it. */
import type { z } from "zod";
import { ClusterSpec, type ClusterStatus } from "./cluster.ts";
import { HostSpec, type HostStatus } from "./host.ts";
import { ProjectSpec, RoleSpec, TokenSpec, UserSpec } from "./identity.ts";
import { ImageSpec, type ImageStatus } from "./image.ts";
import { NetworkSpec, type NetworkStatus } from "./network.ts";
import { PoolSpec, type PoolStatus } from "./pool.ts";
import type { Kind, SheafRecord } from "./record.ts";
import { TaskSpec, type TaskStatus } from "./task.ts";
import { VmSpec, type VmStatus } from "./vm.ts";
import { VolumeSpec, type VolumeStatus } from "./volume.ts";

export const specSchemas = {
  host: HostSpec,
  cluster: ClusterSpec,
  pool: PoolSpec,
  volume: VolumeSpec,
  image: ImageSpec,
  network: NetworkSpec,
  vm: VmSpec,
  task: TaskSpec,
  project: ProjectSpec,
  user: UserSpec,
  role: RoleSpec,
  token: TokenSpec,
} as const satisfies Record<Kind, z.ZodType>;

type NoStatus = Record<string, never>;
interface StatusOf {
  host: HostStatus;
  cluster: ClusterStatus;
  pool: PoolStatus;
  volume: VolumeStatus;
  image: ImageStatus;
  network: NetworkStatus;
  vm: VmStatus;
  task: TaskStatus;
  project: NoStatus;
  user: NoStatus;
  role: NoStatus;
  token: NoStatus;
}
export type SpecOf<K extends Kind> = z.output<(typeof specSchemas)[K]>;
export type RecordOf<K extends Kind> = SheafRecord<SpecOf<K>, StatusOf[K]>;
export type AnyRecord = { [K in Kind]: RecordOf<K> & { readonly kind: K } }[Kind];

/** Plural nouns of the API, one a kind. */
export const plurals: Readonly<Record<Kind, string>> = {
  host: "hosts",
  cluster: "clusters",
  pool: "pools",
  volume: "volumes",
  image: "images",
  network: "networks",
  vm: "vms",
  task: "tasks",
  project: "projects",
  user: "users",
  role: "roles",
  token: "tokens",
};
