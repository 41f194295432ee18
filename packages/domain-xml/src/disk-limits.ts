/** A disk's limits as libvirt's iotune: figures that QEMU's throttling accepts. For XML and for setting them live. */
import type { DiskLimits } from "@sheaf/model";

/** QEMU's ceiling for every rate (util/throttle.c, THROTTLE_VALUE_MAX). */
const ceiling = 10 ** 15;

/**
 * All names and values of libvirt's `<iotune>`, in its units (bytes/s, operations/s, s); 0 means no limit. The names are those of
 * the XML and of virDomainSetBlockIoTune's parameters alike. Bursts go with the rates that are limited: QEMU refuses a burst
 * without a limit, or below it, or so long that burst × seconds passes its ceiling.
 */
export function ioTune(limits: DiskLimits): Readonly<Record<string, number>> {
  const tune: Record<string, number> = {};
  const rates = [
    ["total_bytes_sec", limits.totalBytesPerSecond, limits.burstBytesPerSecond],
    ["read_bytes_sec", limits.readBytesPerSecond, limits.burstBytesPerSecond],
    ["write_bytes_sec", limits.writeBytesPerSecond, limits.burstBytesPerSecond],
    ["total_iops_sec", limits.totalOperationsPerSecond, limits.burstOperationsPerSecond],
    ["read_iops_sec", limits.readOperationsPerSecond, limits.burstOperationsPerSecond],
    ["write_iops_sec", limits.writeOperationsPerSecond, limits.burstOperationsPerSecond],
  ] as const;
  for (const [name, given = 0, givenBurst = 0] of rates) {
    const rate = Math.min(given, ceiling);
    const most = Math.min(givenBurst, ceiling);
    const burst = rate > 0 && most > rate ? most : 0;
    const seconds = burst === 0 ? 0 : Math.max(1, Math.min(Math.ceil((limits.burstMs ?? 1000) / 1000), Math.floor(ceiling / burst)));
    tune[name] = rate;
    tune[`${name}_max`] = burst;
    tune[`${name}_max_length`] = seconds;
  }
  return tune;
}

/** From libvirt's figures (missing ones are 0) to limits: read and write bursts are one in Sheaf, the larger. */
export function limitsOfIoTune(tune: Readonly<Record<string, number>>): DiskLimits {
  const figure = (name: string): number => tune[name] ?? 0;
  const largest = (kind: "bytes" | "iops", suffix: string): number =>
    Math.max(...["total", "read", "write"].map((direction) => figure(`${direction}_${kind}_sec_${suffix}`)));
  const limits: Record<string, number> = {};
  const put = (name: keyof DiskLimits, value: number): void => {
    if (value > 0) limits[name] = value;
  };
  put("readBytesPerSecond", figure("read_bytes_sec"));
  put("writeBytesPerSecond", figure("write_bytes_sec"));
  put("totalBytesPerSecond", figure("total_bytes_sec"));
  put("readOperationsPerSecond", figure("read_iops_sec"));
  put("writeOperationsPerSecond", figure("write_iops_sec"));
  put("totalOperationsPerSecond", figure("total_iops_sec"));
  put("burstBytesPerSecond", largest("bytes", "max"));
  put("burstOperationsPerSecond", largest("iops", "max"));
  put("burstMs", 1000 * Math.max(largest("bytes", "max_length"), largest("iops", "max_length")));
  return limits;
}

/** Whether both mean the same to QEMU. */
export function sameLimits(a: DiskLimits, b: DiskLimits): boolean {
  const [left, right] = [ioTune(a), ioTune(b)];
  return Object.keys(left).every((name) => left[name] === right[name]);
}
