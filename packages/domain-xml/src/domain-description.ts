/**
 * A domain as structure: what rendering writes, parsing reads and comparing compares. In our units (bytes, ms); libvirt's KiB,
 * KiB/s and µs exist in render*.ts and parse*.ts alone. Members in the last block exist only in what libvirt tells, never in what we write.
 */
import type { DiskLimits, VmCdrom, VmDisk, VmNic, VmSpec } from "@sheaf/model";
import type { HostBinding } from "./host-binding.ts";

export interface DomainDescription {
  readonly type: string;
  readonly name: string;
  readonly uuid: string;
  /** `null`: a domain that Sheaf did not make. */
  readonly machine: MachineMetadata | null;
  readonly memory: {
    /** Plugged in, the balloon's share included. */
    readonly bytes: number;
    /** What the balloon leaves to the guest. */
    readonly currentBytes: number;
    /** Ceiling for memory modules plugged in live. */
    readonly maximumBytes?: number;
    readonly hugepages: boolean;
    /** Modules plugged in live. */
    readonly modules: number;
  };
  readonly vcpus: { readonly current: number; readonly maximum: number };
  readonly cpu: CpuDescription;
  readonly tune: CpuTune;
  readonly machineType: string;
  readonly firmware: FirmwareDescription;
  readonly tpm: "tpm-crb" | "tpm-tis" | null;
  readonly boot: BootOrder;
  readonly disks: readonly DiskDescription[];
  readonly cdroms: readonly CdromDescription[];
  readonly nics: readonly NicDescription[];
  /** The host's, for this domain alone. */
  readonly hostDevices: readonly HostDevice[];
  readonly serialLog?: string;
  readonly graphics: "vnc" | "none";
  readonly guestAgent: boolean;
  readonly emulator?: string;
  /** Where on its host its threads run and its memory lies. Absent: anywhere. */
  readonly binding?: HostBinding;

  /** Only told by libvirt. */
  readonly id?: number;
  /** Pty behind the serial console. */
  readonly serialPath?: string;
  readonly vncSocket?: string;
  /** Its VNC server listens on a port, where Sheaf's own is on a unix socket. */
  readonly vncOnNetwork?: true;
  /** Devices and settings that Sheaf does not know and would lose by rewriting, in words. */
  readonly foreign: readonly string[];
}

/** `<sheaf:machine>` in the metadata: how a domain is known again. */
export interface MachineMetadata {
  readonly id: string;
  readonly epoch: number;
  readonly incarnation: string;
  readonly generation: number;
  /** The CPU model that was asked for: libvirt replaces `host-model` by what it became when the domain starts. */
  readonly cpu: string;
  /** What it boots from, in order: devices plugged in live have no order of their own. */
  readonly boot: BootOrder;
}

export type BootOrder = VmSpec["bootOrder"];

export interface CpuDescription {
  readonly mode: "custom" | "host-passthrough" | "host-model" | "maximum";
  /** Only with `custom`. */
  readonly model?: string;
  readonly topology: { readonly sockets: number; readonly cores: number; readonly threads: number };
}

export interface CpuTune {
  /** As the kernel takes it: 1024 is normal with control groups v1, 100 with v2. */
  readonly shares?: number;
  /** µs of CPU time the whole domain may use in each `periodUs`. */
  readonly quotaUs?: number;
  readonly periodUs?: number;
}

export interface FirmwareDescription {
  readonly type: "bios" | "uefi";
  readonly secureBoot: boolean;
  /** Absent: libvirt chooses by itself. */
  readonly code?: string;
  readonly variablesTemplate?: string;
  readonly variables?: string;
}

export type DeviceAddress =
  | { readonly type: "pci"; readonly domain: number; readonly bus: number; readonly slot: number; readonly function: number }
  | { readonly type: "drive"; readonly controller: number; readonly bus: number; readonly target: number; readonly unit: number };

interface AnyDevice {
  /** `ua-disk-root`: names the device in libvirt's events. */
  readonly alias?: string;
  readonly bootOrder?: number;
  readonly address?: DeviceAddress;
}

export interface DiskDescription extends AnyDevice {
  /** Name in libvirt: `vda`. The guest may call it otherwise. */
  readonly target: string;
  readonly bus: VmDisk["bus"];
  readonly path: string;
  readonly format: string;
  readonly cache: VmDisk["cache"];
  readonly io: VmDisk["io"];
  readonly discard: boolean;
  readonly readOnly: boolean;
  readonly serial?: string;
  readonly limits: DiskLimits;
}

export interface CdromDescription extends AnyDevice {
  readonly target: string;
  readonly bus: VmCdrom["bus"];
  readonly path: string | null;
}

/** A PCI device of the host (`0000:41:00.0`), or a mediated device that was made for it. */
export type HostDevice = { readonly kind: "pci"; readonly address: string } | { readonly kind: "mdev"; readonly uuid: string };

export interface NicDescription extends AnyDevice {
  readonly mac: string;
  readonly bridge: string;
  /** Absent: libvirt names the device. */
  readonly tapName?: string;
  readonly model: VmNic["model"];
  readonly queues: number;
  readonly connected: boolean;
  /** Absent: the bridge's. */
  readonly mtu?: number;
}
