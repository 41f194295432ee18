import assert from "node:assert/strict";
import { test } from "node:test";
import { ids, placedOn, record, vm, volume } from "./record.test-support.ts";
import { planVolumeHome, shapeOf, type VolumeHomeInput } from "./volume-home.ts";

const pool = (type: "local" | "shared") =>
  record("pool", ids.pool, { type, path: "/p", overcommit: 4, minimumFreeRatio: 0.05, imageCacheRatio: 0.2 });
const plan = (one: VolumeHomeInput["volume"], rest: Partial<VolumeHomeInput> = {}) =>
  planVolumeHome({ volume: one, owner: undefined, pool: pool("shared"), original: undefined, hostExists: true, ...rest });
const owner = vm({}, { placement: placedOn(ids.host) });

test("a disk is placed with its machine: by the machine's own placement, or after it", () => {
  assert.equal(plan(volume(), { owner: vm() }).do, "nothing");
  assert.deepEqual(plan(volume(), { owner }), { do: "put", host: ids.host, reason: "with machine vm-a" });
  assert.equal(plan(volume({ placement: placedOn(ids.host) }), { owner }).do, "nothing");
});

test("a shared disk follows its machine, one on another host alone does not, and none does while it moves", () => {
  const elsewhere = volume({ placement: placedOn(ids.otherHost) });
  assert.equal(plan(elsewhere, { owner }).do, "put");
  assert.equal(plan(elsewhere, { owner, pool: pool("local") }).do, "nothing");
  const moving = vm(
    {},
    { placement: placedOn(ids.host), status: { migration: { task: "t", phase: "begun", source: ids.host, target: ids.otherHost, since: 0 } } },
  );
  assert.equal(plan(elsewhere, { owner: moving }).do, "nothing");
});

test("a volume of no machine is placed once, and anew only when its host is gone and others see it", () => {
  assert.equal(plan(volume()).do, "place");
  const placed = volume({ placement: placedOn(ids.host) });
  assert.equal(plan(placed).do, "nothing");
  assert.equal(plan(placed, { hostExists: false }).do, "place");
  assert.equal(plan(placed, { hostExists: false, pool: pool("local") }).do, "nothing");
  assert.equal(plan(volume({ deletedAt: 5 })).do, "nothing");
});

test("a copy in a local pool is made where the original lies", () => {
  const copy = volume({ id: ids.volume2, spec: { ...volume().spec, source: { volume: ids.volume } } });
  const home = plan(copy, { pool: pool("local"), original: volume({ placement: placedOn(ids.otherHost) }) });
  assert.equal(home.do === "place" && home.request.volumes[0]?.pinnedTo, ids.otherHost);
});

test("requests that differ only in who asks have one shape; those that depend on who asks have none", () => {
  const one = plan(volume());
  const other = plan(volume({ id: ids.volume2, name: "other" }));
  assert.ok(one.do === "place" && other.do === "place");
  assert.equal(shapeOf(one.request), shapeOf(other.request));
  assert.notEqual(shapeOf(one.request), shapeOf({ ...other.request, memoryBytes: 1 }));
  assert.equal(shapeOf({ ...one.request, apart: "group" }), null);
  assert.equal(shapeOf({ ...one.request, volumes: [{ volume: "v", pool: "p", sizeBytes: 1, pinnedTo: ids.host }] }), null);
});
