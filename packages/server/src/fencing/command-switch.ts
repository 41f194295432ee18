/**
 * A fence agent of ClusterLabs' collection (`fence_apc_snmp`, `fence_vmware_rest` …), by its documented interface: options as `key=value`
 * lines on standard input; `status` answers 0 for on and 2 for off. (FenceAgentAPI.md of the project.)
 */
import { SheafError, type FencingMethod } from "@sheaf/model";
import type { FencingPrograms } from "./fencing-ports.ts";
import type { PowerSwitch } from "./power-switch.ts";

type Command = Extract<FencingMethod, { type: "command" }>;
const exitOff = 2;

export function commandSwitch(method: Command, password: string | undefined, programs: FencingPrograms): PowerSwitch {
  const run = (action: "status" | "off" | "on", signal: AbortSignal) => {
    const options = Object.entries({ ...method.options, ...(password === undefined ? {} : { password }), action });
    return programs.run(method.program, [], {
      deadlineMs: method.timeoutMs,
      signal,
      input: options.map(([key, value]) => `${key}=${value}\n`).join(""),
    });
  };
  const failed = (action: string, answer: { readonly exitCode: number | null; readonly errorOutput: string }): SheafError =>
    new SheafError("fencing-failed", `${method.program} did not do "${action}"`, {
      cause: answer.errorOutput.trim().split("\n").at(-1)?.slice(0, 300) ?? `it ended with ${answer.exitCode}`,
      next: "Run it by hand on the server's machine with the same options.",
    });
  const order = async (action: "on" | "off", signal: AbortSignal): Promise<void> => {
    const answer = await run(action, signal);
    if (answer.exitCode !== 0) throw failed(action, answer);
  };
  return {
    async status(signal) {
      const answer = await run("status", signal);
      if (answer.exitCode === 0) return "on";
      if (answer.exitCode === exitOff) return "off";
      throw failed("status", answer);
    },
    turnOn: (signal) => order("on", signal),
    cut: (signal) => order("off", signal),
  };
}
