/** The host itself: its inventory, looked at on changes and every few minutes and told when it differs, and what its guests' agents say. */
import type { Clock, Logger } from "@sheaf/base";
import { type DomainHost, parseCapabilities } from "@sheaf/domain-xml";
import type { AgentInstallation, HostObservation, VmObservation, WatchdogObservation } from "@sheaf/model";
import { z } from "zod";
import type { DocumentIntake } from "./document-intake.ts";
import type { SeenDevices } from "./host-device-needs.ts";
import { isAccelerated, readInventory, readProcessorFlags } from "./host-inventory.ts";
import type { KeptState } from "./kept-state.ts";
import type { PoolReconciler } from "./pool-reconciler.ts";
import type { Domain, Files, Hypervisor, HypervisorFacts, Processes } from "./ports.ts";

export interface HostKeeperOptions {
  readonly hostId: string;
  readonly bootId: string;
  readonly version: string;
  readonly installation: () => AgentInstallation;
  readonly address: string;
  readonly clock: Clock;
  readonly logger: Logger;
  readonly files: Files;
  readonly processes: Processes;
  readonly hypervisor: Hypervisor;
  readonly kept: KeptState;
  readonly pools: PoolReconciler;
  readonly intake: () => DocumentIntake;
  readonly watchdog: () => WatchdogObservation | undefined;
  /** Machines that wait for the hypervisor's answer can be looked at. */
  readonly learned: () => void;
  /** Machines that have devices of this host can be looked at. */
  readonly devicesChanged: () => void;
  readonly report: (value: HostObservation) => void;
}

const lookEveryMs = 120_000;
/** While something is wrong. */
const lookAgainMs = 10_000;

const Links = z.array(
  z.looseObject({
    ifname: z.string(),
    addr_info: z.array(z.looseObject({ local: z.string().optional(), prefixlen: z.int().optional(), scope: z.string().optional() })).optional(),
  }),
);

/** `off`: it does not run. `unknown`: the host could not ask. */
export interface GuestAnswer {
  readonly facts: NonNullable<VmObservation["guestAgent"]> | null;
  readonly answer: "answers" | "silent" | "unknown" | "off";
}

export class HostKeeper {
  readonly #options: HostKeeperOptions;
  #facts: HypervisorFacts | null = null;
  #rendering: Pick<DomainHost, "accelerated" | "cgroupVersion" | "cells"> | null = null;

  #devices: SeenDevices | null = null;

  constructor(options: HostKeeperOptions) {
    this.#options = options;
  }

  /** What rendering a domain needs of this host; `null` until the hypervisor has answered once. */
  get rendering(): Pick<DomainHost, "accelerated" | "cgroupVersion" | "cells"> | null {
    return this.#rendering;
  }

  /** As they were read last; `null` before that. */
  get devices(): SeenDevices | null {
    return this.#devices;
  }

  /** The hypervisor was restarted, perhaps as another version. What is rendered meanwhile goes by what was known. */
  forgetFacts(): void {
    this.#facts = null;
  }

  async look(): Promise<{ againAfterMs: number }> {
    const { files, hypervisor, kept, pools, report, version, address, logger } = this.#options;
    const problems = [...hypervisor.problems()];
    let domains: readonly Domain[] = [];
    try {
      await this.#learn();
      domains = await hypervisor.domains();
    } catch (error) {
      const why = error instanceof Error ? error.message : String(error);
      logger.warn({ reason: why }, "the hypervisor could not be asked what there is");
      if (problems.length === 0) problems.push(`the hypervisor could not be asked what there is: ${why}`);
    }
    if (kept.setAside > 0)
      problems.push(
        `${kept.setAside} things that the agent keeps could not be read and were set aside: see the folder set-aside in its data directory`,
      );
    const intake = this.#options.intake();
    const orphans = new Set(domains.flatMap(({ uuid, mark }) => (mark && intake.synced && !intake.spokenOf(uuid) ? [uuid] : [])));
    const addresses = await this.#addresses();
    const observation = await readInventory(files, {
      agentVersion: version,
      address,
      facts: this.#facts,
      domains,
      machines: kept.documents("vm").map(({ id }) => id),
      orphans,
      problems: [...problems, ...pools.problems(), ...(await this.#missingNetworks(addresses))],
      addresses,
    });
    const before = this.#devices;
    this.#devices = observation;
    if (JSON.stringify([before?.gpus, before?.pciDevices]) !== JSON.stringify([observation.gpus, observation.pciDevices]))
      this.#options.devicesChanged();
    // A hypervisor that has not been heard yet would look like a host without one.
    const watchdog = this.#options.watchdog();
    if (this.#facts || problems.length > 0)
      report({ ...observation, installation: this.#options.installation(), ...(watchdog === undefined ? {} : { watchdog }) });
    return { againAfterMs: observation.problems.length > 0 ? lookAgainMs : lookEveryMs };
  }

  /** What the host's record names for its traffic, and it does not have. */
  async #missingNetworks(addresses: ReadonlyMap<string, readonly string[]>): Promise<string[]> {
    const { kept, hostId, files } = this.#options;
    const { managementInterface, storageInterface, migrationAddress } = kept.document("host", hostId)?.spec ?? {};
    const missing: string[] = [];
    for (const [name, traffic] of [
      [managementInterface, "management"],
      [storageInterface, "storage"],
    ] as const) {
      if (name !== undefined && !(await files.facts(`/sys/class/net/${name}`)))
        missing.push(`this host has no interface ${name}, which its record names for ${traffic}: correct the record, or the host's network`);
    }
    const own = [...addresses.values()].flat().map((address) => address.split("/", 1).join(""));
    if (migrationAddress !== undefined && !own.includes(canonical(migrationAddress)))
      missing.push(`this host has no address ${migrationAddress}, which its record names for migrations: machines cannot move here`);
    return missing;
  }

  /** What the guest's agent says now. */
  async guest(machineId: string): Promise<GuestAnswer> {
    const { hypervisor, kept } = this.#options;
    const domain = kept.document("vm", machineId) ? await hypervisor.domain(machineId) : null;
    if (domain?.state !== "running") return { facts: null, answer: "off" };
    const found = await hypervisor.guestFacts(machineId);
    if (!found || found === "silent") return { facts: { connected: false }, answer: found ?? "unknown" };
    return {
      answer: "answers",
      facts: { connected: true, addresses: [...found.addresses].sort(), ...(found.hostname === undefined ? {} : { hostname: found.hostname }) },
    };
  }

  async #learn(): Promise<void> {
    const { hypervisor, files } = this.#options;
    if (this.#facts) return;
    const facts = await hypervisor.facts();
    const cgroupVersion = (await files.facts("/sys/fs/cgroup/cgroup.controllers")) ? 2 : 1;
    const cells = parseCapabilities(facts.capabilitiesXml).numa.map(({ id, cpus }) => ({ cell: id, cpus }));
    this.#rendering = { accelerated: isAccelerated(facts, await readProcessorFlags(files)), cgroupVersion, cells };
    this.#facts = facts;
    this.#options.learned();
  }

  async #addresses(): Promise<ReadonlyMap<string, readonly string[]>> {
    const result = await this.#options.processes.run("ip", ["-j", "addr", "show"], { deadlineMs: 10_000 }).catch(() => null);
    const links = Links.safeParse(result?.exitCode === 0 ? parse(result.output) : null);
    const found = new Map<string, readonly string[]>();
    for (const { ifname, addr_info } of links.data ?? []) {
      found.set(
        ifname,
        (addr_info ?? []).flatMap(({ local, prefixlen, scope }) => (local !== undefined && scope === "global" ? [`${local}/${prefixlen ?? 0}`] : [])),
      );
    }
    return found;
  }
}

/** As `ip` writes it: IPv6 shortened. */
const canonical = (address: string): string => (address.includes(":") ? new URL(`http://[${address}]/`).hostname.slice(1, -1) : address);

function parse(text: string): unknown {
  try {
    return JSON.parse(text);
  } catch {
    return null;
  }
}
