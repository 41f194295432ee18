/** `sheaf host numa`: a host's NUMA cells and who has what of them; and one cell of a machine in words. */
import { formatBytes, numberListText } from "@sheaf/base";
import type { PlacementCell } from "@sheaf/model";
import type { Command } from "commander";
import type { Cli } from "../cli.ts";
import { show, showOne } from "../output.ts";

/** A type, so that it is a row. */
type CellRow = {
  readonly cell: string;
  readonly cpus: string;
  readonly memory: string;
  readonly hugepages: string;
  readonly machine: string;
};

export function addHostNuma(host: Command, cli: Cli): void {
  host
    .command("numa <name>")
    .description("its NUMA cells: CPUs, memory and huge pages, and which machines have what of them")
    .action(async (id: string) => {
      const client = await cli.client();
      const found = await client.host.numa({ params: { id }, query: {} });
      if (!["table", "wide"].includes(cli.options().output)) return showOne(cli, found);
      const rows = found.cells.flatMap((cell): CellRow[] => [
        {
          cell: `${cell.cell}`,
          cpus: `${numberListText(cell.cpus.map(({ cpu }) => cpu))}, ${cell.sharedVcpus} vCPUs share those that are nobody's`,
          memory: `${formatBytes(cell.memoryUsedBytes)} of ${formatBytes(cell.memoryCapacityBytes)}`,
          hugepages: cell.hugepages
            .filter(({ count }) => count > 0)
            .map(({ sizeBytes, count, used }) => `${used} of ${count} × ${formatBytes(sizeBytes)}`)
            .join(", "),
          machine: "",
        },
        ...cell.machines.map((machine) => ({
          cell: "",
          cpus: machine.cpus === undefined ? `${machine.vcpus} shared` : `${numberListText(machine.cpus)} its own`,
          memory: machine.pageBytes === undefined ? formatBytes(machine.memoryBytes) : "",
          hugepages: machine.pageBytes === undefined ? "" : formatBytes(machine.memoryBytes),
          machine: machine.name,
        })),
      ]);
      const floating = found.floating.map(({ name, vcpus, memoryBytes }) => ({
        cell: "any",
        cpus: `${vcpus} shared`,
        memory: formatBytes(memoryBytes),
        hugepages: "",
        machine: name,
      }));
      show(
        cli,
        [...rows, ...floating],
        [
          { title: "CELL", value: (row) => row.cell },
          { title: "MACHINE", value: (row) => row.machine },
          { title: "CPUS", value: (row) => row.cpus },
          { title: "MEMORY", value: (row) => row.memory },
          { title: "HUGE PAGES", value: (row) => row.hugepages },
        ],
      );
    });
}

/** `NUMA cell 0: 2 vCPUs on CPUs 2, 3 as its own, 4 GiB in huge pages of 2 MiB` */
export function cellText({ cell, vcpus, memoryBytes, pageBytes, cpus }: PlacementCell): string {
  const own = cpus === undefined || cpus.length === 0 ? "" : ` on ${cpus.length === 1 ? "CPU" : "CPUs"} ${cpus.join(", ")} as its own`;
  const pages = pageBytes === undefined ? "" : ` in huge pages of ${formatBytes(pageBytes)}`;
  return `NUMA cell ${cell}: ${vcpus} ${vcpus === 1 ? "vCPU" : "vCPUs"}${own}, ${formatBytes(memoryBytes)}${pages}`;
}
