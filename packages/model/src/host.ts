/**
 * A host: one server that runs machines.
 * Parts and writers: `spec` operators · `status/agent` its agent · `status/liveness` the liveness controller · `status/drain` the drain controller · `status/clock`, `status/lease` and `status/return` the
 * agents' gateway · `status/fencing` the fencing controller · `status/maintenance` the maintenance controller · `status/power` the power controller.
 */
import { z } from "zod";
import { AgentInstallation } from "./agent-upgrade.ts";
import { FencingMethod, type HostFencing, type HostLease, type HostReturn } from "./fencing.ts";
import { Bytes, FailureDomain, InterfaceName, IpAddress, Reference, Timestamp } from "./fields.ts";
import { HostGpu, HostPassthrough, HostPciDevice } from "./passthrough.ts";
import { type HostPower, HostPowerSpec, wakeMethods } from "./power.ts";

export const HostSpec = z.strictObject({
  cluster: Reference.default("default"),
  /** `cordoned` takes no new machines; `draining` also moves away those it has. */
  schedulable: z.enum(["open", "cordoned", "draining"]).default("open"),
  /** Remember which machines a drain moves away, and bring them back when the host is open again. Set by `maintain`, cleared by `activate`. */
  maintenance: z.boolean().default(false),
  failureDomain: FailureDomain.default(""),
  /** Kept back for the host itself. */
  reservedMemoryBytes: Bytes.optional(),
  reservedCpus: z.int().min(0).max(4096).optional(),
  /** What this host offers at most, e.g. its share of a lab machine. */
  offeredMemoryBytes: Bytes.optional(),
  offeredCpus: z.int().min(1).max(4096).optional(),
  /** Promised ÷ installed; absent: the cluster's. */
  cpuOvercommit: z.number().min(1).max(64).optional(),
  memoryOvercommit: z.number().min(1).max(4).optional(),
  /** What it draws at evenly spaced loads from idle to full, in watts; absent: estimated from its CPUs. */
  powerWatts: z.array(z.number().min(0).max(100_000)).min(2).max(101).optional(),
  /** Which of the host's networks carry what; absent: the address that the agent dialled from. */
  migrationAddress: IpAddress.optional(),
  managementInterface: InterfaceName.optional(),
  storageInterface: InterfaceName.optional(),
  /** Migrations that may run from or to this host at once. */
  maximumParallelMigrations: z.int().min(1).max(32).default(2),
  /** Which of its devices machines may get for themselves, where that differs from what is usual. */
  passthrough: z
    .array(HostPassthrough)
    .max(64)
    .refine((devices) => new Set(devices.map(({ address }) => address)).size === devices.length, "must name each address once")
    .default([]),
  /** How its power is cut when it is lost, in this order. Empty: only a person can say that it is off. */
  fencing: z
    .array(FencingMethod)
    .max(4)
    .refine((methods) => methods.filter(({ type }) => type === "watchdog").length <= 1, "must have the method watchdog once at most")
    .default([]),
  /** Whether it may sleep, and how it is woken besides the fencing methods that switch its power. */
  power: HostPowerSpec.prefault({}),
});
export type HostSpec = z.infer<typeof HostSpec>;

/**
 * `hardware`: it is armed, and counts as a fence · `software`: the kernel's own (softdog) is armed, and does not count: a hung kernel does not
 * reset itself · `none`: no device could be had; the agent alone stops highly available machines.
 */
export const WatchdogObservation = z.looseObject({
  kind: z.enum(["hardware", "software", "none"]),
  /** As its driver calls it. */
  identity: z.string().optional(),
  device: z.string().optional(),
  timeoutMs: z.int().optional(),
  /** What follows from it, for people. */
  meaning: z.string(),
});
export type WatchdogObservation = z.infer<typeof WatchdogObservation>;

/** What the agent sees. Loose: a newer agent's fields are kept. */
export const HostObservation = z.looseObject({
  hostname: z.string(),
  agentVersion: z.string(),
  /** Changes at every boot of the host. */
  bootId: z.string(),
  bootedAt: Timestamp,
  address: z.string(),
  architecture: z.string(),
  cpu: z.looseObject({
    model: z.string(),
    vendor: z.string(),
    flags: z.array(z.string()),
    sockets: z.int(),
    cores: z.int(),
    threads: z.int(),
    /** Logical CPUs. */
    count: z.int(),
    mhz: z.number(),
  }),
  numa: z.array(
    z.looseObject({
      cell: z.int(),
      cpus: z.array(z.int()),
      /** CPUs that share a core, where some do. */
      siblings: z.array(z.array(z.int())).optional(),
      memoryBytes: Bytes,
      hugepages: z.array(z.looseObject({ sizeBytes: Bytes, count: z.int() })),
    }),
  ),
  memoryBytes: Bytes,
  disks: z.array(z.looseObject({ name: z.string(), sizeBytes: Bytes, rotational: z.boolean(), model: z.string() })),
  interfaces: z.array(
    z.looseObject({
      name: z.string(),
      mac: z.string(),
      mtu: z.int(),
      up: z.boolean(),
      bridge: z.boolean(),
      addresses: z.array(z.string()),
      speedMbit: z.int().optional(),
    }),
  ),
  /** All of them, GPUs too. */
  pciDevices: z.array(HostPciDevice),
  gpus: z.array(HostGpu),
  hypervisor: z.looseObject({
    type: z.enum(["qemu", "xen", "lxc"]),
    libvirtVersion: z.string(),
    qemuVersion: z.string(),
    /** False where QEMU emulates: guests run, some 20 times slower. */
    accelerated: z.boolean(),
    machineTypes: z.array(z.string()),
    cpuModels: z.array(z.string()),
    uefi: z.boolean(),
    secureBoot: z.boolean(),
    tpm: z.boolean(),
  }),
  /** How the agent lies on the host; absent: an agent that knows nothing of upgrades. */
  installation: AgentInstallation.optional(),
  /** Domains that Sheaf did not make: shown, never touched. */
  unmanaged: z.array(z.looseObject({ uuid: z.string(), name: z.string(), state: z.string() })),
  /** There where its document has the fencing method `watchdog`. */
  watchdog: WatchdogObservation.optional(),
  /** What is wrong now (libvirtd does not answer, disk nearly full), for people. */
  problems: z.array(z.string()),
});
export type HostObservation = z.infer<typeof HostObservation>;

export const HostLiveness = z.looseObject({
  /** `asleep`: silent because it was put to sleep. */
  state: z.enum(["joining", "ready", "unreachable", "asleep"]),
  /** When `state` last changed. */
  since: Timestamp,
  reason: z.string(),
  /** Unreachable: when it was heard last, where this server knows. */
  heardAt: Timestamp.optional(),
});
export type HostLiveness = z.infer<typeof HostLiveness>;

export const HostDrain = z.looseObject({ remaining: z.int(), stuck: z.array(z.looseObject({ vm: z.string(), why: z.string() })), done: z.boolean() });
export type HostDrain = z.infer<typeof HostDrain>;

/** What a host in maintenance gets back afterwards. There from the begin of maintenance until the return of its machines has ended. */
export const HostMaintenance = z.looseObject({
  state: z.enum(["emptying", "returning"]),
  since: Timestamp,
  machines: z.array(
    z.looseObject({
      vm: z.string(),
      /** Epoch of its placement when it had left; absent: it is still here. With another one it has been moved again since, and stays there. */
      epoch: z.int().optional(),
    }),
  ),
  /** Those that will not come back, with why. */
  stay: z.array(z.looseObject({ vm: z.string(), why: z.string() })),
});
export type HostMaintenance = z.infer<typeof HostMaintenance>;

/** There only while the host's clock is off by more than the server tolerates; written by the server that its agent is connected to. */
export const HostClock = z.looseObject({
  /** Positive: the host's clock is ahead. */
  skewMs: z.int(),
  at: Timestamp,
});
export type HostClock = z.infer<typeof HostClock>;

export interface HostStatus {
  readonly clock?: HostClock;
  readonly agent?: HostObservation;
  readonly liveness?: HostLiveness;
  readonly drain?: HostDrain;
  readonly fencing?: HostFencing;
  readonly lease?: HostLease;
  readonly return?: HostReturn;
  readonly maintenance?: HostMaintenance;
  readonly power?: HostPower;
}

/** The one table of what is allowed when. */
const allowed = {
  cordon: { open: true, cordoned: "it is cordoned already", draining: true },
  drain: { open: true, cordoned: true, draining: "it is being drained already" },
  maintain: { open: true, cordoned: true, draining: true },
  activate: { open: "it is open already", cordoned: true, draining: true },
} as const satisfies Record<string, Record<HostSpec["schedulable"], true | string>>;
export type HostAction = keyof typeof allowed;

/** @returns `null` where `action` is allowed, else the reason in words a person understands. */
export function hostRefusal(action: HostAction, spec: HostSpec): string | null {
  if (action === "maintain" && spec.maintenance && spec.schedulable === "draining") return "it is in maintenance already";
  const answer = allowed[action][spec.schedulable];
  return answer === true ? null : answer;
}

export type PowerAction = "sleep" | "wake";

/** @returns `null` where a person may ask for it, as far as the host itself goes; else why not */
export function powerRefusal(action: PowerAction, spec: HostSpec, status: HostStatus): string | null {
  const state = status.power?.state;
  if (action === "wake") {
    if (state === undefined || state === "falling-asleep")
      return state === undefined ? "it is awake" : "it is falling asleep: ask again when it sleeps";
    return state === "waking" ? "it is being woken already" : null;
  }
  if (state === "falling-asleep" || state === "asleep") return "it is asleep already";
  if (state !== undefined) return `it is ${state}`;
  if (status.liveness?.state !== "ready") return "its agent is not heard: what it runs is not known";
  if (spec.power?.sleep === "never") return "its spec says that it never sleeps (power.sleep)";
  return wakeMethods(spec).length === 0 ? "there is no way to wake it: it has no fencing method that switches power, and no power.wakeOnLan" : null;
}

export type FenceAction = "fence" | "confirm-off";

/** @returns `null` where a person may have the host's power cut, or may say that it is off; else why not */
export function fenceRefusal(action: FenceAction, status: HostStatus): string | null {
  if (status.fencing?.state === "fenced") return `it is known to be off already: ${status.fencing.reason}`;
  if (status.liveness?.state === "unreachable") return null;
  if (status.liveness?.state === "asleep") return `it is asleep: nothing runs there (\`sheaf host wake\` turns it on)`;
  return action === "fence"
    ? "it is connected: drain it, then shut it down"
    : "its agent is connected, so it is not off: its machines would run twice";
}

/** Memory and CPUs a host may promise, before overcommit. The default reserve: 5 % of memory, at least 512 MiB, at most a quarter. */
export function hostOffer(spec: HostSpec, seen: HostObservation): { cpus: number; memoryBytes: number } {
  const reserve = spec.reservedMemoryBytes ?? Math.min(seen.memoryBytes / 4, Math.max(seen.memoryBytes * 0.05, 512 * 2 ** 20));
  const memory = Math.max(0, Math.floor(seen.memoryBytes - reserve));
  const cpus = Math.max(0, seen.cpu.count - (spec.reservedCpus ?? 0));
  return { cpus: Math.min(cpus, spec.offeredCpus ?? cpus), memoryBytes: Math.min(memory, spec.offeredMemoryBytes ?? memory) };
}
