/** Questions about more hosts and fewer through the API: answered in names, without a change, for those that may see hosts and machines. */
import assert from "node:assert/strict";
import { after, before, test } from "node:test";
import { ApiFixture } from "../testing/api-fixture.ts";

const gib = 2 ** 30;
let fixture: ApiFixture;
let hosts: { id: string; name: string }[] = [];
let viewer = "";

before(async () => {
  fixture = await ApiFixture.start();
  hosts = [await fixture.host("h1"), await fixture.host("h2")];
  await fixture.make("/vms", { name: "huge", spec: { nics: [], memory: { bytes: 512 * gib } } });
  await fixture.make("/projects", { name: "red", spec: {} });
  viewer = await fixture.user("vera", [{ role: "viewer", project: "red" }]);
});
after(() => fixture.stop());

test("more hosts: of which kind, what waits, how the cluster stands, and how many more machines fit", async () => {
  const [first] = hosts;
  const plain = (await fixture.get(`/plans/host-addition?count=2&like=h1&machineMemoryBytes=${gib}`)).body;
  assert.equal(plain.host.like, "h1");
  assert.deepEqual([plain.before.hosts, plain.after.hosts], [2, 4]);
  assert.deepEqual([plain.placedCount, plain.waitingCount, plain.waiting[0].name], [0, 1, "huge"]);
  assert.ok(plain.room.after === 2 * plain.room.before && !plain.room.more, JSON.stringify(plain.room));
  const large = (await fixture.get(`/plans/host-addition?cpus=64&memoryBytes=${1024 * gib}`)).body;
  assert.deepEqual(large.host, { like: hosts.toSorted((one, other) => (one.id < other.id ? -1 : 1))[0]?.name, cpus: 64, memoryBytes: 1024 * gib });
  assert.deepEqual(
    large.placed.map(({ name, host }: { name: string; host: string }) => [name, host]),
    [["huge", "new-1"]],
  );
  assert.equal((await fixture.get("/plans/host-addition?like=nobody")).status, 404);
  assert.equal((await fixture.get("/plans/host-addition?count=0")).status, 400);
  assert.equal((await fixture.get("/vms/huge")).body.placement, undefined, "nothing was done");
  assert.ok(first);
});

test("fewer hosts: the rest of the cluster, and no host that is not there", async () => {
  const { body } = await fixture.get("/plans/host-removal?hosts=h1");
  assert.deepEqual([body.clusters.length, body.clusters[0].before.hosts, body.clusters[0].after.hosts], [1, 2, 1]);
  assert.deepEqual([body.moveCount, body.stuckCount, body.moving], [0, 0, 0]);
  assert.equal((await fixture.get("/plans/host-removal?hosts=h1,nobody")).status, 404);
  assert.equal((await fixture.get("/plans/host-removal?hosts=h1,NOT A NAME")).status, 400);
});

test("who may not see all hosts and machines is not told", async () => {
  for (const path of ["/plans/host-addition", "/plans/host-removal?hosts=h1"])
    assert.ok([403, 404].includes((await fixture.get(path, { token: viewer })).status), path);
});
