/** What is told of an error, and the exit code it ends with: 0 done, 1 failed, 2 usage, 3 not found, 4 refused, 5 not allowed, 6 unreachable. */
import { problems, SheafError } from "@sheaf/model";
import { CommanderError, InvalidArgumentError } from "commander";
import { visible } from "./output.ts";

export interface ProblemReport {
  readonly exitCode: number;
  /** Lines for standard error; empty where it was told already. */
  readonly text: string;
}

export function reportProblem(error: unknown): ProblemReport {
  // Thrown by a command that reads a word itself; those that commander reads have been told by it.
  if (error instanceof InvalidArgumentError) return { exitCode: 2, text: `sheaf: ${error.message}\n` };
  if (error instanceof CommanderError) return { exitCode: error.exitCode === 0 ? 0 : 2, text: "" };
  if (!(error instanceof SheafError)) return { exitCode: 1, text: `sheaf: ${error instanceof Error ? error.message : String(error)}\n` };
  const { code, extra } = error;
  const lines = [`sheaf: ${error.message}`];
  for (const field of extra.errors ?? []) lines.push(`  ${field.at}: ${field.message}`);
  if (extra.cause !== undefined) lines.push(`  cause: ${extra.cause}`);
  if (extra.next !== undefined) lines.push(`  next:  ${extra.next}`);
  else if (code === "unauthenticated") lines.push("  next:  Run `sheaf login`.");
  return { exitCode: problems[code].exit, text: `${lines.map(visible).join("\n")}\n` };
}
