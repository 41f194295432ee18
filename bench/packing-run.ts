/** One run of the packing benchmark: machines arrive one by one, are placed at once and never leave, until one fits nowhere. */

export interface Size {
  readonly cpus: number;
  readonly memoryGib: number;
}

export interface HostShape {
  readonly cpus: number;
  readonly memoryGib: number;
}

/** What is left on a host. */
export interface Rest {
  cpus: number;
  memoryGib: number;
  readonly of: HostShape;
}

export interface Chooser {
  readonly name: string;
  /** Made for each run. @returns the place of the chosen host, -1 where none fits; what it chooses is taken from the rest by the caller */
  readonly start: (rests: readonly Rest[]) => (size: Size) => number;
}

/** Sizes of the traces are fractions: their sums are forgiven what they round. */
const rounding = 1e-9;

export const hasRoom = (rest: Rest, size: Size): boolean => rest.cpus >= size.cpus - rounding && rest.memoryGib >= size.memoryGib - rounding;

/** @returns the share in use of CPU or memory, whichever is higher, when the first is refused */
export function fillUp(hosts: readonly HostShape[], draw: () => Size, chooser: Chooser): number {
  const rests = hosts.map((of) => ({ cpus: of.cpus, memoryGib: of.memoryGib, of }));
  const choose = chooser.start(rests);
  for (;;) {
    const size = draw();
    const rest = rests[choose(size)];
    if (rest === undefined) break;
    if (!hasRoom(rest, size)) throw new Error(`${chooser.name} chose a host without room`);
    rest.cpus -= size.cpus;
    rest.memoryGib -= size.memoryGib;
  }
  const used = (of: (shape: HostShape) => number): number =>
    1 - rests.reduce((sum, rest) => sum + of(rest), 0) / hosts.reduce((sum, host) => sum + of(host), 0);
  return Math.max(
    used(({ cpus }) => cpus),
    used(({ memoryGib }) => memoryGib),
  );
}
