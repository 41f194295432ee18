/**
 * NUMA cells that a lab host shows libvirt, whatever the machine has: the files of /sys/devices/system/node, laid over the kernel's by
 * host-boot.sh before libvirtd starts. Threads can be pinned to the CPUs of any; memory can be bound to cells alone that the kernel has too.
 */
import { mkdir, rm, writeFile } from "node:fs/promises";
import { join } from "node:path";

export interface LabCell {
  /** Of the machine, ascending. */
  readonly cpus: readonly number[];
  /** 0: a cell with CPUs alone. */
  readonly memoryBytes: number;
}

/** Cells are numbered from 0. None: the machine's own are seen. */
export async function writeNumaCells(directory: string, cells: readonly LabCell[]): Promise<void> {
  const root = join(directory, "node");
  await rm(root, { recursive: true, force: true });
  if (cells.length === 0) return;
  const write = async (path: string, text: string): Promise<void> => {
    await mkdir(join(root, path, ".."), { recursive: true });
    await writeFile(join(root, path), `${text}\n`);
  };
  const all = cells.map((_, cell) => cell);
  const withMemory = all.filter((cell) => (cells[cell]?.memoryBytes ?? 0) > 0);
  for (const [file, which] of [
    ["online", all],
    ["possible", all],
    ["has_cpu", all],
    ["has_memory", withMemory],
    ["has_normal_memory", withMemory],
  ] as const)
    await write(file, which.join(","));
  for (const [cell, { cpus, memoryBytes }] of cells.entries()) {
    const kib = memoryBytes / 1024;
    const at = `node${cell}`;
    await write(`${at}/cpulist`, cpus.join(","));
    await write(`${at}/cpumap`, cpus.reduce((mask, cpu) => mask | (1n << BigInt(cpu)), 0n).toString(16));
    await write(`${at}/meminfo`, [`Node ${cell} MemTotal: ${kib} kB`, `Node ${cell} MemFree: ${kib} kB`, `Node ${cell} MemUsed: 0 kB`].join("\n"));
    await write(`${at}/distance`, all.map((other) => (other === cell ? 10 : 20)).join(" "));
    for (const size of [2048, 1_048_576])
      for (const figure of ["nr_hugepages", "free_hugepages", "surplus_hugepages"]) await write(`${at}/hugepages/hugepages-${size}kB/${figure}`, "0");
    for (const cpu of cpus) await mkdir(join(root, at, `cpu${cpu}`), { recursive: true });
  }
}
