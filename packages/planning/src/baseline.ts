/**
 * The CPU model that every machine of a cluster can be given so that it can move to every host: what `cpuBaseline: auto` means.
 * Called by the baseline controller. Pure.
 */

export interface BaselineHost {
  readonly accelerated: boolean;
  /** Models that libvirt calls usable there. */
  readonly cpuModels: readonly string[];
}
export interface Baseline {
  readonly model: string;
  /** For people. */
  readonly reason: string;
}

/**
 * Oldest first, of each vendor; a model carries all that those before it of its own vendor carry, or nearly. Names of QEMU
 * (https://www.qemu.org/docs/master/system/i386/cpu.html). Those that a host lacks because of disabled features (TSX) have `-noTSX` kin.
 */
const generations = [
  ["qemu32", "kvm32", "qemu64", "kvm64"],
  [
    "Conroe",
    "Opteron_G1",
    "Penryn",
    "Opteron_G2",
    "Nehalem",
    "Opteron_G3",
    "Nehalem-IBRS",
    "Westmere",
    "Westmere-IBRS",
    "SandyBridge",
    "SandyBridge-IBRS",
  ],
  ["Opteron_G4", "IvyBridge", "Opteron_G5", "IvyBridge-IBRS", "Haswell-noTSX", "Haswell-noTSX-IBRS", "Haswell", "Haswell-IBRS"],
  ["Broadwell-noTSX", "Broadwell-noTSX-IBRS", "Broadwell", "Broadwell-IBRS", "EPYC", "EPYC-IBPB", "Dhyana"],
  ["Skylake-Client-noTSX-IBRS", "Skylake-Client", "Skylake-Client-IBRS", "Skylake-Server-noTSX-IBRS", "Skylake-Server", "Skylake-Server-IBRS"],
  ["Cascadelake-Server-noTSX", "Cascadelake-Server", "Cooperlake", "EPYC-Rome", "Icelake-Server-noTSX", "Icelake-Server"],
  ["EPYC-Milan", "SapphireRapids", "EPYC-Genoa", "SierraForest", "GraniteRapids", "EPYC-Turin"],
].flat();
const age = new Map(generations.map((model, index) => [model, index]));
/** What QEMU can always emulate, dearest first: a "newer" model without hardware behind it only emulates more, slowly. */
const emulated = ["qemu64", "kvm64", "qemu32", "kvm32", "max"];

/** @returns `null` where no host has reported, or none of the models is carried by all: the reason is then the caller's to keep. */
export function chooseBaseline(hosts: readonly BaselineHost[]): Baseline | null {
  const [first, ...rest] = hosts;
  if (!first) return null;
  const common = rest.reduce((models, host) => models.filter((model) => host.cpuModels.includes(model)), [...new Set(first.cpuModels)]);
  const many = hosts.length === 1 ? "the only host" : `all ${hosts.length} hosts`;
  if (hosts.some((host) => !host.accelerated)) {
    const model = emulated.find((one) => common.includes(one)) ?? common.toSorted()[0];
    return model === undefined ? null : { model, reason: `${many} can run it, emulated where there is no hardware virtualisation` };
  }
  const model =
    common
      .filter((one) => age.has(one))
      .reduce<string | null>((best, one) => (best === null || (age.get(one) ?? 0) > (age.get(best) ?? 0) ? one : best), null) ?? common.toSorted()[0];
  return model === undefined ? null : { model, reason: `the newest model that ${many} can run` };
}
