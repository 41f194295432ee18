/** NUMA cells and CPUs as people read them, after what is said of the host. */
import type { NumaPlacement } from "@sheaf/model";

/** `, in NUMA cell 1` · `, over NUMA cells 0 and 1` · `, on CPUs 2, 3 of NUMA cell 0 as its own` */
export function numaWords(numa: NumaPlacement | undefined): string {
  if (numa === undefined) return "";
  const cells = [...new Set(numa.cells.map(({ cell }) => cell))];
  const where = cells.length === 1 ? `NUMA cell ${cells[0]}` : `NUMA cells ${cells.slice(0, -1).join(", ")} and ${cells.at(-1)}`;
  const own = numa.cells.flatMap(({ cpus }) => cpus ?? []);
  if (own.length > 0) return `, on ${own.length === 1 ? "CPU" : "CPUs"} ${own.join(", ")} of ${where} as its own`;
  return cells.length === 1 ? `, in ${where}` : `, over ${where}`;
}
