/**
 * What machines take of a host's promises besides their vCPUs and bytes, where they are not overcommitted like the rest:
 *
 *     taken = ratio × reserved + (usable − reserved) × ratio ÷ ratio of the class        usable: vCPUs up to the limit, or bytes
 *
 * So Σ reserved never exceeds what the host offers, and a machine of a class with ratio 1 takes as much as if nothing were overcommitted.
 * `extra` is taken − asked for: it may be negative. Held by HostTable, which adds it to what is used; only hosts with such machines cost anything.
 */
import type { MachineClass, VmSpec } from "@sheaf/model";

/** What is uneven about one machine. */
export interface PromiseTerms {
  readonly machineClass: string | undefined;
  readonly cpus: number;
  /** That it may use under its limit. */
  readonly usableCpus: number;
  readonly reservedCpus: number;
  /** 0 for huge pages: they are no ordinary memory. */
  readonly bytes: number;
  readonly reservedBytes: number;
}

/** Ratios of a slot: of its host or cluster, and of the classes of its cluster. */
export interface SlotRatios {
  readonly cpu: number;
  readonly memory: number;
  readonly classes: Readonly<Record<string, MachineClass>> | undefined;
}

export interface ExtraPromise {
  readonly cpus: number;
  readonly bytes: number;
}

export const noExtra: ExtraPromise = { cpus: 0, bytes: 0 };

/** @returns `undefined` for a machine like the rest */
export function promiseTerms({ cpu, memory, placement }: VmSpec): PromiseTerms | undefined {
  // CPUs of its own are overcommitted with nobody.
  const count = cpu.placement === "dedicated" ? 0 : cpu.count;
  const usableCpus = Math.min(count, (cpu.limitMillicores ?? Number.POSITIVE_INFINITY) / 1000);
  const reservedCpus = Math.min(count, (cpu.reservationMillicores ?? 0) / 1000);
  const reservedBytes = memory.hugepages ? 0 : (memory.reservedBytes ?? 0);
  if (placement.class === undefined && usableCpus === count && reservedCpus === 0 && reservedBytes === 0) return undefined;
  const bytes = memory.hugepages ? 0 : memory.bytes;
  return { machineClass: placement.class, cpus: count, usableCpus, reservedCpus, bytes, reservedBytes };
}

/** Sums over the machines of a slot; linear, so that they do not depend on the ratios. */
class SlotTerms {
  machines = 0;
  readonly #classes = new Map<string | undefined, Omit<PromiseTerms, "machineClass">>();

  add(terms: PromiseTerms, sign: 1 | -1): void {
    this.machines += sign;
    const { machineClass, cpus, usableCpus, reservedCpus, bytes, reservedBytes } = terms;
    const sum = this.#classes.get(machineClass);
    this.#classes.set(machineClass, {
      cpus: (sum?.cpus ?? 0) + sign * cpus,
      usableCpus: (sum?.usableCpus ?? 0) + sign * usableCpus,
      reservedCpus: (sum?.reservedCpus ?? 0) + sign * reservedCpus,
      bytes: (sum?.bytes ?? 0) + sign * bytes,
      reservedBytes: (sum?.reservedBytes ?? 0) + sign * reservedBytes,
    });
  }

  extra(ratios: SlotRatios): { cpus: number; bytes: number } {
    const extra = { cpus: 0, bytes: 0 };
    for (const [machineClass, sums] of this.#classes) addExtra(extra, { ...sums, machineClass }, ratios, 1);
    return extra;
  }
}

function addExtra(to: { cpus: number; bytes: number }, terms: PromiseTerms, ratios: SlotRatios, sign: 1 | -1): void {
  const own = terms.machineClass === undefined ? undefined : ratios.classes?.[terms.machineClass];
  const cpu = ratios.cpu / (own?.cpuOvercommit ?? ratios.cpu);
  const memory = ratios.memory / (own?.memoryOvercommit ?? ratios.memory);
  to.cpus += sign * (ratios.cpu * terms.reservedCpus + (terms.usableCpus - terms.reservedCpus) * cpu - terms.cpus);
  to.bytes += sign * (ratios.memory * terms.reservedBytes + (terms.bytes - terms.reservedBytes) * memory - terms.bytes);
}

/** Sums of fractions depend on their order: they are forgiven, and what is used stays exact. */
const forgiven = 1e-6;
const rounded = ({ cpus, bytes }: ExtraPromise): ExtraPromise => ({
  cpus: Math.ceil(cpus * 1024 - forgiven) / 1024 + 0, // never −0
  bytes: Math.ceil(bytes - forgiven) + 0,
});

export class PromiseWeights {
  readonly #slots = new Map<number, { readonly terms: SlotTerms; extra: ExtraPromise }>();
  readonly #ratiosOf: (slot: number) => SlotRatios;

  constructor(ratiosOf: (slot: number) => SlotRatios) {
    this.#ratiosOf = ratiosOf;
  }

  /** @returns by how much what is used on the slot changes */
  change(slot: number, terms: PromiseTerms, sign: 1 | -1): ExtraPromise {
    let own = this.#slots.get(slot);
    if (own === undefined) this.#slots.set(slot, (own = { terms: new SlotTerms(), extra: noExtra }));
    own.terms.add(terms, sign);
    const changed = this.weigh(slot);
    if (own.terms.machines === 0) this.#slots.delete(slot);
    return changed;
  }

  /** To be asked when the slot's ratios may have changed. @returns by how much what is used on it changes */
  weigh(slot: number): ExtraPromise {
    const own = this.#slots.get(slot);
    if (own === undefined) return noExtra;
    const before = own.extra;
    own.extra = own.terms.machines === 0 ? noExtra : rounded(own.terms.extra(this.#ratiosOf(slot)));
    return { cpus: own.extra.cpus - before.cpus, bytes: own.extra.bytes - before.bytes };
  }

  /** What machines would take there besides what they ask for. @param leaving charged there now, but not then */
  extraOf(slot: number, coming: readonly PromiseTerms[], leaving: readonly PromiseTerms[]): ExtraPromise {
    const ratios = this.#ratiosOf(slot);
    const without = this.#slots.get(slot)?.terms.extra(ratios) ?? { cpus: 0, bytes: 0 };
    for (const terms of leaving) addExtra(without, terms, ratios, -1);
    const then = { ...without };
    for (const terms of coming) addExtra(then, terms, ratios, 1);
    const [with_, base] = [rounded(then), rounded(without)];
    return { cpus: with_.cpus - base.cpus, bytes: with_.bytes - base.bytes };
  }
}
