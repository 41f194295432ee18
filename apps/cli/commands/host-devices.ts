/** Options of `sheaf vm create` that wish for devices of the host, and the tables of `sheaf host devices`. */
import { formatBytes } from "@sheaf/base";
import { VmPciDevice } from "@sheaf/model";
import { type Command, InvalidArgumentError } from "commander";
import { scoped, type Cli } from "../cli.ts";
import { show, showOne, text, type Row } from "../output.ts";
import { bytesArgument, countArgument, listArgument } from "./arguments.ts";

export interface DeviceOptions {
  gpus?: number;
  gpuShare?: number;
  gpuModel?: string[];
  gpuMemory?: number;
  pci?: VmPciDevice[];
}

export function addDeviceOptions(command: Command): Command {
  return command
    .option("--gpus <count>", "whole GPUs of the host for itself", countArgument)
    .option("--gpu-share <thousandths>", "instead of whole GPUs a slice of one, at least so large: 250 is a quarter", countArgument)
    .option("--gpu-model <model>", "such as A10, or vendor and product as numbers (10de:2236); repeatable: any of them", listArgument)
    .option("--gpu-memory <size>", "memory of each GPU, or of the slice, at least", bytesArgument)
    .option(
      "--pci <device>",
      "a PCI device that operators offer, for itself: by their label (fast-nic), by vendor and product (8086:1572) or class (class=0200); fast-nic*2 are two; repeatable",
      pciArgument,
    );
}

export function deviceWishes({ gpus, gpuShare, gpuModel, gpuMemory, pci }: DeviceOptions) {
  const wishes = [gpus, gpuShare, gpuModel, gpuMemory].some((option) => option !== undefined);
  return {
    ...(wishes
      ? {
          gpus: {
            ...(gpus === undefined ? {} : { count: gpus }),
            ...(gpuShare === undefined ? {} : { shareMilli: gpuShare }),
            ...(gpuModel === undefined ? {} : { models: gpuModel }),
            ...(gpuMemory === undefined ? {} : { minimumMemoryBytes: gpuMemory }),
          },
        }
      : {}),
    ...(pci === undefined ? {} : { pciDevices: pci }),
  };
}

function pciArgument(text: string, before: readonly VmPciDevice[] = []): VmPciDevice[] {
  const [, what = "", count = "1"] = /^(.*?)(?:\*(\d+))?$/.exec(text) ?? [];
  const [, vendor, product] = /^([0-9a-f]{4}):([0-9a-f]{4})?$/.exec(what) ?? [];
  const kind = /^class=([0-9a-f]{4})$/.exec(what)?.[1];
  const device = VmPciDevice.safeParse({
    count: Number(count),
    ...(kind === undefined ? (vendor === undefined ? { label: what } : { vendor, ...(product === undefined ? {} : { product }) }) : { class: kind }),
  });
  if (!device.success) throw new InvalidArgumentError("such as fast-nic, fast-nic*2, 8086:1572, 8086: or class=0200.");
  return [...before, device.data];
}

export function hostDevicesCommand(host: Command, cli: Cli): void {
  host
    .command("devices <name>")
    .description("its GPUs and the PCI devices it offers to machines: what can be handed out, and who has it")
    .action(async (id: string) => {
      const found = await (await cli.client()).host.devices({ params: { id }, query: scoped(cli) });
      if (!["table", "wide"].includes(cli.options().output)) return showOne(cli, found);
      showDevices(cli, found);
    });
}

/** Below a host that is shown, where it has any. */
export async function devicesBelow(cli: Cli, host: Row): Promise<void> {
  const found = await (await cli.client()).host.devices({ params: { id: text(host, "id") ?? "" }, query: scoped(cli) });
  if (found.gpus.length + found.pciDevices.length > 0) showDevices(cli, found);
}

type Found = Awaited<ReturnType<Awaited<ReturnType<Cli["client"]>>["host"]["devices"]>>;

/** One table for both: nobody has many devices. */
function showDevices(cli: Cli, { gpus, pciDevices }: Found): void {
  const used = (holders: Found["gpus"][number]["holders"]): string =>
    holders.map(({ name, milli }) => (milli === undefined ? name : `${name} (${milli}/1000)`)).join(", ");
  const rows = [
    ...gpus.map(({ address, model, memoryBytes, whole, slices, refusal, idleMilli, holders }) => ({
      address,
      device: `GPU ${model}${memoryBytes === undefined ? "" : `, ${formatBytes(memoryBytes)}`}`,
      handed: refusal ?? [whole ? "whole" : undefined, ...slices.map(({ type, milli }) => `${type} (${milli}/1000)`)].filter(Boolean).join(", "),
      idle: refusal === undefined ? `${idleMilli}/1000` : undefined,
      used: used(holders),
    })),
    ...pciDevices.map(({ address, vendor, product, class: kind, label, refusal, holders }) => ({
      address,
      device: `${label === undefined ? "" : `${label}: `}${vendor}:${product}, class ${kind.slice(0, 4)}`,
      handed: refusal ?? "whole",
      idle: undefined,
      used: used(holders),
    })),
  ];
  show(cli, rows, [
    { title: "ADDRESS", value: (row) => row.address },
    { title: "DEVICE", value: (row) => row.device },
    { title: "HANDED OUT", value: (row) => row.handed },
    { title: "IDLE", value: (row) => row.idle },
    { title: "USED BY", value: (row) => row.used },
  ]);
}
