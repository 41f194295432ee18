/** Runs a program of the host and turns its failure into a problem with the program's own last words. */
import { SheafError } from "@sheaf/model";
import type { Processes } from "./ports.ts";

/** @throws SheafError `hypervisor-failed` with the program's last line as cause */
export async function runOrFail(
  processes: Processes,
  program: string,
  programArguments: readonly string[],
  options: { readonly deadlineMs: number; readonly what: string; readonly signal?: AbortSignal },
): Promise<string> {
  const { what, ...limits } = options;
  const result = await processes.run(program, programArguments, limits);
  if (result.exitCode === 0) return result.output;
  const cause = result.errorOutput.trim().split("\n").at(-1)?.slice(0, 500) ?? "";
  throw new SheafError("hypervisor-failed", `${what} failed: ${cause || `${program} ended with ${result.exitCode ?? "a signal"}`}`, { cause });
}
