/**
 * The hosts' management controllers: on a network of their own, with power when their host has none. They cut power as they are told, or
 * fail, or say that they did and did not.
 */
import { type Clock, sleep } from "@sheaf/base";
import type { FencingDevices } from "@sheaf/controllers";
import { type FencingMethod, SheafError } from "@sheaf/model";
import type { SimulatedHost } from "./simulated-host.ts";

const takesMs = 1500;

export class SimulatedBmcs implements FencingDevices {
  readonly #clock: Clock;
  readonly #hostOf: (address: string) => SimulatedHost | null;
  /** What is wrong with one, by its host's name. `lies`: says off, and the host runs on. */
  readonly faults = new Map<string, "fails" | "lies">();

  constructor(clock: Clock, hostOf: (address: string) => SimulatedHost | null) {
    this.#clock = clock;
    this.#hostOf = hostOf;
  }

  async off(method: FencingMethod, signal: AbortSignal): Promise<void> {
    const host = "address" in method ? this.#hostOf(method.address) : null;
    await sleep(this.#clock, takesMs, signal);
    if (!host) throw new SheafError("fencing-failed", "nothing answers at this address (simulated)");
    const fault = this.faults.get(host.name);
    if (fault === "fails") throw new SheafError("fencing-failed", "the device refuses (simulated)");
    if (fault !== "lies") host.powerOff();
  }
}

/** Where the controller of a host answers. */
export const bmcAddress = (hostAddress: string): string => hostAddress.replace(/^10\.1/, "10.2");
