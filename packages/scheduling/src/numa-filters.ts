/** Hosts without the NUMA cells, the huge pages in them, or the CPUs that a machine asks for. What asks for nothing is never refused here. */
import { formatBytes } from "@sheaf/base";
import { freeBytes } from "./free-bytes.ts";
import { hostFilter, type HostFilter } from "./host-filter.ts";
import { inPages } from "./numa-cell.ts";
import { type CellNeed, isBooked } from "./numa-choice.ts";
import type { PlacementRequest } from "./placement-request.ts";
import type { SnapshotIndex } from "./snapshot.ts";

export function numaFilters(request: PlacementRequest, snapshot: SnapshotIndex): HostFilter[] {
  const { cells: need } = request;
  if (need === undefined) return [];
  if (need.placement === "cell") return oneCellFilters(request, need, snapshot);
  const cpuFilters = need.placement === "dedicated" ? [ownCpuFilter(request, need, snapshot)] : [];
  // What has neither CPUs of its own nor huge pages floats where cells have no room.
  if (need.placement !== "dedicated" && !need.hugepages) return [];
  return [...cpuFilters, besides(cpuFilters, roomFilter(request, need, snapshot))];
}

/** Of hosts that one of `others` refuses it says nothing: nobody is told twice of one lack. These come before it in a decision. */
function besides(others: readonly HostFilter[], filter: HostFilter): HostFilter {
  return { ...filter, fails: (slot) => filter.fails(slot) && !others.some((other) => other.fails(slot)) };
}

const cpus = (count: number): string => `${count} ${count === 1 ? "CPU" : "CPUs"}`;

/** What `look` says of a host's cells as if the machine had none there. */
function asIfAway<T>(vm: string, snapshot: SnapshotIndex, look: (slot: number) => T): (slot: number) => T {
  const own = snapshot.charge(vm);
  if (own === undefined) return look;
  return (slot) => (own.slots.includes(slot) ? snapshot.withoutCells(vm, slot, () => look(slot)) : look(slot));
}

function ownCpuFilter({ vm }: PlacementRequest, { vcpus }: CellNeed, snapshot: SnapshotIndex): HostFilter {
  const { numa, cpuUsed, cpuCapacity } = snapshot.table;
  const own = snapshot.charge(vm);
  const left = (slot: number): number => {
    if (own?.slots.includes(slot) !== true) return (cpuCapacity[slot] ?? 0) - (cpuUsed[slot] ?? 0);
    return numa.cpuCapacity(slot) - (cpuUsed[slot] ?? 0) + own.cpus;
  };
  const free = asIfAway(vm, snapshot, (slot) => numa.dedicatable(slot, left(slot)));
  const figure = { of: free, text: cpus, needed: cpus(vcpus) };
  const words = { code: "own-cpus", own: false, one: "lacks CPUs to dedicate", many: "lack CPUs to dedicate", figure };
  return hostFilter(words, (slot) => free(slot) < vcpus);
}

function oneCellFilters({ vm }: PlacementRequest, need: CellNeed, snapshot: SnapshotIndex): HostFilter[] {
  const { numa } = snapshot.table;
  const most = asIfAway(vm, snapshot, (slot) => numa.mostLeft(slot, need));
  const fits = asIfAway(vm, snapshot, numa.fitting(need));
  // On a host with one cell, what the host has free is what the cell has.
  const lacks = (slot: number): boolean => isBooked(need, numa.cellCount(slot)) && !fits(slot);
  const memory = formatBytes(need.memoryBytes);
  const free = need.hugepages ? `${pagesText(need.memoryBytes)} free in one cell` : `cell with ${memory} free`;
  const [one = "", many = ""] = need.hugepages ? [`lacks ${free}`, `lack ${free}`] : [`has no ${free}`, `have no ${free}`];
  const figure = { of: most, text: freeBytes, needed: memory };
  const vcpus = `cell with ${need.vcpus} ${need.vcpus === 1 ? "vCPU" : "vCPUs"} free beside ${memory}`;
  const memoryFilter = hostFilter({ code: "cell-memory", own: false, one, many, figure }, (slot) => lacks(slot) && most(slot) < need.memoryBytes);
  const cpuWords = { code: "cell-cpu", own: false, one: `has no ${vcpus}`, many: `have no ${vcpus}` };
  return [memoryFilter, besides([memoryFilter], hostFilter(cpuWords, lacks))];
}

function roomFilter(request: PlacementRequest, need: CellNeed, snapshot: SnapshotIndex): HostFilter {
  const { numa } = snapshot.table;
  const what = need.hugepages
    ? `${pagesText(need.memoryBytes)} free in the cells it would be in`
    : `${formatBytes(need.memoryBytes)} free in its cells`;
  const words = { code: "cells", own: false, one: `lacks ${what}`, many: `lack ${what}` };
  // Where one cell takes it, nothing more is to be tried; and CPUs of one's own may lie in any cells, if their memory does.
  const fits = asIfAway(request.vm, snapshot, numa.fitting(need));
  const inAll = asIfAway(request.vm, snapshot, (slot) => numa.memoryInAll(slot));
  const anywhere = !need.hugepages && (need.parts?.length ?? 1) === 1;
  return hostFilter(words, (slot) => !fits(slot) && (anywhere ? inAll(slot) < need.memoryBytes : snapshot.cellsOn(request, slot) === null));
}

const smallPage = 2 * 2 ** 20;
/** Larger ones count as that many of the small. */
const pagesText = (bytes: number): string => `${inPages(bytes, smallPage) / smallPage} huge pages of 2 MiB`;
