import assert from "node:assert/strict";
import { mkdir, mkdtemp, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { test } from "node:test";
import { gpuMilliWanted } from "@sheaf/scheduling";
import { arrivals, readTrace } from "./openb-trace.ts";

const hosts = "sn,cpu_milli,memory_mib,gpu,model\nh0,64000,262144,2,P100\n";
const head = "name,cpu_milli,memory_mib,num_gpu,gpu_milli,gpu_spec,qos\n";

async function folder(context: { after: (end: () => Promise<void>) => void }, files: Readonly<Record<string, string>>): Promise<string> {
  const path = await mkdtemp(join(tmpdir(), "sheaf-openb-"));
  context.after(() => rm(path, { recursive: true }));
  await mkdir(join(path, "openb"));
  for (const [name, text] of Object.entries(files)) await writeFile(join(path, "openb", name), text);
  return path;
}

test("hosts and every list in the folder, with or without a column of models", async (context) => {
  const path = await folder(context, {
    "openb_node_list_gpu_node.csv": hosts,
    "openb_pod_list_new.csv": `${head}p0,12000,16384,1,460,T4|P100,LS\np1,500,1024,0,0,,LS\n`,
    "openb_pod_list_default.csv": "name,cpu_milli,memory_mib,num_gpu,gpu_milli\np0,8000,2048,4,1000\n",
  });
  const trace = readTrace(path);
  assert.deepEqual(trace.hosts, [
    {
      id: "h0",
      cpuIdleMilli: 64_000,
      memoryIdleBytes: 2 ** 38,
      gpus: [
        { model: "P100", idleMilli: 1000 },
        { model: "P100", idleMilli: 1000 },
      ],
    },
  ]);
  assert.deepEqual(trace.lists, [
    { name: "default", requests: [{ cpuMilli: 8000, memoryBytes: 2 ** 31, gpus: 4, gpuMilli: 1000, models: [] }] },
    {
      name: "new",
      requests: [
        { cpuMilli: 12_000, memoryBytes: 2 ** 34, gpus: 1, gpuMilli: 460, models: ["T4", "P100"] },
        { cpuMilli: 500, memoryBytes: 2 ** 30, gpus: 0, gpuMilli: 0, models: [] },
      ],
    },
  ]);
});

test("without data it says what to set; a format that it does not know is no figure", async (context) => {
  assert.throws(() => readTrace(undefined), /SHEAF_TRACES is not set/);
  assert.throws(() => readTrace(join(tmpdir(), "sheaf-no-such-folder")), /SHEAF_TRACES names lacks/);
  const strange = await folder(context, { "openb_node_list_gpu_node.csv": hosts, "openb_pod_list_x.csv": "name,cpu\np0,1\n" });
  assert.throws(() => readTrace(strange), /no number in its column num_gpu/);
});

test("arrivals: the whole list in an order of the seed's, then drawn from it, until enough is asked for", () => {
  const request = (gpuMilli: number) => ({ cpuMilli: 1000, memoryBytes: 1, gpus: 1, gpuMilli, models: [] });
  const list = [request(100), request(200), request(300), request(400)];
  const arrived = arrivals(list, 2, 1.3, 1);
  assert.deepEqual(new Set(arrived.slice(0, 4)), new Set(list));
  const asked = arrived.map(gpuMilliWanted);
  const total = asked.reduce((sum, each) => sum + each, 0);
  assert.ok(total >= 2600 && total - (asked.at(-1) ?? 0) < 2600);
  assert.deepEqual(arrivals(list, 2, 1.3, 1), arrived);
  assert.notDeepEqual(arrivals(list, 2, 1.3, 2), arrived);
});
