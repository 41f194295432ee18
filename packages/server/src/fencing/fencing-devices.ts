/** The fencing devices behind the controllers' port: one way to switch and make sure, whatever the kind of switch. */
import { sleep, type Clock } from "@sheaf/base";
import type { FencingDevices } from "@sheaf/controllers";
import { type PowerFence, SheafError } from "@sheaf/model";
import type { Secrets } from "../context.ts";
import { commandSwitch } from "./command-switch.ts";
import type { CallHttps, FencingPrograms } from "./fencing-ports.ts";
import { ipmiSwitch } from "./ipmi-switch.ts";
import type { PowerSwitch } from "./power-switch.ts";
import { redfishSwitch } from "./redfish-switch.ts";

/** A device takes a moment to cut the power. */
const askAgainMs = 250;

export interface FencingDeviceOptions {
  readonly clock: Clock;
  readonly secrets: Pick<Secrets, "open">;
  readonly programs: FencingPrograms;
  readonly callHttps: CallHttps;
  readonly sendMagicPacket: (packet: { readonly mac: string; readonly port: number; readonly broadcastAddress?: string }) => Promise<unknown>;
}

export function createFencingDevices({ clock, secrets, programs, callHttps, sendMagicPacket }: FencingDeviceOptions): FencingDevices {
  const switchOf = (method: PowerFence): PowerSwitch => {
    switch (method.type) {
      case "ipmi":
        return ipmiSwitch(method, secrets.open(method.password), programs);
      case "redfish":
        return redfishSwitch(method, secrets.open(method.password), callHttps);
      case "command":
        return commandSwitch(method, method.password === undefined ? undefined : secrets.open(method.password), programs);
    }
  };
  return {
    off: (method, signal) =>
      told(async () => {
        const device = switchOf(method);
        // An order to a host that is off already is an error to some devices.
        if ((await device.status(signal)) === "off") return;
        await device.cut(signal);
        // What it says of its own order is not enough: a device that took it and did nothing answers "on" now, for as long as it is asked.
        while ((await device.status(signal)) !== "off") await sleep(clock, askAgainMs, signal);
      }),
    on: (method, signal) =>
      told(async () => {
        const device = switchOf(method);
        if ((await device.status(signal)) === "on") return;
        await device.turnOn(signal);
        while ((await device.status(signal)) !== "on") await sleep(clock, askAgainMs, signal);
      }),
    wakeOnLan: ({ mac, port, broadcastAddress }) =>
      told(async () => void (await sendMagicPacket({ mac, port, ...(broadcastAddress === undefined ? {} : { broadcastAddress }) }))),
    isOff: (method, signal) => told(async () => (await switchOf(method).status(signal)) === "off"),
  };
}

async function told<T>(work: () => Promise<T>): Promise<T> {
  try {
    return await work();
  } catch (error) {
    if (error instanceof SheafError) throw error;
    throw new SheafError("fencing-failed", "The fencing device could not be asked", {
      cause: error instanceof Error ? error.message : String(error),
    });
  }
}
