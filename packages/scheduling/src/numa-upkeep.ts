/**
 * Whether the cells and CPUs that a placed machine has on its host are still what it asks for, and which it gets instead: after a change of its
 * spec, or when its host has other cells than it had. Asked by the controller that keeps placements so. Pure; the snapshot is left as it was.
 */
import { hasGivenWay, type NumaPlacement, type VmRecord, wishesForDevices } from "@sheaf/model";
import { hostText } from "./host-filter.ts";
import type { NumaCell } from "./numa-cell.ts";
import { type CellNeed, isBooked } from "./numa-choice.ts";
import { numaFilters } from "./numa-filters.ts";
import type { PlacementRequest } from "./placement-request.ts";
import type { SnapshotIndex } from "./snapshot.ts";

export type CellUpkeep =
  | { readonly do: "keep" }
  /** `reserve` it there: what that answers is to be kept. */
  | { readonly do: "put"; readonly request: PlacementRequest }
  /** It gave way and is down: what it had may be others' by the time it runs again, and it is given some anew then. */
  | { readonly do: "clear" }
  /** It stays as it is: its host has no room for what it asks for. */
  | { readonly do: "refuse"; readonly reason: string };

/** @param vm placed, not moving */
export function cellUpkeep(vm: VmRecord, snapshot: SnapshotIndex): CellUpkeep {
  const { placement } = vm;
  const slot = placement === undefined ? undefined : snapshot.table.find(placement.host);
  const facts = slot === undefined ? undefined : snapshot.table.facts[slot];
  if (placement === undefined || slot === undefined || facts?.seen === undefined) return { do: "keep" };
  if (hasGivenWay(vm) && !wishesForDevices(vm.spec)) return placement.numa === undefined ? { do: "keep" } : { do: "clear" };
  const { leave: _leave, ...request } = snapshot.request(vm, "move");
  const { numa } = placement;
  const { cells: need } = request;
  if (need === undefined) return numa === undefined ? { do: "keep" } : { do: "put", request };
  const cells = snapshot.table.numa.cells(slot);
  if (numa === undefined) {
    // One that asks for nothing was put there as it is, or found there: it is left in peace.
    if ((need.placement === "automatic" && !need.hugepages) || !isBooked(need, cells.length)) return { do: "keep" };
  } else if (answers(numa, need) && isThere(numa, cells, facts.seen.numa)) return { do: "keep" };
  const chosen = snapshot.cellsOn(request, slot);
  if (chosen !== null) return JSON.stringify(chosen) === JSON.stringify(numa) ? { do: "keep" } : { do: "put", request };
  const reasons = numaFilters(request, snapshot).filter((filter) => filter.fails(slot));
  return { do: "refuse", reason: `its host ${facts.record.name} ${reasons.map((filter) => hostText(filter, slot)).join(", ")}` };
}

/** It is what the spec asks for. */
function answers({ cells }: NumaPlacement, need: CellNeed): boolean {
  const sum = (of: (cell: NumaPlacement["cells"][number]) => number): number => cells.reduce((total, cell) => total + of(cell), 0);
  const one = new Set(cells.map(({ cell }) => cell)).size === 1;
  return (
    sum(({ vcpus }) => vcpus) === need.vcpus &&
    sum(({ memoryBytes }) => memoryBytes) === need.memoryBytes &&
    cells.every(({ cpus, vcpus }) => (need.placement === "dedicated" ? cpus?.length === vcpus : cpus === undefined)) &&
    cells.every(({ pageBytes }) => (pageBytes !== undefined) === need.hugepages) &&
    (need.placement !== "cell" || one)
  );
}

/** The host has these cells and CPUs, kept back or not. */
function isThere(
  numa: NumaPlacement,
  cells: readonly NumaCell[],
  seen: readonly { readonly cell: number; readonly cpus: readonly number[] }[],
): boolean {
  return numa.cells.every(({ cell, cpus }) => {
    const its = seen.find((other) => other.cell === cell)?.cpus;
    return its !== undefined && cells.some(({ id }) => id === cell) && (cpus ?? []).every((cpu) => its.includes(cpu));
  });
}
