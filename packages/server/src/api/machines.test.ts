import assert from "node:assert/strict";
import { after, before, test } from "node:test";
import { ApiFixture } from "../testing/api-fixture.ts";

let fixture: ApiFixture;
before(async () => {
  fixture = await ApiFixture.start();
  await fixture.furnish();
});
after(() => fixture.stop());

test("a machine is made with its volume, addresses, number and receipt in one go, and found by id, name and number", async () => {
  const reply = await fixture.request("POST", "/vms", { name: "web", labels: { tier: "front" }, spec: { disks: [{ name: "root", image: "mini" }] } });
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
  const list = await fixture.get("/vms?filter=state=pending,spec.cpu.count>=1&label=tier=front&fields=name,state");
  assert.deepEqual(list.body.items, [{ name: "web", state: "pending" }]);
  assert.equal(list.body.total, 1);
});
