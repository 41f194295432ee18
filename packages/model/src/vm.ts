/**
 * A machine. Parts and writers: `spec` users · `placement` the placement controller, and migration by compare-and-set ·
 * `status/placement` the placement controller · `status/agent` the agent of the host it is placed on · `status/migration` the migration controller ·
 * `status/failover` the fail-over controller · `status/order` the start-order controller ·
 * `status/yield` and `status/claim` the preemption controller · `status/numa` the NUMA controller.
 */
import { z } from "zod";
import { CpuModel } from "./cluster.ts";
import { Bytes, IpAddress, LabelKey, LabelValue, MacAddress, Name, Reference, Timestamp } from "./fields.ts";
import { VmGpus, VmPciDevice } from "./passthrough.ts";
import { CpuPlacement, NumaPlacement } from "./numa.ts";
import { PlacementPolicy } from "./placement-policy.ts";
import { Gang, GroupRule, Neighbours } from "./placement-rules.ts";

const Rate = z
  .int()
  .min(0)
  .max(2 ** 50);

/** Limits of one disk; 0 or absent: none. Bursts last at most `burstMs` (libvirt's iotune). Changed live. */
export const DiskLimits = z
  .strictObject({
    readBytesPerSecond: Rate.optional(),
    writeBytesPerSecond: Rate.optional(),
    totalBytesPerSecond: Rate.optional(),
    readOperationsPerSecond: Rate.optional(),
    writeOperationsPerSecond: Rate.optional(),
    totalOperationsPerSecond: Rate.optional(),
    burstBytesPerSecond: Rate.optional(),
    burstOperationsPerSecond: Rate.optional(),
    burstMs: z.int().min(1000).max(3_600_000).optional(),
  })
  .refine(
    (limits) => !(limits.totalBytesPerSecond && (limits.readBytesPerSecond || limits.writeBytesPerSecond)),
    "total bytes/s cannot be combined with read or write bytes/s",
  )
  .refine(
    (limits) => !(limits.totalOperationsPerSecond && (limits.readOperationsPerSecond || limits.writeOperationsPerSecond)),
    "total operations/s cannot be combined with read or write operations/s",
  );
export type DiskLimits = z.infer<typeof DiskLimits>;

/** A disk of a machine. In a request either `volume` names an existing volume, or the other fields describe the one to make; stored, `volume` is always set. */
export const VmDisk = z.strictObject({
  name: Name,
  volume: Reference.optional(),
  image: Reference.optional(),
  clone: z.enum(["linked", "full"]).default("linked"),
  pool: Reference.optional(),
  /** Absent: the image's virtual size. */
  sizeBytes: Bytes.min(2 ** 20)
    .max(2 ** 46)
    .refine((size) => size % 512 === 0, "must be a multiple of 512")
    .optional(),
  bus: z.enum(["virtio", "scsi", "sata"]).default("virtio"),
  cache: z.enum(["none", "writeback", "writethrough", "directsync", "unsafe"]).default("none"),
  io: z.enum(["threads", "native", "io_uring"]).default("threads"),
  discard: z.boolean().default(true),
  readOnly: z.boolean().default(false),
  limits: DiskLimits.optional(),
  /** Deleted with the machine; false: stays as a detached volume. */
  deleteWithVm: z.boolean().default(true),
});
export type VmDisk = z.infer<typeof VmDisk>;

export const VmCdrom = z.strictObject({
  name: Name,
  image: Reference.nullable().describe("null: drive without a medium"),
  bus: z.enum(["sata", "scsi"]).default("sata"),
});
export type VmCdrom = z.infer<typeof VmCdrom>;

export const VmNic = z.strictObject({
  name: Name,
  network: Reference,
  /** Absent in a request: Sheaf chooses one that is unique in the site. */
  mac: MacAddress.optional(),
  /** Absent in a request: one free address of each subnet with a range. `[]`: none. */
  addresses: z.array(IpAddress).max(8).optional(),
  model: z.enum(["virtio", "e1000e", "e1000", "rtl8139"]).default("virtio"),
  queues: z.int().min(1).max(64).default(1),
  connected: z.boolean().default(true),
});
export type VmNic = z.infer<typeof VmNic>;

const gib = 2 ** 30;

/** What a machine waits for before it is started again, and for how long at most. Machines that are not to run are not waited for. */
export const RestartAfter = z.strictObject({
  /** Of the same project. Stored as ids; one that was deleted since is not waited for. */
  machines: z.array(Reference).min(1).max(16),
  /** `guest-answers`: its guest's agent has answered since its start; of machines without `guestAgent` the same as `running`. */
  condition: z.enum(["running", "guest-answers"]).default("running"),
  /** Counted from when its host was cut off, or had booted. Then it is started whatever the others do. */
  maximumWaitMs: z.int().min(1000).max(3_600_000).default(300_000),
});
export type RestartAfter = z.infer<typeof RestartAfter>;

export const VmSpec = z.strictObject({
  power: z.enum(["running", "stopped", "paused"]).default("running"),
  /** Grows with every start that is asked for: a machine that shut itself down starts again only when this grew. Set by the server. */
  startRequest: z.int().min(0).default(0),
  cpu: z
    .strictObject({
      /** vCPUs the guest sees now. */
      count: z.int().min(1).max(512).default(1),
      /** vCPUs that may be plugged in live; absent: `count`. */
      maximum: z.int().min(1).max(512).optional(),
      /** sockets × cores × threads must be `maximum` (or `count`). Absent: one socket. */
      topology: z.strictObject({ sockets: z.int().min(1).max(64), cores: z.int().min(1).max(256), threads: z.int().min(1).max(8) }).optional(),
      model: z.union([z.enum(["cluster-baseline", "host-passthrough", "host-model"]), CpuModel]).default("cluster-baseline"),
      /** Relative weight under contention, 100 = normal. */
      shares: z.int().min(2).max(10_000).optional(),
      /** Limit in thousandths of a CPU for the whole machine. */
      limitMillicores: z.int().min(10).max(512_000).optional(),
      /** Of it: never promised to anybody else, whatever is overcommitted. Kept by placement; under contention `shares` decide. */
      reservationMillicores: z.int().min(0).max(512_000).optional(),
      /** Where on its host its vCPUs run. Absent: as near to its memory as there is room. */
      placement: CpuPlacement.optional(),
    })
    .prefault({})
    .refine((cpu) => (cpu.maximum ?? cpu.count) >= cpu.count, { path: ["maximum"], message: "must be at least count" })
    .refine((cpu) => !cpu.topology || cpu.topology.sockets * cpu.topology.cores * cpu.topology.threads === (cpu.maximum ?? cpu.count), {
      path: ["topology"],
      message: "sockets × cores × threads must equal the number of vCPUs (maximum)",
    })
    .refine((cpu) => (cpu.reservationMillicores ?? 0) <= Math.min(cpu.count * 1000, cpu.limitMillicores ?? Number.POSITIVE_INFINITY), {
      path: ["reservationMillicores"],
      message: "must exceed neither the vCPUs nor the limit",
    }),
  memory: z
    .strictObject({
      bytes: Bytes.min(16 * 2 ** 20, "at least 16 MiB")
        .max(16 * 1024 * gib, "at most 16 TiB")
        .refine((bytes) => bytes % 2 ** 20 === 0, "must be whole MiB")
        .default(gib),
      /** The balloon may take the guest down to this; absent: never. */
      minimumBytes: Bytes.min(16 * 2 ** 20)
        .refine((bytes) => bytes % 2 ** 20 === 0, "must be whole MiB")
        .optional(),
      /** Ceiling for live growth; absent: `bytes`. */
      maximumBytes: Bytes.max(16 * 1024 * gib)
        .refine((bytes) => bytes % 2 ** 20 === 0, "must be whole MiB")
        .optional(),
      hugepages: z.boolean().default(false),
      /** Of `bytes`: never promised to anybody else, whatever is overcommitted. Huge pages are reserved anyway. */
      reservedBytes: Bytes.optional(),
    })
    .prefault({})
    .refine((memory) => (memory.minimumBytes ?? 0) <= memory.bytes, { path: ["minimumBytes"], message: "must not exceed bytes" })
    .refine((memory) => (memory.maximumBytes ?? memory.bytes) >= memory.bytes, { path: ["maximumBytes"], message: "must be at least bytes" })
    .refine((memory) => (memory.reservedBytes ?? 0) <= memory.bytes, { path: ["reservedBytes"], message: "must not exceed bytes" }),
  machineType: z.enum(["q35", "pc"]).default("q35"),
  firmware: z
    .strictObject({ type: z.enum(["bios", "uefi"]).default("bios"), secureBoot: z.boolean().default(false), tpm: z.boolean().default(false) })
    .prefault({})
    .refine((firmware) => !firmware.secureBoot || firmware.type === "uefi", { path: ["secureBoot"], message: "needs firmware type uefi" }),
  bootOrder: z
    .array(z.enum(["disk", "cdrom", "network"]))
    .min(1)
    .max(3)
    .default(["disk", "cdrom"]),
  disks: z.array(VmDisk).max(24).default([]),
  cdroms: z.array(VmCdrom).max(4).default([]),
  nics: z.array(VmNic).max(16).default([]),
  /** GPUs for itself, whole ones or a slice of one. Chosen when it is placed, released when it is deleted or moves. */
  gpus: VmGpus.optional(),
  /** Other PCI devices for itself. */
  pciDevices: z
    .array(VmPciDevice)
    .max(8)
    .refine((wishes) => wishes.reduce((sum, { count }) => sum + count, 0) <= 16, "must be 16 devices at most")
    .optional(),
  /** Told to the guest by a NoCloud seed. */
  cloudInit: z
    .strictObject({
      /** False: the guest is shown no seed. So it is with adopted machines, whose cloud-init would take a new seed for a new machine. */
      seed: z.boolean().optional(),
      hostname: Name.optional(),
      /** Kept encrypted; never shown again. At most 16 KiB. */
      userData: z.string().max(16_384).optional(),
      sshAuthorizedKeys: z
        .array(
          z
            .string()
            .max(2000)
            .regex(
              /^(ssh-(rsa|ed25519)|ecdsa-sha2-nistp(256|384|521)|sk-[a-z0-9@.-]+) [A-Za-z0-9+/=]+( [^\r\n]*)?$/,
              "must be one line of an OpenSSH public key",
            ),
        )
        .max(32)
        .default([]),
      /** Kept encrypted; never shown again. */
      password: z
        .string()
        .min(1)
        .max(128)
        .regex(/^[\x20-\x7e]+$/, "must be printable ASCII")
        .optional(),
    })
    .prefault({}),
  graphics: z.enum(["vnc", "none"]).default("vnc"),
  guestAgent: z.boolean().default(true),
  /** 0 … 1000; higher is placed and restarted first. */
  priority: z.int().min(0).max(1000).default(100),
  placement: z
    .strictObject({
      cluster: Reference.optional(),
      /** Must run on this host. */
      host: Reference.optional(),
      /** Host labels that must match. */
      hostSelector: z.record(LabelKey, LabelValue).default({}),
      /** Machines with the same `together` value share a host; those with the same `apart` value never do. */
      together: Name.optional(),
      apart: Name.optional(),
      /** Groups by host, rack or zone, with limits, as a rule or a preference. */
      rules: z.array(GroupRule).max(8).optional(),
      gang: Gang.optional(),
      neighbours: Neighbours.optional(),
      /** One of the cluster's `machineClasses`: its own overcommit ratios. */
      class: Name.optional(),
      /** Names of the cluster's `licences` that it needs. */
      licences: z.array(Name).max(8).optional(),
      /** It may be stopped for a more important machine that fits nowhere, and is started again when there is room. */
      preemptible: z.boolean().optional(),
      /** Balancing leaves it where it is. */
      settled: z.boolean().optional(),
      /** How its host is chosen among those that fit; absent: the cluster's policy. */
      policy: PlacementPolicy.optional(),
    })
    .prefault({}),
  restart: z
    .strictObject({
      onGuestShutdown: z.enum(["stay", "restart", "delete"]).default("stay"),
      onCrash: z.enum(["restart", "stay"]).default("restart"),
      /** A guest whose agent answered since its start and does not for `hangAfterMs` is reset. Needs `guestAgent`. */
      onHang: z.enum(["ignore", "restart"]).default("ignore"),
      hangAfterMs: z.int().min(5000).max(3_600_000).default(60_000),
      /** Tries within ten minutes before it is left as failed. */
      maximumTries: z.int().min(1).max(100).default(3),
      delayMs: z.int().min(0).max(3_600_000).default(1000),
      /** Started after these machines when a host of it was lost or has booted. */
      after: RestartAfter.optional(),
    })
    .prefault({}),
  highlyAvailable: z.boolean().default(false),
  stopGraceMs: z.int().min(0).max(3_600_000).default(60_000),
  /** Instead of it for the stop that was asked for last, where that named another. Set by the server. */
  stopGraceOnceMs: z.int().min(0).max(3_600_000).optional(),
  protected: z.boolean().default(false),
});
export type VmSpec = z.infer<typeof VmSpec>;

export const vmAgentStates = ["preparing", "stopped", "starting", "running", "paused", "stopping", "incoming", "crashed", "failed", "gone"] as const;

export const VmObservation = z.looseObject({
  state: z.enum(vmAgentStates),
  /** Epoch under which this was seen: an older host's words about a moved machine are told apart. */
  epoch: z.int(),
  host: z.string(),
  bootId: z.string(),
  observedGeneration: z.int(),
  since: Timestamp,
  /** Why it is in this state, for people. */
  reason: z.string().optional(),
  /** Who stopped it: a stop by the guest itself is not fought. */
  stoppedBy: z.enum(["user", "guest", "crash", "host"]).optional(),
  /** `startRequest` that was last acted on. */
  startRequestSeen: z.int(),
  startedAt: Timestamp.optional(),
  /** When and by whom it was ended before it last started, or a hung guest went silent: for accounts of what happened unseen. */
  lastEnd: z.looseObject({ at: Timestamp, by: z.enum(["user", "guest", "crash", "host", "hang"]) }).optional(),
  restarts: z.int(),
  /** Its latest states, oldest first: what happened while its host was cut off is told here. Times are the host's. */
  history: z.array(z.looseObject({ at: Timestamp, state: z.enum(vmAgentStates), reason: z.string().optional() })).optional(),
  /** Spec changes that wait for the next start, each as a sentence. */
  pendingChanges: z.array(z.string()),
  /** What went wrong and what to do; set together with `failed`, and kept while a retry is under way. */
  problem: z.string().optional(),
  /** It would be started now, but for the machines that it is to be started after (`restart.after`): it waits for `status.order`. */
  awaitsTurn: z.boolean().optional(),
  /** `since` of the `status.yield` that it acts on. */
  gaveWay: Timestamp.optional(),
  guestAgent: z.looseObject({ connected: z.boolean(), addresses: z.array(z.string()).optional(), hostname: z.string().optional() }).optional(),
  vcpus: z.int().optional(),
  memoryBytes: Bytes.optional(),
  accelerated: z.boolean().optional(),
});
export type VmObservation = z.infer<typeof VmObservation>;

export const VmPlacementStatus = z.looseObject({
  /** Present while it fits nowhere: `no host fits: 2 lack memory (largest free 1.2 GiB), 1 is cordoned`. */
  pending: z.looseObject({ reason: z.string(), since: Timestamp }).optional(),
});

export const VmMigrationStatus = z.looseObject({
  task: z.string(),
  /** Name of the state in planning's migration table. */
  phase: z.string(),
  source: z.string(),
  target: z.string(),
  /** Its NUMA cells on either: taken on both until the move has ended. */
  sourceNuma: NumaPlacement.optional(),
  targetNuma: NumaPlacement.optional(),
  since: Timestamp,
});

/** What became of a highly available machine whose host was lost. Written by the fail-over controller alone. */
export const VmFailover = z.looseObject({
  state: z.enum(["waiting", "moved"]),
  /** The host that was lost. */
  from: z.string(),
  to: z.string().optional(),
  reason: z.string(),
  since: Timestamp,
  task: z.string().optional(),
  /** Waiting: ids of the machines that are to be started first (`restart.after`). */
  waitsFor: z.array(z.string()).optional(),
});
export type VmFailover = z.infer<typeof VmFailover>;

/**
 * Whether a machine whose host has booted may be started as far as `restart.after` goes. Counts for that boot and placement alone.
 * Written by the start-order controller alone; its host's agent reads it.
 */
export const VmOrder = z.looseObject({
  state: z.enum(["waiting", "go"]),
  bootId: z.string(),
  epoch: z.int(),
  reason: z.string(),
  since: Timestamp,
  waitsFor: z.array(z.string()),
});
export type VmOrder = z.infer<typeof VmOrder>;

/**
 * It is to stop, and not to run, until there is room again: it gave way to a more important machine. Counts for that placement alone.
 * Written by the preemption controller alone; its host's agent reads it.
 */
export const VmYield = z.looseObject({
  epoch: z.int(),
  /** Id of the machine it gave way to. */
  to: z.string(),
  reason: z.string(),
  since: Timestamp,
});
export type VmYield = z.infer<typeof VmYield>;

/** Room on a host that others were asked to give way for. It is kept for this machine until it is placed. Written by the preemption controller alone. */
export const VmClaim = z.looseObject({
  host: z.string(),
  /** Ids. */
  victims: z.array(z.string()),
  /** `waits on h3 until a, b have given way` */
  reason: z.string(),
  since: Timestamp,
});
export type VmClaim = z.infer<typeof VmClaim>;

/** There while its host has no room for the cells or CPUs that it asks for since it was placed: it stays as it is. Written by the NUMA controller alone. */
export const VmNumaStatus = z.looseObject({ reason: z.string(), since: Timestamp });

export interface VmStatus {
  readonly yield?: VmYield;
  readonly claim?: VmClaim;
  readonly numa?: z.infer<typeof VmNumaStatus>;
  readonly order?: VmOrder;
  readonly failover?: VmFailover;
  readonly agent?: VmObservation;
  readonly placement?: z.infer<typeof VmPlacementStatus>;
  readonly migration?: z.infer<typeof VmMigrationStatus>;
}

/** What must be released before a machine's record goes. */
export const vmFinalizers = ["domain", "volumes"] as const;
