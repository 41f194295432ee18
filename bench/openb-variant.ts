/**
 * Other mixes than the files hold, made from one of their lists: each class of requests comes more or less often, its CPU, memory and share
 * of a GPU are stretched, some want several GPUs, some accept a few models only. What is ahead on the lists only, and not on these, is tuned to the lists.
 */
import { type GpuRequest, gpuRequestKey, wholeGpuMilli } from "@sheaf/scheduling";
import type { RequestList } from "./openb-trace.ts";
import { seededRandom } from "./random.ts";

/** @param models that hosts have */
export function variantOf(list: RequestList, models: readonly string[], seed: number): RequestList {
  const random = seededRandom(seed * 7919);
  // Box and Muller
  const normal = (): number => Math.sqrt(-2 * Math.log(1 - random())) * Math.cos(2 * Math.PI * random());
  const stretched = (size: number, least: number, step: number): number =>
    Math.max(least, Math.round((size * Math.exp(0.4 * normal())) / step) * step);
  const changed = new Map<string, { readonly request: GpuRequest; readonly weight: number }>();
  for (const request of list.requests) {
    const key = gpuRequestKey(request);
    if (changed.has(key)) continue;
    changed.set(key, {
      weight: Math.exp(normal()),
      request: {
        cpuMilli: stretched(request.cpuMilli, 500, 500),
        memoryBytes: stretched(request.memoryBytes, 2 ** 29, 2 ** 29),
        gpus: request.gpus === 1 && request.gpuMilli === wholeGpuMilli && random() < 0.05 ? 2 : request.gpus,
        gpuMilli: request.gpuMilli === wholeGpuMilli ? wholeGpuMilli : Math.min(950, stretched(request.gpuMilli, 50, 10)),
        models: request.gpus > 0 && random() < 0.1 ? models.filter(() => random() < 0.4) : request.models,
      },
    });
  }
  const weighed = list.requests.map((request) => changed.get(gpuRequestKey(request))).filter((each) => each !== undefined);
  const heaviest = Math.max(...weighed.map(({ weight }) => weight));
  // Drawn by weight, as many as there were: those that are not taken are drawn again.
  const requests: GpuRequest[] = [];
  while (requests.length < list.requests.length) {
    const drawn = weighed[Math.floor(random() * weighed.length)];
    if (drawn !== undefined && random() * heaviest < drawn.weight) requests.push(drawn.request);
  }
  return { name: `generated ${seed}`, requests };
}
