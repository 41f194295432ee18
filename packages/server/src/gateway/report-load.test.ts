/** Many agents that report at once, to a store that is slow and fails: nothing is lost, nothing turned round, nobody takes all the memory. */
import assert from "node:assert/strict";
import { describe, it, type TestContext } from "node:test";
import { seededRandom, SimulatedClock } from "@sheaf/base";
import type { ReportedPart } from "@sheaf/contract";
import { partKey, type VmObservation } from "@sheaf/model";
import { makeFaulty, StoreError, type FaultyStore } from "@sheaf/store";
import { World, type FakeAgent } from "./gateway.test-support.ts";

/** A site whose gateway meets a store with faults; they begin when they are set. */
async function openFaulty(t: TestContext): Promise<{ world: World; faulty: FaultyStore }> {
  const made: FaultyStore[] = [];
  const faultClock = new SimulatedClock();
  const world = await World.open((store) => {
    const faulty = makeFaulty(store, { clock: faultClock, random: seededRandom(11) });
    made.push(faulty);
    return faulty;
  });
  t.after(() => world.close());
  const [faulty] = made;
  assert.ok(faulty);
  return { world, faulty };
}

async function machines(world: World, count: number): Promise<{ host: string; agent: FakeAgent; vms: string[] }> {
  const host = await world.host();
  const vms: string[] = [];
  for (let index = 0; index < count; index += 1) vms.push(await world.put("vm", {}, { parts: { placement: world.placement(host) } }));
  return { host, agent: await world.agent(host), vms };
}

describe("reports under load", () => {
  it("takes 2,000 a second, each answered, the last value of each part written, none turned round", async (t) => {
    const { world, faulty } = await openFaulty(t);
    const hosts: Awaited<ReturnType<typeof machines>>[] = [];
    for (let index = 0; index < 10; index += 1) hosts.push(await machines(world, 20));
    const written = new Map<string, number[]>();
    const watch = world.store.watch(
      { prefix: "r/vm/", fromRevision: (await world.store.revision()) + 1 },
      {
        events: ({ events }) => {
          for (const { type, entry } of events) {
            if (type !== "put" || !entry.key.endsWith("/status/agent")) continue;
            const { restarts } = JSON.parse(entry.value) as VmObservation; // written by this test's agents
            written.set(entry.key, [...(written.get(entry.key) ?? []), restarts]);
          }
        },
        ended: () => {},
      },
    );
    t.after(() => watch.close());
    faulty.setFaults({ unavailable: 0.05, uncertainCommitted: 0.05, uncertainLost: 0.05 });
    const rounds = 20;
    for (let round = 1; round <= rounds; round += 1) {
      for (const { host, agent, vms } of hosts) {
        for (const [index, id] of vms.entries()) {
          const part: ReportedPart = { kind: "vm", id, part: "status/agent", value: world.vmSeen(host, { restarts: round }) };
          agent.say({ type: "report", sequence: round * 1000 + index, parts: [part] });
        }
      }
      await world.clock.advance(100);
    }
    faulty.setFaults({ unavailable: 0, uncertainCommitted: 0, uncertainLost: 0 });
    await world.clock.advanceUntil(() => world.gateway.statistics().waitingReports === 0, 60_000);
    await world.clock.advance(100);
    for (const { agent, vms } of hosts) {
      const answers = agent.of("reported");
      assert.equal(new Set(answers.map(({ sequence }) => sequence)).size, rounds * vms.length);
      assert.equal(answers.length, rounds * vms.length, "each is answered once");
      assert.ok(answers.every(({ refused }) => refused.length === 0));
      for (const id of vms) {
        const values = written.get(partKey("vm", id, "status/agent")) ?? [];
        assert.equal(values.at(-1), rounds);
        assert.deepEqual(
          values,
          values.toSorted((left, right) => left - right),
        );
      }
    }
    const { transactions } = world.gateway.statistics();
    assert.ok(transactions < (rounds * 200) / 10, `many parts go into one transaction; there were ${transactions}`);
  });

  it("writes the newer value when the older one's condition fails under way", async (t) => {
    const { world, faulty } = await openFaulty(t);
    const { host, agent, vms } = await machines(world, 1);
    const [id = ""] = vms;
    const part = (restarts: number): ReportedPart => ({ kind: "vm", id, part: "status/agent", value: world.vmSeen(host, { restarts, epoch: 2 }) });
    // In the store, not yet in the cache, when the first report is judged: the same host, a newer epoch.
    await world.putPart("vm", id, "placement", world.placement(host, 2));
    const moved = world.store.transact({
      compare: [],
      then: [{ put: partKey("vm", id, "placement"), value: JSON.stringify({ ...world.placement(host, 2), reason: "looked at again" }) }],
    });
    agent.say({ type: "report", sequence: 1, parts: [part(1)] });
    // The first is under way then.
    queueMicrotask(() => queueMicrotask(() => agent.say({ type: "report", sequence: 2, parts: [part(2)] })));
    await moved;
    await world.clock.advance(1000);
    assert.equal(faulty.incarnation, world.store.incarnation);
    assert.deepEqual(
      agent.of("reported").map(({ sequence }) => sequence),
      [1, 2],
    );
    assert.deepEqual(await world.stored("vm", id, "status/agent"), world.vmSeen(host, { restarts: 2, epoch: 2 }));
  });

  it("writes what fits when one part of a transaction does not, and splits what is too much for one", async (t) => {
    const { world } = await openFaulty(t);
    const { host, agent, vms } = await machines(world, 40);
    // 40 × 60 KiB in UTF-8: more than twice what one transaction takes.
    const reason = "ü".repeat(30_000);
    const refused = await agent.report(
      ...vms.map((id): ReportedPart => ({ kind: "vm", id, part: "status/agent", value: world.vmSeen(host, { reason }) })),
    );
    assert.deepEqual(refused, []);
    for (const id of vms) assert.deepEqual(await world.stored("vm", id, "status/agent"), world.vmSeen(host, { reason }));
  });

  it("refuses the one part that the store cannot take, and writes the others", async (t) => {
    const { world, faulty } = await openFaulty(t);
    const { host, agent, vms } = await machines(world, 3);
    const [, second = ""] = vms;
    const transact = faulty.transact.bind(faulty);
    t.mock.method(faulty, "transact", async (input: Parameters<typeof transact>[0]) => {
      if (input.then.some((operation) => "put" in operation && operation.put.includes(second)))
        throw new StoreError("too-large", "the value is too large");
      return transact(input);
    });
    const refused = await agent.report(...vms.map((id): ReportedPart => ({ kind: "vm", id, part: "status/agent", value: world.vmSeen(host) })));
    assert.deepEqual(
      refused.map(({ index }) => index),
      [1],
    );
    for (const id of vms) assert.deepEqual(await world.stored("vm", id, "status/agent"), id === second ? null : world.vmSeen(host));
  });

  it("refuses a value of more than 64 KiB, counted in UTF-8", async (t) => {
    const { world } = await openFaulty(t);
    const { host, agent, vms } = await machines(world, 2);
    const reasons = ["ü".repeat(32_500), "ü".repeat(33_000)];
    const refused = await agent.report(
      ...vms.map((id, index): ReportedPart => ({
        kind: "vm",
        id,
        part: "status/agent",
        value: world.vmSeen(host, { reason: reasons[index] ?? "" }),
      })),
    );
    assert.deepEqual(
      refused.map(({ index }) => index),
      [1],
    );
  });

  it("closes the connection of an agent that reports without waiting for answers", async (t) => {
    const { world, faulty } = await openFaulty(t);
    const { host, agent, vms } = await machines(world, 1);
    const [id = ""] = vms;
    faulty.setFaults({ unavailable: 1 });
    for (let sequence = 1; sequence <= 5000 && !agent.closed; sequence += 1) {
      agent.say({ type: "report", sequence, parts: [{ kind: "vm", id, part: "status/agent", value: world.vmSeen(host, { restarts: sequence }) }] });
    }
    assert.equal(agent.closed?.code, 1002);
  });
});

describe("figures of hosts", () => {
  it("keeps the newest exactly and the last hour in a ring that outlives connections", async (t) => {
    const { world } = await openFaulty(t);
    const { host, agent } = await machines(world, 0);
    const beat = (who: FakeAgent, cpu: number): void =>
      who.say({
        type: "heartbeat",
        sequence: 1,
        now: world.clock.now(),
        load: { cpu, memoryUsedBytes: 123_456_789_123, memoryTotalBytes: 2 ** 38, vms: [] },
      });
    beat(agent, 0.25);
    assert.equal(world.gateway.presence(host)?.load?.memoryUsedBytes, 123_456_789_123);
    agent.breakOff();
    assert.equal(world.gateway.presence(host), null);
    await world.clock.advance(5000);
    beat(await world.agent(host), 0.75);
    assert.deepEqual(
      world.gateway.loadHistory(host).map(({ values }) => values.cpu),
      [0.25, 0.75],
    );
    // Figures that cannot be read do not make a host look dead.
    const again = await world.agent(host);
    again.sayText(JSON.stringify({ type: "heartbeat", sequence: 9, now: 0, load: { cpu: null } }));
    assert.equal(again.closed, null);
    assert.equal(again.of("beat").at(-1)?.sequence, 9);
  });
});

describe("streams that are not read", () => {
  it("closes one whose reader is too slow, and one whose agent is, and no other", async (t) => {
    const { world } = await openFaulty(t);
    const { host, agent } = await machines(world, 0);
    const ended: string[] = [];
    const open = async (name: string, reader: { unsentBytes: number }): Promise<{ number: number; send(bytes: Uint8Array): void }> => {
      const opening = world.gateway.openConsole(
        host,
        { vmId: world.newId(), type: "serial" },
        {
          bytes: () => {},
          get unsentBytes() {
            return reader.unsentBytes;
          },
          ended: () => void ended.push(name),
        },
        1000,
      );
      await world.clock.advance(0);
      const call = agent.of("call").at(-1);
      assert.ok(call);
      agent.say({ type: "reply", id: call.id, ok: true, result: {} });
      return opening;
    };
    const frame = (stream: number): Uint8Array => Uint8Array.of(0, 0, 0, stream, 1, 2, 3);
    const slow = { unsentBytes: 0 };
    const first = await open("slow", slow);
    const second = await open("quick", { unsentBytes: 0 });
    slow.unsentBytes = 256 * 1024 + 1;
    agent.sayBytes(frame(first.number));
    agent.sayBytes(frame(second.number));
    assert.deepEqual(ended, ["slow"]);
    assert.equal(agent.of("stream-end").at(-1)?.stream, first.number);
    agent.unsentBytes = 256 * 1024;
    second.send(Uint8Array.of(1));
    assert.deepEqual(ended, ["slow", "quick"]);
    assert.deepEqual(
      agent.of("stream-end").map(({ stream }) => stream),
      [first.number, second.number],
    );
  });
});
