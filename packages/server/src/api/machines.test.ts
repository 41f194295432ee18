/** Machines with their volumes, cards and verbs, as the API makes and changes them. What agents do with them is tested elsewhere. */
import assert from "node:assert/strict";
import { after, before, test } from "node:test";
import { ApiFixture } from "../testing/api-fixture.ts";

let fixture: ApiFixture;
let host: { id: string; name: string };
before(async () => {
  fixture = await ApiFixture.start();
  await fixture.furnish();
  host = await fixture.host("h1");
});
after(() => fixture.stop());

const keys = async (prefix: string) => [...(await fixture.contents()).keys()].filter((key) => key.startsWith(prefix));
const root = { name: "root", image: "mini" };

test("a machine is made with its volume, addresses, number and receipt in one go, and found by id, name and number", async () => {
  const reply = await fixture.request("POST", "/vms", { name: "web", labels: { tier: "front" }, spec: { disks: [root] } });
  assert.equal(reply.status, 201, reply.text);
  const { record, task } = reply.body;
  assert.equal(record.number, 100);
  assert.equal(record.state, "pending");
  assert.match(record.spec.nics[0].mac, /^52:54:00:/);
  assert.deepEqual(record.spec.nics[0].addresses, ["10.0.0.10", "fd00:5::10"]);
  const volume = await fixture.get(`/volumes/${record.spec.disks[0].volume}`);
  assert.equal(volume.body.name, "web-root");
  assert.equal(volume.body.spec.sizeBytes, 64 * 2 ** 20);
  assert.deepEqual((await fixture.get(`/tasks/${task}`)).body.spec.target, { kind: "vm", id: record.id, name: "web" });
  for (const reference of [record.id, "web", "100"]) assert.equal((await fixture.get(`/vms/${reference}`)).body.id, record.id);
  const spec = (await fixture.contents()).get(`r/vm/${record.id}/spec`);
  assert.ok(spec !== undefined && !spec.includes("revision"), "the part holds what is wanted alone");
  const volumes = new Set((await keys("r/")).filter((key) => /^r\/(vm|volume|task)\//.test(key)).map((key) => key.split("/")[1]));
  assert.deepEqual([...volumes].sort(), ["task", "vm", "volume"]);
});

test("a machine may be made while its image is being imported, if it says its disk's size", async () => {
  await fixture.make("/images", { name: "soon", spec: { source: { upload: true } } });
  const vm = await fixture.make("/vms", { name: "waits", spec: { nics: [], disks: [{ name: "root", image: "soon", sizeBytes: 2 ** 30 }] } });
  assert.equal(vm.state, "pending");
});

test("without a network named default or with nics: [] there is no card", async () => {
  assert.deepEqual((await fixture.make("/vms", { name: "cardless", spec: { nics: [] } })).spec.nics, []);
});

test("the same document can be put again and changes nothing", async () => {
  const document = { name: "again", labels: {}, spec: { disks: [root], nics: [{ name: "a", network: "default" }], cpu: { count: 2 } } };
  const made = await fixture.make("/vms", document);
  const before = await fixture.contents();
  const put = await fixture.request("PUT", "/vms/again", document);
  assert.equal(put.status, 200, put.text);
  assert.deepEqual(put.body.record.spec, made.spec);
  assert.deepEqual(await fixture.contents(), before);
  const grown = await fixture.request("PUT", "/vms/again", { ...document, spec: { ...document.spec, cpu: { count: 4 } } });
  assert.equal(grown.body.record.spec.cpu.count, 4);
  assert.equal(grown.body.record.generation, 2);
  assert.deepEqual(grown.body.record.spec.nics, made.spec.nics);
  assert.match(grown.body.task, /^[0-9a-f-]{36}$/);
});

test("a disk grows by the machine's document, and its volume with it", async () => {
  const made = await fixture.make("/vms", { name: "grows", spec: { nics: [], disks: [root] } });
  const change = await fixture.request("PATCH", "/vms/grows", { spec: { disks: [{ name: "root", sizeBytes: 2 ** 30 }] } });
  assert.equal(change.status, 200, change.text);
  assert.equal(change.body.record.spec.disks[0].volume, made.spec.disks[0].volume);
  const volume = (await fixture.get(`/volumes/${made.spec.disks[0].volume}`)).body;
  assert.deepEqual([volume.spec.sizeBytes, volume.generation], [2 ** 30, 2]);
});

test("disks and cards are attached and detached; a detached volume stays and goes to another machine", async () => {
  const made = await fixture.make("/vms", { name: "plug", spec: { nics: [], disks: [root] } });
  const both = await fixture.request("PATCH", "/vms/plug", {
    spec: { disks: [root, { name: "data", sizeBytes: 2 ** 30 }], nics: [{ name: "a", network: "default" }] },
  });
  assert.equal(both.status, 200, both.text);
  const [first, data] = both.body.record.spec.disks;
  assert.equal(first.volume, made.spec.disks[0].volume);
  const [nic] = both.body.record.spec.nics;
  assert.equal((await keys(`u/mac/${nic.mac}`)).length, 1);
  const without = await fixture.request("PATCH", "/vms/plug", { spec: { disks: [root], nics: [] } });
  assert.equal(without.status, 200, without.text);
  assert.equal((await keys(`u/mac/${nic.mac}`)).length, 0);
  assert.equal((await keys("u/address/")).filter((key) => key.endsWith(`/${nic.addresses[0]}`)).length, 0);
  assert.equal((await fixture.get(`/volumes/${data.volume}`)).status, 200);
  const other = await fixture.make("/vms", { name: "takes", spec: { nics: [], disks: [{ name: "data", volume: data.volume }] } });
  assert.equal(other.spec.disks[0].volume, data.volume);
  assert.equal((await fixture.request("DELETE", `/volumes/${data.volume}`)).body.code, "in-use");
});

test("of two machines that take one volume at once one gets it", async () => {
  const volume = await fixture.make("/volumes", { name: "wanted", spec: { pool: "local", sizeBytes: 2 ** 30 } });
  const replies = await Promise.all(
    ["left", "right"].map((name) => fixture.request("POST", "/vms", { name, spec: { nics: [], disks: [{ name: "d", volume: volume.id }] } })),
  );
  assert.deepEqual(replies.map(({ status }) => status).sort(), [201, 409]);
  assert.equal(replies.find(({ status }) => status === 409)?.body.code, "in-use");
});

test("a card keeps MAC and addresses when something else of it changes, and moves to another network with new ones", async () => {
  await fixture.make("/networks", {
    name: "second",
    spec: { bridge: "br2", subnets: [{ cidr: "10.2.0.0/24", range: { from: "10.2.0.5", to: "10.2.0.9" } }] },
  });
  const made = await fixture.make("/vms", { name: "carded", spec: {} });
  const [old] = made.spec.nics;
  const off = await fixture.request("PATCH", "/vms/carded", { spec: { nics: [{ name: "nic0", network: "default", connected: false }] } });
  assert.deepEqual([off.body.record.spec.nics[0].mac, off.body.record.spec.nics[0].addresses], [old.mac, old.addresses]);
  const moved = await fixture.request("PATCH", "/vms/carded", { spec: { nics: [{ name: "nic0", network: "second" }] } });
  assert.deepEqual([moved.body.record.spec.nics[0].mac, moved.body.record.spec.nics[0].addresses], [old.mac, ["10.2.0.5"]]);
  assert.equal((await keys("u/address/")).filter((key) => old.addresses.some((address: string) => key.endsWith(`/${address}`))).length, 0);
});

test("a card that is renamed keeps its MAC when the document says it", async () => {
  const made = await fixture.make("/vms", { name: "renames", spec: {} });
  const [old] = made.spec.nics;
  const change = await fixture.request("PATCH", "/vms/renames", {
    spec: { nics: [{ name: "eth0", network: "default", mac: old.mac, addresses: old.addresses }] },
  });
  assert.equal(change.status, 200, change.text);
  assert.deepEqual(change.body.record.spec.nics[0].mac, old.mac);
  assert.equal((await keys(`u/mac/${old.mac}`)).length, 1);
});

test("addresses come back when their machine is gone, after all others of the range", async () => {
  await fixture.make("/networks", {
    name: "tight",
    spec: { bridge: "br3", subnets: [{ cidr: "10.3.0.0/24", range: { from: "10.3.0.1", to: "10.3.0.3" } }] },
  });
  const make = async (name: string) =>
    (await fixture.make("/vms", { name, spec: { nics: [{ name: "a", network: "tight" }] } })).spec.nics[0].addresses[0];
  assert.deepEqual([await make("t1"), await make("t2")], ["10.3.0.1", "10.3.0.2"]);
  await fixture.request("PATCH", "/vms/t1", { spec: { nics: [] } });
  assert.deepEqual([await make("t3"), await make("t4")], ["10.3.0.3", "10.3.0.1"]);
  assert.equal((await fixture.request("POST", "/vms", { name: "t5", spec: { nics: [{ name: "a", network: "tight" }] } })).body.code, "no-capacity");
});

test("rename, and the old name is free", async () => {
  await fixture.make("/vms", { name: "old-name", spec: { nics: [] } });
  assert.equal((await fixture.request("PATCH", "/vms/old-name", { name: "new-name" })).status, 200);
  assert.equal((await fixture.get("/vms/old-name")).status, 404);
  await fixture.make("/vms", { name: "old-name", spec: { nics: [] } });
});

test("verbs follow the state of the machine, and each has its receipt", async () => {
  const vm = await fixture.make("/vms", { name: "lives", spec: { nics: [] } });
  await fixture.place(vm.id, host.id, "running");
  const verb = async (name: string, body: object = {}) => fixture.request("POST", `/vms/lives/${name}`, body);
  const done = async (name: string, power: string, body: object = {}) => {
    const reply = await verb(name, body);
    assert.equal(reply.status, 202, reply.text);
    assert.equal(reply.body.record.spec.power, power);
    return { record: reply.body.record, task: (await fixture.get(`/tasks/${reply.body.task}`)).body.spec };
  };
  assert.equal((await verb("resume")).body.code, "state-refused");
  const reboot = await done("reboot", "running");
  assert.deepEqual([reboot.task.verb, reboot.task.host, reboot.task.generation], ["reboot", host.id, undefined]);
  const pause = await done("pause", "paused");
  assert.deepEqual([pause.task.verb, pause.task.generation, pause.task.host], ["pause", 2, undefined]);
  await fixture.place(vm.id, host.id, "paused");
  await done("resume", "running");
  await fixture.place(vm.id, host.id, "running");
  const stop = await done("stop", "stopped", { graceMs: 5000 });
  assert.deepEqual([stop.record.spec.stopGraceOnceMs, stop.record.spec.stopGraceMs], [5000, 60_000], "this stop alone: the machine's own stays");
  const off = await done("force-off", "stopped");
  assert.equal(off.task.host, host.id);
  await fixture.place(vm.id, host.id, "stopped");
  const refused = await verb("stop");
  assert.equal(refused.body.code, "state-refused");
  assert.match(refused.body.detail, /it is stopped already/);
  const start = await done("start", "running");
  assert.deepEqual([start.record.spec.startRequest, start.record.spec.stopGraceOnceMs], [1, undefined]);
  await fixture.place(vm.id, host.id, "running");
  const migrate = await verb("migrate", { bandwidthBytesPerSecond: 1000 });
  const task = (await fixture.get(`/tasks/${migrate.body.task}`)).body.spec;
  assert.deepEqual(
    [task.verb, task.parameters.bandwidthBytesPerSecond, task.parameters.deadlineMs, task.host],
    ["migrate", 1000, 3_600_000, undefined],
  );
  assert.equal((await verb("migrate", { host: "h1" })).body.code, "state-refused");
});

test("a machine whose host is gone is unreachable, and says so", async () => {
  const far = await fixture.host("h2");
  const vm = await fixture.make("/vms", { name: "far", spec: { nics: [] } });
  await fixture.place(vm.id, far.id, "running");
  assert.equal((await fixture.get("/vms/far")).body.state, "running");
  await fixture.part("host", far.id, "status/liveness", { state: "unreachable", since: 1, reason: "no heartbeat" });
  assert.equal((await fixture.get("/vms/far")).body.state, "unreachable");
  assert.match((await fixture.request("POST", "/vms/far/reboot", {})).body.detail, /unreachable/);
  assert.equal((await fixture.request("DELETE", `/hosts/${far.id}`)).body.code, "in-use");
});

test("a copy has its own disks, number, MAC and addresses", async () => {
  const made = await fixture.make("/vms", { name: "origin", spec: { disks: [root], cloudInit: { hostname: "origin", password: "secret-word" } } });
  await fixture.place(made.id, host.id, "running");
  assert.equal((await fixture.request("POST", "/vms/origin/clone", { name: "copy" })).body.code, "state-refused");
  await fixture.place(made.id, host.id, "stopped");
  const clone = await fixture.request("POST", "/vms/origin/clone", { name: "copy" });
  assert.equal(clone.status, 202, clone.text);
  const copy = clone.body.record;
  assert.equal(copy.name, "copy");
  assert.notEqual(copy.number, made.number);
  assert.notEqual(copy.spec.nics[0].mac, made.spec.nics[0].mac);
  assert.notDeepEqual(copy.spec.nics[0].addresses, made.spec.nics[0].addresses);
  assert.deepEqual([copy.spec.power, copy.spec.cloudInit.hostname], ["stopped", undefined]);
  const volume = (await fixture.get(`/volumes/${copy.spec.disks[0].volume}`)).body;
  assert.deepEqual(volume.spec.source, { volume: made.spec.disks[0].volume });
  const start = await fixture.request("POST", "/vms/origin/start", {});
  assert.match(start.body.detail, /is being copied/);
  await fixture.part("volume", volume.id, "status/agent", {
    state: "ready",
    host: host.id,
    path: "/x",
    sizeBytes: 1,
    allocatedBytes: 1,
    observedGeneration: 1,
  });
  assert.equal((await fixture.request("POST", "/vms/origin/start", {})).status, 202);
});

test("deleting marks a machine and makes its receipt; it is refused a second time", async () => {
  const vm = await fixture.make("/vms", { name: "goes", spec: { nics: [], disks: [root] } });
  const gone = await fixture.request("DELETE", "/vms/goes");
  assert.equal(gone.status, 202, gone.text);
  assert.equal(gone.body.record.state, "deleting");
  assert.deepEqual(gone.body.record.finalizers, ["domain", "volumes"]);
  assert.equal((await fixture.get(`/tasks/${gone.body.task}`)).body.spec.verb, "delete");
  assert.equal((await fixture.request("DELETE", "/vms/goes")).body.code, "state-refused");
  assert.equal((await fixture.request("PATCH", `/vms/${vm.id}`, { labels: {} })).body.code, "state-refused");
});

test("what others refer to is deleted only when nobody does, and its name is free then", async () => {
  await fixture.make("/networks", { name: "brief", spec: { bridge: "br7" } });
  assert.equal((await fixture.request("DELETE", "/networks/brief")).status, 202);
  assert.equal((await fixture.get("/networks/brief")).status, 404);
  await fixture.make("/networks", { name: "brief", spec: { bridge: "br7" } });
  // Creations and a deletion at once: either the network stays, or nobody has it.
  for (let round = 0; round < 5; round += 1) {
    const network = await fixture.make("/networks", { name: `race-${round}`, spec: { bridge: "br7" } });
    const [removed, ...made] = await Promise.all([
      fixture.request("DELETE", `/networks/${network.id}`),
      ...[0, 1, 2].map((index) =>
        fixture.request("POST", "/vms", { name: `user-${round}-${index}`, spec: { nics: [{ name: "a", network: network.id }] } }),
      ),
    ]);
    const there = (await fixture.get(`/networks/${network.id}`)).status === 200;
    assert.equal(there, removed?.status !== 202, removed?.text);
    assert.equal(
      made.some(({ status }) => status === 201),
      there,
    );
  }
});

test("hosts join once by their invitation, and are put to rest and removed", async () => {
  const invitation = await fixture.request("POST", "/host-invitations", { validForMs: 60_000 });
  assert.equal(invitation.status, 201, invitation.text);
  assert.match(invitation.body.command, /^sh -c .*--fingerprint sha256:/);
  const join = (more: object = {}) =>
    fixture.request(
      "POST",
      "/host-joins",
      { token: invitation.body.token, certificateRequest: "CSR h9", hostname: "h9", machineId: "m9", address: "10.1.0.9", ...more },
      { token: null },
    );
  assert.equal((await join({ certificateRequest: "broken" })).status, 400);
  const joined = await join();
  assert.equal(joined.status, 201, joined.text);
  assert.deepEqual([joined.body.agentPort, joined.body.authority], [7444, "AUTHORITY"]);
  assert.equal((await join()).body.hostId, joined.body.hostId, "the same host may ask again");
  assert.equal((await join({ machineId: "thief" })).body.code, "not-allowed");
  assert.equal((await fixture.request("POST", "/hosts/h9/cordon", {})).body.record.spec.schedulable, "cordoned");
  const drain = await fixture.request("POST", "/hosts/h9/drain", { maximumParallelMigrations: 3 });
  assert.equal((await fixture.get(`/tasks/${drain.body.task}`)).body.spec.parameters.maximumParallelMigrations, 3);
  assert.equal((await fixture.request("POST", "/hosts/h9/activate", {})).body.record.spec.schedulable, "open");
  assert.equal((await fixture.request("DELETE", "/hosts/h9")).status, 202);
  assert.deepEqual(fixture.revoked, [joined.body.hostId]);
  const late = await fixture.request("POST", "/host-invitations", { validForMs: 60_000 });
  fixture.clock.advance(61_000);
  assert.equal((await join({ token: late.body.token, hostname: "h10" })).body.code, "not-allowed");
});

test("tasks are cancelled once, and show what they log", async () => {
  const { task } = (await fixture.request("POST", "/vms", { name: "tasked", spec: { nics: [] } })).body;
  assert.deepEqual((await fixture.get(`/tasks/${task}/log`)).body.lines, [{ at: 1, text: "a line" }]);
  const cancelled = await fixture.request("POST", `/tasks/${task}/cancel`, {});
  assert.ok(cancelled.body.record.spec.cancelRequestedAt > 0);
  assert.equal((await fixture.request("POST", `/tasks/${task}/cancel`, {})).status, 202);
  await fixture.part("task", task, "status/controller", { state: "succeeded", message: "done", startedAt: 1, endedAt: 2 });
  assert.equal((await fixture.request("POST", `/tasks/${task}/cancel`, {})).body.code, "state-refused");
});

test("capacity shows the pool as one machine, and targets rank the hosts", async () => {
  fixture.clock.advance(2000);
  const { body } = await fixture.get("/capacity");
  assert.equal(body.hosts, 3, "h9 is being removed");
  assert.equal(body.ready, 1);
  assert.equal(body.cpu.installed, 8);
  assert.ok(body.cpu.promisable >= body.cpu.offered && body.memory.free > 0);
  assert.ok(body.vms.pending > 0);
  const vm = await fixture.make("/vms", { name: "where", spec: { nics: [] } });
  const { hosts } = (await fixture.get(`/vms/${vm.id}/targets`)).body;
  assert.ok(hosts.length >= 2 && hosts.every((one: { reasons: string[] }) => one.reasons.length > 0), JSON.stringify(hosts));
});

test("an upload is resumed where it stopped, and audited", async () => {
  const image = await fixture.make("/images", { name: "sent", spec: { source: { upload: true } } });
  const put = (bytes: string, range: string) =>
    fixture.request("PUT", "/images/sent/content", undefined, {
      raw: bytes,
      headers: { "content-type": "application/octet-stream", "content-range": range },
    });
  assert.equal((await put("hello ", "bytes 0-5/11")).body.receivedBytes, 6);
  const head = await fixture.request("HEAD", "/images/sent/content");
  assert.equal(head.headers.get("upload-offset"), "6");
  assert.equal((await put("world", "bytes 6-10/11")).body.receivedBytes, 11);
  assert.equal(fixture.library.bytes.get(image.id)?.toString(), "hello world");
  const large = await fixture.request("PUT", "/images/sent/content", undefined, {
    raw: new Uint8Array(3 * 2 ** 20),
    headers: { "content-type": "application/octet-stream", "content-range": `bytes 11-${10 + 3 * 2 ** 20}/*` },
  });
  assert.equal(large.body.receivedBytes, 11 + 3 * 2 ** 20, "an image may be larger than other bodies");
  assert.ok((await fixture.get(`/audit?target=image/${image.id}`)).body.items.some((event: { action: string }) => event.action === "image.content"));
});

test("a screenshot comes from the host's agent", async () => {
  const vm = await fixture.make("/vms", { name: "seen", spec: { nics: [] } });
  await fixture.place(vm.id, host.id, "running");
  assert.equal((await fixture.get("/vms/seen/screenshot")).status, 503);
  fixture.connected.add(host.id);
  const shot = await fixture.get("/vms/seen/screenshot");
  assert.deepEqual([shot.status, shot.headers.get("content-type"), shot.text], [200, "image/png", "picture"]);
  fixture.connected.delete(host.id);
});

test("adoption is a task about the host, with a number drawn for the machine to be; nothing else is written", async () => {
  const uuid = "11111111-1111-4111-8111-111111111111";
  assert.deepEqual((await fixture.get("/hosts/h1")).body.status.agent.unmanaged, [{ uuid, name: "old", state: "running" }]);
  const before = await keys("r/");
  const next = (await fixture.make("/vms", { name: "counts", spec: { nics: [] } })).number;
  const reply = await fixture.request("POST", `/hosts/h1/unmanaged/${uuid}/adopt`, { name: "adopted" });
  assert.equal(reply.status, 202, reply.text);
  const { spec } = (await fixture.get(`/tasks/${reply.body.task}`)).body;
  assert.deepEqual(spec.target, { kind: "host", id: host.id, name: "h1" });
  assert.equal(spec.host, undefined, "no agent's work: a controller does it");
  const { project, ...parameters } = spec.parameters;
  assert.deepEqual(parameters, { uuid, name: "adopted", number: next + 1, acceptLosses: false });
  assert.match(project, /^[0-9a-f-]{36}$/);
  assert.equal((await fixture.make("/vms", { name: "goes-on", spec: { nics: [] } })).number, next + 2);
  const added = (await keys("r/")).filter((key) => !before.includes(key)).map((key) => key.split("/")[1]);
  assert.deepEqual(added.toSorted(), ["task", "task", "task", "vm", "vm"]);
  const taken = await fixture.request("POST", `/hosts/h1/unmanaged/${uuid}/adopt`, { name: "counts" });
  assert.deepEqual([taken.status, taken.body.code], [409, "name-taken"]);
});

test("machines are started after others of their project: names become ids; what does not exist, itself and circles are refused", async () => {
  const make = (name: string, machines?: readonly string[]) =>
    fixture.make("/vms", { name, spec: { nics: [], ...(machines ? { restart: { after: { machines } } } : {}) } });
  const change = (name: string, machines: readonly string[]) =>
    fixture.request("PATCH", `/vms/${name}`, { spec: { restart: { after: { machines } } } });
  const database = await make("order-db");
  const app = await make("order-app", ["order-db", database.id]);
  assert.deepEqual(app.spec.restart.after, { machines: [database.id], condition: "running", maximumWaitMs: 300_000 });
  await make("order-web", ["order-app"]);
  const missing = await fixture.request("POST", "/vms", { name: "x", spec: { nics: [], restart: { after: { machines: ["none"] } } } });
  assert.equal(missing.status, 404);
  assert.equal(missing.body.errors[0].at, "/spec/restart/after/machines/0");
  const circle = await change("order-db", ["order-web"]);
  assert.equal(circle.status, 400, circle.text);
  assert.match(circle.text, /makes a circle: order-db after order-web after order-app after order-db/);
  assert.equal((await change("order-db", ["order-db"])).status, 400);
  assert.equal((await change("order-web", ["order-db", "order-app"])).status, 200);
});

test("of two requests at once that would make a circle one is refused", async () => {
  for (const name of ["order-left", "order-right"]) await fixture.make("/vms", { name, spec: { nics: [] } });
  const { store } = fixture.context;
  const transact = store.transact.bind(store);
  // Both are decided on before either is written.
  const both = Promise.withResolvers<void>();
  let decided = 0;
  Object.assign(store, {
    transact: async (transaction: Parameters<typeof transact>[0]) => {
      if (transaction.then.some((operation) => "put" in operation && operation.put.startsWith("r/vm/")) && ++decided === 2) both.resolve();
      await both.promise;
      return transact(transaction);
    },
  });
  const after = (name: string, other: string) => fixture.request("PATCH", `/vms/${name}`, { spec: { restart: { after: { machines: [other] } } } });
  const replies = await Promise.all([after("order-left", "order-right"), after("order-right", "order-left")]);
  Object.assign(store, { transact });
  assert.ok(decided >= 2);
  assert.deepEqual(replies.map(({ status }) => status).toSorted(), [200, 400]);
});

test("a machine that others are started after can be deleted; they can be changed afterwards, and forget it then", async () => {
  const gone = await fixture.make("/vms", { name: "order-gone", spec: { nics: [] } });
  const stays = await fixture.make("/vms", { name: "order-stays", spec: { nics: [] } });
  const restart = { after: { machines: ["order-gone", "order-stays"] } };
  await fixture.make("/vms", { name: "order-last", spec: { nics: [], restart } });
  assert.equal((await fixture.request("DELETE", `/vms/${gone.id}`)).status, 202);
  const changed = await fixture.request("PATCH", "/vms/order-last", { spec: { priority: 7 } });
  assert.equal(changed.status, 200, changed.text);
  assert.deepEqual(changed.body.record.spec.restart.after.machines, [stays.id]);
  const cleared = await fixture.request("PATCH", "/vms/order-last", { spec: { restart: { after: null } } });
  assert.equal(cleared.body.record.spec.restart.after, undefined);
});

test("a machine's explanation names its host or why it waits; hosts are ranked for one that nobody has made, and nothing stays reserved", async () => {
  const vm = await fixture.make("/vms", { name: "why", spec: { nics: [], memory: { bytes: 2 ** 43 } } });
  const waiting = (await fixture.get(`/vms/${vm.id}/explanation`)).body;
  assert.equal(waiting.host, undefined);
  assert.ok(waiting.reason.length > 0 && waiting.policy.length > 0);
  assert.ok(waiting.hosts.length >= 2 && waiting.hosts.every((one: { fits: boolean; reasons: string[] }) => !one.fits && one.reasons.length > 0));
  const small = `cpus=1&memoryBytes=${2 ** 30}`;
  const ranked = (await fixture.get(`/host-ranking?${small}&policy=pack`)).body;
  assert.equal(ranked.policy, "pack");
  const [first] = ranked.hosts;
  assert.ok(first.fits && first.score > 0 && first.parts.memory > 0, JSON.stringify(first));
  assert.equal((await fixture.get(`/host-ranking?${small}&policy=nonsense`)).body.code, "invalid-input");
  const before = (await fixture.get(`/host-ranking?${small}`)).body;
  const plan = (await fixture.get(`/plans/creation?${small}&count=500`)).body;
  assert.ok(plan.placed > 0 && plan.placed < 500 && /no host fits/.test(plan.refusal), JSON.stringify(plan));
  assert.equal(
    plan.hosts.reduce((sum: number, { machines }: { machines: number }) => sum + machines, 0),
    plan.placed,
  );
  assert.deepEqual((await fixture.get(`/host-ranking?${small}`)).body, before);
});
