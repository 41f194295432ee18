/**
 * What a domain that Sheaf did not make would be as a machine: its definition read, its disks looked at. Called by the server's call
 * `vm.adopt`; only reads. The domain becomes Sheaf's later, when its record says so (plan-machine.ts, `take-over`).
 */
import type { AdoptionQuestion } from "@sheaf/contract";
import { compareDomains, type DomainDescription, type DomainHost, toVmSpec } from "@sheaf/domain-xml";
import { type AdoptableDomain, SheafError, type VmSpec } from "@sheaf/model";
import { z } from "zod";
import type { Domain, Hypervisor, Processes } from "./ports.ts";
import { runOrFail } from "./program.ts";

export interface AdoptionPorts {
  readonly hypervisor: Hypervisor;
  readonly processes: Processes;
  readonly cgroupVersion: DomainHost["cgroupVersion"];
}

const ImageInfo = z.looseObject({
  format: z.string(),
  "virtual-size": z.int(),
  "backing-filename": z.string().optional(),
  "format-specific": z.looseObject({ data: z.looseObject({ "data-file": z.string().optional() }).optional() }).optional(),
});

/** @throws SheafError `not-found`, `state-refused` with what would have to change first */
export async function adoptionAnswer(question: AdoptionQuestion, ports: AdoptionPorts): Promise<AdoptableDomain> {
  const { hypervisor, cgroupVersion } = ports;
  const domain = await hypervisor.domain(question.uuid);
  if (!domain) throw new SheafError("not-found", `This host has no domain ${question.uuid}.`, { next: "Look at the host: it lists them." });
  if (domain.mark) throw refusal(domain, "is Sheaf's already", "Look for its record: sheaf vm list.");
  if (!domain.persistent) throw refusal(domain, "is transient: it vanishes at its end", "Define it first: virsh dumpxml, then virsh define.");
  const power = powerOf(domain);
  const description = await described(domain, ports);
  const networkOf = (bridge: string): string | null => question.networks[bridge] ?? null;
  const { spec, disks, notes } = toVmSpec(description, { networkOf, cgroupVersion, acceptLosses: question.acceptLosses });
  await refuseSharedDisks(domain, new Set(disks.map(({ path }) => path)), hypervisor);
  const asked = domain.state === "running" && spec.guestAgent ? await hypervisor.guestFacts(domain.uuid) : null;
  const guest = asked === "silent" ? null : asked;
  return {
    domainName: domain.name,
    spec: { ...spec, power },
    disks: await Promise.all(disks.map(async ({ name, path, format }) => ({ name, path, ...(await lookAtDisk(domain, path, format, ports)) }))),
    addresses: guest?.addresses ?? [],
    notes,
  };
}

function powerOf(domain: Domain): VmSpec["power"] {
  switch (domain.state) {
    case "running":
      return "running";
    case "paused":
      // What QEMU does there ends by itself, one way or the other.
      if (domain.reason !== "user" && domain.reason !== "unknown") throw refusal(domain, `is paused (${domain.reason})`, "Resume it first, or wait.");
      return "paused";
    case "stopped":
      return "stopped";
    case "stopping":
    case "crashed":
      throw refusal(domain, `is ${domain.state}`, "Wait until it has stopped, or destroy what is left of it.");
  }
}

/** Its definition, where that is what runs. Memory and media are those of now. */
async function described(domain: Domain, { hypervisor, cgroupVersion }: AdoptionPorts): Promise<DomainDescription> {
  const definition = await hypervisor.describe(domain.uuid, "definition");
  if (domain.state === "stopped") return definition;
  const live = await hypervisor.describe(domain.uuid, "live");
  const now = { ...definition, memory: live.memory, cdroms: live.cdroms };
  // libvirt replaces a CPU model of the host by what it became.
  const running = { ...live, cpu: { ...definition.cpu, topology: live.cpu.topology } };
  const difference = compareDomains(running, { ...now, machine: null }, { cgroupVersion });
  if (difference.live.length + difference.restart.length > 0) {
    const what = [...difference.restart, ...difference.live.map(({ kind }) => kind)].join("; ");
    throw refusal(domain, `runs with other settings than it is defined with: ${what}`, "Restart it, or undo the change with virsh edit.");
  }
  return now;
}

async function refuseSharedDisks(domain: Domain, paths: ReadonlySet<string>, hypervisor: Hypervisor): Promise<void> {
  for (const other of await hypervisor.domains()) {
    if (other.uuid === domain.uuid) continue;
    const { disks } = await hypervisor.describe(other.uuid, "live");
    const shared = disks.find(({ path }) => paths.has(path));
    if (shared) throw refusal(domain, `shares its disk ${shared.path} with the domain ${other.name}`, "Give each its own disk first.");
  }
}

async function lookAtDisk(
  domain: Domain,
  path: string,
  defined: string,
  { processes }: AdoptionPorts,
): Promise<{ readonly format: "qcow2" | "raw"; readonly sizeBytes: number }> {
  const program = ["info", "--output=json", "-U", "-f", defined, path];
  const output = await runOrFail(processes, "qemu-img", program, { what: `looking at the disk ${path}`, deadlineMs: 60_000 });
  const info = ImageInfo.parse(JSON.parse(output));
  if (info.format !== "qcow2" && info.format !== "raw") throw refusal(domain, `has the disk ${path} in format ${info.format}`, "Convert it first.");
  const backing = info["backing-filename"];
  if (backing !== undefined)
    throw refusal(
      domain,
      `has the disk ${path}, which is based on ${backing}`,
      `Make it whole first, also while it runs: virsh blockpull ${domain.name} ${path}.`,
    );
  if (info["format-specific"]?.data?.["data-file"] !== undefined)
    throw refusal(domain, `has the disk ${path} with an external data file`, "Convert it first.");
  return { format: info.format, sizeBytes: info["virtual-size"] };
}

const refusal = (domain: Domain, why: string, next: string): SheafError =>
  new SheafError("state-refused", `The domain ${domain.name} ${why}.`, { next });
