/**
 * The power of one lab host as its management controllers see it, with the faults that such controllers have. Truth is the host's
 * processes, not what was ordered.
 */
import type { LabHost } from "../lab-host.ts";

/** `lies`: takes the order, does nothing, says what was ordered. `idle`: takes the order, does nothing, says so when asked. */
export type PowerFault = "lies" | "idle";

export interface LabPower {
  readonly host: LabHost;
  /** Powers the host on, with whatever is to run there. */
  readonly on: () => Promise<void>;
}

export class PowerControl {
  readonly #power: LabPower;
  fault: PowerFault | undefined;
  /** Every order is carried out so much later, ms. */
  delayMs = 0;
  /** Orders that came, the newest last. */
  readonly orders: ("on" | "off")[] = [];

  constructor(power: LabPower) {
    this.#power = power;
  }

  async status(): Promise<"on" | "off"> {
    const last = this.orders.at(-1);
    if (this.fault === "lies" && last !== undefined) return last;
    return (await this.#power.host.state()) === "off" ? "off" : "on";
  }

  async order(state: "on" | "off"): Promise<void> {
    this.orders.push(state);
    if (this.fault !== undefined) return;
    if (this.delayMs > 0) await new Promise((resolve) => setTimeout(resolve, this.delayMs));
    if (state === "off") await this.#power.host.kill();
    else await this.#power.on();
  }
}
