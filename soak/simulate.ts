/**
 * Fresh seeds of the simulated data centre: a seed a round, of a size that stays the same so that the ledger adds up. Needs no lab. Each
 * runs in a process of its own: a simulation never waits, so whoever shares its process cannot be stopped. Kept here, and not in the
 * simulator, because the ledger is the soak's.
 */
import { spawn, type ChildProcess } from "node:child_process";
import { join } from "node:path";
import { createInterface } from "node:readline";
import type { Story } from "./story.ts";

interface Size {
  readonly hosts: number;
  readonly hours: number;
}

const program = join(import.meta.dirname, "../packages/simulation/src/main.ts");
/** Lines of its story that are kept with a round that failed: what led to it stands at the end. */
const linesKept = 20_000;

const story = (name: string, { hosts, hours }: Size, more: Partial<Story> = {}): Story => ({
  name,
  summary: `${hours} simulated hours of ${hosts} hosts with heavy faults: every promise of the simulator is kept`,
  ...more,
  open: async () => {
    let running: ChildProcess | undefined;
    return {
      async round({ seed, log }) {
        const words = ["--seed", String(seed), "--hosts", String(hosts), "--hours", String(hours), "--faults", "heavy"];
        const child = spawn(process.execPath, ["--disable-warning=ExperimentalWarning", program, ...words], { stdio: ["ignore", "pipe", "inherit"] });
        running = child;
        const ended = new Promise<number | null>((resolve, reject) => child.on("error", reject).on("exit", resolve));
        const lines: string[] = [];
        for await (const line of createInterface({ input: child.stdout })) if (lines.push(line) > linesKept * 2) lines.splice(0, linesKept);
        const code = await ended;
        if (code === 0) return;
        for (const line of lines.slice(-linesKept)) log(line);
        throw new Error(lines.findLast((line) => line.startsWith("seed ")) ?? `the simulation ended with ${code}`);
      },
      close: async () => void running?.kill("SIGKILL"),
    };
  },
});

export const simulate = story("simulate", { hosts: 20, hours: 2 });
/** A round takes longer than most people wait. */
export const simulateLong = story("simulate-long", { hosts: 50, hours: 24 }, { onlyByName: true });
