/**
 * The mediated devices of this host's machines: made before a machine starts, removed when it does not run. One a machine, under the machine's
 * own UUID: so it is told whose it is, and that of somebody else is never touched. (Linux, Documentation/driver-api/vfio-mediated-device.rst)
 */
import type { RecordOf } from "@sheaf/model";
import { pciRoot } from "./pci-facts.ts";
import { type Files, HypervisorError } from "./ports.ts";

export const mdevRoot = "/sys/bus/mdev/devices";

export class MediatedDevices {
  readonly #files: Files;

  constructor(files: Files) {
    this.#files = files;
  }

  /** @throws HypervisorError `refused` where the driver makes none */
  async ensure({ id, placement }: RecordOf<"vm">): Promise<void> {
    const slice = placement?.gpus?.find((gpu) => gpu.slice?.kind === "mdev")?.slice;
    if (slice === undefined || (await this.#isThere(id))) return;
    const path = `${pciRoot}/${slice.place}/mdev_supported_types/${slice.type}/create`;
    if ((await this.#files.facts(path)) === null)
      throw new HypervisorError("refused", `the driver of GPU ${slice.place} makes no slices of type ${slice.type} any more`);
    await this.#write(path, id).catch((error: unknown) => {
      const why = error instanceof Error ? error.message : String(error);
      throw new HypervisorError("refused", `the slice ${slice.type} of GPU ${slice.place} could not be made: ${why}`, { cause: error });
    });
  }

  /** Of a machine that does not run. What is not there is no error. */
  async release(machineId: string): Promise<void> {
    if (await this.#isThere(machineId)) await this.#write(`${mdevRoot}/${machineId}/remove`, "1");
  }

  async #isThere(id: string): Promise<boolean> {
    return (await this.#files.facts(`${mdevRoot}/${id}`)) !== null;
  }

  /** A file of sysfs takes what is written at once, in one piece; there is nothing to be synced. */
  async #write(path: string, text: string): Promise<void> {
    const writer = await this.#files.writer(path);
    try {
      await writer.write(new TextEncoder().encode(text));
    } finally {
      await writer.close();
    }
  }
}
