/** What is kept on a machine while it moves (`status/migration`): enough to go on, or back, after a restart of the server. Written by the migration controller alone. */
import { VmMigrationStatus, type ProblemCode, type RecordOf, type VmStatus } from "@sheaf/model";
import { isMigrationState, type MigrationState } from "@sheaf/planning";

export interface MigrationRecord extends NonNullable<VmStatus["migration"]> {
  readonly phase: MigrationState;
  /** Placement's epoch before the move. */
  readonly epoch: number;
  /** Wall clock at which the task was taken up: its deadline counts from here. */
  readonly startedAt: number;
  readonly deadlineMs: number;
  readonly sharedStorage: boolean;
  readonly targetAddress: string;
  /** Disks that are copied along. */
  readonly copyVolumes: readonly { readonly volumeId: string; readonly sizeBytes: number; readonly format: string; readonly image?: string }[];
  readonly bandwidthBytesPerSecond: number;
  readonly maximumDowntimeMs: number;
  readonly autoConverge: boolean;
  readonly postCopy: boolean;
  /** Cookie of the last step, base64, and where the target's QEMU listens. */
  readonly cookie: string;
  readonly uri: string;
  readonly nbdPort?: number;
  /** Why it goes back. */
  readonly problem?: { readonly code: ProblemCode; readonly detail: string; readonly cause?: string; readonly next?: string };
  /** What the source told of the copying. */
  readonly stats?: {
    readonly totalMs: number;
    readonly downtimeMs: number;
    readonly memoryBytes: number;
    readonly diskBytes: number;
    readonly iterations: number;
  };
}

/** @returns `null` where the machine does not move, or its record is of a version that this server does not know */
export function migrationOf(vm: RecordOf<"vm">): MigrationRecord | null {
  const { migration } = vm.status;
  if (!migration || !VmMigrationStatus.safeParse(migration).success || !isMigrationState(migration.phase)) return null;
  return migration as unknown as MigrationRecord; // this package alone writes it
}
