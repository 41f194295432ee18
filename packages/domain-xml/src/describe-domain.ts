/**
 * From a machine's spec to the description of its domain. Called by the agent before it defines, and whenever it compares a
 * running domain with what is wanted. Combinations that libvirt refuses are turned into the nearest that works; each says so here.
 */
import { SheafError, type VmSpec } from "@sheaf/model";
import { cdromAlias, diskAlias, diskSerial, domainName, nicAlias, seedAlias } from "./device-names.ts";
import type {
  BootOrder,
  CdromDescription,
  CpuDescription,
  CpuTune,
  DiskDescription,
  DomainDescription,
  FirmwareDescription,
  NicDescription,
} from "./domain-description.ts";
import type { DiskInput, DomainHost, DomainInput, NicInput } from "./domain-input.ts";
import { DiskSlots } from "./disk-slots.ts";

/**
 * @param previous the domain as it is defined now: its name, UUID (an adopted one's is not the
 * machine's id), disk names and bus addresses are kept, so that a device added or removed does not rename the guest's others
 * @throws SheafError `invalid-input` for a spec that is no stored one (NIC without MAC)
 */
export function describeDomain(input: DomainInput, previous?: DomainDescription): DomainDescription {
  const { vm, host, epoch, incarnation } = input;
  const { spec } = vm;
  const { memory } = spec;
  // Secure Boot needs System Management Mode, which only q35 has.
  const machineType = spec.firmware.secureBoot ? "q35" : spec.machineType;
  const kept = previous !== undefined && machineFamily(previous.machineType) === machineType ? previous : undefined;
  const slots = new DiskSlots(kept);
  const disks = input.disks.map((disk) => describeDisk(disk, slots));
  const cdroms: CdromDescription[] = input.cdroms.map(({ cdrom, path }) => {
    const alias = cdromAlias(cdrom.name);
    return { alias, bus: cdrom.bus, path, ...slots.take(cdrom.bus, alias) };
  });
  // virtio-scsi: small Linux guests carry its driver along with their disk's, AHCI's not always.
  if (input.seedPath !== null) cdroms.push({ alias: seedAlias, bus: "scsi", path: input.seedPath, ...slots.take("scsi", seedAlias) });
  const nics = input.nics.map((nic) => describeNic(nic, kept));
  const boot = [...new Set(spec.bootOrder)];
  const booted = bootOrders(boot, disks, cdroms, nics);
  const cpu = spec.cpu.model === "cluster-baseline" ? host.cpuBaseline : spec.cpu.model;
  return {
    type: host.accelerated ? "kvm" : "qemu",
    name: previous?.name ?? domainName(vm),
    uuid: previous?.uuid ?? vm.id,
    machine: { id: vm.id, epoch, incarnation, generation: vm.generation, cpu, boot },
    memory: {
      bytes: memory.bytes,
      currentBytes: memory.bytes,
      ...(memory.maximumBytes !== undefined && memory.maximumBytes > memory.bytes ? { maximumBytes: memory.maximumBytes } : {}),
      hugepages: memory.hugepages,
      modules: 0,
    },
    vcpus: { current: spec.cpu.count, maximum: spec.cpu.maximum ?? spec.cpu.count },
    cpu: describeCpu(spec, host, input.binding?.guestCells.length ?? 0),
    tune: describeTune(spec, host),
    // The version with it: another one is another motherboard to the guest.
    machineType: kept?.machineType ?? machineType,
    firmware: describeFirmware(spec, host, previous?.firmware.variables ?? input.paths.nvram),
    tpm: spec.firmware.tpm ? (spec.firmware.type === "uefi" ? "tpm-crb" : "tpm-tis") : null,
    boot,
    ...booted,
    hostDevices: input.hostDevices ?? [],
    ...(input.paths.serialLog === undefined ? {} : { serialLog: input.paths.serialLog }),
    graphics: spec.graphics,
    guestAgent: spec.guestAgent,
    ...(host.emulator === undefined ? {} : { emulator: host.emulator }),
    ...(input.binding === undefined ? {} : { binding: input.binding }),
    foreign: [],
  };
}

/** `pc-q35-7.2` → `q35`, `pc-i440fx-7.2` → `pc`; anything else stays. */
export function machineFamily(machineType: string): string {
  if (machineType.startsWith("pc-q35")) return "q35";
  return machineType.startsWith("pc-i440fx") ? "pc" : machineType;
}

/** @param guestCells NUMA cells that the guest sees, where more than one */
function describeCpu(spec: VmSpec, host: DomainHost, guestCells: number): CpuDescription {
  const { model, topology } = spec.cpu;
  const count = spec.cpu.maximum ?? spec.cpu.count;
  // No socket lies in two cells: guests would not believe it.
  const sockets = guestCells === 0 ? 1 : count % guestCells === 0 ? guestCells : count;
  const shape = { topology: topology ?? { sockets, cores: count / sockets, threads: 1 } };
  if (model === "host-passthrough" || model === "host-model") return { mode: host.accelerated ? model : "maximum", ...shape };
  return { mode: "custom", model: model === "cluster-baseline" ? host.cpuBaseline : model, ...shape };
}

/** Length of the scheduler's period for CPU limits, µs. */
const periodUs = 100_000;

/** The kernel's weight of a machine that asks for none, by version of control groups; a spec's 100. */
export const normalShares = { 1: 1024, 2: 100 } as const;

function describeTune(spec: VmSpec, host: DomainHost): CpuTune {
  const { shares, limitMillicores } = spec.cpu;
  return {
    ...(shares === undefined ? {} : { shares: Math.round((shares * normalShares[host.cgroupVersion]) / 100) }),
    ...(limitMillicores === undefined ? {} : { quotaUs: (limitMillicores * periodUs) / 1000, periodUs }),
  };
}

/** @param nvram where the variables lie: an adopted machine's stay where they were, with its boot entries and keys */
function describeFirmware(spec: VmSpec, host: DomainHost, nvram: string): FirmwareDescription {
  const { type, secureBoot } = spec.firmware;
  if (type === "bios") return { type, secureBoot: false };
  const code = secureBoot ? host.firmware?.secureCode : host.firmware?.code;
  const template = secureBoot ? host.firmware?.secureVariablesTemplate : host.firmware?.variablesTemplate;
  return {
    type,
    secureBoot,
    ...(code === undefined || template === undefined ? {} : { code, variablesTemplate: template }),
    variables: nvram,
  };
}

function describeDisk({ disk, path, format }: DiskInput, slots: DiskSlots): DiskDescription {
  const alias = diskAlias(disk.name);
  // libvirt has no read-only SATA disks.
  const bus = disk.readOnly && disk.bus === "sata" ? "scsi" : disk.bus;
  const uncached = disk.cache === "none" || disk.cache === "directsync";
  const serial = disk.volume === undefined ? undefined : diskSerial(disk.volume);
  return {
    alias,
    bus,
    path,
    format,
    cache: disk.cache,
    // QEMU has native asynchronous I/O only past the page cache.
    io: disk.io === "native" && !uncached ? "threads" : disk.io,
    discard: disk.discard,
    readOnly: disk.readOnly,
    ...(serial === undefined ? {} : { serial }),
    limits: disk.limits ?? {},
    ...slots.take(bus, alias),
  };
}

function describeNic({ nic, bridge, mtu, tapName }: NicInput, previous: DomainDescription | undefined): NicDescription {
  if (nic.mac === undefined)
    throw new SheafError("invalid-input", `network interface ${nic.name} has no MAC address`, { next: "Store the machine through the API." });
  const before = previous?.nics.find((candidate) => candidate.mac === nic.mac);
  return {
    alias: nicAlias(nic.name),
    mac: nic.mac,
    bridge,
    tapName,
    model: nic.model,
    // Only virtio has more than one queue.
    queues: nic.model === "virtio" ? nic.queues : 1,
    connected: nic.connected,
    ...(mtu === 1500 ? {} : { mtu }),
    ...(before?.address !== undefined && before.model === nic.model && keepsPlace(nic.model, previous) ? { address: before.address } : {}),
  };
}

/** Conventional PCI cards sit on a q35 machine behind bridges that libvirt adds and numbers by itself. */
const keepsPlace = (model: NicDescription["model"], previous: DomainDescription | undefined): boolean =>
  model === "virtio" || model === "e1000e" || (previous !== undefined && machineFamily(previous.machineType) === "pc");

/** Numbers the devices through in the order of `boot`; the seed is never booted. */
function bootOrders(
  boot: BootOrder,
  disks: readonly DiskDescription[],
  cdroms: readonly CdromDescription[],
  nics: readonly NicDescription[],
): Pick<DomainDescription, "disks" | "cdroms" | "nics"> {
  let next = 1;
  const orders = new Map<object, number>();
  for (const device of boot) {
    const list = device === "disk" ? disks : device === "cdrom" ? cdroms.filter((cdrom) => cdrom.alias !== seedAlias) : nics;
    for (const one of list) orders.set(one, next++);
  }
  const ordered = <T extends object>(device: T): T => {
    const bootOrder = orders.get(device);
    return bootOrder === undefined ? device : { ...device, bootOrder };
  };
  return { disks: disks.map(ordered), cdroms: cdroms.map(ordered), nics: nics.map(ordered) };
}
