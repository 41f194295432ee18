/**
 * Where a machine's threads and memory lie on this host: from its placement, the host's cells, and the CPUs that are other machines' own. Called
 * whenever a domain is described, and by the target of a migration. Pure.
 *
 * CPUs that are one machine's own are left by all others: who floats over a cell, or over the whole host, floats over the rest.
 */
import { type HostBinding, type MemoryMode, unbound } from "@sheaf/domain-xml";
import type { NumaPlacement, RecordOf } from "@sheaf/model";

export interface BindingInput {
  readonly numa: NumaPlacement | undefined;
  /** Its vCPUs are to run anywhere, wherever its memory lies. */
  readonly floating: boolean;
  /** Of this host; absent: not known. */
  readonly cells: readonly { readonly cell: number; readonly cpus: readonly number[] }[] | undefined;
  /** CPUs that are other machines' own. */
  readonly taken: ReadonlySet<number>;
  /** The most that it may have. */
  readonly vcpus: number;
}

/** @returns `undefined`: anywhere */
export function cellBinding({ numa, floating, cells = [], taken, vcpus: most }: BindingInput): HostBinding | undefined {
  const pieces = numa?.cells ?? [];
  const known = pieces.every(({ cell, cpus = [] }) => {
    const its = cells.find((one) => one.cell === cell)?.cpus;
    return its !== undefined && cpus.every((cpu) => its.includes(cpu));
  });
  // The host has other cells than it had: until it is told where to lie now, it may run anywhere.
  if (numa === undefined || !known) return taken.size === 0 || cells.length === 0 ? undefined : floatingOver(cells, taken, most);
  const own = pieces.flatMap(({ cpus }) => cpus ?? []);
  const its = cells.filter(({ cell }) => pieces.some((piece) => piece.cell === cell));
  const shared = sharedCpus(floating ? cells : its, new Set([...taken, ...own]));
  const anywhere = floating && taken.size === 0;
  const vcpus = pieces.flatMap(({ cell, vcpus: count, cpus }) => {
    if (cpus !== undefined) return cpus.map((cpu) => [cpu]);
    const over = floating
      ? shared
      : sharedCpus(
          cells.filter((one) => one.cell === cell),
          taken,
        );
    return Array.from({ length: count }, () => (anywhere ? [] : over));
  });
  // Beside the vCPUs, in another cell if need be: on a CPU of its own they would take from the vCPU that it is there for.
  const beside = [shared, sharedCpus(cells, new Set([...taken, ...own])), own].find((cpus) => cpus.length > 0);
  const emulator = anywhere ? [] : (beside ?? []);
  // With one cell there is nothing to choose.
  const bound = cells.length > 1;
  return {
    vcpus,
    emulator,
    memory: !bound || numa.guestCells ? null : memoryOf(pieces),
    guestCells: numa.guestCells
      ? pieces.map((piece) => ({ vcpus: piece.vcpus, memoryBytes: piece.memoryBytes, mode: modeOf(piece), node: piece.cell }))
      : [],
    pageBytes: pagesOf(pieces),
  };
}

function floatingOver(cells: NonNullable<BindingInput["cells"]>, taken: ReadonlySet<number>, count: number): HostBinding {
  const shared = sharedCpus(cells, taken);
  return { ...unbound, vcpus: Array.from({ length: count }, () => shared), emulator: shared };
}

function sharedCpus(cells: readonly { readonly cpus: readonly number[] }[], taken: ReadonlySet<number>): number[] {
  return cells
    .flatMap(({ cpus }) => cpus)
    .filter((cpu) => !taken.has(cpu))
    .sort((a, b) => a - b);
}

const modeOf = ({ pageBytes }: NumaPlacement["cells"][number]): MemoryMode => (pageBytes === undefined ? "preferred" : "strict");

function memoryOf(pieces: NumaPlacement["cells"]): HostBinding["memory"] {
  const withMemory = pieces.filter(({ memoryBytes }) => memoryBytes > 0);
  const [first] = withMemory;
  if (first === undefined) return null;
  // Only one cell can be preferred.
  return { mode: withMemory.length === 1 ? modeOf(first) : "interleave", nodes: withMemory.map(({ cell }) => cell) };
}

function pagesOf(pieces: NumaPlacement["cells"]): number[] {
  return pieces.flatMap(({ pageBytes }) => pageBytes ?? []);
}

/** CPUs that are the own of machines on this host other than that one. */
export function takenCpus(machines: readonly RecordOf<"vm">[], hostId: string, except: string): ReadonlySet<number> {
  return new Set(machines.flatMap((vm) => (vm.id === except ? [] : ownCpus(vm, hostId))));
}

/** CPUs of this host that are that machine's own; while it is on its way here, too. */
export function ownCpus({ placement, status: { migration } }: RecordOf<"vm">, hostId: string): readonly number[] {
  const here = placement?.host === hostId ? placement.numa : migration?.target === hostId ? migration.targetNuma : undefined;
  return here?.cells.flatMap(({ cpus }) => cpus ?? []) ?? [];
}
