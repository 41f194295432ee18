/**
 * Makes a running domain what is wanted, change by change, and remembers which were tried: a change that the guest or QEMU refuses is
 * told as pending and not tried again for the same generation; one that a guest takes its time for is waited for. Memory only: after
 * an agent's restart each is tried once more.
 */
import { compareDomains, type DomainChange, type DomainDescription, type DomainHost } from "@sheaf/domain-xml";
import { type Hypervisor, HypervisorError, type Scope } from "./ports.ts";

interface Attempt {
  readonly generation: number;
  readonly at: number;
  /** Empty while the guest may still answer. */
  readonly refusal: string;
}

export interface LiveDifference {
  /** To be done now. */
  readonly due: readonly DomainChange[];
  /** Asked for, not done yet. */
  readonly waiting: boolean;
  /** What waits for the next start, in sentences. */
  readonly pending: readonly string[];
}

/** How long a guest may take to let a device go or to fill its balloon. */
export const guestAnswersWithinMs = 60_000;
const live: Scope = { live: true, config: false };

export class LiveChanges {
  readonly #attempts = new Map<string, Map<string, Attempt>>();

  compare(
    machineId: string,
    running: DomainDescription,
    wanted: DomainDescription,
    host: Pick<DomainHost, "cgroupVersion" | "cells">,
    generation: number,
    now: number,
  ): LiveDifference {
    const difference = compareDomains(running, wanted, host);
    const attempts = this.#attempts.get(machineId);
    const due: DomainChange[] = [];
    const refused: string[] = [];
    let waiting = false;
    for (const change of difference.live) {
      const attempt = attempts?.get(keyOf(change));
      // Asked of the host, not of the guest: done is done, and what is due again is due because other machines came or went.
      const done = attempt?.refusal === "" && (change.kind === "pin-vcpu" || change.kind === "pin-emulator");
      if (done) due.push(change);
      else if (!attempt || attempt.generation !== generation) due.push(change);
      else if (attempt.refusal !== "") refused.push(attempt.refusal);
      else if (now - attempt.at < guestAnswersWithinMs) waiting = true;
      else refused.push(`${inWords(change)}: the guest has not answered; it is done at the next start at the latest`);
    }
    return { due, waiting, pending: [...difference.restart, ...refused] };
  }

  /** Tries one change. A refusal of the hypervisor is remembered, not thrown; that it does not answer is thrown. */
  async apply(hypervisor: Hypervisor, machineId: string, change: DomainChange, generation: number, now: number): Promise<void> {
    let attempts = this.#attempts.get(machineId);
    if (!attempts) this.#attempts.set(machineId, (attempts = new Map()));
    try {
      await run(hypervisor, machineId, change);
      attempts.set(keyOf(change), { generation, at: now, refusal: "" });
    } catch (error) {
      if (!(error instanceof HypervisorError) || error.kind !== "refused") throw error;
      attempts.set(keyOf(change), { generation, at: now, refusal: `${inWords(change)} was refused and waits for the next start: ${error.message}` });
    }
  }

  /** The domain has stopped or is gone: what was tried with it means nothing any more. */
  forget(machineId: string): void {
    this.#attempts.delete(machineId);
  }
}

/** The same change, whenever it is found. */
function keyOf(change: DomainChange): string {
  return JSON.stringify(change);
}

function run(hypervisor: Hypervisor, uuid: string, change: DomainChange): Promise<void> {
  switch (change.kind) {
    case "detach-disk":
    case "detach-nic":
      return hypervisor.detachDevice(uuid, change.xml, live);
    case "attach-disk":
    case "attach-nic":
    case "attach-memory":
      return hypervisor.attachDevice(uuid, change.xml, live);
    case "update-nic":
    case "medium":
      return hypervisor.updateDevice(uuid, change.xml, live);
    case "disk-limits":
      return hypervisor.setDiskLimits(uuid, change.target, change.tune, live);
    case "balloon":
      return hypervisor.setMemory(uuid, change.bytes, live);
    case "vcpus":
      return hypervisor.setVcpus(uuid, change.count, live);
    case "cpu-tune":
      return hypervisor.setScheduler(uuid, change.parameters, live);
    case "pin-vcpu":
      return hypervisor.pinVcpu(uuid, change.vcpu, change.cpus, live);
    case "pin-emulator":
      return hypervisor.pinEmulator(uuid, change.cpus, live);
    case "metadata":
      return hypervisor.setMark(uuid, change.machine, live);
  }
}

function inWords(change: DomainChange): string {
  switch (change.kind) {
    case "detach-disk":
      return "unplugging a disk";
    case "detach-nic":
      return "unplugging a network interface";
    case "attach-disk":
      return "plugging in a disk";
    case "attach-nic":
      return "plugging in a network interface";
    case "update-nic":
      return "changing a network interface";
    case "medium":
      return change.path === null ? "ejecting a CD" : "inserting a CD";
    case "disk-limits":
      return `changing the limits of disk ${change.target}`;
    case "attach-memory":
      return "adding memory";
    case "balloon":
      return "changing the memory";
    case "vcpus":
      return "adding vCPUs";
    case "cpu-tune":
      return "changing the CPU limits";
    case "pin-vcpu":
      return `giving vCPU ${change.vcpu} other CPUs`;
    case "pin-emulator":
      return "giving the emulator other CPUs";
    case "metadata":
      return "writing the metadata";
  }
}
