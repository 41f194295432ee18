import assert from "node:assert/strict";
import { after, before, test } from "node:test";
import { ApiFixture, ownServer } from "../testing/api-fixture.ts";

let fixture: ApiFixture;
before(async () => {
  fixture = await ApiFixture.start();
  await fixture.furnish();
});
after(() => fixture.stop());

const carried = { version: "0.1.0", archives: [{ platform: "linux-x64", sha256: "ab".repeat(32), sizeBytes: 7 }] };

test("an upgrade is looked at first, asked for as a task that says which version, and not twice at once", async () => {
  const h1 = await fixture.host("h1", { installation: { platform: "linux-x64", archive: "0a".repeat(32) } });
  const h2 = await fixture.host("h2", { installation: { platform: "linux-x64", fixed: "it runs from source files" } });
  const h3 = await fixture.host("h3", { installation: { platform: "linux-x64", archive: "ab".repeat(32) } });
  fixture.connected.add(h1.id).add(h2.id).add(h3.id);
  const { status, body } = await fixture.get("/clusters/default/upgrade-check");
  assert.equal(status, 200);
  assert.deepEqual(body, {
    version: "0.1.0",
    hosts: [
      { name: "h1", version: "0.1.0", does: "upgrade" },
      { name: "h2", version: "0.1.0", does: "leave-out", why: "it runs from source files" },
      { name: "h3", version: "0.1.0", does: "nothing" },
    ],
  });
  assert.deepEqual((await fixture.get("/hosts/h3/upgrade-check")).body.hosts, [{ name: "h3", version: "0.1.0", does: "nothing" }]);

  const before = await fixture.contents();
  const refused = await fixture.request("POST", "/hosts/h2/upgrade", {});
  assert.deepEqual([refused.status, refused.body.code], [409, "state-refused"]);
  assert.match(refused.body.detail, /No agent of host h2 can be upgraded to 0\.1\.0: h2: it runs from source files/);
  assert.deepEqual(await fixture.contents(), before, "nothing was changed");

  const begun = await fixture.request("POST", "/clusters/default/upgrade", { hosts: ["h3", "h1"], settleMs: 5000 });
  assert.equal(begun.status, 202);
  const task = (await fixture.get(`/tasks/${begun.body.task}`)).body;
  assert.deepEqual([task.spec.verb, task.spec.parameters], ["upgrade", { hosts: [h3.id, h1.id], release: carried, parallel: 1, settleMs: 5000 }]);
  for (const path of ["/clusters/default/upgrade", "/hosts/h1/upgrade"]) {
    const again = await fixture.request("POST", path, {});
    assert.equal(again.status, 409);
    assert.match(again.body.detail, /Agents of cluster default are being upgraded already/);
  }
  const viewer = await fixture.user("viewer-1", [{ role: "viewer", project: "*" }]);
  assert.equal((await fixture.request("POST", "/hosts/h1/upgrade", {}, { token: viewer })).status, 403);
  assert.equal((await fixture.get("/clusters/default/upgrade-check", { token: viewer })).status, 403);
});

test("agents follow only when every server that runs has the same version", async () => {
  const other = { ...ownServer, name: "other", version: "0.0.9", leads: false };
  const pair = await ApiFixture.start({ servers: [ownServer, other] });
  await pair.furnish();
  const { status, body } = await pair.get("/clusters/default/upgrade-check");
  assert.equal(status, 409);
  assert.match(body.detail, /Server other is version 0\.0\.9, this one 0\.1\.0/);
  await pair.stop();
});
