import assert from "node:assert/strict";
import { after, before, test } from "node:test";
import { ApiFixture } from "../testing/api-fixture.ts";

let fixture: ApiFixture;
before(async () => (fixture = await ApiFixture.start()));
after(() => fixture.stop());

test("a host is put to sleep by a task, refused where it must stay awake, and counted as asleep", async () => {
  await fixture.furnish();
  const h1 = await fixture.host("h1");
  const h2 = await fixture.host("h2");
  const h3 = await fixture.host("h3", { unmanaged: [] });
  fixture.connected.add(h1.id).add(h2.id).add(h3.id);
  const sleep = (name: string, options = {}) => fixture.request("POST", `/hosts/${name}/sleep`, { reason: "weekend" }, options);
  const before = await fixture.contents();
  const refused = await sleep("h3");
  assert.deepEqual([refused.status, refused.body.code], [409, "state-refused"]);
  assert.match(refused.body.detail, /no way to wake it/);
  assert.deepEqual(await fixture.contents(), before);

  const wakeOnLan = { mac: "52:54:00:00:00:03" };
  for (const name of ["h1", "h3"]) await fixture.request("PATCH", `/hosts/${name}`, { spec: { power: { wakeOnLan } } });
  assert.match((await sleep("h1")).body.detail, /domain old, which is not Sheaf's, runs there/);
  assert.deepEqual((await fixture.get("/hosts/h3")).body.spec.power, { sleep: "allowed", wakeOnLan: { mac: "52:54:00:00:00:03", port: 9 } });
  const asked = await sleep("h3");
  assert.equal(asked.status, 202, asked.body.detail);
  const task = (await fixture.get(`/tasks/${asked.body.task}`)).body;
  assert.deepEqual([task.spec.verb, task.spec.parameters], ["sleep", { reason: "weekend" }]);
  const awake = await fixture.request("POST", "/hosts/h2/wake", {});
  assert.match(awake.body.detail, /it is awake/);

  const power = { state: "asleep", since: 5, by: "alice", reason: "weekend", bootId: "boot", attempts: [] };
  await fixture.part("host", h3.id, "status/power", power);
  const shown = (await fixture.get("/hosts/h3")).body;
  assert.deepEqual([shown.state, shown.status.power.by, shown.status.power.reason], ["asleep", "alice", "weekend"]);
  assert.equal((await fixture.get("/capacity")).body.asleep, 1);
  const viewer = await fixture.user("viewer-1", [{ role: "viewer", project: "*" }]);
  assert.equal((await sleep("h3", { token: viewer })).status, 403);
});
