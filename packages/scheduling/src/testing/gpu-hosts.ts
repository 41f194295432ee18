/** Hosts with GPUs and requests for them, for tests: cores and GiB instead of milli and bytes. */
import { type GpuHost, GpuHosts } from "../gpu/gpu-hosts.ts";
import { type GpuRequest, wholeGpuMilli } from "../gpu/gpu-request.ts";
import { RequestMix } from "../gpu/request-mix.ts";

const gib = 2 ** 30;

/** @param idle milli of each GPU */
export const gpuHost = (id: string, cores: number, idle: readonly number[], model = "A", memoryGib = 1024): GpuHost => ({
  id,
  cpuIdleMilli: cores * 1000,
  memoryIdleBytes: memoryGib * gib,
  gpus: idle.map((idleMilli) => ({ model, idleMilli })),
});

export const gpuHosts = (...hosts: readonly GpuHost[]): GpuHosts => {
  const all = new GpuHosts();
  for (const host of hosts) all.put(host);
  return all;
};

/** `gpus` below 1: a share of one. */
export const wanted = (cores: number, gpus: number, models: readonly string[] = [], memoryGib = 1): GpuRequest => ({
  cpuMilli: cores * 1000,
  memoryBytes: memoryGib * gib,
  gpus: Math.ceil(gpus),
  gpuMilli: gpus === 0 ? 0 : gpus < 1 ? Math.round(gpus * wholeGpuMilli) : wholeGpuMilli,
  models,
});

export const mixOf = (...requests: readonly GpuRequest[]): RequestMix => {
  const mix = new RequestMix();
  for (const request of requests) mix.learn(request);
  return mix;
};
