/** The hosts and machines of the classical experiment (Beloglazov and Buyya 2012; `power.planetlab` of CloudSim 3.0.3). */
import type { PowerCurve } from "@sheaf/planning";
import type { Day } from "./trace.ts";

export interface HostModel {
  readonly name: string;
  readonly cores: number;
  readonly coreMips: number;
  readonly mips: number;
  readonly ramMb: number;
  /** Of its network, per second; half of it is for migrations. */
  readonly linkMb: number;
  readonly curve: PowerCurve;
}

const model = (name: string, coreMips: number, curve: PowerCurve): HostModel => ({
  name,
  cores: 2,
  coreMips,
  mips: 2 * coreMips,
  ramMb: 4096,
  linkMb: 125,
  curve,
});

/** Watts at 0, 10 … 100 % load (SPECpower_ssj2008). */
export const g4 = model("HP ProLiant ML110 G4", 1860, [86, 89.4, 92.6, 96, 99.5, 102, 106, 108, 112, 114, 117]);
export const g5 = model("HP ProLiant ML110 G5", 2660, [93.7, 97, 101, 105, 110, 116, 121, 125, 129, 133, 135]);

export const hosts: readonly HostModel[] = Array.from({ length: 800 }, (_, index) => (index % 2 === 0 ? g4 : g5));

export interface Machine {
  readonly mips: number;
  readonly ramMb: number;
  /** What it asks for at each step, MIPS. */
  readonly demand: Float64Array;
}

const sizes = [
  { mips: 2500, ramMb: 870 },
  { mips: 2000, ramMb: 1740 },
  { mips: 1000, ramMb: 1740 },
  { mips: 500, ramMb: 613 },
] as const;

export function machinesOf({ shares }: Day): Machine[] {
  const perSize = Math.ceil(shares.length / sizes.length);
  return shares.map((share, index) => {
    const { mips, ramMb } = sizes[Math.floor(index / perSize)] ?? sizes[3]; // there are four quarters
    return { mips, ramMb, demand: share.map((of) => of * mips) };
  });
}
