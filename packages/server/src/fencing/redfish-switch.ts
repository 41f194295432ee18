/** Redfish (DMTF DSP0266 and the ComputerSystem schema): `PowerState`, and the action `ComputerSystem.Reset` with `ForceOff` or `On`. */
import { SheafError, type FencingMethod } from "@sheaf/model";
import type { CallHttps } from "./fencing-ports.ts";
import type { PowerSwitch } from "./power-switch.ts";

type Redfish = Extract<FencingMethod, { type: "redfish" }>;

export function redfishSwitch(method: Redfish, password: string, call: CallHttps): PowerSwitch {
  const { address, port, user, certificateFingerprint, system } = method;
  const common = { host: address, port, user, password, ...(certificateFingerprint === undefined ? {} : { certificateFingerprint }) };
  const failed = (what: string, cause: string): SheafError =>
    new SheafError("fencing-failed", `The management controller at ${address} did not ${what}`, {
      cause,
      next: "Check its address, user, password, certificate and the path of the system.",
    });
  const read = async (signal: AbortSignal): Promise<Record<string, unknown>> => {
    const { status, text } = await call({ ...common, method: "GET", path: system, signal });
    if (status !== 200) throw failed("tell of the system", `it answers ${status}`);
    try {
      const parsed: unknown = JSON.parse(text);
      if (typeof parsed === "object" && parsed !== null) return parsed as Record<string, unknown>; // looked at member by member
    } catch {
      // Said below.
    }
    throw failed("tell of the system", "its answer is no JSON object");
  };
  const reset = async (type: "On" | "ForceOff", what: string, signal: AbortSignal): Promise<void> => {
    const path = resetTarget(await read(signal)) ?? `${system}/Actions/ComputerSystem.Reset`;
    const { status, text } = await call({ ...common, method: "POST", path, body: { ResetType: type }, signal });
    if (status < 200 || status > 299) throw failed(what, `it answers ${status}: ${text.slice(0, 300)}`);
  };
  return {
    async status(signal) {
      const { PowerState: state } = await read(signal);
      if (state === "Off") return "off";
      // `PoweringOff` is not off yet; `Paused` is Redfish's for a machine that could go on.
      if (state === "On" || state === "PoweringOn" || state === "PoweringOff" || state === "Paused") return "on";
      throw failed("say whether the power is on", `PowerState is ${JSON.stringify(state)}`);
    },
    turnOn: (signal) => reset("On", "turn the power on", signal),
    cut: (signal) => reset("ForceOff", "cut the power", signal),
  };
}

/** Only a path on the same controller: what it says is not to lead the server elsewhere. */
function resetTarget(system: Record<string, unknown>): string | undefined {
  const actions = system["Actions"] as Record<string, { readonly target?: unknown } | undefined> | undefined; // checked below
  const target = actions?.["#ComputerSystem.Reset"]?.target;
  return typeof target === "string" && /^\/redfish\/v1\/[A-Za-z0-9._/-]+$/.test(target) ? target : undefined;
}
