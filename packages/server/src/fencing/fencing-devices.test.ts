/** What is asked of each kind of device, and what is believed of its answers. Real devices: e2e/fencing.lab.test.ts. */
import assert from "node:assert/strict";
import { test } from "node:test";
import { SimulatedClock } from "@sheaf/base";
import { CommandFence, IpmiFence, RedfishFence, SheafError, type PowerFence } from "@sheaf/model";
import { createFencingDevices } from "./fencing-devices.ts";
import type { CallHttps, FencingPrograms } from "./fencing-ports.ts";

interface Call {
  readonly program: string;
  readonly programArguments: readonly string[];
  readonly environment: Readonly<Record<string, string>> | undefined;
  readonly input: string | undefined;
}
type Answer = readonly [exitCode: number, output: string, errorOutput?: string];

const ipmi = IpmiFence.parse({ type: "ipmi", address: "10.0.0.7", user: "root", password: "sealed:p" });
const redfish = RedfishFence.parse({ type: "redfish", address: "bmc7", user: "root", password: "sealed:p" });
const command = CommandFence.parse({ type: "command", program: "fence_apc_snmp", options: { ip: "10.0.0.9", plug: "4" }, password: "sealed:p" });

function world(answer: (call: Call) => Answer, https: CallHttps = () => Promise.reject(new Error("no https"))) {
  const calls: Call[] = [];
  const programs: FencingPrograms = {
    run: async (program, programArguments, { environment, input }) => {
      const call = { program, programArguments, environment, input };
      calls.push(call);
      const [exitCode, output, errorOutput = ""] = answer(call);
      return { exitCode, output, errorOutput };
    },
  };
  const clock = new SimulatedClock();
  const packets: unknown[] = [];
  const sendMagicPacket = async (packet: unknown) => void packets.push(packet);
  const devices = createFencingDevices({
    clock,
    secrets: { open: (text) => text.replace("sealed:", "") },
    programs,
    callHttps: https,
    sendMagicPacket,
  });
  const off = async (method: PowerFence, maxMs = 10_000): Promise<void> => {
    const limit = new AbortController();
    let ended = false;
    const work = devices.off(method, limit.signal).finally(() => (ended = true));
    work.catch(() => {});
    await clock.advanceUntil(() => ended, maxMs).catch(() => limit.abort(new SheafError("timed-out", "too long")));
    return work;
  };
  const on = (method: PowerFence): Promise<void> => devices.on(method, new AbortController().signal);
  const isOff = (method: PowerFence): Promise<boolean> => devices.isOff(method, new AbortController().signal);
  return { calls, off, on, isOff, packets, devices };
}
const refused = (pattern: RegExp) => (error: unknown) =>
  error instanceof SheafError && error.code === "fencing-failed" && pattern.test(`${error.message} ${error.extra.cause ?? ""}`);

test("IPMI: the power is cut and asked for until it is off; the password is in no argument", async () => {
  const states = ["Chassis Power is on", "Chassis Power Control: Down/Off", "Chassis Power is on", "Chassis Power is off"];
  const { calls, off } = world(() => [0, states.shift() ?? "?"]);
  await off(ipmi);
  assert.deepEqual(
    calls.map(({ programArguments }) => programArguments.at(-1)),
    ["status", "off", "status", "status"],
  );
  const [first] = calls;
  assert.equal(first?.programArguments.join(" "), "-I lanplus -H 10.0.0.7 -p 623 -U root -E -C 17 -L ADMINISTRATOR -N 1 -R 2 chassis power status");
  assert.deepEqual(first.environment, { IPMI_PASSWORD: "p" });
});

test("a host that is off already is not ordered to be", async () => {
  const { calls, off } = world(() => [0, "Chassis Power is off\n"]);
  await off(ipmi);
  assert.equal(calls.length, 1);
});

test("whether a host is off is asked without an order, and no answer is none", async () => {
  for (const [answer, expected] of [
    ["on", false],
    ["off", true],
  ] as const) {
    const { calls, isOff } = world(() => [0, `Chassis Power is ${answer}`]);
    assert.equal(await isOff(ipmi), expected);
    assert.deepEqual(
      calls.map(({ programArguments }) => programArguments.at(-1)),
      ["status"],
    );
  }
  await assert.rejects(world(() => [0, "what?"]).isOff(ipmi), refused(/does not say/));
});

test("a device that takes the order and does nothing is never believed", async () => {
  const { off } = world(({ programArguments }) => [0, programArguments.at(-1) === "off" ? "Chassis Power Control: Down/Off" : "Chassis Power is on"]);
  await assert.rejects(off(ipmi), (error) => error instanceof SheafError && error.code === "timed-out");
});

test("power is turned on by each kind of device, and only where it is off", async () => {
  const states = ["off", "", "off", "on"];
  const turned = world(() => [0, `Chassis Power is ${states.shift() ?? "on"}`]);
  // Between two looks it waits on the clock, which stands: the third answer says on.
  states.splice(2, 1);
  await turned.on(ipmi);
  assert.deepEqual(
    turned.calls.map(({ programArguments }) => programArguments.at(-1)),
    ["status", "on", "status"],
  );
  const already = world(() => [0, "Chassis Power is on"]);
  await already.on(ipmi);
  assert.equal(already.calls.length, 1);
  const agents: Answer[] = [
    [2, "Status: OFF"],
    [0, "Success: Powered ON"],
    [0, "Status: ON"],
  ];
  const fenced = world(() => agents.shift() ?? [1, ""]);
  await fenced.on(command);
  assert.match(fenced.calls[1]?.input ?? "", /action=on\n$/);
  const bodies: unknown[] = [];
  let state = "Off";
  const https: CallHttps = async ({ method, body }) => {
    if (method === "POST") {
      bodies.push(body);
      state = "On";
    }
    return { status: 200, text: JSON.stringify({ PowerState: state }) };
  };
  await world(() => [1, ""], https).on(redfish);
  assert.deepEqual(bodies, [{ ResetType: "On" }]);
});

test("a magic packet that cannot be sent is told as what it is", async () => {
  const { devices, packets } = world(() => [1, ""]);
  await devices.wakeOnLan({ mac: "52:54:00:00:00:01", port: 9 });
  assert.deepEqual(packets, [{ mac: "52:54:00:00:00:01", port: 9 }]);
});

test("refusals tell the device's last words", async () => {
  await assert.rejects(
    world(() => [1, "", "Error: Unable to establish IPMI v2 / RMCP+ session\n"]).off(ipmi),
    refused(/10\.0\.0\.7.*Unable to establish/),
  );
  await assert.rejects(world(() => [0, "what?"]).off(ipmi), refused(/does not say/));
  const missing = world(() => {
    throw new Error("ipmitool is not installed");
  });
  await assert.rejects(missing.off(ipmi), refused(/not installed/));
});

test("fence agents: options and password on standard input; status 2 is off, anything else is not", async () => {
  const states: Answer[] = [
    [0, "Status: ON"],
    [0, "Success: Powered OFF"],
    [2, "Status: OFF"],
  ];
  const { calls, off } = world(() => states.shift() ?? [1, ""]);
  await off(command);
  assert.deepEqual(calls[0], {
    program: "fence_apc_snmp",
    programArguments: [],
    environment: undefined,
    input: "ip=10.0.0.9\nplug=4\npassword=p\naction=status\n",
  });
  assert.match(calls[1]?.input ?? "", /action=off\n$/);
  await assert.rejects(world(() => [1, "", "Failed: Unable to connect\n"]).off(command), refused(/fence_apc_snmp.*Unable to connect/));
});

test("Redfish: the reset target is the controller's own, and only on the controller", async () => {
  for (const [target, expected] of [
    ["/redfish/v1/Systems/1/Actions/Reset", "/redfish/v1/Systems/1/Actions/Reset"],
    ["https://elsewhere/redfish/v1/x", "/redfish/v1/Systems/1/Actions/ComputerSystem.Reset"],
  ] as const) {
    const calls: string[] = [];
    let state = "On";
    const https: CallHttps = async ({ method, host, path, body, user, password }) => {
      calls.push(`${method} ${host}${path} ${user}:${password}${body === undefined ? "" : ` ${JSON.stringify(body)}`}`);
      if (method === "POST") {
        state = "PoweringOff";
        return { status: 204, text: "" };
      }
      const text = JSON.stringify({ PowerState: state, Actions: { "#ComputerSystem.Reset": { target } } });
      if (state === "PoweringOff") state = "Off";
      return { status: 200, text };
    };
    await world(() => [1, ""], https).off(redfish);
    assert.equal(calls[2], `POST bmc7${expected} root:p {"ResetType":"ForceOff"}`);
    assert.equal(calls.length, 5);
  }
});

test("Redfish: refusals, and answers that say nothing", async () => {
  const answering = (status: number, text: string) =>
    world(
      () => [1, ""],
      () => Promise.resolve({ status, text }),
    ).off(redfish);
  await assert.rejects(answering(401, ""), refused(/answers 401/));
  await assert.rejects(answering(200, "<html>"), refused(/no JSON/));
  await assert.rejects(answering(200, "{}"), refused(/PowerState is undefined/));
});
