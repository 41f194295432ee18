/** What a machine has used, from this server's files of figures: the columns that right-sizing looks at, over two weeks. */
import { lookBackMs, type MachineUse, measureUse } from "@sheaf/planning";
import type { Telemetry } from "@sheaf/telemetry";

/** @param now wall clock, ms */
export async function measureMachine(telemetry: Pick<Telemetry, "fiveMinuteRows">, id: string, now: number): Promise<MachineUse> {
  const rows = await telemetry.fiveMinuteRows({ kind: "vm", id, from: now - lookBackMs, to: now });
  const both = (one: string, other: string): Float64Array => {
    const [sum, more] = [rows.column(one, "mean"), rows.column(other, "mean")];
    for (let row = 0; row < sum.length; row += 1) sum[row] = (sum[row] ?? Number.NaN) + (more[row] ?? Number.NaN);
    return sum;
  };
  return measureUse({
    rowMs: rows.rowMs,
    cpuMean: rows.column("cpu", "mean"),
    cpuGreatest: rows.column("cpu", "greatest"),
    cpuWaitingMean: rows.column("cpuWaiting", "mean"),
    memoryAssignedMean: rows.column("memoryAssignedBytes", "mean"),
    memoryAvailableMean: rows.column("memoryAvailableBytes", "mean"),
    memoryAvailableLeast: rows.column("memoryAvailableBytes", "least"),
    memoryResidentGreatest: rows.column("memoryResidentBytes", "greatest"),
    diskBytesPerSecondMean: both("diskReadBytesPerSecond", "diskWriteBytesPerSecond"),
    netBytesPerSecondMean: both("netReceiveBytesPerSecond", "netTransmitBytesPerSecond"),
  });
}
