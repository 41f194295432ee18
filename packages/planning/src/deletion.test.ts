import assert from "node:assert/strict";
import { test } from "node:test";
import fc from "fast-check";
import { vmAgentStates } from "@sheaf/model";
import { planDeletion, type DeletionInput } from "./deletion.ts";
import { ids, placedOn, record, seen, vm, volume } from "./record.test-support.ts";

const plan = (one: DeletionInput["record"], rest: Partial<DeletionInput> = {}) =>
  planDeletion({ record: one, volumes: [], hostExists: true, referredBy: null, ...rest });
const nic = { name: "net0", network: "n1", mac: "52:54:00:00:00:01", addresses: ["10.0.0.5"] };
const gone = { deletedAt: 5, placement: placedOn(ids.host), status: { agent: seen("gone") } };

test("a machine without a host goes at once, with all that was taken in its name", () => {
  assert.deepEqual(plan(vm({ nics: [nic] }, { deletedAt: 5, number: 101 })), {
    step: "remove",
    prefix: `r/vm/${ids.vm}/`,
    keys: [`u/name/vm/${ids.project}/vm-a`, "u/number/vm/101", "u/mac/52:54:00:00:00:01", "u/address/n1/10.0.0.5"],
  });
});

test("it waits for its host, unless that host was removed", () => {
  const waiting = vm({}, { deletedAt: 5, placement: placedOn(ids.host), status: { agent: seen("stopping") } });
  assert.equal(plan(waiting).step, "wait");
  assert.equal(plan(waiting, { hostExists: false }).step, "remove");
  assert.equal(plan(vm({}, gone)).step, "remove");
});

test("the word of an older epoch is not the host's", () => {
  assert.equal(plan(vm({}, { ...gone, placement: placedOn(ids.otherHost, 2) })).step, "wait");
});

test("its own disks go first; those that are kept or protected stay", () => {
  const disk = (name: string, id: string, deleteWithVm: boolean) => ({ name, volume: id, deleteWithVm });
  const one = vm({ disks: [disk("a", ids.volume, true), disk("b", ids.volume2, false)] }, gone);
  const own = volume();
  const kept = volume({ id: ids.volume2 });
  assert.deepEqual(plan(one, { volumes: [own, kept] }), { step: "mark", volumes: [own] });
  assert.equal(plan(one, { volumes: [volume({ deletedAt: 6 }), kept] }).step, "wait");
  assert.equal(plan(one, { volumes: [kept] }).step, "remove");
  const guarded = volume({ spec: { ...own.spec, protected: true } });
  assert.equal(plan(one, { volumes: [guarded] }).step, "remove");
});

test("a machine on the move is not taken apart", () => {
  const moving = vm(
    {},
    { ...gone, status: { agent: seen("gone"), migration: { task: "t", phase: "performed", source: "a", target: "b", since: 0 } } },
  );
  assert.equal(plan(moving).step, "wait");
});

test("what others refer to waits, and so does what another controller has to release", () => {
  const pool = record(
    "pool",
    ids.pool,
    { type: "shared", path: "/p", overcommit: 4, minimumFreeRatio: 0.05, imageCacheRatio: 0.2 },
    { deletedAt: 5 },
  );
  assert.deepEqual(plan(pool, { referredBy: "3 volumes lie in it" }), { step: "wait", for: "3 volumes lie in it" });
  assert.equal(plan(pool).step, "remove");
  assert.deepEqual(plan(vm({}, { deletedAt: 5, finalizers: ["domain", "backup"] })), { step: "wait", for: "backup to be released" });
});

test("a placed machine is never removed before its host has let it go", () => {
  fc.assert(
    fc.property(fc.constantFrom(...vmAgentStates), fc.integer({ min: 0, max: 3 }), fc.option(fc.nat()), (state, epoch, deletedAt) => {
      const one = vm(
        {},
        { ...(deletedAt === null ? {} : { deletedAt }), placement: placedOn(ids.host, 2), status: { agent: seen(state, { epoch }) } },
      );
      if (plan(one).step === "remove") assert.ok(state === "gone" && epoch >= 2 && deletedAt !== null);
    }),
  );
});
