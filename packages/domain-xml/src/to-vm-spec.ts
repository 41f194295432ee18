/** A domain that Sheaf did not make, as the spec it would have: what `vm adopt` stores. Called by the agent; changes nothing. */
import { formatBytes } from "@sheaf/base";
import { Name, SheafError, VmSpec } from "@sheaf/model";
import { machineFamily, normalShares } from "./describe-domain.ts";
import type { CpuDescription, DomainDescription } from "./domain-description.ts";
import type { DomainHost } from "./domain-input.ts";

export interface AdoptionOptions {
  /** The Sheaf network with that bridge; `null`: none. */
  readonly networkOf: (bridge: string) => string | null;
  readonly cgroupVersion: DomainHost["cgroupVersion"];
  /** Take it although it has parts that adoption or its next start would lose. Default false. */
  readonly acceptLosses?: boolean;
}

export interface AdoptedMachine {
  /** The domain's name made into a DNS label. */
  readonly name: string;
  /** Disks come without `volume`: volumes are to be made for the files in `disks`. */
  readonly spec: VmSpec;
  /** Where each of `spec.disks` lies now. */
  readonly disks: readonly { readonly name: string; readonly path: string; readonly format: string }[];
  /** What is not taken over, for people. */
  readonly notes: readonly string[];
}

/** @throws SheafError `state-refused` with what would have to change first */
export function toVmSpec(domain: DomainDescription, options: AdoptionOptions): AdoptedMachine {
  if (domain.machine !== null) throw refusal(domain, "is Sheaf's already", "Look for its record: sheaf vm list.");
  const media = domain.cdroms.flatMap(({ path, target }) => (path === null ? [] : [`the medium ${path} in CD drive ${target}`]));
  if (domain.foreign.length + media.length > 0 && options.acceptLosses !== true) {
    throw refusal(
      domain,
      `has parts that Sheaf cannot carry: ${[...domain.foreign, ...media].join(", ")}`,
      "Remove them from the domain, or accept the loss (acceptLosses; sheaf vm adopt --accept-losses): media are ejected at once, the rest is gone after the next start.",
    );
  }
  const notes = [...domain.foreign.map((part) => `${part}: gone after the next start`), ...media.map((medium) => `${medium} is ejected`)];
  const nics = domain.nics.map((nic, index) => {
    const network = options.networkOf(nic.bridge);
    if (network === null)
      throw refusal(domain, `is connected to ${nic.bridge}, which belongs to no network`, `Create a network with bridge ${nic.bridge} first.`);
    const { mac, model, queues, connected } = nic;
    return { name: ownName(nic, "ua-nic-") ?? `eth${index}`, network, mac, addresses: [], model, queues, connected };
  });
  const disks = domain.disks.map((disk) => ({ name: ownName(disk, "ua-disk-") ?? disk.target, path: disk.path, format: disk.format }));
  for (const { format, path } of disks) {
    if (format !== "qcow2" && format !== "raw")
      throw refusal(domain, `has the disk ${path} in format ${format}`, "Convert it to qcow2 or raw first.");
  }
  const cdroms = domain.cdroms.map((cdrom) => ({ name: ownName(cdrom, "ua-cdrom-") ?? cdrom.target, image: null, bus: cdrom.bus }));
  const mib = 2 ** 20;
  if (domain.memory.currentBytes < domain.memory.bytes)
    notes.push(
      `the balloon leaves ${formatBytes(domain.memory.currentBytes)} of ${formatBytes(domain.memory.bytes)} memory, which is what it has from now on`,
    );
  const wholeMib = (bytes: number): number => Math.max(16 * mib, Math.floor(bytes / mib) * mib);
  const bytes = wholeMib(domain.memory.currentBytes);
  const maximumBytes = domain.memory.maximumBytes === undefined ? undefined : wholeMib(domain.memory.maximumBytes);
  const family = machineFamily(domain.machineType);
  if (family !== "q35" && family !== "pc") throw refusal(domain, `is of machine type ${domain.machineType}`, "Sheaf runs q35 and pc machines.");
  const { quotaUs, periodUs, shares } = domain.tune;
  const { sockets, cores, threads } = domain.cpu.topology;
  const spec = VmSpec.safeParse({
    power: domain.id === undefined ? "stopped" : "running",
    cpu: {
      count: domain.vcpus.current,
      ...(domain.vcpus.maximum > domain.vcpus.current ? { maximum: domain.vcpus.maximum } : {}),
      ...(sockets * cores * threads === domain.vcpus.maximum ? { topology: { sockets, cores, threads } } : {}),
      model: adoptedModel(domain.cpu),
      ...(shares === undefined ? {} : { shares: Math.max(2, Math.round((shares * 100) / normalShares[options.cgroupVersion])) }),
      ...(quotaUs === undefined || periodUs === undefined ? {} : { limitMillicores: Math.max(10, Math.round((quotaUs * 1000) / periodUs)) }),
    },
    memory: { bytes, ...(maximumBytes !== undefined && maximumBytes > bytes ? { maximumBytes } : {}), hugepages: domain.memory.hugepages },
    machineType: family,
    firmware: { type: domain.firmware.type, secureBoot: domain.firmware.secureBoot, tpm: domain.tpm !== null },
    ...(domain.boot.length > 0 ? { bootOrder: [...domain.boot] } : {}),
    disks: domain.disks.map((disk, index) => {
      const { bus, cache, io, discard, readOnly, limits } = disk;
      return { name: disks[index]?.name ?? disk.target, bus, cache, io, discard, readOnly, limits, deleteWithVm: false };
    }),
    cdroms,
    nics,
    cloudInit: { seed: false },
    graphics: domain.graphics,
    guestAgent: domain.guestAgent,
  });
  if (!spec.success)
    throw refusal(
      domain,
      `does not fit Sheaf's limits: ${spec.error.issues.map(({ path: at, message }) => `${at.join(".")} ${message}`).join("; ")}`,
      "Change the domain, then adopt it.",
    );
  return { name: label(domain.name), spec: spec.data, disks, notes };
}

function refusal(domain: DomainDescription, why: string, next: string): SheafError {
  return new SheafError("state-refused", `The domain ${domain.name} ${why}.`, { next });
}

/** `maximum` is what host-passthrough is under emulation; without a model QEMU runs qemu64. */
function adoptedModel(cpu: CpuDescription): string {
  if (cpu.mode === "custom") return cpu.model ?? "qemu64";
  return cpu.mode === "maximum" ? "host-passthrough" : cpu.mode;
}

/** The name in an alias that Sheaf gave before. */
function ownName(device: { readonly alias?: string }, prefix: string): string | undefined {
  const name = device.alias?.startsWith(prefix) === true ? device.alias.slice(prefix.length) : undefined;
  return name !== undefined && Name.safeParse(name).success ? name : undefined;
}

function label(name: string): string {
  const text = name
    .toLowerCase()
    .replace(/[^a-z0-9]+/g, "-")
    .slice(0, 63)
    .replace(/^-+|-+$/g, "");
  return text === "" ? "adopted" : text;
}
