/**
 * The openb trace of a production cluster with GPUs (github.com/alibaba/clusterdata, cluster-trace-gpu-v2023): its hosts, the lists of
 * requests in their variants, and the arrivals of one run of the published experiment.
 */
import { globSync, readFileSync } from "node:fs";
import { basename, join } from "node:path";
import { type GpuHost, type GpuRequest, gpuMilliWanted, wholeGpuMilli } from "@sheaf/scheduling";
import { seededRandom } from "./random.ts";

const mib = 2 ** 20;

export interface RequestList {
  /** `default`, `cpu100` …: what stands after `openb_pod_list_` in the file's name. */
  readonly name: string;
  readonly requests: readonly GpuRequest[];
}

/** @throws a sentence that says what to set or what is wrong with the files */
export function readTrace(folder: string | undefined): { readonly hosts: GpuHost[]; readonly lists: RequestList[] } {
  if (folder === undefined || folder === "")
    throw new Error("SHEAF_TRACES is not set: it names the folder that holds openb/openb_node_list_gpu_node.csv and openb/openb_pod_list_*.csv");
  const hostFile = join(folder, "openb", "openb_node_list_gpu_node.csv");
  const listFiles = globSync(join(folder, "openb", "openb_pod_list_*.csv")).toSorted();
  if (globSync(hostFile).length === 0 || listFiles.length === 0)
    throw new Error("the folder that SHEAF_TRACES names lacks openb/openb_node_list_gpu_node.csv or openb/openb_pod_list_*.csv");
  return {
    hosts: rows(hostFile).map(hostOf),
    lists: listFiles.map((file) => ({
      name: basename(file, ".csv").slice("openb_pod_list_".length),
      requests: rows(file).map(requestOf),
    })),
  };
}

/** The list in random order; when it is used up, drawn from at random, until the GPUs asked for are `times` those there are. */
export function arrivals(requests: readonly GpuRequest[], gpus: number, times: number, seed: number): GpuRequest[] {
  const random = seededRandom(seed);
  const order = [...requests];
  for (let last = order.length - 1; last > 0; last -= 1) {
    const other = Math.floor(random() * (last + 1));
    // Both stand within the list.
    [order[last], order[other]] = [order[other] as GpuRequest, order[last] as GpuRequest];
  }
  const arrived: GpuRequest[] = [];
  for (let wanted = 0; wanted < times * gpus * wholeGpuMilli;) {
    const next = order[arrived.length] ?? order[Math.floor(random() * order.length)];
    if (next === undefined) break;
    arrived.push(next);
    wanted += gpuMilliWanted(next);
  }
  return arrived;
}

type Row = ReadonlyMap<string, string>;

function rows(file: string): Row[] {
  const [head = "", ...lines] = readFileSync(file, "utf8").split(/\r?\n/).filter(Boolean);
  const names = head.split(",");
  return lines.map((line) => {
    const values = line.split(",");
    return new Map(names.map((name, at) => [name, values[at] ?? ""]));
  });
}

/** @throws where the column is missing or no number: a format that is not understood must not become a figure */
function number(row: Row, name: string): number {
  const value = Number(row.get(name) || Number.NaN);
  if (!Number.isFinite(value)) throw new Error(`a row of openb has no number in its column ${name}`);
  return value;
}

const hostOf = (row: Row): GpuHost => ({
  id: row.get("sn") ?? "",
  cpuIdleMilli: number(row, "cpu_milli"),
  memoryIdleBytes: number(row, "memory_mib") * mib,
  gpus: Array.from({ length: number(row, "gpu") }, () => ({ model: row.get("model") ?? "", idleMilli: wholeGpuMilli })),
});

function requestOf(row: Row): GpuRequest {
  const gpus = number(row, "num_gpu");
  return {
    cpuMilli: number(row, "cpu_milli"),
    memoryBytes: number(row, "memory_mib") * mib,
    gpus,
    // The list may say nothing of the share where several are wanted: whole ones.
    gpuMilli: gpus === 0 ? 0 : gpus === 1 ? number(row, "gpu_milli") : wholeGpuMilli,
    models: [...new Set((row.get("gpu_spec") ?? "").split("|").filter(Boolean))],
  };
}
