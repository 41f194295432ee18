/**
 * A place on a lab's network with nothing in it but what is started there: a server, a member of etcd. It has an address and a link of its
 * own, which can be cut like a host's, and can be made unable to reach single addresses. Goes with the lab's `purge`, processes included.
 */
import { must } from "./command.ts";
import { LabNetwork, parseGateway } from "./lab-network.ts";
import { namespacePath } from "./process-table.ts";

export interface LabPlaceOptions {
  /** As the lab's. */
  readonly labId: string;
  readonly gateway: string;
  /** Differs from those of hosts. */
  readonly name: string;
  readonly address: string;
}

/** An address of links that nothing has: frames to it are lost without a word. */
const nobody = "02:00:00:00:de:ad";

export class LabPlace {
  readonly address: string;
  readonly #name: string;
  readonly #network: LabNetwork;

  private constructor({ labId, gateway, name, address }: LabPlaceOptions) {
    this.address = address;
    this.#name = name;
    this.#network = new LabNetwork(labId, parseGateway(gateway));
  }

  static async make(options: LabPlaceOptions): Promise<LabPlace> {
    const place = new LabPlace(options);
    await place.#network.ensure(options.name, options.address);
    return place;
  }

  /** Words to put before a command line, so that it runs there. The process keeps its number. */
  get enter(): readonly string[] {
    return ["nsenter", `--net=${namespacePath(this.#namespace)}`, "--"];
  }

  /** Nothing comes in or goes out, until `join`. */
  cut(): Promise<void> {
    return this.#network.cut(this.#name);
  }

  join(): Promise<void> {
    return this.#network.join(this.#name);
  }

  /** What it sends there is lost, until `reach`; connections hang. What comes from there still arrives. */
  async lose(address: string): Promise<void> {
    await must(["ip", "-n", this.#namespace, "neigh", "replace", address, "lladdr", nobody, "nud", "permanent", "dev", "br0"]);
  }

  async reach(address: string): Promise<void> {
    await must(["ip", "-n", this.#namespace, "neigh", "del", address, "dev", "br0"]);
  }

  /** Its processes must have ended. */
  remove(): Promise<void> {
    return this.#network.removeHost(this.#name);
  }

  get #namespace(): string {
    return this.#network.namespace(this.#name);
  }
}
