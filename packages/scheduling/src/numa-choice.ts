/**
 * Which cells of a host a machine gets, and which CPUs of its own. Into one cell where it fits; else the guest is shown as many cells as it is
 * spread over, the fewest that do. Pure: what it books while it tries, it gives back. Asked by NumaBook alone.
 *
 * Among cells that fit: where all vCPUs have a CPU to themselves, the one that is left with least memory (large machines stay placeable); where
 * they must share, the one with the fewest vCPUs a CPU (nobody waits while the next cell is idle). Machines with CPUs of their own: the one
 * left with fewest CPUs, then with least memory. Equal ones: the smaller number.
 */
import type { CpuPlacement, NumaPlacement, PlacementCell } from "@sheaf/model";
import { inPages, type NumaCell, ownCpus } from "./numa-cell.ts";

export interface CellNeed {
  readonly placement: CpuPlacement | "automatic";
  /** The most it may have. */
  readonly vcpus: number;
  readonly memoryBytes: number;
  readonly hugepages: boolean;
  /** It runs, and its guest sees these cells: they stay as they are. */
  readonly parts?: readonly CellPart[];
}

export interface CellPart {
  readonly vcpus: number;
  readonly memoryBytes: number;
}

const mib = 2 ** 20;

/** Whether cells are booked for it on such a host: what lies in the only cell there is needs no book, but for what is given out in pieces. */
export const isBooked = (need: CellNeed, cellsOfHost: number): boolean =>
  need.placement === "dedicated" || need.hugepages || (cellsOfHost > 1 && need.placement !== "floating");

/** @returns `null` where there is no room as it is asked for. A machine that asks for nothing floats then. */
export function chooseCells(cells: readonly NumaCell[], need: CellNeed): NumaPlacement | null {
  const found = tryAll(cells, need, cells.length > 1);
  if (found !== null || need.placement === "cell" || need.placement === "dedicated" || !need.hugepages) return found;
  // Its pages lie in cells; its vCPUs may then be more than these have.
  return tryAll(cells, need, false);
}

/** The cell that takes all of it. */
export function wholeCell(cells: readonly NumaCell[], need: CellNeed): NumaCell | undefined {
  return best(cells, need, need, cells.length > 1);
}

function tryAll(cells: readonly NumaCell[], need: CellNeed, cpuBound: boolean): NumaPlacement | null {
  const one = best(cells, need, need, cpuBound);
  const shown = need.parts ?? [need];
  const guestCells = shown.length > 1;
  if (one !== undefined)
    return placed(
      shown.map(() => one),
      shown,
      need,
      guestCells,
    );
  if (need.placement === "cell") return null;
  if (guestCells) return spread(cells, shown, need, cpuBound, false);
  for (let count = 2; need.parts === undefined && count <= Math.min(cells.length, need.vcpus); count += 1) {
    const found = spread(cells, split(need, count), need, cpuBound, true);
    if (found !== null) return found;
  }
  return need.placement === "dedicated" && !need.hugepages ? pieces(cells, need) : null;
}

/** Each part in a cell. @param apart no two in the same one */
function spread(cells: readonly NumaCell[], parts: readonly CellPart[], need: CellNeed, cpuBound: boolean, apart: boolean): NumaPlacement | null {
  const booked: (readonly [NumaCell, PlacementCell])[] = [];
  const found = new Map<CellPart, readonly [NumaCell, PlacementCell]>();
  for (const part of parts.toSorted((a, b) => b.memoryBytes - a.memoryBytes || b.vcpus - a.vcpus)) {
    const cell = best(apart ? cells.filter((other) => !booked.some(([taken]) => taken === other)) : cells, part, need, cpuBound);
    if (cell === undefined) break;
    const piece = pieceOf(cell, part, need);
    cell.book(piece, 1);
    booked.push([cell, piece]);
    found.set(part, [cell, piece]);
  }
  for (const [cell, piece] of booked) cell.book(piece, -1);
  if (booked.length < parts.length) return null;
  const all = parts.map((part) => (found.get(part) as readonly [NumaCell, PlacementCell])[1]); // every part was found
  return { cells: apart ? all.toSorted((a, b) => a.cell - b.cell) : all, guestCells: true };
}

/** CPUs of its own wherever there are some, from the cells with most; the guest is not shown how unevenly that came out. */
function pieces(cells: readonly NumaCell[], need: CellNeed): NumaPlacement | null {
  let { vcpus, memoryBytes } = need;
  const found: PlacementCell[] = [];
  for (const cell of cells.toSorted((a, b) => b.dedicatable - a.dedicatable || b.memoryLeft - a.memoryLeft || a.id - b.id)) {
    const cpus = ownCpus(cell, Math.min(vcpus, cell.dedicatable));
    const bytes = Math.max(0, Math.min(memoryBytes, cell.memoryLeft));
    if (cpus.length === 0 && bytes === 0) continue;
    vcpus -= cpus.length;
    memoryBytes -= bytes;
    found.push({ cell: cell.id, vcpus: cpus.length, memoryBytes: bytes, cpus });
  }
  return vcpus > 0 || memoryBytes > 0 ? null : { cells: found.toSorted((a, b) => a.cell - b.cell), guestCells: false };
}

/** Alike, but for a vCPU or a step of memory. */
function split(need: CellNeed, count: number): CellPart[] {
  const step = need.hugepages ? 2 * mib : mib;
  const steps = Math.ceil(need.memoryBytes / step);
  let left = need.memoryBytes;
  return Array.from({ length: count }, (_, place) => {
    const memoryBytes = Math.min(left, (Math.floor(steps / count) + Number(place < steps % count)) * step);
    left -= memoryBytes;
    return { vcpus: Math.floor(need.vcpus / count) + Number(place < need.vcpus % count), memoryBytes };
  });
}

/** All parts, one after the other, from these cells: `cells[i]` takes `parts[i]`. They are known to have room. */
function placed(cells: readonly NumaCell[], parts: readonly CellPart[], need: CellNeed, guestCells: boolean): NumaPlacement {
  const booked: PlacementCell[] = [];
  for (const [place, part] of parts.entries()) {
    const cell = cells[place] as NumaCell; // one for each part
    const piece = pieceOf(cell, part, need);
    cell.book(piece, 1);
    booked.push(piece);
  }
  for (const [place, piece] of booked.entries()) cells[place]?.book(piece, -1);
  return { cells: booked, guestCells };
}

function pieceOf(cell: NumaCell, { vcpus, memoryBytes }: CellPart, need: CellNeed): PlacementCell {
  const page = need.hugepages ? pageFor(cell, memoryBytes) : undefined;
  return {
    cell: cell.id,
    vcpus,
    memoryBytes,
    ...(page === undefined ? {} : { pageBytes: page }),
    ...(need.placement === "dedicated" ? { cpus: ownCpus(cell, vcpus) } : {}),
  };
}

function best(cells: readonly NumaCell[], part: CellPart, need: CellNeed, cpuBound: boolean): NumaCell | undefined {
  let chosen: NumaCell | undefined;
  let rank: readonly number[] = [];
  for (const cell of cells) {
    if (!hasRoom(cell, part, need, cpuBound)) continue;
    const its = rankOf(cell, part, need);
    if (chosen !== undefined && !isBefore(its, rank)) continue;
    chosen = cell;
    rank = its;
  }
  return chosen;
}

function hasRoom(cell: NumaCell, { vcpus, memoryBytes }: CellPart, need: CellNeed, cpuBound: boolean): boolean {
  if (need.hugepages ? pageFor(cell, memoryBytes) === undefined : cell.memoryLeft < memoryBytes) return false;
  if (need.placement === "dedicated") return cell.dedicatable >= vcpus;
  return !cpuBound || cell.vcpusLeft >= vcpus;
}

/** Smaller is better. */
function rankOf(cell: NumaCell, { vcpus, memoryBytes }: CellPart, need: CellNeed): readonly number[] {
  const bytesLeft = (need.hugepages ? cell.mostPagesLeft : cell.memoryLeft) - memoryBytes;
  if (need.placement === "dedicated") return [cell.dedicatable - vcpus, bytesLeft, cell.id];
  const vcpusPerCpu = (cell.sharedVcpus + vcpus) / Math.max(1, cell.sharedCpus);
  return [Math.max(1, vcpusPerCpu), bytesLeft, cell.id];
}

function isBefore(one: readonly number[], other: readonly number[]): boolean {
  const place = one.findIndex((figure, at) => figure !== other[at]);
  return place !== -1 && (one[place] ?? 0) < (other[place] ?? 0);
}

/** The largest pages that hold it without waste; where none do, the smallest there are. */
function pageFor(cell: NumaCell, bytes: number): number | undefined {
  const fitting = cell.facts.hugepages.filter((pages) => cell.pagesLeft(pages) >= inPages(bytes, pages.sizeBytes)).map(({ sizeBytes }) => sizeBytes);
  const exact = fitting.filter((size) => bytes % size === 0);
  return exact.length > 0 ? Math.max(...exact) : fitting.length > 0 ? Math.min(...fitting) : undefined;
}
