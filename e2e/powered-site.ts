/**
 * A site whose hosts lose their power for real and have it cut by management controllers that speak IPMI and Redfish. Called by the test,
 * the soak's story and the benchmark of fail-over, which break it in their own ways.
 */
import { readFile } from "node:fs/promises";
import { bmcPassword, bmcUser, IpmiBmc, PowerControl, RedfishBmc } from "@sheaf/lab";
import type { HostStatus, Placement, VmStatus } from "@sheaf/model";
import { until } from "../apps/server/deployment/processes.ts";
import { askGuest, guestAnswers } from "./guest.ts";
import { openSite, type Site, type SiteOptions } from "./site.ts";

/** One host's two, each of which can fail by itself. */
export interface Bmc {
  readonly ipmi: IpmiBmc;
  readonly ipmiPower: PowerControl;
  readonly redfish: RedfishBmc;
  readonly redfishPower: PowerControl;
}

/** A guest that answers, and where it runs. */
export interface RunningGuest {
  readonly id: string;
  readonly name: string;
  readonly address: string;
  /** Its host's name. */
  readonly host: string;
  readonly epoch: number;
  readonly bootId: string;
}

/** What the loss of its host was for one guest. */
export interface Recovery {
  readonly name: string;
  readonly from: string;
  readonly to: string;
  /** From the cut to its answer elsewhere. */
  readonly outageMs: number;
  /** Of that, its own boot: from the start of its QEMU to its answer. The rest is ours. */
  readonly bootMs: number;
}

export class PoweredSite {
  readonly site: Site;
  readonly #bmcs = new Map<string, Bmc>();

  private constructor(site: Site) {
    this.site = site;
  }

  static async open(options: Pick<SiteOptions, "hosts" | "port">): Promise<PoweredSite> {
    const powered = new PoweredSite(await openSite(options));
    try {
      for (const name of powered.site.deployment.hosts.keys()) await powered.#addBmc(name);
    } catch (error) {
      await powered.close();
      throw error;
    }
    return powered;
  }

  async close(): Promise<void> {
    for (const { ipmi, redfish } of this.#bmcs.values()) await Promise.all([ipmi.stop(), redfish.stop()]);
    await this.site.close();
  }

  bmc(name: string): Bmc {
    const found = this.#bmcs.get(name);
    if (!found) throw new Error(`host ${name} has no management controller`);
    return found;
  }

  async #addBmc(name: string): Promise<void> {
    const { client, hosts } = this.site.deployment;
    const host = hosts.get(name)?.host;
    if (!host) throw new Error(`there is no host ${name}`);
    const on = () => this.site.deployment.powerOn(name);
    const [ipmiPower, redfishPower] = [new PowerControl({ host, on }), new PowerControl({ host, on })];
    const [ipmi, redfish] = [await IpmiBmc.start(ipmiPower), await RedfishBmc.start(redfishPower)];
    this.#bmcs.set(name, { ipmiPower, redfishPower, ipmi, redfish });
    const login = { address: "127.0.0.1", user: bmcUser, password: bmcPassword };
    await client.host.change({
      params: { id: name },
      body: {
        spec: {
          fencing: [
            { type: "ipmi", ...login, port: ipmi.port, cipherSuite: 3, timeoutMs: 5000 },
            { type: "redfish", ...login, port: redfish.port, certificateFingerprint: redfish.fingerprint, timeoutMs: 5000 },
          ],
        },
      },
    });
  }

  /** A highly available machine whose guest answers. */
  async create(name: string, ...words: string[]): Promise<RunningGuest> {
    const kind = ["--image", "mini", "--memory", "128MiB", "--pool", "shared", "--highly-available"];
    await this.site.must("vm", "create", name, ...kind, ...words, "--wait");
    return this.guest(name);
  }

  /** When it answers. */
  async guest(name: string): Promise<RunningGuest> {
    const address = (await this.machine(name)).spec.nics[0]?.addresses?.[0] ?? "none";
    const { bootId } = await guestAnswers(address);
    // It may not have had a place before.
    const { id, placement } = await this.machine(name);
    return { id, name, address, bootId, host: (await this.hostOf(placement?.host)) ?? "", epoch: placement?.epoch ?? 0 };
  }

  async machine(name: string) {
    const vm = await this.site.deployment.client.vm.get({ params: { id: name } });
    return { ...vm, placement: vm.placement as Placement | undefined, status: vm.status as VmStatus }; // a machine's record
  }

  async hostStatus(name: string): Promise<HostStatus> {
    return (await this.site.deployment.client.host.get({ params: { id: name } })).status as HostStatus; // a host's record
  }

  async hostOf(id: string | undefined): Promise<string | undefined> {
    return (await this.site.deployment.client.host.list()).items.find((host) => host.id === id)?.name;
  }

  /** @returns ms since `from` until it answers with another boot */
  async answersAnew({ name, address, bootId }: Pick<RunningGuest, "name" | "address" | "bootId">, from: number): Promise<number> {
    await until(`${name} to answer anew`, 90_000, async () => {
      const answer = await askGuest(address);
      return answer !== undefined && answer.bootId !== bootId ? true : undefined;
    });
    return performance.now() - from;
  }

  /** Cuts a host's power and waits until each of its guests answers elsewhere. @throws Error where one does not */
  async cutPower(from: string, guests: readonly RunningGuest[]): Promise<Recovery[]> {
    const { hosts } = this.site.deployment;
    const cutAt = performance.now();
    await hosts.get(from)?.host.kill();
    return Promise.all(
      guests
        .filter(({ host }) => host === from)
        .map(async (guest) => {
          const outageMs = await this.answersAnew(guest, cutAt);
          for (const [to, { host }] of hosts) {
            const pid = (await host.qemuProcesses()).find(({ uuid }) => uuid === guest.id)?.pid;
            if (pid !== undefined) return { name: guest.name, from, to, outageMs, bootMs: cutAt + outageMs - (await startOf(pid)) };
          }
          throw new Error(`${guest.name} answers and has no process on any host`);
        }),
    );
  }

  /** On again, and its agent let in. */
  async powerOn(name: string): Promise<void> {
    await this.site.deployment.powerOn(name);
    await this.letIn(name);
  }

  async letIn(name: string): Promise<void> {
    await until(`host ${name} to be let in`, 60_000, async () => {
      const { liveness, fencing } = await this.hostStatus(name);
      return liveness?.state === "ready" && fencing === undefined ? true : undefined;
    });
  }
}

/** When a process began, as `performance.now()` counts; the kernel tells it in hundredths of a second. */
async function startOf(pid: number): Promise<number> {
  const [stat, uptime] = await Promise.all([readFile(`/proc/${pid}/stat`, "utf8"), readFile("/proc/uptime", "utf8")]);
  const now = performance.now();
  // "pid (name) state …": the name may hold anything. The 22nd field (proc(5): starttime).
  const startedTicks = Number(stat.slice(stat.lastIndexOf(")") + 2).split(" ")[19]);
  return now - (Number(uptime.split(" ")[0]) * 1000 - startedTicks * 10);
}
