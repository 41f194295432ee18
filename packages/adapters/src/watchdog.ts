/** The kernel's watchdog devices (Documentation/watchdog/watchdog-api.rst): opening arms, each write pets, `V` before the end disarms. */
import { closeSync, openSync, writeSync } from "node:fs";
import { uptime } from "node:os";

/** Ms since the host booted, time asleep included (/proc/uptime, CLOCK_BOOTTIME): the same for all programs of the host. */
export const sinceBoot = (): number => uptime() * 1000;

export const nodeWatchdogs = {
  /** @throws EBUSY where another program holds it, ENOENT where it is not there */
  open(path: string): { pet(): void; disarm(): void; abandon(): void } {
    const device = openSync(path, "w");
    return {
      pet: () => void writeSync(device, "\0"),
      disarm() {
        writeSync(device, "V");
        closeSync(device);
      },
      abandon: () => closeSync(device),
    };
  },
} as const;
