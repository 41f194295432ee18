import assert from "node:assert/strict";
import { test } from "node:test";
import { type GpuHost, GpuHosts, type GpuPolicy, type GpuRequest, RequestMix, placeOnGpus } from "@sheaf/scheduling";
import { bestFit, fragmentationGradientDescent, randomFit } from "./openb-baselines.ts";

const host = (id: string, cores: number, ...idle: number[]): GpuHost => ({
  id,
  cpuIdleMilli: cores * 1000,
  memoryIdleBytes: 2 ** 40,
  gpus: idle.map((idleMilli) => ({ model: "A", idleMilli })),
});
const share = (cores: number, gpuMilli: number): GpuRequest => ({ cpuMilli: cores * 1000, memoryBytes: 0, gpus: 1, gpuMilli, models: [] });
const decide = (request: GpuRequest, policy: (hosts: GpuHosts) => GpuPolicy, ...all: readonly GpuHost[]) => {
  const hosts = new GpuHosts();
  for (const each of all) hosts.put(each);
  const { host, gpus, cost } = placeOnGpus(request, hosts, policy(hosts)) ?? {};
  return { host, gpus, cost };
};

test("FGD: floor(100 · sigmoid of the decrease in GPUs), the first of equal ones", () => {
  const mix = new RequestMix();
  mix.learn(share(8, 1000));
  const fgd = (hosts: GpuHosts): GpuPolicy => fragmentationGradientDescent(hosts, mix);
  // Whole GPUs are wanted: a's gap of 600 is lost to them and is used now, which is a decrease of 500; b's whole GPU would be spoilt, 500 more are lost.
  const used = { host: "a", gpus: [0], cost: -Math.floor(100 / (1 + Math.exp(-0.5))) };
  assert.deepEqual(decide(share(1, 500), fgd, host("b", 64, 1000), host("a", 64, 600, 1000)), used);
  const spoilt = { host: "b", gpus: [0], cost: -Math.floor(100 / (1 + Math.exp(0.5))) };
  assert.deepEqual(decide(share(1, 500), fgd, host("b", 64, 1000), host("c", 64, 1000)), spoilt);
  // With less than 8 cores afterwards all that is idle on b is lost: 1000 before the request none of it.
  const starved = { host: "c", gpus: [0], cost: -Math.floor(100 / (1 + Math.exp(0.5))) };
  assert.deepEqual(decide(share(8, 500), fgd, host("b", 15, 1000, 1000), host("c", 64, 1000, 1000)), starved);
});

test("best fit: least CPU and GPUs left, the tightest GPU", () => {
  const { host: chosen, gpus } = decide(share(1, 300), bestFit, host("a", 64, 1000, 1000), host("b", 16, 1000, 400), host("c", 16, 1000, 1000));
  assert.deepEqual({ chosen, gpus }, { chosen: "b", gpus: [1] });
});

test("random: every host and every GPU that suffices comes up", () => {
  let state = 0;
  const random = (): number => (state = (state + 0.618_033_988_749) % 1);
  const seen = new Set(
    Array.from({ length: 200 }, () => {
      const { host: chosen, gpus } = decide(share(1, 500), (hosts) => randomFit(hosts, random), host("a", 4, 1000, 400, 600), host("b", 4, 500));
      return `${chosen}${gpus?.join()}`;
    }),
  );
  assert.deepEqual([...seen].toSorted(), ["a0", "a2", "b0"]);
});
