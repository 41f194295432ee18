/**
 * The lab's network on this machine: one bridge that holds the gateway address, a network namespace for each host, a veth pair between
 * them, and in the host a bridge `br0` that carries the uplink, the host's address and its guests. Called by lab.ts and lab-host.ts.
 */
import { readdir, rm, statfs } from "node:fs/promises";
import { must, run } from "./command.ts";
import { LabError } from "./lab-error.ts";
import { namespacePath } from "./process-table.ts";

/** The type number of the kernel's file system for namespaces (linux/magic.h: NSFS_MAGIC). */
const NSFS = 0x6e736673;

export interface Gateway {
  readonly address: string;
  readonly prefixLength: number;
}

/** Parses `10.99.0.1/24`. Throws LabError. */
export function parseGateway(text: string): Gateway {
  const match = /^(\d+\.\d+\.\d+\.\d+)\/(\d+)$/.exec(text);
  const prefixLength = Number(match?.[2]);
  if (match?.[1] === undefined || !isAddress(match[1]) || prefixLength < 8 || prefixLength > 30)
    throw new LabError(`bad gateway "${text}": give an IPv4 address with a prefix length from 8 to 30, such as 10.99.0.1/24`);
  return { address: match[1], prefixLength };
}

export function isAddress(text: string): boolean {
  return /^\d+(\.\d+){3}$/.test(text) && text.split(".").every((part) => Number(part) <= 255);
}

const linkExists = async (link: string, ...where: string[]): Promise<boolean> => (await run(["ip", ...where, "link", "show", link])).code === 0;

export class LabNetwork {
  readonly #id: string;
  readonly #gateway: Gateway;

  constructor(id: string, gateway: Gateway) {
    this.#id = id;
    this.#gateway = gateway;
  }

  /** Name of the bridge on the machine, of a host's namespace, and of the outer end of its veth pair (at most 15 bytes). */
  get bridge(): string {
    return `${this.#id}br0`;
  }
  namespace(host: string): string {
    return `${this.#id}-${host}`;
  }

  async ensure(host: string, address: string): Promise<void> {
    const { bridge } = this;
    const namespace = this.namespace(host);
    const { address: gateway, prefixLength } = this.#gateway;
    if (!(await linkExists(bridge))) {
      await must(["ip", "link", "add", bridge, "type", "bridge", "forward_delay", "0", "stp_state", "0"]);
      // Links of hosts that already run hang in the air when somebody has removed the bridge.
      const links = (await readdir("/sys/class/net")).filter((name) => name.startsWith(`${this.#id}-`));
      for (const link of links) await must(["ip", "link", "set", link, "master", bridge]);
    }
    await must(["ip", "addr", "replace", `${gateway}/${prefixLength}`, "dev", bridge]);
    await must(["ip", "link", "set", bridge, "up"]);
    await this.#ensureNamespace(namespace);
    if (!(await linkExists(namespace))) await must(["ip", "link", "add", namespace, "type", "veth", "peer", "name", "up0", "netns", namespace]);
    await must(["ip", "link", "set", namespace, "master", bridge, "up"]);
    const bridgeExists = await linkExists("br0", "-n", namespace);
    const inside = [
      "link set lo up",
      ...(bridgeExists ? [] : ["link add br0 type bridge forward_delay 0 stp_state 0"]),
      "link set up0 master br0 up",
      // The same at every start, so that neighbours need not learn a restarted host anew.
      `link set br0 address 02:4c:${address
        .split(".")
        .map((part) => Number(part).toString(16).padStart(2, "0"))
        .join(":")}`,
      `addr replace ${address}/${prefixLength} dev br0`,
      "link set br0 up",
      `route replace default via ${gateway}`,
    ];
    await must(["ip", "-n", namespace, "-batch", "-"], { input: `${inside.join("\n")}\n` });
  }

  async #ensureNamespace(namespace: string): Promise<void> {
    const type = await statfs(namespacePath(namespace)).then(
      (entry) => entry.type,
      () => undefined,
    );
    if (type === NSFS) return;
    // A crash between the two halves of `ip netns add` leaves a plain file, which would make the next one fail.
    if (type !== undefined) await rm(namespacePath(namespace), { force: true });
    await must(["ip", "netns", "add", namespace]);
  }

  async cut(host: string): Promise<void> {
    await must(["ip", "link", "set", this.namespace(host), "down"]);
  }

  async join(host: string): Promise<void> {
    await must(["ip", "link", "set", this.namespace(host), "up"]);
  }

  /** Removes a host's link and namespace; what is not there is no error. */
  async removeHost(host: string): Promise<void> {
    const namespace = this.namespace(host);
    if (await linkExists(namespace)) await must(["ip", "link", "del", namespace]);
    const entry = await statfs(namespacePath(namespace)).catch(() => null);
    if (entry === null) return;
    if (entry.type === NSFS) await must(["ip", "netns", "del", namespace]);
    else await rm(namespacePath(namespace), { force: true });
  }

  async removeBridge(): Promise<void> {
    if (await linkExists(this.bridge)) await must(["ip", "link", "del", this.bridge]);
  }
}
