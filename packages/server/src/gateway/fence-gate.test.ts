/** The agent of a host that was cut off waits until its fence was taken away, and learns then what became of its machines. */
import assert from "node:assert/strict";
import { test } from "node:test";
import { FakeAgent, settle, until, World } from "./gateway.test-support.ts";

const setFence = (world: World, host: string, state: "fencing" | "fenced" | null): Promise<void> =>
  world.putPart("host", host, "status/fencing", state === null ? null : { state, since: 1, reason: "test", bootId: "old", attempts: [] });

for (const state of ["fencing", "fenced"] as const) {
  test(`the agent of a host that is ${state} knocks and waits; it is let in when the fence is away`, async () => {
    const world = await World.open();
    const host = await world.host();
    await setFence(world, host, state);
    const agent = new FakeAgent(host);
    await world.clock.advance(1000);
    world.gateway.accept(agent, world.peer(host));
    agent.hello([], { bootId: "new", now: world.clock.now() });
    await until("the knock", () => world.cache.get("host", host)?.status.return?.bootId === "new");
    assert.equal(world.gateway.lastHeardAt(host), 1000, "a knock is a sign of life");
    await settle();
    assert.deepEqual([agent.of("welcome").length, world.gateway.connected(host)], [0, false]);
    await setFence(world, host, null);
    await until("the sync", () => agent.of("sync").length === 1);
    assert.equal(world.gateway.connected(host), true);
    await world.close();
  });
}

test("a connection that still stands when its host was cut off is cut too; who gives up waiting leaves nothing behind", async () => {
  const world = await World.open();
  const host = await world.host();
  const before = await world.agent(host);
  await setFence(world, host, "fenced");
  await until("the cut", () => before.closed !== null);
  assert.equal(world.gateway.connected(host), false);
  const waiting = new FakeAgent(host);
  world.gateway.accept(waiting, world.peer(host));
  waiting.hello([], { now: world.clock.now() });
  await settle();
  waiting.breakOff();
  await setFence(world, host, null);
  await settle();
  assert.deepEqual([waiting.of("welcome").length, world.gateway.connected(host)], [0, false]);
  await world.close();
});

test("an agent that knocked and was cut off since knocks again only when it is heard again", async () => {
  const world = await World.open();
  const host = await world.host();
  await setFence(world, host, "fencing");
  const agent = new FakeAgent(host);
  await world.clock.advance(1000);
  world.gateway.accept(agent, world.peer(host));
  agent.hello([], { bootId: "old", now: world.clock.now() });
  const knock = (): string | undefined => world.cache.get("host", host)?.status.return?.bootId;
  await until("the knock", () => knock() === "old");
  await setFence(world, host, "fenced");
  await world.putPart("host", host, "status/return", null);
  await until("the end of the knock", () => knock() === undefined);
  for (let passed = 0; passed < 2000; passed += 250) {
    await world.clock.advance(250);
    await settle();
  }
  assert.equal(knock(), undefined, "nobody has knocked since the power was cut");
  // The device was wrong: it lives all the same.
  agent.alive();
  await world.clock.advance(250);
  await until("the next knock", () => knock() === "old");
  await world.close();
});

test("agents are told how often to say that they live by their cluster's detection, and anew when that changes", async () => {
  const world = await World.open();
  const cluster = world.newId();
  await world.put("cluster", {}, { id: cluster });
  const host = await world.put("host", { cluster });
  const slow = await world.agent(host);
  assert.equal(slow.of("welcome")[0]?.heartbeatMs, 3000);
  await world.put("cluster", { highAvailability: { detection: "fast" } }, { id: cluster });
  await until("the end of the connection", () => slow.closed !== null);
  const fast = await world.agent(host);
  assert.equal(fast.of("welcome")[0]?.heartbeatMs, 1000);
  await world.close();
});
