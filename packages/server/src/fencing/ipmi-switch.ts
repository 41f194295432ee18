/** IPMI v2.0 over LAN by `ipmitool` (chassis control, IPMI specification 28.3). The password goes by the environment, never by the command line. */
import { SheafError, type FencingMethod } from "@sheaf/model";
import type { FencingPrograms } from "./fencing-ports.ts";
import type { PowerSwitch } from "./power-switch.ts";

type Ipmi = Extract<FencingMethod, { type: "ipmi" }>;

export function ipmiSwitch(method: Ipmi, password: string, programs: FencingPrograms): PowerSwitch {
  const base = [
    ...["-I", "lanplus", "-H", method.address, "-p", String(method.port), "-U", method.user, "-E"],
    ...["-C", String(method.cipherSuite), "-L", method.privilege.toUpperCase(), "-N", "1", "-R", "2"],
  ];
  const chassis = async (verb: string, signal: AbortSignal): Promise<string> => {
    const { exitCode, output, errorOutput } = await programs.run("ipmitool", [...base, "chassis", "power", verb], {
      deadlineMs: method.timeoutMs,
      signal,
      environment: { IPMI_PASSWORD: password },
    });
    if (exitCode === 0) return output;
    throw new SheafError("fencing-failed", `The management controller at ${method.address} did not do "power ${verb}"`, {
      cause: lastLine(errorOutput) ?? lastLine(output) ?? `ipmitool ended with ${exitCode}`,
      next: "Check its address, user, password and cipher suite, and that it has power.",
    });
  };
  return {
    async status(signal) {
      const answer = /chassis power is (on|off)/i.exec(await chassis("status", signal))?.[1]?.toLowerCase();
      if (answer === "on" || answer === "off") return answer;
      throw new SheafError("fencing-failed", `The management controller at ${method.address} does not say whether the power is on`);
    },
    turnOn: async (signal) => void (await chassis("on", signal)),
    cut: async (signal) => void (await chassis("off", signal)),
  };
}

const lastLine = (text: string): string | undefined => text.trim().split("\n").at(-1)?.trim().slice(0, 300) || undefined;
