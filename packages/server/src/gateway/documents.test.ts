/** What agents are told: all that concerns their host and nothing else, once, in the newest state. */
import assert from "node:assert/strict";
import { afterEach, beforeEach, describe, it } from "node:test";
import type { RecordOf } from "@sheaf/model";
import { FakeAgent, settle, World } from "./gateway.test-support.ts";

describe("documents for agents", () => {
  let world: World;
  let host = "";
  let other = "";
  beforeEach(async () => {
    world = await World.open();
    host = await world.host();
    other = await world.host();
  });
  afterEach(() => world.close());

  /** A machine with a disk on a pool that only its host has, cloned from an image, on a network. */
  async function machine(placedOn: string | null = host) {
    const pool = await world.put("pool", { type: "local", path: "/pool", hosts: [host, other] });
    const image = await world.put("image", { source: { upload: true } });
    const network = await world.put("network", { bridge: "br0", hosts: [] });
    const parts = placedOn === null ? {} : { placement: world.placement(placedOn) };
    const volume = await world.put("volume", { pool, sizeBytes: 2 ** 20, source: { image } }, { parts });
    const vm = await world.put("vm", { disks: [{ name: "root", volume }], nics: [{ name: "net", network }] }, { parts });
    return { pool, image, network, volume, vm };
  }
  const synced = (agent: FakeAgent): string[] => (agent.of("sync")[0]?.documents ?? []).map(({ kind, id }) => `${kind}/${id}`);

  it("syncs what concerns the host, what is referred to first", async () => {
    const everywhere = await world.put("network", { bridge: "br1" });
    const mine = await machine();
    await machine(other);
    const task = await world.put("task", { verb: "reboot", target: { kind: "vm", id: mine.vm, name: "x" }, requestedBy: "u", host });
    const agent = await world.agent(host);
    const documents = synced(agent);
    assert.deepEqual(documents.slice(0, 1), [`host/${host}`]);
    assert.deepEqual(
      documents.toSorted(),
      [
        `host/${host}`,
        `network/${everywhere}`,
        `network/${mine.network}`,
        `pool/${mine.pool}`,
        // The pool of the other machine names this host too.
        ...[...world.cache.all("pool")].filter(({ id }) => id !== mine.pool).map(({ id }) => `pool/${id}`),
        `image/${mine.image}`,
        `volume/${mine.volume}`,
        `vm/${mine.vm}`,
        `task/${task}`,
      ].toSorted(),
    );
    assert.ok(documents.indexOf(`volume/${mine.volume}`) < documents.indexOf(`vm/${mine.vm}`));
    const welcome = agent.of("welcome")[0];
    assert.equal(welcome?.incarnation, world.store.incarnation);
  });

  it("tells no host of labels and display names, which are for people, and of whatever else changes with them", async () => {
    const agent = await world.agent(host);
    const { vm } = await machine();
    await settle();
    agent.told();
    const change = async (head: Record<string, unknown>, spec: object = {}): Promise<string[]> => {
      const { labels, displayName, name, generation, spec: before } = world.cache.get("vm", vm) as RecordOf<"vm">; // put above
      const next = { labels, displayName, name, generation, ...head };
      await world.put("vm", { ...before, ...spec }, { id: vm, head: next });
      await settle();
      return agent.told();
    };
    assert.deepEqual(await change({ labels: { tier: "web" } }), []);
    assert.deepEqual(await change({ displayName: "the shop" }), []);
    assert.deepEqual(await change({ labels: { tier: "db" }, generation: 2 }), [`upsert vm/${vm}`]);
    assert.deepEqual(await change({ labels: {} }, { power: "stopped" }), [`upsert vm/${vm}`]);
    assert.deepEqual(await change({ labels: { tier: "db" }, name: "other" }), [`upsert vm/${vm}`]);
  });

  it("tells a placement, a change and a removal, to that host alone", async () => {
    const agent = await world.agent(host);
    const stranger = await world.agent(other);
    const mine = await machine(null);
    await settle();
    agent.told();
    stranger.told();
    await world.commit([
      { put: `r/volume/${mine.volume}/placement`, value: JSON.stringify(world.placement(host)) },
      { put: `r/vm/${mine.vm}/placement`, value: JSON.stringify(world.placement(host)) },
    ]);
    // The pool names the host: it was told of it before.
    assert.deepEqual(agent.told(), [
      `upsert network/${mine.network}`,
      `upsert image/${mine.image}`,
      `upsert volume/${mine.volume}`,
      `upsert vm/${mine.vm}`,
    ]);
    assert.deepEqual(stranger.told(), []);
    await world.putPart("image", mine.image, "status/library", { state: "ready", receivedBytes: 1, at: 1 });
    assert.deepEqual(agent.told(), [`upsert image/${mine.image}`]);
    await world.putPart("vm", mine.vm, "placement", world.placement(other, 2));
    const [moved] = agent.of("remove").filter(({ kind }) => kind === "vm");
    assert.deepEqual([moved?.gone, moved?.placement], [false, { epoch: 2, incarnation: world.store.incarnation }]);
    assert.ok(agent.told().includes(`remove network/${mine.network}`));
    assert.ok(stranger.told().includes(`upsert vm/${mine.vm}`));
    await world.erase("vm", mine.vm);
    const gone = stranger.of("remove").find(({ kind }) => kind === "vm");
    assert.deepEqual([gone?.gone, gone?.placement], [true, undefined]);
  });

  it("does not tell agents what they or other hosts report", async () => {
    const mine = await machine();
    const agent = await world.agent(host);
    await world.putPart("vm", mine.vm, "status/agent", world.vmSeen(host));
    await world.putPart("image", mine.image, `status/hosts/${other}`, { state: "ready", receivedBytes: 1 });
    await world.putPart("host", host, "status/liveness", { state: "ready", since: 0, reason: "" });
    assert.deepEqual(agent.told(), []);
    const order = { state: "go", bootId: "b", epoch: 1, reason: "", since: 0, waitsFor: [] };
    await world.putPart("vm", mine.vm, "status/order", order);
    assert.deepEqual(agent.told(), [`upsert vm/${mine.vm}`], "but what it waits for");
    await world.putPart("image", mine.image, "status/library", { state: "ready", receivedBytes: 1, at: 1 });
    const document = agent.of("upsert").at(-1)?.document;
    assert.deepEqual((document?.status as { hosts?: unknown } | undefined)?.hosts, {});
  });

  it("gives machine, disks, pool and image to both hosts of a migration, until it is settled", async () => {
    const mine = await machine();
    await world.put("pool", { type: "local", path: "/pool", hosts: [host] }, { id: mine.pool });
    const target = await world.agent(other);
    await world.putPart("vm", mine.vm, "status/migration", { task: "t", phase: "begin", source: host, target: other, since: 0 });
    assert.deepEqual(target.told(), [
      `upsert network/${mine.network}`,
      `upsert pool/${mine.pool}`,
      `upsert image/${mine.image}`,
      `upsert volume/${mine.volume}`,
      `upsert vm/${mine.vm}`,
    ]);
    await world.putPart("vm", mine.vm, "status/migration", null);
    assert.deepEqual(target.told().length, 5);
    assert.ok(!world.gateway.documents.concerns(other, `image/${mine.image}`));
    assert.ok(world.gateway.documents.concerns(host, `image/${mine.image}`));
  });

  it("gives secrets in the clear to the machine's host, and only there", async () => {
    const vm = await world.put(
      "vm",
      { cloudInit: { userData: world.secrets.seal("#cloud-config"), password: world.secrets.seal("pw") } },
      { parts: { placement: world.placement(host) } },
    );
    const agent = await world.agent(host);
    const stranger = await world.agent(other);
    const document = agent.of("sync")[0]?.documents.find(({ id }) => id === vm) as RecordOf<"vm"> | undefined;
    assert.deepEqual([document?.spec.cloudInit.userData, document?.spec.cloudInit.password], ["#cloud-config", "pw"]);
    assert.ok(!JSON.stringify(stranger.received).includes("cloud-config"));
    assert.match(world.cache.get("vm", vm)?.spec.cloudInit.userData ?? "", /^sealed:/);
  });

  it("coalesces changes while the agent reads slowly", async () => {
    const mine = await machine();
    const agent = await world.agent(host);
    agent.unsentBytes = 2 ** 21;
    for (let generation = 2; generation <= 50; generation += 1) {
      await world.put(
        "vm",
        { disks: [{ name: "root", volume: mine.volume }] },
        { id: mine.vm, head: { generation }, parts: { placement: world.placement(host) } },
      );
    }
    assert.deepEqual(agent.told(), []);
    agent.drain();
    const upserts = agent.of("upsert").filter(({ document }) => document.kind === "vm");
    assert.deepEqual(
      upserts.map(({ document }) => document.generation),
      [50],
    );
  });

  it("answers for machines that the agent remembers", async () => {
    const mine = await machine();
    const moved = await machine(other);
    const old = { epoch: 1, incarnation: world.store.incarnation };
    const gone = world.newId();
    const foreign = world.newId();
    const agent = await world.agent(host, [
      { id: mine.vm, ...old },
      { id: moved.vm, ...old },
      { id: gone, ...old },
      { id: foreign, epoch: 1, incarnation: "before-the-restore" },
    ]);
    const removals = agent.of("remove").map(({ id, gone: isGone, placement }) => ({ id, isGone, placement }));
    assert.deepEqual(removals, [
      { id: moved.vm, isGone: false, placement: { epoch: 1, incarnation: world.store.incarnation } },
      { id: gone, isGone: true, placement: undefined },
    ]);
    assert.ok(agent.received.findIndex(({ type }) => type === "sync") < agent.received.findIndex(({ type }) => type === "remove"));
  });

  it("says nothing of a machine that a restored store has never placed", async () => {
    const unplaced = await world.put("vm", {});
    const agent = await world.agent(host, [{ id: unplaced, epoch: 3, incarnation: "before-the-restore" }]);
    assert.deepEqual(agent.of("remove"), []);
  });

  it("tells hosts the CPU baseline of their cluster when it changes", async () => {
    const cluster = await world.put("cluster", {});
    await world.put("host", { cluster }, { id: host });
    const agent = await world.agent(host);
    await world.putPart("cluster", cluster, "status/baseline", { model: "Skylake-Server", reason: "all carry it", hosts: 1, at: 1 });
    assert.deepEqual(agent.told(), [`upsert cluster/${cluster}`]);
    // One more host that carries it: nobody would do anything else for that, and all would look at all their machines.
    await world.putPart("cluster", cluster, "status/baseline", { model: "Skylake-Server", reason: "all carry it", hosts: 2, at: 2 });
    assert.deepEqual(agent.told(), []);
  });

  it("takes tasks back when they have ended", async () => {
    const agent = await world.agent(host);
    const task = await world.put("task", { verb: "reboot", target: { kind: "vm", id: world.newId(), name: "x" }, requestedBy: "u", host });
    assert.deepEqual(agent.told(), [`upsert task/${task}`]);
    await world.putPart("task", task, "status/agent", { state: "running", message: "", startedAt: 0 });
    assert.deepEqual(agent.told(), []);
    await world.putPart("task", task, "status/agent", { state: "succeeded", message: "", startedAt: 0, endedAt: 1 });
    assert.deepEqual(agent.told(), [`remove task/${task}`]);
  });

  it("costs one host's work for a change, however many hosts there are", async () => {
    const mine = await machine();
    const agent = await world.agent(host);
    const others: FakeAgent[] = [];
    for (let index = 0; index < 50; index += 1) others.push(await world.agent(await world.host()));
    await world.put("vm", {}, { id: mine.vm, parts: { placement: world.placement(host) } });
    await settle();
    assert.ok(agent.told().includes(`upsert vm/${mine.vm}`));
    assert.deepEqual(
      others.flatMap((each) => each.told()),
      [],
    );
  });
});
