/** Free bytes for people, rounded down: "4 GiB free" must never be said of a host that a machine of 4 GiB does not fit on. */
import { formatBytes } from "@sheaf/base";

export function freeBytes(bytes: number): string {
  let unit = 1;
  while (bytes / unit >= 1024) unit *= 1024;
  return formatBytes(unit === 1 ? Math.floor(bytes) : (Math.floor((bytes / unit) * 10) / 10) * unit);
}
