/** A host's NUMA cells for people: the scheduler's book of them, with the machines' names. Called by the route `host.numa`. */
import type { HostCells } from "@sheaf/contract";
import type { RecordOf } from "@sheaf/model";
import type { SnapshotIndex } from "@sheaf/scheduling";

/** @param machines those that are on the host, or on their way from or to it */
export function hostCells(host: RecordOf<"host">, machines: readonly RecordOf<"vm">[], snapshot: SnapshotIndex): HostCells {
  const seen = host.status.agent?.numa ?? [];
  const booked = machines.map((vm) => ({ vm, pieces: snapshot.cellsHeld(vm.id, host.id) ?? [] }));
  const book = snapshot.cells(host.id);
  const cells = seen.map(({ cell, cpus, siblings = [], hugepages }) => {
    const its = book.find(({ id }) => id === cell);
    const here = booked.flatMap(({ vm, pieces }) =>
      pieces.filter((piece) => piece.cell === cell).map((piece) => ({ vm: vm.id, name: vm.name, piece })),
    );
    return {
      cell,
      cpus: cpus.map((cpu) => {
        const owner = here.find(({ piece }) => piece.cpus?.includes(cpu) === true);
        return {
          cpu,
          siblings: (siblings.find((core) => core.includes(cpu)) ?? []).filter((other) => other !== cpu),
          keptBack: its?.facts.cpus.includes(cpu) !== true,
          ...(owner === undefined ? {} : { machine: owner.name }),
        };
      }),
      sharedVcpus: its?.sharedVcpus ?? 0,
      memoryCapacityBytes: its?.facts.memoryCapacity ?? 0,
      memoryUsedBytes: its?.memoryUsed ?? 0,
      hugepages: hugepages.map(({ sizeBytes, count }) => ({ sizeBytes, count, used: (its?.pagesUsed(sizeBytes) ?? 0) / sizeBytes })),
      machines: here.map(({ vm, name, piece: { vcpus, memoryBytes, pageBytes, cpus: own } }) => ({
        vm,
        name,
        vcpus,
        memoryBytes,
        ...(pageBytes === undefined ? {} : { pageBytes }),
        ...(own === undefined ? {} : { cpus: own }),
      })),
    };
  });
  const floating = booked
    .filter(({ pieces }) => pieces.length === 0)
    .map(({ vm: { id, name, spec } }) => ({ vm: id, name, vcpus: spec.cpu.count, memoryBytes: spec.memory.bytes }));
  return { cells, floating };
}
