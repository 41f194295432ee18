/**
 * What cuts the hosts' power: their management controllers, on a network of their own and with power when their host has none, and
 * sockets that are switched (`command`). They do as they are told, or fail, answer late, deny what they did, or say that they did and did not.
 */
import { type Clock, sleep } from "@sheaf/base";
import type { FencingDevices } from "@sheaf/controllers";
import { type PowerFence, SheafError } from "@sheaf/model";
import type { SimulatedHost } from "./simulated-host.ts";

const takesMs = 1500;
/** Longer than anybody waits for it. */
const slowMs = 25_000;

/**
 * `slow`: the power goes when nobody waits any more · `denies`: cut, and called a failure · `lies`: says off, and the host runs on ·
 * `gone`: has no power itself.
 */
export type BmcFault = "fails" | "slow" | "denies" | "lies" | "gone";
export const fencingTypes = ["ipmi", "redfish", "command"] as const;
/** `watchdog`: the host's own, without any device. */
export type FencingType = (typeof fencingTypes)[number] | "watchdog";

export interface BmcOptions {
  readonly clock: Clock;
  readonly hostOf: (address: string) => SimulatedHost | null;
  /** Its power is about to be cut by one. */
  readonly cuts: (host: SimulatedHost) => void;
}

export class SimulatedBmcs implements FencingDevices {
  readonly #options: BmcOptions;
  readonly #faults = new Map<string, BmcFault>();

  constructor(options: BmcOptions) {
    this.#options = options;
  }

  /** @param fault `null`: works again */
  set(host: string, types: readonly FencingType[], fault: BmcFault | null): void {
    for (const type of types)
      if (fault) this.#faults.set(`${type} ${host}`, fault);
      else this.#faults.delete(`${type} ${host}`);
  }

  /** A device of this host says what is not so. */
  deceives(host: string): boolean {
    return fencingTypes.some((type) => this.#faults.get(`${type} ${host}`) === "lies");
  }

  async off(method: PowerFence, signal: AbortSignal): Promise<void> {
    const { clock } = this.#options;
    const { host, fault } = this.#behind(method);
    if (fault === "gone") return sleep(clock, 3_600_000, signal);
    if (fault === "slow") clock.setTimer(slowMs, () => this.#cut(host));
    await sleep(clock, fault === "slow" ? 2 * slowMs : takesMs, signal);
    if (fault === "fails") throw new SheafError("fencing-failed", "the device refuses (simulated)");
    if (fault === "lies") return;
    this.#cut(host);
    if (fault === "denies") throw new SheafError("fencing-failed", "the device answers nonsense (simulated)");
  }

  async isOff(method: PowerFence, signal: AbortSignal): Promise<boolean> {
    const { host, fault } = this.#behind(method);
    await sleep(this.#options.clock, fault === "gone" || fault === "slow" ? 2 * slowMs : takesMs, signal);
    if (fault === "fails" || fault === "denies") throw new SheafError("fencing-failed", "the device answers nonsense (simulated)");
    return fault === "lies" || !host.powered;
  }

  async on(method: PowerFence, signal: AbortSignal): Promise<void> {
    const { clock } = this.#options;
    const { host, fault } = this.#behind(method);
    if (fault === "gone") return sleep(clock, 3_600_000, signal);
    await sleep(clock, fault === "slow" ? 2 * slowMs : takesMs, signal);
    if (fault === "fails") throw new SheafError("fencing-failed", "the device refuses (simulated)");
    if (fault === "lies") return;
    if (!host.powered && !host.heldOff) host.powerOn();
    if (fault === "denies") throw new SheafError("fencing-failed", "the device answers nonsense (simulated)");
  }

  /** No card of this data centre listens. */
  async wakeOnLan(): Promise<void> {}

  #behind(method: PowerFence): { readonly host: SimulatedHost; readonly fault: BmcFault | undefined } {
    const host = this.#options.hostOf("address" in method ? method.address : (method.options["plug"] ?? ""));
    if (!host) throw new SheafError("fencing-failed", "nothing answers at this address (simulated)");
    return { host, fault: this.#faults.get(`${method.type} ${host.name}`) };
  }

  #cut(host: SimulatedHost): void {
    if (!host.powered) return;
    this.#options.cuts(host);
    host.powerOff();
  }
}

/** Where a host is reached. @param index from 0 */
export const hostAddress = (index: number): string => `10.${100 + Math.floor(index / 62_500)}.${Math.floor(index / 250) % 250}.${(index % 250) + 1}`;
/** Where the controller of a host answers. */
export const bmcAddress = (hostAddress: string): string => hostAddress.replace(/^10\.1/, "10.2");

/** A host's `fencing`, as an operator would write it. */
export const fencingMethods = (types: readonly FencingType[], { name, address }: SimulatedHost, leaseMs: number): object[] =>
  types.map((type) =>
    type === "watchdog"
      ? { type, leaseMs }
      : type === "command"
        ? { type, program: "fence_apc_snmp", options: { ip: "10.0.9.9", plug: name } }
        : { type, address: bmcAddress(address), user: "sheaf", password: "simulated" },
  );
