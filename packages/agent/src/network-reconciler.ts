/**
 * The networks of this host: a bridge each. Bridges that Sheaf is to manage are made, given their uplink and taken away again; others
 * are only looked for. Called under the network's key. Never touches a bridge it did not make, nor an uplink that has addresses.
 */
import type { Logger } from "@sheaf/base";
import { type NetworkOnHost, type RecordOf, SheafError } from "@sheaf/model";
import { z } from "zod";
import type { KeptState } from "./kept-state.ts";
import type { Files, Processes } from "./ports.ts";
import { runOrFail } from "./program.ts";

type Network = RecordOf<"network">;
type Seen = z.infer<typeof NetworkOnHost>;

/** Links that this agent made for a network. */
const MadeLinks = z.looseObject({ bridge: z.string().optional(), vlan: z.string().optional() });

export interface NetworkReconcilerOptions {
  readonly hostId: string;
  readonly kept: KeptState;
  readonly files: Files;
  readonly processes: Processes;
  readonly logger: Logger;
  readonly report: (networkId: string, value: Seen | null) => void;
  readonly changed: (networkId: string) => void;
}

const lookEveryMs = 60_000;
const noteName = (id: string): string => `network-${id}`;

export class NetworkReconciler {
  readonly #options: NetworkReconcilerOptions;
  readonly #seen = new Map<string, Seen>();

  constructor(options: NetworkReconcilerOptions) {
    this.#options = options;
  }

  observation(networkId: string): Seen | undefined {
    return this.#seen.get(networkId);
  }

  async reconcile(networkId: string): Promise<{ againAfterMs?: number } | void> {
    const { kept, hostId, report, changed } = this.#options;
    const network = kept.document("network", networkId);
    if (!network || network.deletedAt !== undefined || (network.spec.hosts !== undefined && !network.spec.hosts.includes(hostId))) {
      await this.#takeAway(networkId);
      if (this.#seen.delete(networkId)) report(networkId, null);
      return;
    }
    const seen = await this.#ensure(network).then(
      (): Seen => ({ state: "ready" }),
      (error: unknown): Seen => ({ state: "failed", problem: error instanceof Error ? error.message : String(error) }),
    );
    const before = this.#seen.get(networkId);
    this.#seen.set(networkId, seen);
    report(networkId, seen);
    if (before?.state !== seen.state) changed(networkId);
    return { againAfterMs: lookEveryMs };
  }

  async #ensure(network: Network): Promise<void> {
    const { bridge, managed } = network.spec;
    const exists = await this.#isLink(bridge);
    if (exists && !(await this.#isBridge(bridge)))
      throw new SheafError("state-refused", `${bridge} is there on this host, and is no bridge: choose another name`);
    if (!managed) {
      if (!exists) throw new SheafError("state-refused", `this host has no bridge ${bridge}: make it, or let Sheaf manage it (managed: true)`);
      return;
    }
    if (!exists) await this.#make(network);
    await this.#ip(["link", "set", "dev", bridge, "mtu", String(network.spec.mtu), "up"]);
    await this.#uplink(network);
  }

  async #make(network: Network): Promise<void> {
    const { bridge } = network.spec;
    // Noted first: an agent that is killed in between still takes it away in the end.
    await this.#note(network.id, { bridge });
    // Without a forwarding delay guests have their network at once; there is one uplink, so no loop.
    await this.#ip(["link", "add", "name", bridge, "type", "bridge", "forward_delay", "0", "stp_state", "0"]);
    this.#options.logger.info({ network: network.name, bridge }, "a bridge was made");
  }

  async #uplink(network: Network): Promise<void> {
    const { uplink, vlan, bridge, mtu } = network.spec;
    if (uplink === undefined) return;
    if (!(await this.#isLink(uplink)))
      throw new SheafError("state-refused", `this host has no interface ${uplink}, the uplink of network ${network.name}`);
    let port = uplink;
    if (vlan === undefined) {
      await this.#mustHaveNoAddresses(uplink, network);
    } else {
      port = vlanLink(uplink, vlan);
      if (!(await this.#isLink(port))) {
        await this.#note(network.id, { vlan: port });
        await this.#ip(["link", "add", "link", uplink, "name", port, "type", "vlan", "id", String(vlan)]);
      }
      await this.#ip(["link", "set", "dev", uplink, "up"]);
    }
    await this.#ip(["link", "set", "dev", port, "master", bridge, "mtu", String(mtu), "up"]);
  }

  /** An interface in a bridge loses its addresses' use: the host would cut itself off. */
  async #mustHaveNoAddresses(uplink: string, network: Network): Promise<void> {
    const output = await this.#ip(["-j", "addr", "show", "dev", uplink, "scope", "global"]);
    const links = z.array(z.looseObject({ addr_info: z.array(z.unknown()).optional() })).parse(JSON.parse(output || "[]"));
    if (links.some((link) => (link.addr_info?.length ?? 0) > 0)) {
      throw new SheafError(
        "state-refused",
        `${uplink} carries addresses of this host and cannot be the uplink of ${network.name}: use a VLAN, or make the bridge by hand and name it`,
      );
    }
  }

  async #takeAway(networkId: string): Promise<void> {
    const { kept, logger } = this.#options;
    const made = MadeLinks.safeParse(kept.note(noteName(networkId))).data;
    if (!made) return;
    for (const link of [made.vlan, made.bridge]) {
      if (link === undefined || !(await this.#isLink(link))) continue;
      if (link === made.bridge && (await this.#ports(link)).length > 0) {
        throw new SheafError("in-use", `bridge ${link} still has ports: it is taken away when the last machine has left it`);
      }
      await this.#ip(["link", "delete", "dev", link]);
      logger.info({ link }, "a link that Sheaf had made was taken away");
    }
    await kept.removeNote(noteName(networkId));
  }

  async #note(networkId: string, more: { bridge?: string; vlan?: string }): Promise<void> {
    const { kept } = this.#options;
    const before = MadeLinks.safeParse(kept.note(noteName(networkId))).data;
    await kept.putNote(noteName(networkId), { ...before, ...more });
  }

  async #isLink(name: string): Promise<boolean> {
    return (await this.#options.files.facts(`/sys/class/net/${name}`)) !== null;
  }

  async #isBridge(name: string): Promise<boolean> {
    return (await this.#options.files.facts(`/sys/class/net/${name}/bridge`)) !== null;
  }

  #ports(bridge: string): Promise<string[]> {
    return this.#options.files.list(`/sys/class/net/${bridge}/brif`);
  }

  #ip(programArguments: readonly string[]): Promise<string> {
    return runOrFail(this.#options.processes, "ip", programArguments, { deadlineMs: 15_000, what: `ip ${programArguments.join(" ")}` });
  }
}

/** At most 15 characters, the kernel's limit. */
export function vlanLink(uplink: string, vlan: number): string {
  const name = `${uplink}.${vlan}`;
  return name.length <= 15 ? name : `${uplink.slice(0, 15 - String(vlan).length - 1)}.${vlan}`;
}
