/**
 * The figures that are kept of hosts, machines and clusters over time: their names, units, and how finely each is kept. Agents count in `quantum`s,
 * the server keeps as many binary digits as `significantBits` says. A metric's place in its list is its number in files: new ones come
 * last, and what is no longer measured keeps its place.
 */
export interface Metric {
  /** With its unit, as everywhere: `diskReadBytesPerSecond`. */
  readonly name: string;
  /** What a whole number of the wire and the files stands for. */
  readonly quantum: number;
  /** Numbers of more binary digits are rounded to so many: 8: 0.4 % at most off, 11: 0.05 %. */
  readonly significantBits: 8 | 11;
  /** For people. */
  readonly meaning: string;
}

export const metricKinds = ["vm", "host", "cluster"] as const;
export type MetricKind = (typeof metricKinds)[number];

const kibibyte = 1024;
const mebibyte = 2 ** 20;

type Named<Name extends string> = Metric & { readonly name: Name };
const share = <Name extends string>(name: Name, meaning: string): Named<Name> => ({ name, quantum: 0.001, significantBits: 11, meaning });
const memory = <Name extends string>(name: Name, meaning: string): Named<Name> => ({ name, quantum: mebibyte, significantBits: 11, meaning });
const throughput = <Name extends string>(name: Name, meaning: string): Named<Name> => ({ name, quantum: kibibyte, significantBits: 8, meaning });
const rate = <Name extends string>(name: Name, meaning: string): Named<Name> => ({ name, quantum: 1, significantBits: 8, meaning });
const count = <Name extends string>(name: Name, meaning: string): Named<Name> => ({ name, quantum: 1, significantBits: 11, meaning });

const vmMetrics = [
  share("cpu", "CPUs used: 1.5 is one and a half"),
  share("cpuWaiting", "CPUs that its vCPUs wanted and did not get"),
  memory("memoryUsedBytes", "what the guest uses, where its driver says so; else what it takes of the host"),
  memory("memoryAssignedBytes", "what the balloon leaves the guest"),
  memory("memoryResidentBytes", "what the machine takes of the host's memory"),
  throughput("diskReadBytesPerSecond", "read from all disks"),
  throughput("diskWriteBytesPerSecond", "written to all disks"),
  rate("diskReadsPerSecond", "reads of all disks"),
  rate("diskWritesPerSecond", "writes of all disks"),
  rate("diskLatencyMicroseconds", "mean time of a read or write"),
  throughput("netReceiveBytesPerSecond", "received on all interfaces"),
  throughput("netTransmitBytesPerSecond", "sent on all interfaces"),
  memory("memoryAvailableBytes", "what the guest could have without swapping, its cache included, where its driver says so"),
] as const;

const hostMetrics = [
  share("cpu", "share of all CPUs that is busy, 0 … 1"),
  share("cpuUser", "share in programs, guests left out"),
  share("cpuNice", "share in programs of low priority"),
  share("cpuSystem", "share in the kernel"),
  share("cpuIowait", "share idle while the disks are waited for"),
  share("cpuIrq", "share in interrupts"),
  share("cpuSoftirq", "share in soft interrupts"),
  share("cpuSteal", "share taken by a hypervisor below this host"),
  share("cpuGuest", "share in guests' CPUs"),
  { name: "loadAverage", quantum: 0.01, significantBits: 11, meaning: "the kernel's load of one minute" },
  count("processesRunning", "processes that run or could"),
  count("processesBlocked", "processes that wait for a disk"),
  rate("contextSwitchesPerSecond", "switches between processes"),
  share("pressureCpu", "share of time in which something waited for a CPU"),
  share("pressureMemorySome", "share of time in which something waited for memory"),
  share("pressureMemoryFull", "share of time in which everything waited for memory"),
  share("pressureIoSome", "share of time in which something waited for a disk"),
  share("pressureIoFull", "share of time in which everything waited for a disk"),
  memory("memoryUsedBytes", "memory that is not available"),
  memory("memoryAvailableBytes", "memory that could be had without swapping"),
  memory("memoryCachedBytes", "page cache"),
  memory("memoryDirtyBytes", "page cache that is not written yet"),
  memory("memoryHugepagesUsedBytes", "hugepages taken"),
  memory("memorySharedBytes", "memory that merging of same pages (KSM) saves"),
  memory("swapUsedBytes", "swap space taken"),
  throughput("swapInBytesPerSecond", "read back from swap"),
  throughput("swapOutBytesPerSecond", "written to swap"),
  throughput("diskReadBytesPerSecond", "read from all disks"),
  throughput("diskWriteBytesPerSecond", "written to all disks"),
  rate("diskReadsPerSecond", "reads of all disks"),
  rate("diskWritesPerSecond", "writes of all disks"),
  share("diskBusy", "share of time in which the busiest disk was"),
  rate("diskLatencyMicroseconds", "mean time of a read or write"),
  throughput("netReceiveBytesPerSecond", "received on physical interfaces"),
  throughput("netTransmitBytesPerSecond", "sent on physical interfaces"),
  rate("netReceivePacketsPerSecond", "packets received"),
  rate("netTransmitPacketsPerSecond", "packets sent"),
  rate("netFaultsPerSecond", "packets dropped or damaged"),
  { name: "temperatureCelsius", quantum: 0.1, significantBits: 11, meaning: "the hottest sensor" },
  count("powerWatts", "what the host draws, where it says so"),
] as const;

/** Of the hosts whose use is known, in the mean of the last minutes, as balancing counts it. */
const clusterMetrics = [
  share("hottestHost", "use of its hottest host, CPU or memory, the larger: 0 … 1"),
  share("spread", "root mean square distance of its hosts' use from the cluster's level"),
  share("level", "use that every host would have, were everything divisible"),
  share("cpu", "share of all its hosts' CPUs in use"),
  share("memory", "share of all its hosts' memory in use"),
  count("hosts", "hosts whose use is known"),
] as const;

export type VmMetric = (typeof vmMetrics)[number]["name"];
export type HostMetric = (typeof hostMetrics)[number]["name"];
export type ClusterMetric = (typeof clusterMetrics)[number]["name"];

export const metrics: { readonly [Kind in MetricKind]: readonly Metric[] } = {
  vm: vmMetrics,
  host: hostMetrics,
  cluster: clusterMetrics,
};
export const vmMetricNames: readonly string[] = vmMetrics.map(({ name }) => name);
export const hostMetricNames: readonly string[] = hostMetrics.map(({ name }) => name);
export const clusterMetricNames: readonly string[] = clusterMetrics.map(({ name }) => name);

/** Figures in their units by name, as whole quanta in the order of the files. What is missing or no number was not measured. */
export const figuresInOrder = (kind: MetricKind, figures: Readonly<Record<string, number | null | undefined>>): (number | null)[] =>
  metrics[kind].map(({ name, quantum }) => {
    const figure = figures[name];
    return typeof figure === "number" && Number.isFinite(figure) ? Math.max(0, Math.round(figure / quantum)) : null;
  });

/** @returns its place in the files, or -1 */
export const metricNumber = (kind: MetricKind, name: string): number => metrics[kind].findIndex((metric) => metric.name === name);
