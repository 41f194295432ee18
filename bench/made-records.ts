/** What the records have in common that benchmarks of the scheduler make. */
import type { HostObservation } from "@sheaf/model";

export const recordHead = (id: string, name: string) => ({
  id,
  name,
  labels: {},
  generation: 1,
  createdAt: 0,
  createdBy: "bench",
  finalizers: [],
  revision: 1,
  specRevision: 1,
});

/** A host that can run anything that asks for no more than CPU and memory. */
export function observedHost({ cpus, memoryBytes, cpuModels }: { cpus: number; memoryBytes: number; cpuModels: readonly string[] }): HostObservation {
  return {
    hostname: "host",
    agentVersion: "0",
    bootId: "",
    bootedAt: 0,
    address: "10.0.0.1",
    architecture: "x86_64",
    cpu: { model: "", vendor: "", flags: [], sockets: 1, cores: cpus, threads: 1, count: cpus, mhz: 2000 },
    numa: [],
    memoryBytes,
    disks: [],
    interfaces: [{ name: "br0", mac: "", mtu: 1500, up: true, bridge: true, addresses: [] }],
    pciDevices: [],
    gpus: [],
    hypervisor: {
      type: "qemu",
      libvirtVersion: "",
      qemuVersion: "",
      accelerated: true,
      machineTypes: ["q35"],
      cpuModels: [...cpuModels],
      uefi: true,
      secureBoot: true,
      tpm: true,
    },
    unmanaged: [],
    problems: [],
  };
}
