import assert from "node:assert/strict";
import { after, before, test } from "node:test";
import { ApiFixture } from "../testing/api-fixture.ts";

let fixture: ApiFixture;
before(async () => (fixture = await ApiFixture.start()));
after(() => fixture.stop());

test("maintenance is checked first, refused where machines cannot move, and begun all the same when forced; activation brings back", async () => {
  await fixture.furnish();
  const h1 = await fixture.host("h1");
  const h2 = await fixture.host("h2");
  fixture.connected.add(h1.id).add(h2.id);
  const vm = await fixture.make("/vms", { name: "web", spec: { nics: [] } });
  await fixture.place(vm.id, h1.id, "running");
  const check = async () => (await fixture.get("/hosts/h1/maintenance-check")).body;
  assert.deepEqual([(await check()).machines, (await check()).warnings, (await check()).cannotMove], [1, [], []]);

  await fixture.place(vm.id, h1.id, "paused");
  const { cannotMove, warnings } = await check();
  assert.deepEqual(cannotMove, [{ vm: vm.id, name: "web", why: "it is paused: resume it first" }]);
  assert.deepEqual(warnings, ["1 of its 1 machines cannot move"]);
  const before = await fixture.contents();
  const refused = await fixture.request("POST", "/hosts/h1/maintain", {});
  assert.deepEqual([refused.status, refused.body.code], [409, "state-refused"]);
  assert.match(refused.body.detail, /1 of its 1 machines cannot move/);
  assert.match(refused.body.next, /--force/);
  assert.deepEqual(await fixture.contents(), before);

  const begun = await fixture.request("POST", "/hosts/h1/maintain", { force: true, maximumParallelMigrations: 1 });
  assert.deepEqual([begun.status, begun.body.record.spec.schedulable, begun.body.record.spec.maintenance], [202, "draining", true]);
  const task = (await fixture.get(`/tasks/${begun.body.task}`)).body;
  assert.deepEqual([task.spec.verb, task.spec.parameters], ["maintain", { maximumParallelMigrations: 1 }]);
  assert.match((await fixture.request("POST", "/hosts/h1/maintain", { force: true })).body.detail, /in maintenance already/);

  const opened = await fixture.request("POST", "/hosts/h1/activate", { noReturn: true });
  assert.deepEqual([opened.body.record.spec.schedulable, opened.body.record.spec.maintenance], ["open", false]);
  assert.deepEqual((await fixture.get(`/tasks/${opened.body.task}`)).body.spec.parameters, { noReturn: true });
  // A host that was merely cordoned has nothing to bring back.
  await fixture.request("POST", "/hosts/h2/cordon", {});
  assert.equal((await fixture.request("POST", "/hosts/h2/activate", {})).body.task, undefined);

  const viewer = await fixture.user("viewer-1", [{ role: "viewer", project: "*" }]);
  assert.equal((await fixture.request("POST", "/hosts/h1/maintain", {}, { token: viewer })).status, 403);
  assert.equal((await fixture.get("/hosts/h1/maintenance-check", { token: viewer })).status, 403);
});

test("room that is asked about is not taken", async () => {
  const { id } = (await fixture.get("/hosts/h1")).body;
  await fixture.place((await fixture.get("/vms/web")).body.id, id, "running");
  assert.deepEqual((await fixture.get("/hosts/h1/maintenance-check")).body.cannotMove, []);
  assert.equal((await fixture.get("/capacity")).body.memory.allocated, 2 ** 30);
});

test("maintenance of a cluster is one task; it is paused, resumed and told of work that is done, each in its time", async () => {
  const begun = await fixture.request("POST", "/clusters/default/maintain", { hosts: ["h2", "h1"] });
  assert.equal(begun.status, 202, begun.text);
  const task = async () => (await fixture.get(`/tasks/${begun.body.task}`)).body;
  const [h1, h2] = [(await fixture.get("/hosts/h1")).body.id, (await fixture.get("/hosts/h2")).body.id];
  assert.deepEqual([(await task()).spec.target.name, (await task()).spec.parameters], ["default", { hosts: [h2, h1] }]);
  assert.match((await fixture.request("POST", "/clusters/default/maintain", {})).body.detail, /in maintenance already/);
  assert.equal((await fixture.request("POST", "/clusters/default/maintain/pause", {})).status, 202);
  assert.equal((await task()).spec.parameters.paused, true);
  await fixture.request("POST", "/clusters/default/maintain/resume", {});
  assert.equal((await task()).spec.parameters.paused, false);

  assert.match((await fixture.request("POST", "/hosts/h2/done", {})).body.detail, /its turn has not come/);
  const running = { state: "running", message: "", startedAt: 1 };
  await fixture.part("task", begun.body.task, "status/controller", { ...running, result: { hosts: [{ id: h2, phase: "emptied" }] } });
  assert.equal((await fixture.request("POST", "/hosts/h2/done", {})).status, 202);
  assert.deepEqual((await task()).spec.parameters.done, [h2]);
  assert.match((await fixture.request("POST", "/hosts/h1/done", {})).body.detail, /its turn has not come/);

  await fixture.part("task", begun.body.task, "status/controller", { ...running, state: "succeeded", endedAt: 2 });
  assert.match((await fixture.request("POST", "/hosts/h2/done", {})).body.detail, /No maintenance of this cluster/);
  assert.equal((await fixture.request("POST", "/clusters/default/maintain", { hosts: ["nobody"] })).status, 404);
  const viewer = await fixture.user("viewer-2", [{ role: "viewer", project: "*" }]);
  for (const path of ["/clusters/default/maintain", "/clusters/default/maintain/pause", "/hosts/h1/done"])
    assert.equal((await fixture.request("POST", path, {}, { token: viewer })).status, 403);
});
