/** What the agent does to a running domain so that it becomes what is wanted; in the order that compareDomains lists them. */
import type { MachineMetadata } from "./domain-description.ts";

export type DomainChange =
  /** virDomainDetachDeviceFlags; the guest may refuse, or take its time: the device is gone when libvirt's event says so. */
  | { readonly kind: "detach-disk" | "detach-nic"; readonly alias: string | undefined; readonly xml: string }
  | { readonly kind: "attach-disk" | "attach-nic"; readonly xml: string }
  /** virDomainUpdateDeviceFlags: link state or bridge. */
  | { readonly kind: "update-nic"; readonly mac: string; readonly xml: string }
  /** virDomainUpdateDeviceFlags: another medium, or none. Waits 5 s and fails while the guest holds the tray closed. */
  | { readonly kind: "medium"; readonly target: string; readonly path: string | null; readonly xml: string }
  /** virDomainSetBlockIoTune: all of its parameters, 0 for none. */
  | { readonly kind: "disk-limits"; readonly target: string; readonly tune: Readonly<Record<string, number>> }
  /** virDomainAttachDeviceFlags: a memory module. The guest has it at once; the balloon may take some back. */
  | { readonly kind: "attach-memory"; readonly bytes: number; readonly xml: string }
  /** virDomainSetMemoryFlags. */
  | { readonly kind: "balloon"; readonly bytes: number }
  /** virDomainSetVcpusFlags; only upwards. */
  | { readonly kind: "vcpus"; readonly count: number }
  /** virDomainSetSchedulerParametersFlags: cpu_shares, global_period, global_quota (µs; -1: none). */
  | { readonly kind: "cpu-tune"; readonly parameters: Readonly<Record<string, number>> }
  /** virDomainPinVcpuFlags. */
  | { readonly kind: "pin-vcpu"; readonly vcpu: number; readonly cpus: readonly number[] }
  /** virDomainPinEmulator. */
  | { readonly kind: "pin-emulator"; readonly cpus: readonly number[] }
  /** virDomainSetMetadata. */
  | { readonly kind: "metadata"; readonly machine: MachineMetadata; readonly xml: string };
