/** Inputs for this package's tests: one machine, to be varied feature by feature. */
import { VmSpec } from "@sheaf/model";
import type { z } from "zod";
import { tapDeviceName } from "../device-names.ts";
import type { DomainHost, DomainInput } from "../domain-input.ts";
import { unbound } from "../host-binding.ts";

export const vmId = "01890a5d-ac96-774b-bcce-b302099a8057";
/** A volume's id that ends in `n`. */
export const volumeId = (n: number): string => `01890a5d-ac96-774b-bcce-${n.toString(16).padStart(12, "0")}`;

export const emulating: DomainHost = { accelerated: false, cpuBaseline: "qemu64", cgroupVersion: 1 };
export const accelerated: DomainHost = { accelerated: true, cpuBaseline: "Nehalem", cgroupVersion: 2 };

/** What the agent would make of `spec` on `host`: files and bridges where a Sheaf host has them. */
export function inputOf(spec: z.input<typeof VmSpec>, host: DomainHost = emulating): DomainInput {
  const parsed = VmSpec.parse(spec);
  return {
    vm: { id: vmId, name: "web-01", number: 1001, generation: 3, spec: parsed },
    epoch: 7,
    incarnation: "0198c0de-0000-7000-8000-000000000001",
    disks: parsed.disks.map((disk) => ({ disk, path: `/var/lib/sheaf/pool/volumes/${disk.volume ?? disk.name}.qcow2`, format: "qcow2" })),
    cdroms: parsed.cdroms.map((cdrom) => ({ cdrom, path: cdrom.image === null ? null : `/var/lib/sheaf/pool/images/${cdrom.image}.iso` })),
    seedPath: `/var/lib/sheaf/agent/seeds/${vmId}.iso`,
    nics: parsed.nics.map((nic) => ({ nic, bridge: "br0", mtu: 1500, tapName: tapDeviceName(nic.mac ?? "") })),
    host,
    paths: { nvram: `/var/lib/sheaf/agent/nvram/${vmId}.fd`, serialLog: `/var/log/libvirt/qemu/${vmId}-serial.log` },
  };
}

const root = { name: "root", volume: volumeId(1) };
const nic = { name: "eth0", network: "lan", mac: "52:54:00:12:34:56" };

/** One case for every feature: the name of its golden file, and its input. */
export const features: Readonly<Record<string, DomainInput>> = {
  minimal: { ...inputOf({}), seedPath: null, paths: { nvram: "/var/lib/sheaf/agent/nvram/x.fd" } },
  "usual-emulated": inputOf({ disks: [root], nics: [nic] }),
  "usual-accelerated": inputOf({ disks: [root], nics: [nic] }, accelerated),
  "machine-pc": inputOf({ machineType: "pc", disks: [root], nics: [nic] }),
  "cpu-topology": inputOf({ cpu: { count: 8, topology: { sockets: 2, cores: 2, threads: 2 } } }, accelerated),
  "cpu-hotplug": inputOf({ cpu: { count: 1, maximum: 4 } }),
  "cpu-host-passthrough": inputOf({ cpu: { model: "host-passthrough" } }, accelerated),
  "cpu-host-passthrough-emulated": inputOf({ cpu: { model: "host-passthrough" } }),
  "cpu-host-model": inputOf({ cpu: { model: "host-model" } }, accelerated),
  "cpu-named": inputOf({ cpu: { model: "Skylake-Server" } }, accelerated),
  "cpu-shares-limit-cgroup1": inputOf({ cpu: { count: 2, shares: 200, limitMillicores: 1500 } }),
  "cpu-shares-limit-cgroup2": inputOf({ cpu: { count: 2, shares: 200, limitMillicores: 1500 } }, accelerated),
  "memory-minimum": inputOf({ memory: { bytes: 2 ** 30, minimumBytes: 2 ** 29 } }),
  "memory-maximum": inputOf({ cpu: { count: 2 }, memory: { bytes: 2 ** 30, maximumBytes: 2 ** 32 } }),
  "memory-hugepages": inputOf({ memory: { bytes: 2 ** 30, hugepages: true } }, accelerated),
  "numa-cell": {
    ...inputOf({ cpu: { count: 2 } }, accelerated),
    binding: {
      ...unbound,
      vcpus: [
        [0, 1, 2, 3],
        [0, 1, 2, 3],
      ],
      emulator: [0, 1, 2, 3],
      memory: { mode: "preferred", nodes: [0] },
    },
  },
  "numa-cell-emulated": {
    ...inputOf({ cpu: { count: 1 } }),
    binding: { ...unbound, vcpus: [[4, 5]], emulator: [4, 5], memory: { mode: "preferred", nodes: [1] } },
  },
  "numa-dedicated-spread": {
    ...inputOf({ cpu: { count: 2, maximum: 4 }, memory: { bytes: 2 ** 31, hugepages: true } }, accelerated),
    binding: {
      ...unbound,
      vcpus: [[2], [3], [6], [7]],
      emulator: [0, 1, 4, 5],
      guestCells: [
        { vcpus: 2, memoryBytes: 2 ** 30, mode: "strict", node: 0 },
        { vcpus: 2, memoryBytes: 2 ** 30, mode: "strict", node: 1 },
      ],
      pageBytes: [2 ** 30, 2 ** 21],
    },
  },
  uefi: inputOf({ firmware: { type: "uefi" } }),
  "uefi-secure-boot-tpm": inputOf({ firmware: { type: "uefi", secureBoot: true, tpm: true }, machineType: "pc" }),
  "uefi-paths": inputOf(
    { firmware: { type: "uefi" } },
    { ...emulating, firmware: { code: "/usr/share/OVMF/OVMF_CODE_4M.fd", variablesTemplate: "/usr/share/OVMF/OVMF_VARS_4M.fd" } },
  ),
  "uefi-paths-secure-boot": inputOf(
    { firmware: { type: "uefi", secureBoot: true } },
    {
      ...accelerated,
      firmware: {
        code: "/usr/share/OVMF/OVMF_CODE_4M.fd",
        variablesTemplate: "/usr/share/OVMF/OVMF_VARS_4M.fd",
        secureCode: "/usr/share/OVMF/OVMF_CODE_4M.ms.fd",
        secureVariablesTemplate: "/usr/share/OVMF/OVMF_VARS_4M.ms.fd",
      },
    },
  ),
  "host-devices": {
    ...inputOf({ disks: [root], nics: [nic] }, accelerated),
    hostDevices: [
      { kind: "pci", address: "0000:41:00.0" },
      { kind: "pci", address: "0000:41:00.1" },
      { kind: "mdev", uuid: vmId },
    ],
  },
  "host-devices-pc": { ...inputOf({ machineType: "pc", disks: [root] }), hostDevices: [{ kind: "pci", address: "0001:c3:1f.7" }] },
  "bios-tpm": inputOf({ firmware: { tpm: true } }),
  "boot-order": inputOf({
    bootOrder: ["network", "cdrom", "disk"],
    disks: [root, { name: "data", volume: volumeId(2) }],
    cdroms: [{ name: "install", image: "debian" }],
    nics: [nic],
  }),
  "disk-buses": inputOf({
    disks: [
      root,
      { name: "scsi", volume: volumeId(2), bus: "scsi" },
      { name: "sata", volume: volumeId(3), bus: "sata" },
      { name: "fixed", volume: volumeId(4), bus: "sata", readOnly: true },
    ],
  }),
  "disk-modes": inputOf({
    disks: [
      { ...root, cache: "none", io: "native" },
      { name: "a", volume: volumeId(2), cache: "writeback", io: "native" },
      { name: "b", volume: volumeId(3), cache: "directsync", io: "io_uring", discard: false },
      { name: "c", volume: volumeId(4), cache: "unsafe" },
      { name: "d", volume: volumeId(5), cache: "writethrough", readOnly: true },
    ],
  }),
  "disk-limits-total": inputOf({
    disks: [
      {
        ...root,
        limits: {
          totalBytesPerSecond: 100e6,
          totalOperationsPerSecond: 1000,
          burstBytesPerSecond: 200e6,
          burstOperationsPerSecond: 4000,
          burstMs: 30_000,
        },
      },
    ],
  }),
  "disk-limits-directions": inputOf({
    disks: [
      {
        ...root,
        limits: {
          readBytesPerSecond: 100e6,
          writeBytesPerSecond: 50e6,
          readOperationsPerSecond: 2000,
          writeOperationsPerSecond: 500,
          burstBytesPerSecond: 80e6,
          burstOperationsPerSecond: 100,
        },
      },
    ],
  }),
  cdroms: inputOf({
    cdroms: [
      { name: "install", image: "windows" },
      { name: "drivers", image: "virtio-win", bus: "scsi" },
      { name: "empty", image: null },
    ],
  }),
  nics: {
    ...inputOf({
      nics: [
        { ...nic, queues: 4 },
        { name: "eth1", network: "lan", mac: "52:54:00:12:34:57", model: "e1000e", queues: 4 },
        { name: "eth2", network: "lan", mac: "52:54:00:12:34:58", connected: false, model: "rtl8139" },
        { name: "eth3", network: "lan", mac: "52:54:00:12:34:59", model: "e1000" },
      ],
    }),
  },
  "nic-mtu": { ...inputOf({}), nics: inputOf({ nics: [nic] }).nics.map((one) => ({ ...one, mtu: 9000 })) },
  headless: inputOf({ graphics: "none", guestAgent: false }),
  "many-devices": inputOf({
    disks: Array.from({ length: 24 }, (_, n) => ({ name: `disk-${n}`, volume: volumeId(n), bus: (["virtio", "scsi", "sata"] as const)[n % 3] })),
    cdroms: ["a", "b", "c", "d"].map((name) => ({ name, image: null })),
    nics: Array.from({ length: 16 }, (_, n) => ({ name: `eth${n}`, network: "lan", mac: `52:54:00:00:01:${(16 + n).toString(16)}` })),
  }),
  metacharacters: {
    ...inputOf({ disks: [root] }),
    vm: { ...inputOf({ disks: [root] }).vm, name: `a'><x y="&lt;]]>` },
    incarnation: `'"<>&\u0000\n`,
  },
};
