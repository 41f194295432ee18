import assert from "node:assert/strict";
import { test } from "node:test";
import { silentLogger, SimulatedClock } from "@sheaf/base";
import type { PulseMessage } from "@sheaf/contract";
import type { RecordOf } from "@sheaf/model";
import { type AgentWord, pulseFile, pulsePoolsFile, startPulse } from "./pulse.ts";
import { readPulse } from "./read-pulse.ts";
import { SimulatedFiles } from "./simulated/simulated-files.ts";
import { SimulatedProcesses } from "./simulated/simulated-processes.ts";

const hostId = "01900000-0000-7000-8000-000000000001";
const pool = (type: "shared" | "local") => ({ spec: { type, path: "/shared" } }) as RecordOf<"pool">; // what is looked at

const agentAlone = { silentMs: 0, calm: false };

async function started(tell: (message: PulseMessage) => Promise<null>, agent: (nowMs: number) => AgentWord = () => agentAlone) {
  const clock = new SimulatedClock();
  const files = new SimulatedFiles({ [pulsePoolsFile("/data")]: "/shared\n/unmounted" });
  await files.makeDirectory("/shared");
  const pulse = startPulse(
    {
      ...{ clock, logger: silentLogger, files, processes: new SimulatedProcesses(files) },
      watchdogs: { open: () => assert.fail("no watchdog is wanted") },
      sinceBoot: () => clock.monotonic(),
      tell: (message) => tell(message),
      agent: () => agent(clock.monotonic()),
    },
    { dataDirectory: "/data", hostId, bootId: "boot" },
  );
  return { clock, files, pulse };
}

test("it beats to the server and into every shared pool that is there, and tells how long the agent has been silent", async () => {
  const told: PulseMessage[] = [];
  let silentSince = 0;
  const { clock, files, pulse } = await started(
    async (message) => {
      told.push(message);
      return null;
    },
    (nowMs) => ({ silentMs: nowMs - silentSince, calm: false }),
  );
  await clock.advance(3000);
  silentSince = 3000;
  await clock.advance(1000);
  assert.deepEqual(
    told.map(({ agentSilentMs }) => agentSilentMs),
    [0, 1000, 2000, 3000, 1000],
  );
  const first = await readPulse(files, pool("shared"), hostId);
  await clock.advance(2000);
  const second = await readPulse(files, pool("shared"), hostId);
  assert.ok(first && second && second.sequence > first.sequence && second.bootId === "boot");
  assert.equal(await files.readText(pulseFile("/unmounted", hostId)), null);
  pulse.stop();
  const count = told.length;
  await clock.advance(10_000);
  assert.equal(told.length, count);
});

test("it comes every second where the agent is silent or not calm, and seldom while all is well", async () => {
  let word = { silentMs: 500, calm: true };
  let told = 0;
  const { clock, files, pulse } = await started(
    async () => {
      told += 1;
      return null;
    },
    () => word,
  );
  const beatsIn = async (ms: number): Promise<number> => {
    const before = told;
    await clock.advance(ms);
    return told - before;
  };
  await clock.advance(100);
  assert.equal(await beatsIn(50_000), 10);
  word = { silentMs: 2001, calm: true };
  assert.equal(await beatsIn(10_000), 10);
  word = { silentMs: 0, calm: false };
  const written = async () => (await readPulse(files, pool("shared"), hostId))?.sequence ?? 0;
  const before = await written();
  assert.equal(await beatsIn(10_000), 10);
  assert.ok((await written()) >= before + 18, "the pools get as many");
  pulse.stop();
});

test("a server that does not answer holds up nothing else, and is tried again", async () => {
  let tries = 0;
  const { clock, files, pulse } = await started(() => {
    tries += 1;
    return new Promise(() => {});
  });
  const sequence = async () => (await readPulse(files, pool("shared"), hostId))?.sequence ?? 0;
  await clock.advance(2000);
  const before = await sequence();
  await clock.advance(30_000);
  assert.ok(tries >= 5, `${tries} tries`);
  assert.ok((await sequence()) > before + 20);
  pulse.stop();
});

test("what another host left there is read only where it is a pulse", async () => {
  const files = new SimulatedFiles({ [pulseFile("/shared", hostId)]: "{ half", "/etc/secret": "x" });
  assert.equal(await readPulse(files, pool("shared"), hostId), null);
  assert.equal(await readPulse(files, pool("local"), hostId), null);
  assert.equal(await readPulse(files, pool("shared"), "../../etc/secret"), null);
  assert.equal(await readPulse(files, undefined, hostId), null);
});
