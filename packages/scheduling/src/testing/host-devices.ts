/** GPUs and other PCI devices as an agent reports them, for tests. */
import type { HostGpu, HostGpuSlices, HostPciDevice } from "@sheaf/model";
import { gib } from "./records.ts";

/** The `n`th of a host, at `0000:4n:00.0`. */
export const gpu = (n: number, given: Partial<HostGpu> = {}): HostGpu => ({
  address: `0000:4${n}:00.0`,
  vendor: "10de",
  product: "2236",
  model: "A10",
  memoryBytes: 24 * gib,
  whole: true,
  ...given,
});

/** So many equal slices of the GPU at that address, of a type that is called by their number. */
export const slices = (address: string, count: number, given: Partial<HostGpuSlices> = {}): HostGpuSlices => ({
  kind: "mdev",
  type: `vgpu-${count}`,
  milli: Math.floor(1000 / count),
  places: [{ address, count }],
  ...given,
});

/** One that its driver can divide into halves, or quarters. */
export const dividedGpu = (n: number, given: Partial<HostGpu> = {}): HostGpu => {
  const whole = gpu(n, { model: "A16", product: "25b6", ...given });
  return { slices: [slices(whole.address, 2), slices(whole.address, 4)], ...whole };
};

export const networkCard = (n: number, given: Partial<HostPciDevice> = {}): HostPciDevice => ({
  address: `0000:0${n}:00.0`,
  vendor: "8086",
  product: "1572",
  class: "020000",
  whole: true,
  ...given,
});
