/**
 * What separates a running domain from what is wanted: what can be changed while it runs, and what waits for its next start.
 * Called by the agent at every change of a machine's record; the second list is what people see as pending.
 */
import { formatBytes } from "@sheaf/base";
import { compareDevices } from "./compare-devices.ts";
import { machineFamily, normalShares } from "./describe-domain.ts";
import type { DomainChange } from "./domain-change.ts";
import type { DomainDescription } from "./domain-description.ts";
import type { DomainHost } from "./domain-input.ts";
import { bindingTexts, comparePins } from "./host-binding.ts";
import { atNextStart } from "./pending-sentence.ts";
import { parseDomain } from "./parse-domain.ts";
import { renderMetadata } from "./render-domain.ts";
import { element, writeXml } from "./xml-writer.ts";

export interface DomainDifference {
  readonly live: readonly DomainChange[];
  /** Sentences for people. */
  readonly restart: readonly string[];
}

/**
 * @param running XML of the running domain (not the inactive one), or its description
 * @param wanted what describeDomain or renderDomain made for this host
 */
export function compareDomains(
  running: DomainDescription | string,
  wanted: DomainDescription | string,
  host: Pick<DomainHost, "cgroupVersion" | "cells">,
): DomainDifference {
  const now = typeof running === "string" ? parseDomain(running) : running;
  const then = typeof wanted === "string" ? parseDomain(wanted) : wanted;
  const devices = compareDevices(now, then);
  const memory = compareMemory(now, then);
  const vcpus = compareVcpus(now, then);
  return {
    live: [
      ...devices.live,
      ...memory.live,
      ...vcpus.live,
      ...compareTune(now, then, host),
      ...comparePins(
        now,
        then,
        (host.cells ?? []).flatMap(({ cpus }) => cpus),
      ),
      ...compareMetadata(now, then),
    ],
    restart: [...compareFixed(now, then), ...memory.restart, ...vcpus.restart, ...devices.restart],
  };
}

/** What QEMU takes only at its start. */
function compareFixed(now: DomainDescription, then: DomainDescription): string[] {
  const shape = ({ cpu: { topology } }: DomainDescription): string => `${topology.sockets} × ${topology.cores} × ${topology.threads}`;
  const firmware = ({ firmware: { type, secureBoot } }: DomainDescription): string =>
    secureBoot ? "UEFI with Secure Boot" : type === "uefi" ? "UEFI" : "BIOS";
  const yes = (value: boolean): string => (value ? "on" : "off");
  const fixed: readonly (readonly [what: string, of: (domain: DomainDescription) => string])[] = [
    ["the virtualisation", ({ type }) => (type === "kvm" ? "hardware-accelerated" : "emulated")],
    ["the machine type", ({ machineType }) => machineFamily(machineType)],
    ["the firmware", firmware],
    ["the TPM", ({ tpm }) => tpm ?? "off"],
    // Without Sheaf's own note of it, the running CPU is what libvirt says it became.
    ["the CPU model", (domain) => (now.machine === null ? cpuName(domain) : (domain.machine?.cpu ?? cpuName(domain)))],
    ["the CPU topology (sockets × cores × threads)", shape],
    ["the use of huge pages", ({ memory }) => yes(memory.hugepages)],
    ...bindingTexts,
    ["the boot order", ({ boot }) => boot.join(", ")],
    ["graphics", ({ graphics }) => graphics],
    ["VNC's place", (domain) => (domain.vncOnNetwork === true ? "a network port" : "a unix socket that only the agent reaches")],
    ["the guest agent's channel", ({ guestAgent }) => yes(guestAgent)],
  ];
  const compared = now.graphics === "vnc" && then.graphics === "vnc" ? fixed : fixed.filter(([what]) => what !== "VNC's place");
  return compared.flatMap(([what, of]) => (of(now) === of(then) ? [] : [atNextStart(what, of(then), of(now))]));
}

const cpuName = ({ cpu }: DomainDescription): string => cpu.model ?? cpu.mode;

/** What Linux takes memory modules in. */
const moduleStep = 128 * 2 ** 20;

function compareMemory(now: DomainDescription, then: DomainDescription): DomainDifference {
  const live: DomainChange[] = [];
  const restart: string[] = [];
  const wanted = then.memory.bytes;
  const { bytes, currentBytes, maximumBytes } = now.memory;
  if (wanted > bytes) {
    const module = Math.ceil((wanted - bytes) / moduleStep) * moduleStep;
    if (maximumBytes === undefined || bytes + module > maximumBytes) {
      const room =
        maximumBytes === undefined ? "it started without a ceiling to grow to" : `it can grow to ${formatBytes(maximumBytes)} while it runs`;
      restart.push(`${atNextStart("the memory", formatBytes(wanted), formatBytes(currentBytes))}: ${room}`);
    } else {
      live.push({ kind: "attach-memory", bytes: module, xml: renderMemoryModule(module) });
      // With the module comes all of it; what is not wanted of it goes to the balloon.
      live.push({ kind: "balloon", bytes: wanted });
    }
  } else if (wanted !== currentBytes) live.push({ kind: "balloon", bytes: wanted });
  const ceiling = (maximum: number | undefined): string => (maximum === undefined ? "none" : formatBytes(maximum));
  // A machine that was grown to its ceiling needs none any more.
  const grown = then.memory.maximumBytes === undefined && maximumBytes !== undefined && wanted === maximumBytes;
  if (then.memory.maximumBytes !== maximumBytes && !grown) {
    restart.push(atNextStart("the ceiling of live memory growth", ceiling(then.memory.maximumBytes), ceiling(maximumBytes)));
  }
  return { live, restart };
}

function renderMemoryModule(bytes: number): string {
  return writeXml(
    element("memory", { model: "dimm" }, element("target", {}, element("size", { unit: "KiB" }, bytes / 1024), element("node", {}, 0))),
  );
}

function compareVcpus(now: DomainDescription, then: DomainDescription): DomainDifference {
  const live: DomainChange[] = [];
  const restart: string[] = [];
  const { current, maximum } = now.vcpus;
  const wanted = then.vcpus.current;
  if (wanted > current && wanted <= maximum) live.push({ kind: "vcpus", count: wanted });
  else if (wanted > current) restart.push(`${atNextStart("the number of vCPUs", wanted, current)}: it started with at most ${maximum}`);
  else if (wanted < current) restart.push(`${atNextStart("the number of vCPUs", wanted, current)}: guests give none back while they run`);
  if (then.vcpus.maximum !== maximum) restart.push(atNextStart("the most vCPUs it can have", then.vcpus.maximum, maximum));
  return { live, restart };
}

function compareTune(now: DomainDescription, then: DomainDescription, host: Pick<DomainHost, "cgroupVersion">): DomainChange[] {
  const parameters: Record<string, number> = {};
  const normal = normalShares[host.cgroupVersion];
  const shares = then.tune.shares ?? normal;
  if (shares !== (now.tune.shares ?? normal)) parameters["cpu_shares"] = shares;
  const { quotaUs, periodUs } = then.tune;
  if (quotaUs !== now.tune.quotaUs || (quotaUs !== undefined && periodUs !== now.tune.periodUs)) {
    if (periodUs !== undefined) parameters["global_period"] = periodUs;
    parameters["global_quota"] = quotaUs ?? -1;
  }
  return Object.keys(parameters).length === 0 ? [] : [{ kind: "cpu-tune", parameters }];
}

function compareMetadata(now: DomainDescription, then: DomainDescription): DomainChange[] {
  const [before, after] = [now.machine, then.machine];
  if (after === null) return [];
  // CPU and boot order stay what the domain was started with: a later comparison still has to see them.
  const machine = { ...after, cpu: before?.cpu ?? cpuName(now), boot: now.boot };
  const same =
    before !== null &&
    before.id === machine.id &&
    before.epoch === machine.epoch &&
    before.incarnation === machine.incarnation &&
    before.generation === machine.generation;
  return same ? [] : [{ kind: "metadata", machine, xml: renderMetadata(machine) }];
}
