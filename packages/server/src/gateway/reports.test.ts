/** What agents report: rights from a stolen certificate's view, fencing by epoch, batches, faults of the store. */
import assert from "node:assert/strict";
import { afterEach, beforeEach, describe, it } from "node:test";
import type { ReportedPart } from "@sheaf/contract";
import { StoreError, type Store, type TransactionInput } from "@sheaf/store";
import { settle, until, World, type FakeAgent } from "./gateway.test-support.ts";

describe("reports of agents", () => {
  let world: World;
  let host = "";
  let other = "";
  let agent: FakeAgent;
  /** Transactions that reached the store. */
  let transactions: TransactionInput[] = [];
  /** Answers of the store, taken one for each transaction. */
  let faults: ((input: TransactionInput) => Promise<void>)[] = [];

  beforeEach(async () => {
    transactions = [];
    faults = [];
    world = await World.open(
      (store): Store =>
        new Proxy(store, {
          get(target, name) {
            if (name === "transact")
              return async (input: TransactionInput) => {
                transactions.push(input);
                await faults.shift()?.(input);
                return target.transact(input);
              };
            const member = Reflect.get(target, name) as unknown;
            return typeof member === "function" ? (member.bind(target) as unknown) : member;
          },
        }),
    );
    host = await world.host();
    other = await world.host();
    agent = await world.agent(host);
  });
  afterEach(() => world.close());

  const vm = (placedOn = host, epoch = 1): Promise<string> => world.put("vm", {}, { parts: { placement: world.placement(placedOn, epoch) } });
  const seen = (id: string, more: Parameters<World["vmSeen"]>[1] = {}): ReportedPart => ({
    kind: "vm",
    id,
    part: "status/agent",
    value: world.vmSeen(host, more),
  });

  it("writes what is the host's own", async () => {
    const machine = await vm();
    const volume = await world.put("volume", { pool: "x", sizeBytes: 2 ** 20 }, { parts: { placement: world.placement(host) } });
    const pool = await world.put("pool", { type: "local", path: "/pool" });
    const network = await world.put("network", { bridge: "br0" });
    const image = await world.put("image", { source: { upload: true } });
    const task = await world.put("task", { verb: "reboot", target: { kind: "vm", id: machine, name: "x" }, requestedBy: "u", host });
    const parts: ReportedPart[] = [
      seen(machine),
      {
        kind: "volume",
        id: volume,
        part: "status/agent",
        value: { state: "ready", host, path: "/pool/v", sizeBytes: 2 ** 20, allocatedBytes: 0, observedGeneration: 1 },
      },
      { kind: "pool", id: pool, part: `status/hosts/${host}`, value: { state: "ready", capacityBytes: 10, availableBytes: 5 } },
      { kind: "network", id: network, part: `status/hosts/${host}`, value: { state: "ready" } },
      { kind: "image", id: image, part: `status/hosts/${host}`, value: { state: "ready", receivedBytes: 5 } },
      { kind: "task", id: task, part: "status/agent", value: { state: "succeeded", message: "done", startedAt: 1, endedAt: 2 } },
    ];
    assert.deepEqual(await agent.report(...parts), []);
    assert.equal(transactions.length, 1);
    for (const part of parts) assert.deepEqual(await world.stored(part.kind, part.id, part.part), part.value);
    assert.deepEqual(await agent.report({ kind: "pool", id: pool, part: `status/hosts/${host}`, value: null }), []);
    assert.equal(await world.stored("pool", pool, `status/hosts/${host}`), null);
    assert.deepEqual(world.refused, []);
  });

  it("refuses everything else that a stolen certificate could try, and counts it", async () => {
    const mine = await vm();
    const theirs = await vm(other);
    const volume = await world.put("volume", { pool: "x", sizeBytes: 2 ** 20 }, { parts: { placement: world.placement(other) } });
    const pool = await world.put("pool", { type: "local", path: "/pool" });
    const task = await world.put("task", { verb: "reboot", target: { kind: "vm", id: theirs, name: "x" }, requestedBy: "u", host: other });
    const user = await world.put("user", {});
    const progress = { state: "succeeded", message: "", startedAt: 1 };
    const revision = await world.store.revision();
    const attempts: readonly [ReportedPart, RegExp][] = [
      [seen(theirs), /not placed on this host/],
      [{ kind: "vm", id: mine, part: "spec", value: {} }, /not written by/],
      [{ kind: "vm", id: mine, part: "placement", value: world.placement(host, 9) }, /not written by/],
      [{ kind: "vm", id: mine, part: "status/migration", value: {} }, /not written by/],
      [{ kind: "vm", id: mine, part: "status/agent/../../spec", value: {} }, /not written by/],
      [{ kind: "vm", id: theirs, part: "status/agent", value: null }, /not placed on this host/],
      [
        {
          kind: "volume",
          id: volume,
          part: "status/agent",
          value: { state: "gone", host, path: "/", sizeBytes: 0, allocatedBytes: 0, observedGeneration: 1 },
        },
        /not placed on this host/,
      ],
      [{ kind: "host", id: other, part: "status/agent", value: {} }, /not written by/],
      [{ kind: "host", id: host, part: "status/liveness", value: {} }, /not written by/],
      [{ kind: "host", id: host, part: "spec", value: {} }, /not written by/],
      [{ kind: "pool", id: pool, part: `status/hosts/${other}`, value: { state: "ready", capacityBytes: 1, availableBytes: 1 } }, /not written by/],
      [{ kind: "task", id: task, part: "status/agent", value: progress }, /not this host's work/],
      [{ kind: "task", id: task, part: "status/controller", value: progress }, /not written by/],
      [{ kind: "user", id: user, part: "spec", value: {} }, /not written by/],
      [{ kind: "user", id: user, part: "status/agent", value: {} }, /not written by/],
      [{ kind: "token", id: user, part: `status/hosts/${host}`, value: {} }, /not written by/],
    ];
    for (const [part, why] of attempts) {
      const [refusal] = await agent.report(part);
      assert.match(refusal?.why ?? "written!", why, JSON.stringify(part));
    }
    assert.equal(await world.store.revision(), revision);
    assert.equal(transactions.length, 0);
    assert.equal(world.refused.length, attempts.length);
    assert.deepEqual(world.refused[0], {
      actor: `agent:${world.cache.get("host", host)?.name}`,
      from: "::ffff:192.0.2.9",
      action: "agent.report",
      code: "not-allowed",
    });
    // The others of the same message are written all the same.
    assert.deepEqual(
      (await agent.report(seen(theirs), seen(mine))).map(({ index }) => index),
      [0],
    );
    assert.deepEqual(await world.stored("vm", mine, "status/agent"), world.vmSeen(host));
  });

  it("refuses values that are malformed, too long or another host's", async () => {
    const machine = await vm();
    const bad: unknown[] = [
      {},
      "running",
      world.vmSeen(other),
      { ...world.vmSeen(host), state: "flying" },
      { ...world.vmSeen(host), epoch: "1" },
      world.vmSeen(host, { reason: "x".repeat(300_000) }),
    ];
    for (const value of bad) {
      const refused = await agent.report({ kind: "vm", id: machine, part: "status/agent", value });
      assert.equal(refused.length, 1, JSON.stringify(value).slice(0, 100));
    }
    assert.equal(await world.stored("vm", machine, "status/agent"), null);
    assert.match((await agent.report(seen(world.newId())))[0]?.why ?? "", /there is no vm/);
  });

  it("refuses what was seen under an old epoch", async () => {
    const machine = await vm(host, 3);
    assert.match((await agent.report(seen(machine, { epoch: 2 })))[0]?.why ?? "", /epoch 2 .* present one is 3/);
    assert.deepEqual(await agent.report(seen(machine, { epoch: 3 })), []);
    assert.deepEqual(world.refused, []);
  });

  it("keeps a migration's target waiting until the epoch has moved, then writes its newest word", async () => {
    const machine = await vm();
    const target = await world.agent(other);
    await agent.report(seen(machine));
    await world.putPart("vm", machine, "status/migration", { task: "t", phase: "perform", source: host, target: other, since: 0 });
    const theirs = (more: Parameters<World["vmSeen"]>[1]): ReportedPart => ({
      kind: "vm",
      id: machine,
      part: "status/agent",
      value: world.vmSeen(other, more),
    });
    assert.deepEqual(await target.report(theirs({ state: "incoming" })), []);
    assert.deepEqual(await target.report(theirs({ state: "running", epoch: 2 })), []);
    assert.deepEqual(await world.stored("vm", machine, "status/agent"), world.vmSeen(host));
    await world.putPart("vm", machine, "placement", world.placement(other, 2));
    await until("the target's word", () => world.cache.get("vm", machine)?.status.agent?.host === other);
    assert.deepEqual(await world.stored("vm", machine, "status/agent"), world.vmSeen(other, { state: "running", epoch: 2 }));
    assert.match((await agent.report(seen(machine, { state: "gone" })))[0]?.why ?? "", /moved to another host/);
  });

  it("does not write when the placement moves meanwhile", async () => {
    const machine = await vm();
    faults.push(() => world.putPart("vm", machine, "placement", world.placement(other, 2)));
    const [refusal] = await agent.report(seen(machine));
    assert.match(refusal?.why ?? "", /not placed on this host/);
    assert.equal(await world.stored("vm", machine, "status/agent"), null);
  });

  it("leaves no part of a record that goes meanwhile, and writes the others", async () => {
    const first = await vm();
    const second = await vm();
    faults.push(() => world.erase("vm", first));
    const refused = await agent.report(seen(first), seen(second));
    assert.deepEqual(
      refused.map(({ index }) => index),
      [0],
    );
    assert.equal(await world.stored("vm", first, "status/agent"), null);
    assert.deepEqual(await world.stored("vm", second, "status/agent"), world.vmSeen(host));
  });

  it("compares placements by what they say, not by how the store's text is written", async () => {
    const machine = await vm();
    const { host: at, epoch, ...rest } = world.placement(host);
    await world.putPart("vm", machine, "placement", { ...rest, epoch, host: at });
    await world.commit([
      { put: `r/vm/${machine}/placement`, value: `{ "epoch": 1, "host": "${host}", "at":0, "incarnation":"${world.store.incarnation}" }` },
    ]);
    assert.deepEqual(await agent.report(seen(machine)), []);
  });

  it("writes nothing while nothing changes", async () => {
    const machine = await vm();
    await agent.report(seen(machine));
    const revision = await world.store.revision();
    transactions = [];
    for (let round = 0; round < 20; round += 1) assert.deepEqual(await agent.report(seen(machine)), []);
    for (let round = 0; round < 20; round += 1) {
      agent.say({ type: "heartbeat", sequence: round, now: world.clock.now(), load: { cpu: 0.5, memoryUsedBytes: 1, memoryTotalBytes: 2, vms: [] } });
    }
    await settle();
    assert.deepEqual([await world.store.revision(), transactions.length], [revision, 0]);
  });

  it("goes back to an old value although its cache has not seen the newer one yet", async () => {
    const machine = await vm();
    await agent.report(seen(machine));
    agent.say({ type: "report", sequence: 101, parts: [seen(machine, { state: "stopping" })] });
    agent.say({ type: "report", sequence: 102, parts: [seen(machine)] });
    await until("both answers", () => agent.of("reported").filter(({ sequence }) => sequence > 100).length === 2);
    assert.deepEqual(await world.stored("vm", machine, "status/agent"), world.vmSeen(host));
  });

  it("writes many parts in few transactions, each part's newest value only", async () => {
    const machines = await Promise.all(Array.from({ length: 250 }, () => vm()));
    transactions = [];
    let release = (): void => {};
    faults.push(() => new Promise((resolve) => (release = resolve)));
    agent.say({ type: "report", sequence: 200, parts: machines.map((id) => seen(id)) });
    for (let since = 1; since <= 10; since += 1)
      agent.say({ type: "report", sequence: 200 + since, parts: machines.map((id) => seen(id, { since })) });
    await settle();
    release();
    await until("all answers", () => agent.of("reported").length === 11);
    for (const id of machines) assert.deepEqual(await world.stored("vm", id, "status/agent"), world.vmSeen(host, { since: 10 }));
    assert.ok(transactions.every(({ then }) => then.length <= 100));
    assert.ok(transactions.length <= 12, `${transactions.length} transactions`);
  });

  it("answers only when it is written, and keeps trying while the store fails", async () => {
    const machine = await vm();
    const fail = (code: ConstructorParameters<typeof StoreError>[0]) => async (): Promise<void> => {
      throw new StoreError(code, "fault");
    };
    faults.push(fail("unavailable"), fail("full"), async (input) => {
      await world.store.transact(input);
      throw new StoreError("uncertain", "no answer");
    });
    agent.say({ type: "report", sequence: 300, parts: [seen(machine)] });
    await settle();
    assert.equal(agent.of("reported").length, 0);
    await world.clock.advanceUntil(() => agent.of("reported").length === 1, 60_000);
    assert.deepEqual(agent.of("reported")[0]?.refused, []);
    assert.deepEqual(await world.stored("vm", machine, "status/agent"), world.vmSeen(host));
  });

  it("answers an empty report at once", async () => {
    assert.deepEqual(await agent.report(), []);
  });
});
