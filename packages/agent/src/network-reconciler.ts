/**
 * The networks of this host: a bridge each. Bridges that Sheaf is to manage are made, given their uplink and taken away again; others
 * are only looked for. Called under the network's key. Never touches a bridge it did not make, nor an uplink that has addresses.
 */
import { isDeepStrictEqual } from "node:util";
import type { Logger } from "@sheaf/base";
import { type NetworkOnHost, type RecordOf, SheafError } from "@sheaf/model";
import { z } from "zod";
import type { KeptState } from "./kept-state.ts";
import type { Files, Processes } from "./ports.ts";
import { runOrFail } from "./program.ts";

type Network = RecordOf<"network">;
type Seen = z.infer<typeof NetworkOnHost>;

/** Links that this agent made for a network, and the one that it put into the bridge: the VLAN's, or the uplink itself. */
const MadeLinks = z.looseObject({ bridge: z.string().optional(), vlan: z.string().optional(), port: z.string().optional() });
type MadeLinks = z.infer<typeof MadeLinks>;

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
      (error: unknown): Seen => ({ state: "failed", problem: inWords(error) }),
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
    const made = this.#made(network.id);
    if (made?.bridge !== undefined && (!managed || made.bridge !== bridge)) await this.#takeAway(network.id);
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
    let port = uplink;
    if (uplink !== undefined && vlan !== undefined) port = vlanLink(uplink, vlan);
    // First: two uplinks in one bridge would make one network of two.
    await this.#giveBack(network.id, port);
    if (uplink === undefined || port === undefined) return;
    if (!(await this.#isLink(uplink)))
      throw new SheafError("state-refused", `this host has no interface ${uplink}, the uplink of network ${network.name}`);
    if (vlan === undefined) {
      await this.#mustHaveNoAddresses(uplink, network);
    } else {
      if (!(await this.#isLink(port))) {
        await this.#note(network.id, { vlan: port });
        await this.#addVlan(uplink, port, vlan);
      }
      await this.#ip(["link", "set", "dev", uplink, "up"]);
    }
    await this.#note(network.id, { port });
    await this.#ip(["link", "set", "dev", port, "master", bridge, "mtu", String(mtu), "up"]);
  }

  async #addVlan(uplink: string, port: string, vlan: number): Promise<void> {
    try {
      await this.#ip(["link", "add", "link", uplink, "name", port, "type", "vlan", "id", String(vlan)]);
    } catch (error) {
      // What the kernel answers for a kind of link that it does not know, and that no module brings.
      if (!(error instanceof SheafError) || !/not supported|Unknown device type/.test(error.message)) throw error;
      throw new SheafError("state-refused", `this host's kernel knows no VLANs (802.1Q), so VLAN ${vlan} on ${uplink} cannot be made`, {
        next: "Load or install the module 8021q, or give the network other hosts.",
        cause: error.message,
      });
    }
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
    const made = this.#made(networkId);
    if (!made) return;
    await this.#giveBack(networkId, undefined);
    const { bridge } = made;
    if (bridge !== undefined && (await this.#isLink(bridge))) {
      if ((await this.#ports(bridge)).length > 0)
        throw new SheafError("in-use", `bridge ${bridge} still has ports: it is taken away when the last machine has left it`);
      await this.#remove(bridge);
    }
    await this.#options.kept.removeNote(noteName(networkId));
  }

  /** Takes what Sheaf had put into the bridge out of it, unless it is the one that belongs there. */
  async #giveBack(networkId: string, wanted: string | undefined): Promise<void> {
    const made = this.#made(networkId);
    if (!made) return;
    const { vlan, port, ...rest } = made;
    if (vlan !== undefined && vlan !== wanted && (await this.#isLink(vlan))) await this.#remove(vlan);
    if (port !== undefined && port !== wanted && port !== vlan && (await this.#isLink(port)))
      await this.#ip(["link", "set", "dev", port, "nomaster"]);
    const left = { ...rest, ...(vlan !== undefined && vlan === wanted ? { vlan } : {}), ...(port !== undefined && port === wanted ? { port } : {}) };
    await this.#keep(networkId, left);
  }

  async #remove(link: string): Promise<void> {
    await this.#ip(["link", "delete", "dev", link]);
    this.#options.logger.info({ link }, "a link that Sheaf had made was taken away");
  }

  #made(networkId: string): MadeLinks | undefined {
    return MadeLinks.safeParse(this.#options.kept.note(noteName(networkId))).data;
  }

  async #note(networkId: string, more: MadeLinks): Promise<void> {
    await this.#keep(networkId, { ...this.#made(networkId), ...more });
  }

  async #keep(networkId: string, note: MadeLinks): Promise<void> {
    if (!isDeepStrictEqual(note, this.#made(networkId))) await this.#options.kept.putNote(noteName(networkId), note);
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

function inWords(error: unknown): string {
  if (!(error instanceof Error)) return String(error);
  const next = error instanceof SheafError ? error.extra.next : undefined;
  return next === undefined ? error.message : `${error.message}: ${next.charAt(0).toLowerCase()}${next.slice(1).replace(/\.$/, "")}`;
}

/** At most 15 characters, the kernel's limit. */
export function vlanLink(uplink: string, vlan: number): string {
  const name = `${uplink}.${vlan}`;
  return name.length <= 15 ? name : `${uplink.slice(0, 15 - String(vlan).length - 1)}.${vlan}`;
}
