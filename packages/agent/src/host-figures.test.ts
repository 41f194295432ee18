/** A host's figures from two readings of its files, as Linux writes them. */
import assert from "node:assert/strict";
import { test } from "node:test";
import { figuresInOrder, hostMetricNames } from "@sheaf/model";
import { HostMeter } from "./host-figures.ts";
import { SimulatedFiles } from "./simulated/simulated-files.ts";

const before = {
  "/proc/stat": "cpu  1000 100 500 8000 200 0 50 50 400 40\ncpu0 1 2 3 4 5 6 7 8 9 10\nctxt 10000\nprocs_running 3\nprocs_blocked 1\n",
  "/proc/meminfo":
    "MemTotal:       16384000 kB\nMemFree:         1000000 kB\nMemAvailable:   10240000 kB\nBuffers: 5 kB\nCached:          2048000 kB\nDirty: 1024 kB\nSwapTotal: 4096 kB\nSwapFree: 1024 kB\nHugePages_Total: 10\nHugePages_Free: 4\nHugepagesize: 2048 kB\n",
  "/proc/loadavg": "1.50 0.40 0.30 2/500 12345\n",
  "/proc/vmstat": "nr_free_pages 5\npswpin 100\npswpout 200\n",
  "/proc/pressure/cpu": "some avg10=0.00 avg60=0.00 avg300=0.00 total=1000000\nfull avg10=0.00 avg60=0.00 avg300=0.00 total=0\n",
  "/proc/pressure/memory": "some avg10=0.00 avg60=0.00 avg300=0.00 total=500\nfull avg10=0.00 avg60=0.00 avg300=0.00 total=200\n",
  "/proc/diskstats":
    "   8       0 sda 100 0 2000 50 200 0 4000 150 0 300 200 0 0 0 0 0 0\n   8       1 sda1 90 0 1900 50 200 0 4000 150 0 300 200\n   7       0 loop0 999 0 999 9 0 0 0 0 0 9 9\n 259       0 nvme0n1 0 0 0 0 0 0 0 0 0 0 0\n",
  "/proc/net/dev":
    "Inter-|   Receive                                                |  Transmit\n face |bytes    packets errs drop fifo frame compressed multicast|bytes    packets errs drop fifo colls carrier compressed\n    lo: 5 5 0 0 0 0 0 0 5 5 0 0 0 0 0 0\n  eno1: 1000 10 0 0 0 0 0 0 2000 20 0 0 0 0 0 0\n vnet0: 7 7 0 0 0 0 0 0 7 7 0 0 0 0 0 0\n bond0: 7 7 0 0 0 0 0 0 7 7 0 0 0 0 0 0\n",
  "/sys/block/sda/size": "1",
  "/sys/block/loop0/size": "1",
  "/sys/block/nvme0n1/size": "1",
  "/sys/class/net/lo/mtu": "1",
  "/sys/class/net/eno1/device/vendor": "1",
  "/sys/class/net/vnet0/mtu": "1",
  "/sys/class/net/bond0/mtu": "1",
  "/sys/class/hwmon/hwmon0/temp1_input": "41000\n",
  "/sys/class/hwmon/hwmon0/temp2_input": "63500\n",
  "/sys/class/powercap/intel-rapl:0/energy_uj": "1000000\n",
  "/sys/class/powercap/intel-rapl:0:0/energy_uj": "900000\n",
  "/sys/kernel/mm/ksm/pages_sharing": "256\n",
};
const after = {
  "/proc/stat": "cpu  1500 100 600 8300 250 10 60 80 700 40\nctxt 30000\nprocs_running 4\nprocs_blocked 0\n",
  "/proc/vmstat": "pswpin 100\npswpout 300\n",
  "/proc/pressure/cpu": "some avg10=9.00 avg60=0.00 avg300=0.00 total=3500000\n",
  "/proc/pressure/memory": "some avg10=0.00 avg60=0.00 avg300=0.00 total=100500\nfull avg10=0.00 avg60=0.00 avg300=0.00 total=200\n",
  "/proc/diskstats":
    "   8       0 sda 200 0 22480 250 400 0 4000 150 0 5300 200\n   8       1 sda1 900 0 9000 50 200 0 4000 150 0 300 200\n 259       0 nvme0n1 0 0 0 0 0 0 0 0 0 1000 0\n",
  "/proc/net/dev":
    "  eno1: 103400 110 1 2 0 0 0 0 206800 220 0 1 0 0 0 0\n vnet0: 9999999 7 0 0 0 0 0 0 7 7 0 0 0 0 0 0\n bond0: 9999999 7 0 0 0 0 0 0 7 7 0 0 0 0 0 0\n",
  "/sys/class/powercap/intel-rapl:0/energy_uj": "1201000000\n",
};

const near = (found: number | undefined, expected: number, what: string): void =>
  assert.ok(found !== undefined && Math.abs(found - expected) < 1e-9 + Math.abs(expected) * 1e-9, `${what}: ${found}, not ${expected}`);

test("rates are of ten seconds, shares of all CPUs, disks and interfaces the host's own", async () => {
  const files = new SimulatedFiles(before);
  const meter = new HostMeter(files);
  const first = await meter.read(5000);
  assert.equal(first.cpu, undefined);
  assert.equal(first.diskReadsPerSecond, undefined);
  for (const [path, text] of Object.entries(after)) files.put(path, text);
  const found = await meter.read(15_000);
  // 500 user (300 of them guests'), 100 system, 300 idle, 50 iowait, 10 irq, 10 softirq, 30 steal: 1000 ticks.
  const expected = {
    ...{ cpu: 0.65, cpuUser: 0.2, cpuNice: 0, cpuSystem: 0.1, cpuIowait: 0.05, cpuIrq: 0.01, cpuSoftirq: 0.01, cpuSteal: 0.03, cpuGuest: 0.3 },
    ...{ loadAverage: 1.5, processesRunning: 4, processesBlocked: 0, contextSwitchesPerSecond: 2000 },
    ...{ pressureCpu: 0.25, pressureMemorySome: 0.01, pressureMemoryFull: 0 },
    ...{ memoryUsedBytes: 6_144_000 * 1024, memoryAvailableBytes: 10_240_000 * 1024, memoryCachedBytes: 2_048_000 * 1024, memoryDirtyBytes: 2 ** 20 },
    ...{ memoryHugepagesUsedBytes: 12 * 2 ** 20, memorySharedBytes: 2 ** 20, swapUsedBytes: 3072 * 1024 },
    ...{ swapInBytesPerSecond: 0, swapOutBytesPerSecond: 40_960 },
    ...{ diskReadBytesPerSecond: 1_048_576, diskWriteBytesPerSecond: 0, diskReadsPerSecond: 10, diskWritesPerSecond: 20 },
    ...{ diskBusy: 0.5, diskLatencyMicroseconds: (200 / 300) * 1000 },
    ...{ netReceiveBytesPerSecond: 10_240, netTransmitBytesPerSecond: 20_480, netReceivePacketsPerSecond: 10, netTransmitPacketsPerSecond: 20 },
    ...{ netFaultsPerSecond: 0.4, temperatureCelsius: 63.5, powerWatts: 120 },
  };
  assert.deepEqual(Object.keys(found).sort(), Object.keys(expected).sort());
  for (const [name, figure] of Object.entries(expected)) near(found[name as keyof typeof found], figure, name); // the same keys
  assert.deepEqual(
    hostMetricNames.filter((name) => !(name in expected)),
    ["pressureIoSome", "pressureIoFull"],
    "all that a host may offer, but for what this one does not",
  );
});

test("a counter that began anew gives no rate, and a host without these files no figures", async () => {
  const files = new SimulatedFiles(before);
  const meter = new HostMeter(files);
  await meter.read(0);
  files.put("/proc/net/dev", "  eno1: 5 1 0 0 0 0 0 0 9000 30 0 0 0 0 0 0\n");
  const found = await meter.read(10_000);
  assert.equal(found.netReceiveBytesPerSecond, undefined);
  assert.equal(found.netTransmitBytesPerSecond, 700);
  const bare = await new HostMeter(new SimulatedFiles({})).read(0);
  assert.deepEqual(bare, {});
  assert.ok(figuresInOrder("host", bare).every((figure) => figure === null));
});
