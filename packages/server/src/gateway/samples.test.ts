/** Samples of agents: who may tell of what, when they are acknowledged, and what an agent of another version says. */
import assert from "node:assert/strict";
import { test, type TestContext } from "node:test";
import type { Telemetry } from "@sheaf/telemetry";
import { openTelemetry } from "../testing/open-telemetry.ts";
import { type FakeAgent, until, World } from "./gateway.test-support.ts";

const slotMs = 10_000;

async function openSite(t: TestContext) {
  const probe = await World.open();
  const now = probe.clock.now();
  await probe.close();
  const telemetry = await openTelemetry(t, now);
  const world = await World.open(undefined, undefined, telemetry);
  t.after(() => world.close());
  const host = await world.host();
  const mine = await world.put("vm", {}, { parts: { placement: world.placement(host) } });
  const others = await world.put("vm", {}, { parts: { placement: world.placement(await world.host()) } });
  return { world, telemetry, host, mine, others, agent: await world.agent(host), start: Math.floor(now / 300_000) * 30 - 60 };
}

function tell(agent: FakeAgent, from: number, count: number, vms: readonly string[], figure = 500): void {
  const rows = Array.from({ length: count }, (_, row) => ({
    slot: from + row,
    host: [250],
    vms: vms.map((id) => ({ id, figures: [1024, figure, 7] })),
  }));
  agent.say({ type: "samples", hostMetrics: ["cpu"], vmMetrics: ["memoryUsedBytes", "cpu", "somethingNew"], rows });
}

const cpuOf = async (telemetry: Telemetry, kind: "vm" | "host", id: string, from: number, count: number): Promise<unknown> =>
  (await telemetry.series({ kind, id, metrics: ["cpu"], from: from * slotMs, to: (from + count) * slotMs, stepMs: slotMs, by: "mean" })).values[
    "cpu"
  ];

const closeCode = (agent: FakeAgent): number | undefined => agent.closed?.code;

test("an agent is asked for samples, its own machines' are kept, by their names; another host's machine is not told of", async (t) => {
  const { telemetry, agent, host, mine, others, start } = await openSite(t);
  assert.equal(agent.of("welcome")[0]?.samples, true);
  tell(agent, start, 3, [mine, others]);
  assert.deepEqual(await cpuOf(telemetry, "vm", mine, start, 3), [0.5, 0.5, 0.5]);
  assert.deepEqual(await cpuOf(telemetry, "host", host, start, 3), [0.25, 0.25, 0.25]);
  assert.deepEqual(await cpuOf(telemetry, "vm", others, start, 3), [null, null, null]);
  assert.equal(agent.closed, null);
});

test("samples are acknowledged when they are on the disk, again to an agent that comes back, and not twice kept", async (t) => {
  const { world, telemetry, agent, host, mine, start } = await openSite(t);
  tell(agent, start, 31, [mine]);
  assert.deepEqual(agent.of("sampled"), []);
  await telemetry.commit();
  assert.deepEqual(
    agent.of("sampled").map(({ slot }) => slot),
    [start + 29],
  );
  agent.breakOff();
  const again = await world.agent(host);
  await until("the acknowledgement", () => again.of("sampled").length === 1);
  assert.equal(again.of("sampled")[0]?.slot, start + 29);
  tell(again, start + 28, 3, [mine], 900);
  assert.deepEqual(await cpuOf(telemetry, "vm", mine, start + 28, 3), [0.5, 0.5, 0.5]);
});

test("what is no sample ends the connection; what is no number in one was not measured", async (t) => {
  const { telemetry, agent, host, mine, start } = await openSite(t);
  const text = {
    type: "samples",
    hostMetrics: ["cpu"],
    vmMetrics: ["cpu"],
    rows: [{ slot: start, host: ["2", null], vms: [{ id: mine, figures: [{}] }] }],
  };
  agent.sayText(JSON.stringify({ ...text, newer: 1 }));
  assert.equal(closeCode(agent), undefined);
  assert.deepEqual(await cpuOf(telemetry, "vm", mine, start, 1), [null]);
  assert.deepEqual(await cpuOf(telemetry, "host", host, start, 1), [null]);
  agent.sayText(JSON.stringify({ ...text, rows: [{ slot: -1, host: [], vms: [] }] }));
  assert.equal(closeCode(agent), 1002);
});

test("a server that keeps no figures does not ask for samples, and takes none", async (t) => {
  const world = await World.open();
  t.after(() => world.close());
  const agent = await world.agent(await world.host());
  assert.equal(agent.of("welcome")[0]?.samples, undefined);
  tell(agent, 1, 1, []);
  assert.equal(agent.closed, null);
});
