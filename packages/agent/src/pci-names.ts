/** Names of GPUs from the list of PCI identifiers that distributions install (https://pci-ids.ucw.cz), as far as it has them. */
import type { Files } from "./ports.ts";

export interface GpuName {
  /** `A10` of `GA102GL [A10]` */
  readonly model: string;
  /** Of those that are called by it: `A100 PCIe 40GB`. */
  readonly memoryBytes?: number;
}

const lists = ["/usr/share/misc/pci.ids", "/usr/share/hwdata/pci.ids"];

/** By `vendor:product`. */
export async function pciNames(
  files: Files,
  of: readonly { readonly vendor: string; readonly product: string }[],
): Promise<ReadonlyMap<string, GpuName>> {
  const names = new Map<string, GpuName>();
  if (of.length === 0) return names;
  const list = await firstOf(files);
  for (const { vendor, product } of of) {
    const name = list === null ? undefined : nameIn(list, vendor, product);
    if (name !== undefined) names.set(`${vendor}:${product}`, gpuName(name));
  }
  return names;
}

async function firstOf(files: Files): Promise<string | null> {
  for (const path of lists) {
    const text = await files.readText(path).catch(() => null);
    if (text !== null) return text;
  }
  return null;
}

/** Vendors stand at the beginning of a line, their products behind a tab, subsystems behind two. */
function nameIn(list: string, vendor: string, product: string): string | undefined {
  const from = list.startsWith(`${vendor}  `) ? 0 : list.indexOf(`\n${vendor}  `);
  if (vendor === "" || from === -1) return undefined;
  const rest = list.slice(list.indexOf("\n", from + 1) + 1);
  const end = rest.search(/^[0-9a-f]/m);
  const products = end === -1 ? rest : rest.slice(0, end);
  return new RegExp(`^\\t${product}  (.+)$`, "m").exec(products)?.[1]?.trim();
}

/** The maker's word for the card stands in brackets behind that for its chip. */
function gpuName(name: string): GpuName {
  const inner = /\[([^\]]+)\][^[]*$/.exec(name)?.[1] ?? name;
  const model = inner
    .replaceAll(/[^A-Za-z0-9 ._/+:()-]/g, " ")
    .trim()
    .slice(0, 64);
  const gib = Number(/(\d+) ?GB\b/.exec(inner)?.[1] ?? 0);
  return { model, ...(gib > 0 ? { memoryBytes: gib * 2 ** 30 } : {}) };
}
