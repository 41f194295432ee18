/**
 * The watchdog devices of a host, as its kernel tells of them (Documentation/ABI/testing/sysfs-class-watchdog), and which of them is taken.
 * Opening one arms it; what is written to it puts its end off; `V` before it is closed disarms it, where its driver lets that be.
 */
import type { Files, Processes } from "./ports.ts";

export interface WatchdogDevice {
  /** `watchdog0` */
  readonly name: string;
  readonly identity: string;
  /** Something outside of the kernel resets the host. */
  readonly hardware: boolean;
  readonly timeoutMs: number;
}

const sysfs = "/sys/class/watchdog";
/** The driver softdog: a timer of the kernel that it guards. */
const softwareIdentity = "Software Watchdog";
const settingLimitMs = 5000;

export const watchdogPath = (device: Pick<WatchdogDevice, "name">): string => `/dev/${device.name}`;

/** Hardware first, then in the order of their numbers. One that does not say what it is counts as software. */
export async function watchdogDevices(files: Pick<Files, "list" | "readText">): Promise<WatchdogDevice[]> {
  const names = (await files.list(sysfs)).filter((name) => /^watchdog\d+$/.test(name));
  const devices = await Promise.all(names.map((name) => watchdogDevice(files, name)));
  const number = ({ name }: WatchdogDevice): number => Number(name.slice("watchdog".length));
  return devices.toSorted((a, b) => Number(b.hardware) - Number(a.hardware) || number(a) - number(b));
}

export async function watchdogDevice(files: Pick<Files, "readText">, name: string): Promise<WatchdogDevice> {
  const read = async (attribute: string): Promise<string> => ((await files.readText(`${sysfs}/${name}/${attribute}`)) ?? "").trim();
  const identity = await read("identity");
  const seconds = Number(await read("timeout"));
  return {
    name,
    identity: identity === "" ? "unknown" : identity,
    hardware: identity !== "" && identity !== softwareIdentity,
    timeoutMs: Number.isFinite(seconds) ? seconds * 1000 : 0,
  };
}

/** Before it is opened; what a driver does not let be set stays as it is. */
export async function setWatchdogTimeout(processes: Processes, device: WatchdogDevice, timeoutMs: number): Promise<void> {
  if (device.timeoutMs === timeoutMs) return;
  await processes
    .run("wdctl", ["--settimeout", String(Math.round(timeoutMs / 1000)), watchdogPath(device)], { deadlineMs: settingLimitMs })
    .catch(() => null);
}
