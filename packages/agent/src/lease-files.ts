/**
 * What an agent and the pulse beside it tell each other about the host's lease and its watchdog: a file each, in a folder that the host keeps
 * in memory and that is empty after a boot. Each is written by one of them alone, so that either goes on where the other hangs.
 * Times are ms since the host booted (`sinceBoot`), time asleep included: the same for both.
 */
import { WatchdogObservation } from "@sheaf/model";
import { z } from "zod";
import type { Files } from "./ports.ts";

export const leaseDirectory = "/run/sheaf";

/** By the agent. */
const AgentLease = z.looseObject({
  bootId: z.string(),
  /** What the watchdog is to be set to; `null`: none is wanted. */
  watchdogTimeoutMs: z.int().nullable(),
  /** The watchdog is petted only while the lease runs. False: nothing runs here that another host may start. */
  atRisk: z.boolean(),
  /** Servers take the host for one that fences itself. */
  relied: z.boolean(),
  leaseEndMs: z.number(),
  /** The server that the agent talks to: where the lease is known. */
  server: z.string(),
});
export type AgentLease = z.infer<typeof AgentLease>;

/** By the pulse. */
const PulseLease = z.looseObject({
  bootId: z.string(),
  /** When this was written. */
  atMs: z.number(),
  leaseEndMs: z.number(),
  watchdog: WatchdogObservation,
});
export type PulseLease = z.infer<typeof PulseLease>;

/** Written so often, and not believed of the watchdog when older than `pulseCountsForMs`. */
export const leaseLookMs = 500;
export const pulseCountsForMs = 5000;

const agentFile = (hostId: string): string => `${leaseDirectory}/${hostId}.agent`;
const pulseFile = (hostId: string): string => `${leaseDirectory}/${hostId}.pulse`;

export interface LeaseFilesOptions {
  readonly files: Pick<Files, "readText" | "writeAtomic" | "makeDirectory">;
  readonly hostId: string;
  readonly bootId: string;
}

export class LeaseFiles {
  readonly #options: LeaseFilesOptions;

  constructor(options: LeaseFilesOptions) {
    this.#options = options;
  }

  agent(): Promise<AgentLease | null> {
    return this.#read(agentFile(this.#options.hostId), AgentLease);
  }

  pulse(): Promise<PulseLease | null> {
    return this.#read(pulseFile(this.#options.hostId), PulseLease);
  }

  writeAgent(lease: Omit<AgentLease, "bootId">): Promise<void> {
    return this.#write(agentFile(this.#options.hostId), lease);
  }

  writePulse(lease: Omit<PulseLease, "bootId">): Promise<void> {
    return this.#write(pulseFile(this.#options.hostId), lease);
  }

  /** @returns `null` where there is none of this boot */
  async #read<T extends { readonly bootId: string }>(path: string, shape: z.ZodType<T>): Promise<T | null> {
    const text = await this.#options.files.readText(path);
    if (text === null) return null;
    try {
      const lease = shape.parse(JSON.parse(text));
      return lease.bootId === this.#options.bootId ? lease : null;
    } catch {
      return null;
    }
  }

  async #write(path: string, lease: object): Promise<void> {
    const { files, bootId } = this.#options;
    await files.makeDirectory(leaseDirectory, 0o755);
    await files.writeAtomic(path, JSON.stringify({ bootId, ...lease }), { mode: 0o600 });
  }
}
