/**
 * Versions of the agent on a simulated host's disk, and what the start script beside them does (packaging/agent/start.sh): three starts of a
 * new version that does not prove itself, or a minute, and the one before runs again. Outlives processes and losses of power.
 */
import type { Installation } from "@sheaf/agent";
import { type Clock, sleep } from "@sheaf/base";
import type { UpgradeOrder } from "@sheaf/contract";
import type { Life } from "./life.ts";

export interface Version {
  readonly version: string;
  readonly sha256: string;
  /** It passes its own test, and ends as soon as it is really started. */
  readonly dies?: boolean;
}

/** As fetching, unpacking and the test of itself take on a lab host. */
const fetchMs = 1500;
const prepareMs = 2500;
export const trialMs = 60_000;
const maximumStarts = 3;

export class SimulatedInstallation {
  current: Version;
  #trial: { readonly order: string; readonly from: Version; starts: number } | null = null;
  #failed: { readonly order: string; readonly why: string } | null = null;

  constructor(first: Version) {
    this.current = first;
  }

  get onTrial(): boolean {
    return this.#trial !== null;
  }

  /** Before each start. @returns whether this one is on trial */
  begin(): boolean {
    if (!this.#trial) return false;
    if (this.#trial.starts >= maximumStarts) this.goBack(`it ended ${this.#trial.starts} times before it had proved itself`);
    else this.#trial.starts += 1;
    return this.onTrial;
  }

  goBack(why: string): void {
    if (!this.#trial) return;
    this.#failed = { order: this.#trial.order, why };
    this.current = this.#trial.from;
    this.#trial = null;
  }

  /** As one process sees it. @param carried the version that the server carries now */
  seenBy(life: Life, clock: Clock, carried: () => Version, restart: () => void): Installation {
    const own = this.current;
    const step = (ms: number, work: () => void = () => {}): Promise<void> => life.gate(sleep(clock, ms).then(() => life.run(work)));
    return {
      platform: "linux-x64",
      archive: own.sha256,
      fixed: undefined,
      onTrial: () => Promise.resolve(this.onTrial),
      givenUp: (order) => Promise.resolve(this.#failed?.order === order ? this.#failed.why : null),
      fetch: () => step(fetchMs),
      prepare: () => step(prepareMs),
      switchTo: ({ order }: UpgradeOrder) =>
        step(50, () => {
          this.#trial = { order, from: own, starts: 0 };
          this.current = carried();
        }),
      prove: () => step(10, () => (this.#trial = null)),
      restart,
    };
  }
}
