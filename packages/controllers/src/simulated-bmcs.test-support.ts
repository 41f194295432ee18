/** Management controllers of simulated hosts for tests; a method's address is the host's id. Never imported by production code. */
import { sleep, type Clock } from "@sheaf/base";
import { type PowerFence, SheafError, type WakeOnLan } from "@sheaf/model";
import type { FencingDevices } from "./ports.ts";
import type { SimulatedAgents } from "./simulated-agents.test-support.ts";

/** `lies`: says that it is off and does nothing. `lost`: the power is cut, the answer never comes. */
export type BmcFault = "refuses" | "silent" | "lies" | "lost";

export class SimulatedBmcs implements FencingDevices {
  readonly #world: { readonly clock: Clock; readonly agents: SimulatedAgents };
  readonly calls: string[] = [];
  /** Whether they are off already. */
  readonly asked: string[] = [];
  delayMs = 300;
  /** By method type and host. */
  readonly faults = new Map<string, BmcFault>();
  /** Told before anything is done: where tests interfere. */
  moment: (hostId: string) => void = () => {};

  constructor(world: { readonly clock: Clock; readonly agents: SimulatedAgents }) {
    this.#world = world;
  }

  async isOff(method: PowerFence, signal: AbortSignal): Promise<boolean> {
    const host = hostOf(method);
    this.asked.push(`${method.type} ${host}`);
    const { clock, agents } = this.#world;
    const fault = this.faults.get(`${method.type} ${host}`);
    await sleep(clock, this.delayMs, signal);
    if (fault === "refuses") throw new SheafError("fencing-failed", "wrong password");
    if (fault === "silent") return new Promise(() => {});
    return fault === "lies" || !agents.powered(host);
  }

  async off(method: PowerFence, signal: AbortSignal): Promise<void> {
    const host = hostOf(method);
    this.calls.push(`${method.type} ${host}`);
    this.moment(host);
    const { clock, agents } = this.#world;
    const fault = this.faults.get(`${method.type} ${host}`);
    await sleep(clock, this.delayMs, signal);
    if (fault === "refuses") throw new SheafError("fencing-failed", "wrong password");
    if (fault === "silent") return new Promise(() => {});
    if (fault !== "lies") agents.powerOff(host);
    if (fault === "lost") return new Promise(() => {});
  }

  async on(method: PowerFence, signal: AbortSignal): Promise<void> {
    const host = hostOf(method);
    this.calls.push(`on ${method.type} ${host}`);
    this.moment(host);
    const { clock, agents } = this.#world;
    const fault = this.faults.get(`${method.type} ${host}`);
    await sleep(clock, this.delayMs, signal);
    if (fault === "refuses") throw new SheafError("fencing-failed", "wrong password");
    if (fault === "silent") return new Promise(() => {});
    if (fault !== "lies" && !agents.powered(host)) agents.powerOn(host);
  }

  /** By the card's address: the host behind it. */
  readonly cards = new Map<string, string>();
  async wakeOnLan({ mac }: WakeOnLan): Promise<void> {
    this.calls.push(`wake-on-lan ${mac}`);
    const { agents } = this.#world;
    const host = this.cards.get(mac);
    if (host !== undefined && !agents.powered(host)) agents.powerOn(host);
  }
}

const hostOf = (method: PowerFence): string => (method.type === "command" ? (method.options["plug"] ?? "") : method.address);
