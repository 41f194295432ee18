/** Letting agents in and out: certificates, hello, replacement, silence, clocks; calls and streams over the connection. */
import assert from "node:assert/strict";
import { afterEach, beforeEach, describe, it } from "node:test";
import { streamHeaderBytes } from "@sheaf/contract";
import { SheafError } from "@sheaf/model";
import { FakeAgent, settle, until, World } from "./gateway.test-support.ts";

const code = (wanted: string) => (error: unknown) => error instanceof SheafError && error.code === wanted;

describe("agents' connections", () => {
  let world: World;
  const stay = async (ms: number, agents: readonly FakeAgent[]): Promise<void> => {
    for (let past = 0; past < ms; past += 1000) {
      await world.clock.advance(1000);
      for (const agent of agents) agent.alive();
    }
  };
  let host = "";
  beforeEach(async () => {
    world = await World.open();
    host = await world.host();
  });
  afterEach(() => world.close());

  it("lets in hosts of the site with a certificate in force, and counts others", async () => {
    const { gateway } = world;
    assert.equal(gateway.admit(world.peer(host)), null);
    assert.match(gateway.admit(world.peer(world.newId())) ?? "", /not part of the site/);
    assert.match(gateway.admit(world.peer("..")) ?? "", /not part of the site/);
    assert.match(gateway.admit(world.peer(host, { notAfter: world.clock.now() })) ?? "", /has ended/);
    world.revoke("0A");
    assert.match(gateway.admit(world.peer(host, { serial: "0A" })) ?? "", /revoked/);
    assert.equal(gateway.admit(world.peer(host, { serial: "0B" })), null);
    assert.equal(world.refused.length, 4);
    await world.put("host", { cluster: "c" }, { id: host, head: { deletedAt: 5 } });
    assert.match(gateway.admit(world.peer(host)) ?? "", /not part of the site/);
  });

  it("tells who is connected", async () => {
    const events: unknown[] = [];
    world.gateway.subscribe((event) => events.push(event));
    assert.deepEqual([world.gateway.connected(host), world.gateway.lastHeardAt(host)], [false, null]);
    const agent = await world.agent(host);
    assert.equal(world.gateway.connected(host), true);
    await world.clock.advance(1000);
    agent.say({ type: "heartbeat", sequence: 7, now: world.clock.now(), load: { cpu: 0.25, memoryUsedBytes: 1, memoryTotalBytes: 4, vms: [] } });
    assert.deepEqual(agent.of("beat"), [{ type: "beat", sequence: 7, now: world.clock.now(), leaseMs: 15_000, relied: false }]);
    assert.equal(world.gateway.lastHeardAt(host), 1000);
    assert.deepEqual(world.gateway.presence(host)?.load, { cpu: 0.25, memoryUsedBytes: 1, memoryTotalBytes: 4, vms: [] });
    agent.breakOff();
    assert.deepEqual([world.gateway.connected(host), world.gateway.lastHeardAt(host), world.gateway.presence(host)], [false, 1000, null]);
    assert.deepEqual(events, [
      { hostId: host, connected: true },
      { hostId: host, connected: false },
    ]);
  });

  it("tells a restored site what the host holds, before the host is told anything", async () => {
    const machine = { id: world.newId(), epoch: 2, incarnation: "another life" };
    await world.agent(host, [machine]);
    assert.deepEqual(world.heard.at(-1), { hostId: host, machines: [machine] });
  });

  it("says that a restored site has hosts still to be heard, and has agents come again when none is left", async () => {
    world.settled = false;
    const agent = await world.agent(host);
    world.settle();
    const last = await world.agent(await world.host());
    assert.deepEqual([agent.of("welcome")[0]?.restoring, last.of("welcome")[0]?.restoring], [true, undefined]);
    assert.match(agent.closed?.reason ?? "", /connect again/);
    assert.equal(last.closed, null);
  });

  it("sends agents to another server that have been here for a while, and that nothing is under way with", async () => {
    const hosts = [host, await world.host(), await world.host(), await world.host()];
    const [idle, asked, works, viewed] = await Promise.all(hosts.map((each) => world.agent(each)));
    assert.ok(idle && asked && works && viewed);
    assert.equal(world.gateway.agents, 4);
    assert.equal(world.gateway.sendTo("https://b", 9), 0, "they have just come");
    await stay(31_000, [idle, asked, works, viewed]);
    const newcomer = await world.agent(await world.host());
    const call = world.gateway.call(asked.hostId, "vm.probe", { vmId: "v" } as never, { timeoutMs: 60_000 });
    call.catch(() => {});
    const task = await world.put(
      "task",
      { verb: "drain", target: { kind: "host", id: works.hostId, name: "h" }, requestedBy: "test" },
      { parts: { "status/controller": { state: "running", message: "", startedAt: 0 } } },
    );
    const console = world.gateway.openConsole(viewed.hostId, { vmId: "v", type: "vnc" }, { bytes() {}, ended() {} }, 60_000);
    console.catch(() => {});
    await settle();
    viewed.say({ type: "reply", id: viewed.of("call")[0]?.id ?? 0, ok: true, result: {} });
    await settle();
    assert.equal(world.gateway.sendTo("https://b", 9), 1);
    assert.deepEqual(idle.of("go-to"), [{ type: "go-to", server: "https://b" }]);
    for (const other of [asked, works, viewed, newcomer]) assert.deepEqual(other.of("go-to"), []);
    await world.putPart("task", task, "status/controller", { state: "succeeded", message: "", startedAt: 0, endedAt: 1 });
    assert.equal(world.gateway.sendTo("https://b", 9), 2, "the task has ended");
    assert.equal(works.of("go-to").length, 1);
  });

  it("tells agents of all servers: at the welcome, and when one joins or leaves", async () => {
    const agent = await world.agent(host);
    assert.deepEqual(agent.of("welcome")[0]?.servers, ["https://a"]);
    world.setServers(["https://b", "https://a"]);
    // One that is only away for a moment changes their order.
    world.setServers(["https://a", "https://b"]);
    assert.deepEqual(
      agent.of("servers").map(({ servers }) => servers),
      [["https://b", "https://a"]],
    );
    world.setServers(["https://b"]);
    assert.deepEqual(agent.of("servers").at(-1)?.servers, ["https://b"]);
  });

  it("ends all connections, for another server to have them", async () => {
    const agent = await world.agent(host);
    assert.equal(world.gateway.release(), 1);
    assert.equal(agent.closed?.code, 1001);
    assert.equal(world.gateway.connected(host), false);
  });

  it("replaces a host's connection by its newer one, without calling it gone", async () => {
    const first = await world.agent(host);
    const events: unknown[] = [];
    world.gateway.subscribe((event) => events.push(event));
    const second = await world.agent(host);
    assert.equal(first.closed?.code, 4001);
    first.breakOff();
    assert.equal(world.gateway.connected(host), true);
    assert.deepEqual(events, []);
    await world.put("host", { cluster: "c2" }, { id: host });
    assert.equal(second.of("upsert").length, 1);
    assert.equal(first.of("upsert").length, 0);
  });

  it("cuts revoked and removed hosts off at once", async () => {
    const revoked = await world.agent(host);
    const removedHost = await world.host();
    const removed = await world.agent(removedHost);
    world.revoke(host);
    assert.deepEqual([revoked.closed?.code, world.gateway.connected(host)], [4003, false]);
    assert.equal(world.gateway.connected(removedHost), true);
    await world.put("host", { cluster: "c" }, { id: removedHost, head: { deletedAt: 5 } });
    assert.equal(removed.closed?.code, 4003);
  });

  it("ends connections whose certificate ends", async () => {
    const agent = new FakeAgent(host);
    world.gateway.accept(agent, world.peer(host, { notAfter: world.clock.now() + 10_000 }));
    agent.hello();
    await until("the sync", () => agent.of("sync").length === 1);
    for (let beat = 0; beat < 5; beat += 1) {
      await world.clock.advance(3000);
      agent.say({ type: "heartbeat", sequence: beat, now: 0, load: { cpu: 0, memoryUsedBytes: 0, memoryTotalBytes: 0, vms: [] } });
    }
    assert.equal(agent.closed?.code, 4003);
  });

  it("pings a silent peer and cuts it off within three heartbeats", async () => {
    const agent = await world.agent(host);
    await world.clock.advance(6000);
    assert.deepEqual([agent.pings > 0, agent.closed], [true, null]);
    await world.clock.advance(3000);
    assert.equal(world.gateway.connected(host), false);
    assert.equal(agent.closed?.code, 1006);
  });

  it("asks those between two heartbeats for a sign only while another one's has not come, or they have other servers to go to", async () => {
    const load = { cpu: 0, memoryUsedBytes: 0, memoryTotalBytes: 0, vms: [] };
    const [agent, other] = [await world.agent(host), await world.agent(await world.host())];
    let sequence = 0;
    const beats = async (times: number, ...of: readonly FakeAgent[]): Promise<void> => {
      for (let time = 0; time < times; time += 1) {
        sequence += 1;
        for (const each of of) each.say({ type: "heartbeat", sequence, now: 0, load });
        await world.clock.advance(3000);
      }
    };
    await beats(10, agent, other);
    assert.deepEqual([agent.pings, other.pings], [0, 0]);
    world.setServers(["https://a", "https://b"]);
    await beats(2, agent, other);
    const { pings } = agent;
    assert.ok(pings > 0, "there are two servers");
    world.setServers(["https://a"]);
    await beats(5, agent, other);
    assert.equal(agent.pings, pings);
    await beats(2, agent);
    assert.ok(agent.pings > pings, "the other one is overdue");
  });

  it("says nothing to a peer that has not said hello, or not who it is", async () => {
    const open = (): FakeAgent => {
      const agent = new FakeAgent(host);
      world.gateway.accept(agent, world.peer(host));
      return agent;
    };
    const cases: [string, (agent: FakeAgent) => void][] = [
      ["another host's hello", (agent) => agent.hello([], { hostId: world.newId() })],
      ["a version two ahead", (agent) => agent.hello([], { wireVersion: 3 })],
      ["a report first", (agent) => agent.say({ type: "report", sequence: 1, parts: [] })],
      ["no JSON", (agent) => agent.sayText("{")],
      ["an array", (agent) => agent.sayText("[]")],
      ["machines that are none", (agent) => agent.hello([], { machines: [1] })],
      ["a machine id of a megabyte", (agent) => agent.hello([{ id: "x".repeat(2 ** 20), epoch: 1, incarnation: "" }])],
    ];
    for (const [name, act] of cases) {
      const agent = open();
      act(agent);
      await settle();
      assert.notEqual(agent.closed, null, name);
      assert.deepEqual(agent.received, [], name);
    }
    const quiet = open();
    const newer = open();
    newer.hello([], { wireVersion: 2, something: "new" });
    await until("the welcome of the next version's agent", () => newer.of("welcome").length === 1);
    newer.sayText(JSON.stringify({ type: "of-the-future", anything: 1 }));
    assert.equal(newer.closed, null);
    newer.hello();
    assert.notEqual(newer.closed, null);
    await world.clock.advance(21_000);
    assert.notEqual(quiet.closed, null);
    assert.equal(world.gateway.connected(host), false);
  });

  it("keeps a few connections of one host, however many are dialled", async () => {
    const open = (): FakeAgent => {
      const agent = new FakeAgent(host);
      world.gateway.accept(agent, world.peer(host));
      return agent;
    };
    const silent = [open(), open(), open(), open()];
    const fifth = open();
    assert.notEqual(fifth.closed, null);
    silent[0]?.breakOff();
    const sixth = open();
    sixth.hello();
    await until("the sync", () => sixth.of("sync").length === 1);
    assert.deepEqual(
      silent.slice(1).map(({ closed }) => closed),
      [null, null, null],
    );
  });

  it("measures clocks, and records one that is off until it is right again", async () => {
    const agent = new FakeAgent(host);
    world.gateway.accept(agent, world.peer(host));
    agent.hello([], { now: world.clock.now() + 5000 });
    await until("the record", () => world.cache.get("host", host)?.status.clock !== undefined);
    assert.equal(world.cache.get("host", host)?.status.clock?.skewMs, 5000);
    assert.equal(world.gateway.presence(host)?.skewMs, 5000);
    for (let beat = 0; beat < 20; beat += 1) {
      await world.clock.advance(3000);
      agent.say({
        type: "heartbeat",
        sequence: beat,
        now: world.clock.now() - 40,
        load: { cpu: 0, memoryUsedBytes: 0, memoryTotalBytes: 0, vms: [] },
      });
    }
    await until("the end of the record", () => world.cache.get("host", host)?.status.clock === undefined);
    assert.equal(world.gateway.presence(host)?.skewMs, -40);
  });

  it("renews certificates for what the server knows of the host, not too often", async () => {
    const agent = await world.agent(host);
    await world.put("host", { cluster: "c", migrationAddress: "198.51.100.4" }, { id: host });
    agent.say({ type: "renew-certificate", certificateRequest: "CSR" });
    agent.say({ type: "renew-certificate", certificateRequest: "CSR" });
    await until("the certificate", () => agent.of("certificate").length === 1);
    assert.deepEqual(world.renewals, [{ present: "PEM", addresses: ["192.0.2.9", "198.51.100.4"] }]);
  });

  it("calls: results, problems, deadlines, cancellation, progress", async () => {
    const { gateway } = world;
    await assert.rejects(gateway.call(host, "vm.probe", { vmId: "v" }, { timeoutMs: 1000 }), code("host-unreachable"));
    const agent = await world.agent(host);
    const call = (timeoutMs = 1000, more = {}) => gateway.call(host, "vm.probe", { vmId: "v" }, { timeoutMs, ...more });
    const lastId = (): number => agent.of("call").at(-1)?.id ?? 0;

    const good = call();
    agent.say({ type: "reply", id: lastId(), ok: true, result: { state: "running", migrating: false } });
    assert.deepEqual(await good, { state: "running", migrating: false });

    const bad = call();
    agent.say({ type: "reply", id: lastId(), ok: false, problem: { code: "state-refused", message: "no", next: "wait" } });
    await assert.rejects(bad, (error) => code("state-refused")(error) && (error as SheafError).extra.next === "wait");
    const strange = call();
    agent.say({ type: "reply", id: lastId(), ok: false, problem: { code: "from-the-future", message: "no" } });
    await assert.rejects(strange, code("hypervisor-failed"));

    const slow = call(500);
    const rejected = assert.rejects(slow, code("timed-out"));
    await world.clock.advance(500);
    await rejected;
    assert.deepEqual(agent.of("cancel"), [{ type: "cancel", id: lastId() }]);
    agent.say({ type: "reply", id: lastId(), ok: true, result: {} }); // too late: skipped

    const controller = new AbortController();
    const cancelled = call(1000, { signal: controller.signal });
    controller.abort();
    await assert.rejects(cancelled, code("cancelled"));
    assert.equal(agent.of("cancel").length, 2);

    const fields: unknown[] = [];
    const migration = { vmId: "v", taskId: "t1", epoch: 1, sourceHost: host, targetHost: "b", targetAddress: "b", sharedStorage: true };
    const long = gateway.call(host, "migrate.begin", migration, { timeoutMs: 1000, onProgress: (given) => fields.push(given) });
    agent.say({ type: "progress", task: "t1", fields: { bytes: 5 } });
    agent.say({ type: "progress", task: "another", fields: { bytes: 6 } });
    assert.deepEqual(fields, [{ bytes: 5 }]);
    assert.deepEqual([world.tasks.reader.progress("t1"), world.tasks.reader.progress("another")], [{ bytes: 5 }, undefined]);
    agent.breakOff();
    await assert.rejects(long, code("host-unreachable"));
  });

  it("takes log lines of tasks that are the host's business only", async () => {
    const task = await world.put("task", { verb: "reboot", target: { kind: "vm", id: world.newId(), name: "x" }, requestedBy: "u", host });
    const foreign = await world.put("task", {
      verb: "reboot",
      target: { kind: "vm", id: world.newId(), name: "x" },
      requestedBy: "u",
      host: world.newId(),
    });
    const agent = await world.agent(host);
    agent.say({ type: "log", task, at: 5, text: "mine" });
    agent.say({ type: "log", task: foreign, at: 5, text: "not mine" });
    assert.deepEqual(world.tasks.reader.lines(task), [{ at: 5, text: "mine" }]);
    assert.deepEqual(world.tasks.reader.lines(foreign), []);
  });

  it("carries consoles: bytes both ways, ends both ways", async () => {
    const agent = await world.agent(host);
    const got: string[] = [];
    const ends: (string | undefined)[] = [];
    const handlers = { bytes: (bytes: Uint8Array) => got.push(Buffer.from(bytes).toString()), ended: (reason?: string) => ends.push(reason) };
    const open = async () => {
      const opening = world.gateway.openConsole(host, { vmId: "v", type: "serial" }, handlers, 1000);
      const request = agent.of("call").at(-1);
      agent.say({ type: "reply", id: request?.id ?? 0, ok: true, result: {} });
      return opening;
    };
    const frame = (stream: number, text: string): Uint8Array => {
      const bytes = Buffer.alloc(streamHeaderBytes + text.length);
      bytes.writeUInt32BE(stream);
      bytes.write(text, streamHeaderBytes);
      return bytes;
    };
    const first = await open();
    const second = await open();
    assert.notEqual(first.number, second.number);
    agent.sayBytes(frame(first.number, "login: "));
    agent.sayBytes(frame(999, "nobody's"));
    agent.sayBytes(new Uint8Array([1, 2]));
    first.send(Buffer.from("root"));
    assert.deepEqual(got, ["login: "]);
    assert.deepEqual(
      agent.frames.map((bytes) => Buffer.from(bytes).toString("hex")),
      [Buffer.from(frame(first.number, "root")).toString("hex")],
    );
    first.close();
    assert.deepEqual(agent.of("stream-end"), [{ type: "stream-end", stream: first.number }]);
    first.send(Buffer.from("late"));
    assert.equal(agent.frames.length, 1);
    agent.say({ type: "stream-end", stream: second.number, reason: "the machine was stopped" });
    assert.deepEqual(ends, ["the machine was stopped"]);
    const third = await open();
    agent.unsentBytes = 2 ** 23;
    third.send(Buffer.from("x"));
    assert.deepEqual(ends, ["the machine was stopped", "the host reads too slowly"]);
    const fourth = open();
    await fourth;
    agent.breakOff();
    assert.equal(ends.length, 3);
  });

  it("refuses a console that the agent refuses", async () => {
    const agent = await world.agent(host);
    const opening = world.gateway.openConsole(host, { vmId: "v", type: "vnc" }, { bytes() {}, ended() {} }, 1000);
    agent.say({ type: "reply", id: agent.of("call")[0]?.id ?? 0, ok: false, problem: { code: "state-refused", message: "it is stopped" } });
    await assert.rejects(opening, code("state-refused"));
    assert.equal(agent.of("stream-end").length, 1);
  });

  it("tells agents when the server stops", async () => {
    const agent = await world.agent(host);
    world.gateway.close();
    assert.equal(agent.closed?.code, 1001);
    assert.equal(world.clock.pendingTimers, 0);
  });
});
