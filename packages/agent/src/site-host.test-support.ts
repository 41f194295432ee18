/** A simulated host that has one machine of the sample site, and what its server knows of it. */
import type { VmObservation, VolumeObservation } from "@sheaf/model";
import { SimulatedHost } from "./simulated/simulated-host.ts";
import { ids, imageContent, site } from "./simulated/sample-site.ts";

export async function siteHost(documents = site()): Promise<SimulatedHost> {
  const host = new SimulatedHost();
  host.server.images.set(ids.image, imageContent);
  host.server.put(...documents);
  await host.start();
  return host;
}

export const seen = (host: SimulatedHost, id = ids.vm): VmObservation | undefined => host.server.part<VmObservation>("vm", id);
export const volumeSeen = (host: SimulatedHost, id = ids.volume): VolumeObservation | undefined => host.server.part<VolumeObservation>("volume", id);
export const acts = (host: SimulatedHost): string[] => host.hypervisor.calls.map((call) => call.split(" ", 1).join(""));
export const disk = `/mnt/local/sheaf/volumes/${ids.volume}.qcow2`;
