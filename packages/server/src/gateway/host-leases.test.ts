/** What a host that fences itself may go on by: when a lease begins, when it is made longer, and when it is not. */
import assert from "node:assert/strict";
import { test } from "node:test";
import type { LeaseGrant } from "@sheaf/contract";
import { type HostLease, partKey, type RecordOf } from "@sheaf/model";
import { FakeAgent, settle, until, World } from "./gateway.test-support.ts";

const watchdog = { type: "watchdog", leaseMs: 60_000, watchdogTimeoutMs: 30_000 };

interface Scene {
  readonly world: World;
  readonly host: string;
  readonly agent: FakeAgent;
  /** Sends a heartbeat. @returns what its answer grants */
  beat(watchdogMs?: number): Promise<LeaseGrant>;
  pulse(bootId?: string): Promise<LeaseGrant | null>;
  lease(): HostLease | undefined;
}

async function scene(spec: object = { fencing: [watchdog] }): Promise<Scene> {
  const world = await World.open();
  const host = await world.put("host", spec);
  const agent = await world.agent(host);
  let sequence = 0;
  const record = (): RecordOf<"host"> | undefined => world.cache.get("host", host);
  return {
    world,
    host,
    agent,
    async beat(watchdogMs) {
      sequence += 1;
      const load = { cpu: 0, memoryUsedBytes: 0, memoryTotalBytes: 0, vms: [] };
      agent.say({ type: "heartbeat", sequence, now: 0, load, ...(watchdogMs === undefined ? {} : { watchdogMs }) });
      await until("the answer to a heartbeat", () => agent.of("beat").some((answer) => answer.sequence === sequence));
      const { leaseMs = -1, relied = false } = agent.of("beat").find((answer) => answer.sequence === sequence) ?? {};
      await settle();
      return { leaseMs, relied };
    },
    pulse: async (bootId = "boot") => world.gateway.receivePulse(host, { bootId, sequence: 1, agentSilentMs: 60_000 }),
    lease: () => record()?.status.lease,
  };
}

test("a host that does not fence itself gets what all get, at the cost of no look at the store", async () => {
  const { world, beat, lease, pulse } = await scene({});
  const before = await world.store.revision();
  assert.deepEqual(await beat(), { leaseMs: 15_000, relied: false });
  assert.deepEqual(await beat(30_000), { leaseMs: 15_000, relied: false });
  assert.equal(await world.store.revision(), before);
  assert.deepEqual([lease(), await pulse()], [undefined, null]);
  await world.close();
});

test("what servers rely on is in the store before the host is told so; a lease that runs is made longer without the store", async () => {
  const { world, host, beat, lease } = await scene();
  assert.deepEqual(await beat(), { leaseMs: 60_000, relied: false });
  assert.deepEqual(await beat(30_000), { leaseMs: 60_000, relied: true });
  assert.deepEqual(lease(), { incarnation: world.store.incarnation, bootId: "boot", termMs: 60_000, watchdogMs: 30_000 });
  const before = await world.store.revision();
  for (let beats = 0; beats < 3; beats += 1) {
    await world.clock.advance(3000);
    assert.deepEqual(await beat(30_000), { leaseMs: 60_000, relied: true });
  }
  assert.equal(await world.store.revision(), before);
  // The device is gone: nobody relies on it from here on.
  assert.deepEqual(await beat(), { leaseMs: 60_000, relied: false });
  assert.equal(await world.store.get(partKey("host", host, "status/lease")), null);
  await world.close();
});

test("a term becomes less with the next boot only: a longer one may be under way", async () => {
  const { world, host, beat, lease, agent } = await scene();
  await beat(30_000);
  await world.put("host", { fencing: [{ ...watchdog, leaseMs: 20_000 }] }, { id: host });
  assert.deepEqual(await beat(10_000), { leaseMs: 20_000, relied: true });
  assert.deepEqual([lease()?.termMs, lease()?.watchdogMs], [60_000, 30_000]);
  agent.breakOff();
  const next = new FakeAgent(host);
  world.gateway.accept(next, world.peer(host));
  next.hello([], { bootId: "next", now: world.clock.now() });
  await until("the sync", () => next.of("sync").length === 1);
  next.say({ type: "heartbeat", sequence: 1, now: 0, load: { cpu: 0, memoryUsedBytes: 0, memoryTotalBytes: 0, vms: [] }, watchdogMs: 10_000 });
  await until("the answer", () => next.of("beat").length === 1);
  await settle();
  assert.deepEqual(lease(), { incarnation: world.store.incarnation, bootId: "next", termMs: 20_000, watchdogMs: 10_000 });
  await world.close();
});

for (const state of ["fencing", "asking", "held"] as const)
  test(`once a fence stands in the store (${state}), no heartbeat begins a lease, whatever this server knows of it`, async () => {
    const { world, host, beat, agent } = await scene();
    await beat(30_000);
    for (let passedMs = 0; passedMs <= 60_000; passedMs += 2500) {
      await world.clock.advance(2500);
      agent.alive();
    }
    // Behind the back of the cache: it lags.
    const cache = world.cache.get.bind(world.cache);
    const known = cache("host", host);
    world.cache.get = ((kind, id) => (id === host ? known : cache(kind, id))) as typeof world.cache.get; // the same for all kinds
    const fencing = { state, since: 1, reason: "test", attempts: [] };
    await world.store.transact({ compare: [], then: [{ put: partKey("host", host, "status/fencing"), value: JSON.stringify(fencing) }] });
    assert.deepEqual(await beat(30_000), { leaseMs: 0, relied: true });
    await world.close();
  });

test("a server that the store has not answered lately grants nothing: another one may conclude by now", async () => {
  const { world, beat, pulse } = await scene();
  await beat(30_000);
  world.storeState.silentMs = 4001;
  assert.deepEqual(
    [await beat(30_000), await pulse()],
    [
      { leaseMs: 0, relied: true },
      { leaseMs: 0, relied: true },
    ],
  );
  world.storeState.silentMs = 3000;
  assert.deepEqual(await beat(30_000), { leaseMs: 60_000, relied: true });
  await world.close();
});

test("each connection begins its lease in the store: another server may have changed its terms", async () => {
  const { world, host, beat } = await scene();
  await beat(30_000);
  await world.agent(host);
  assert.equal(world.gateway.pulse(host), null);
  await world.gateway.receivePulse(host, { bootId: "other", sequence: 1, agentSilentMs: 0 });
  assert.equal(world.gateway.pulse(host)?.grantedAt, null);
  await world.close();
});

test("the pulse makes a lease longer while the agent hangs, under the terms that stand, of this boot and this life of the store", async () => {
  const { world, host, beat, pulse, agent } = await scene();
  assert.equal(await pulse(), null, "nothing was promised yet");
  await beat(30_000);
  agent.breakOff();
  await world.clock.advance(30_000);
  const before = await world.store.revision();
  assert.deepEqual(await pulse(), { leaseMs: 60_000, relied: true });
  assert.equal(await world.store.revision(), before);
  assert.equal(world.gateway.pulse(host)?.grantedAt, world.clock.monotonic());
  assert.equal(await pulse("earlier"), null);
  await world.clock.advance(60_001);
  assert.deepEqual(await pulse(), { leaseMs: 60_000, relied: true }, "over, and begun anew in the store");
  await world.close();
});

test("a pulse makes no lease longer once its host is to be cut off; while it is merely held one may begin, and is seen", async () => {
  const { world, host, beat, pulse, lease, agent } = await scene();
  await beat(30_000);
  agent.breakOff();
  const fence = (state: string) => world.putPart("host", host, "status/fencing", { state, since: 1, reason: "test", attempts: [] });
  await fence("held");
  await world.clock.advance(61_000);
  assert.deepEqual(await pulse(), { leaseMs: 60_000, relied: true });
  await settle();
  assert.equal(lease()?.begunAt, world.clock.now());
  await fence("fencing");
  assert.equal(await pulse(), null);
  await world.close();
});

test("what another life of the store promised counts for nothing", async () => {
  const { world, host, beat, pulse, lease } = await scene();
  await world.putPart("host", host, "status/lease", { incarnation: "before", bootId: "boot", termMs: 600_000, watchdogMs: 120_000 });
  assert.equal(await pulse(), null);
  await beat(30_000);
  assert.deepEqual(lease(), { incarnation: world.store.incarnation, bootId: "boot", termMs: 60_000, watchdogMs: 30_000 });
  await world.close();
});
