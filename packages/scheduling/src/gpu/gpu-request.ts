/** What one request wants of a host with GPUs. Requests that are alike belong to one class: they have the same key. */

export { wholeGpuMilli } from "@sheaf/model";

export interface GpuRequest {
  readonly cpuMilli: number;
  readonly memoryBytes: number;
  /** Different GPUs of one host; 0: none is wanted, and the request may stand on any host. */
  readonly gpus: number;
  /** Of each of them, 1 to 1000. A share comes from one GPU; it is never put together from two. */
  readonly gpuMilli: number;
  /** Accepted models; empty: any. */
  readonly models: readonly string[];
}

export const gpuRequestKey = (request: GpuRequest): string =>
  `${request.cpuMilli}/${request.memoryBytes}/${request.gpus}/${request.gpus === 0 ? 0 : request.gpuMilli}/${request.models.toSorted().join("|")}`;

/** GPU milli that the request takes when it is placed. */
export const gpuMilliWanted = (request: GpuRequest): number => request.gpus * request.gpuMilli;
