/** What rendering needs besides the machine's spec: everything its references and its host stand for. Made by the agent. */
import type { HostDevice } from "./domain-description.ts";
import type { VmCdrom, VmDisk, VmNic, VmSpec } from "@sheaf/model";
import type { HostBinding } from "./host-binding.ts";

export interface DomainInput {
  readonly vm: {
    readonly id: string;
    readonly name: string;
    readonly number?: number | undefined;
    readonly generation: number;
    readonly spec: VmSpec;
  };
  readonly epoch: number;
  readonly incarnation: string;
  readonly disks: readonly DiskInput[];
  readonly cdroms: readonly { readonly cdrom: VmCdrom; readonly path: string | null }[];
  /** The NoCloud seed; `null`: none. */
  readonly seedPath: string | null;
  readonly nics: readonly NicInput[];
  /** Absent: none. */
  readonly hostDevices?: readonly HostDevice[];
  readonly host: DomainHost;
  /** Where on the host it is to run. Absent: anywhere. */
  readonly binding?: HostBinding;
  readonly paths: {
    /** File for the UEFI variables; libvirt makes it from the template at the first start. */
    readonly nvram: string;
    /** Where QEMU writes what comes out of the serial port. */
    readonly serialLog?: string;
  };
}

export interface DiskInput {
  readonly disk: VmDisk;
  readonly path: string;
  readonly format: "qcow2" | "raw";
}

export interface NicInput {
  /** `mac` is set in stored specs. */
  readonly nic: VmNic;
  readonly bridge: string;
  readonly mtu: number;
  /** At most 15 characters; libvirt renames devices whose name starts with `vnet`. See `tapDeviceName`. */
  readonly tapName: string;
}

export interface DomainHost {
  /** False: QEMU emulates. `host-passthrough` and `host-model` then mean all that QEMU can emulate (`maximum`). */
  readonly accelerated: boolean;
  /** The model behind `cluster-baseline`. */
  readonly cpuBaseline: string;
  /** Path; absent: libvirt's choice. */
  readonly emulator?: string;
  /** Absent: libvirt chooses by the firmware descriptions that the distribution installed. */
  readonly firmware?: {
    readonly code: string;
    readonly variablesTemplate: string;
    readonly secureCode?: string;
    /** With the vendors' keys enrolled. */
    readonly secureVariablesTemplate?: string;
  };
  /** Unit of CPU weights: 1 or 2 (`/sys/fs/cgroup/cgroup.controllers` exists). */
  readonly cgroupVersion: 1 | 2;
  /** Its NUMA cells with the numbers of their CPUs; absent: not known. */
  readonly cells?: readonly { readonly cell: number; readonly cpus: readonly number[] }[];
}
