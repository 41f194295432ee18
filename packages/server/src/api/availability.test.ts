import assert from "node:assert/strict";
import { after, before, test } from "node:test";
import { availabilityKey, goneAvailabilityKey } from "@sheaf/model";
import { monthBounds, monthOf } from "@sheaf/planning";
import { ApiFixture } from "../testing/api-fixture.ts";

let fixture: ApiFixture;
before(async () => (fixture = await ApiFixture.start()));
after(() => fixture.stop());

test("availability is told by machine, project and site, open outages and deleted machines included, and only to whom may see it", async () => {
  const { project } = await fixture.furnish().then(({ network }) => network);
  const shop = await fixture.make("/projects", { name: "shop", spec: { availabilityTargetPercent: 50 } });
  const vm = await fixture.make("/vms", { name: "web", spec: { power: "stopped" } });
  const now = fixture.clock.now();
  const { from } = monthBounds(monthOf(now));
  const month = monthOf(now);
  // Long against the moments that pass while this runs.
  const account = { vm: vm.id, name: "web", project, state: "down", since: now - 100_000, cause: "crash", detail: "it crashed" };
  const months = [{ month, upMs: 900_000, downMs: 0, offMs: 5, unknownMs: 0, causes: {}, outages: [] }];
  const other = { vm: "gone", name: "else", project: shop.id, state: "up", since: now - 3000, months: [] };
  const left = {
    project,
    months: [{ month, upMs: 100_000, downMs: 100_000, offMs: 0, unknownMs: 0, causes: { host: { count: 1, ms: 100_000 } }, machines: 2 }],
  };
  await fixture.context.store.transact({
    compare: [],
    then: [
      { put: availabilityKey(project, vm.id), value: JSON.stringify({ ...account, months }) },
      { put: availabilityKey(shop.id, "gone"), value: JSON.stringify(other) },
      { put: goneAvailabilityKey(project), value: JSON.stringify(left) },
    ],
  });
  const { body } = await fixture.get("/availability");
  assert.deepEqual([body.month, body.from, body.site.machines], [month, from, 4]);
  assert.deepEqual(
    body.projects.map((one: { name: string; percent: number; met: boolean; targetPercent: number; machines: number }) => [
      one.name,
      Math.round(one.percent),
      one.targetPercent,
      one.met,
      one.machines,
    ]),
    [
      ["default", 83, 99.99, false, 3],
      ["shop", 100, 50, true, 1],
    ],
  );
  const { crash, host } = body.projects[0].causes;
  assert.deepEqual([crash.count, host], [1, { count: 1, ms: 100_000 }]);
  assert.ok(crash.ms >= 100_000 && crash.ms < 160_000);
  assert.deepEqual(body.machines[0].outages, [{ from: now - 100_000, cause: "crash", detail: "it crashed" }]);

  const one = await fixture.get("/availability?vm=web");
  assert.deepEqual([one.body.machines.length, Math.round(one.body.machines[0].percent), one.body.site], [1, 90, undefined]);
  assert.deepEqual((await fixture.get("/availability?month=2020-01")).body.machines, []);
  assert.equal((await fixture.get("/availability?month=2026-13")).status, 400);
  assert.equal((await fixture.get("/availability?vm=nobody")).status, 404);

  const seller = await fixture.user("seller", [{ role: "viewer", project: "shop" }]);
  const seen = (await fixture.get("/availability", { token: seller })).body;
  assert.deepEqual([seen.site, seen.projects.map(({ name }: { name: string }) => name), seen.machines.length], [undefined, ["shop"], 1]);
  assert.equal((await fixture.get("/availability?project=default", { token: seller })).status, 404);
  assert.equal((await fixture.get("/availability?vm=web", { token: seller })).status, 404);
});
