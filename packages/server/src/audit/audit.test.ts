/** The audit trail: what is in it, and that nothing of it can be changed unseen. */
import assert from "node:assert/strict";
import { after, before, test } from "node:test";
import { auditKey } from "@sheaf/model";
import { openMemoryStore, type Entry, type Operation, type Store } from "@sheaf/store";
import { ApiFixture, entries } from "../testing/api-fixture.ts";
import { TestClock } from "../testing/test-clock.ts";

let fixture: ApiFixture;
let store: Store;
before(async () => {
  fixture = await ApiFixture.start();
  ({ store } = fixture.context);
});
after(() => fixture.stop());

const machine = (name: string) => ({ name, spec: { nics: [], cloudInit: { password: "hidden-word" } } });
const verify = async () => (await fixture.get("/audit/verification")).body;
const write = (...then: Operation[]) => store.transact({ compare: [], then });
const put = (entry: Entry, value = entry.value, key = entry.key): Operation => ({ put: key, value });

test("every change is there with who, from where, what, before and after", async () => {
  await fixture.make("/vms", machine("seen"));
  await fixture.request("PATCH", "/vms/seen", { labels: { a: "b" } });
  await fixture.request("POST", "/vms/seen/stop", {});
  await fixture.request("DELETE", "/vms/seen");
  const { items } = (await fixture.get("/audit?limit=4")).body;
  assert.deepEqual(
    items.map((event: { action: string }) => event.action),
    ["vm.delete", "vm.stop", "vm.change", "vm.create"],
  );
  const [, , change, create] = items;
  assert.deepEqual([change.actor, change.from, change.result], ["admin", "127.0.0.1", "done"]);
  assert.deepEqual([change.before.labels, change.after.labels], [{}, { a: "b" }]);
  assert.equal(create.after.spec.cloudInit.password, "(secret)");
  assert.equal(create.target, `vm/${create.after.id}`);
  assert.ok(create.project !== undefined && create.requestId !== undefined && create.at > 0);
});

test("sequences have no gap, refused and raced changes between them or not", async () => {
  await Promise.all(Array.from({ length: 30 }, (_, index) => fixture.request("POST", "/vms", machine(`same-${index % 5}`))));
  const verified = await verify();
  assert.deepEqual(verified.problems, []);
  const keys = (await entries(store, `a/${fixture.api.services.trail.chain}/e/`)).map(({ key }) => key);
  assert.deepEqual(
    keys,
    keys.map((_, index) => auditKey(fixture.api.services.trail.chain, index + 1)),
  );
});

test("refused attempts are counted together by who, what and why, once a minute", async () => {
  await fixture.api.services.refused.flush();
  for (let tries = 0; tries < 40; tries += 1) await fixture.request("POST", "/vms", { name: "seen", spec: {}, wrong: true }, { token: null });
  for (let tries = 0; tries < 3; tries += 1) await fixture.request("POST", "/vms", { name: "BAD", spec: {} });
  const before = (await fixture.get("/audit")).body.total;
  await fixture.api.services.refused.flush();
  const { items, total } = (await fixture.get("/audit")).body;
  assert.equal(total, before + 2);
  const found = items
    .slice(0, 2)
    .map((event: Record<string, unknown>) => [event["actor"], event["action"], event["code"], event["count"], event["result"]]);
  assert.deepEqual(
    new Set(found.map((one: unknown[]) => one.join(" "))),
    new Set(["(nobody) vm.create unauthenticated 40 refused", "admin vm.create invalid-input 3 refused"]),
  );
});

test("it is read by actor, target and time, in pages, newest first", async () => {
  const all = (await fixture.get("/audit?limit=1000")).body.items as { sequence: number; at: number }[];
  assert.deepEqual(
    all.map(({ sequence }) => sequence),
    all.map(({ sequence }) => sequence).sort((left, right) => right - left),
  );
  const pages: number[] = [];
  let cursor = "";
  do {
    const { body } = await fixture.get(`/audit?limit=7${cursor === "" ? "" : `&cursor=${cursor}`}`);
    pages.push(...body.items.map((event: { sequence: number }) => event.sequence));
    cursor = body.next ?? "";
  } while (cursor !== "");
  assert.deepEqual(
    pages,
    all.map(({ sequence }) => sequence),
  );
  const nobody = (await fixture.get("/audit?actor=(nobody)")).body.items;
  assert.equal(nobody.length, 1);
  const middle = all[Math.floor(all.length / 2)]?.at ?? 0;
  assert.ok((await fixture.get(`/audit?from=${middle}`)).body.items.every((event: { at: number }) => event.at >= middle));
  assert.ok((await fixture.get(`/audit?to=${middle}`)).body.items.every((event: { at: number }) => event.at <= middle));
  assert.equal((await fixture.get("/audit?cursor=x:1")).body.code, "invalid-input");
});

test("it is exported as lines", async () => {
  const reply = await fixture.get("/audit/export");
  assert.match(reply.headers.get("content-type") ?? "", /ndjson/);
  const lines = reply.text
    .trimEnd()
    .split("\n")
    .map((line) => JSON.parse(line));
  assert.equal(lines.length, (await fixture.get("/audit")).body.total);
  assert.deepEqual([lines[0].sequence, lines[0].action, typeof lines[0].chain], [1, "audit.begin", "string"]);
});

test("a changed byte, a dropped, added or moved entry, a forged or dropped seal, a cut end: each is found", async () => {
  assert.equal((await verify()).intact, true);
  const { chain } = fixture.api.services.trail;
  const found = await entries(store, `a/${chain}/e/`);
  const seals = await entries(store, `a/${chain}/s/`);
  const middle = found[Math.floor(found.length / 2)];
  const last = found.at(-1);
  const [seal] = seals;
  const lastSeal = seals.at(-1);
  assert.ok(middle && last && seal && lastSeal && found[3] && found[4]);
  const broken = async (what: string, tamper: () => Promise<unknown>, heal: () => Promise<unknown>): Promise<void> => {
    await tamper();
    const verified = await verify();
    await heal();
    assert.equal(verified.intact, false, what);
    assert.ok(verified.problems.length > 0, what);
    assert.equal((await verify()).intact, true, `${what}: healed`);
  };
  // Any byte of any entry.
  for (const entry of found)
    for (const at of [0, Math.floor(entry.value.length / 3), entry.value.length - 2]) {
      const other = entry.value[at] === "7" ? "8" : "7";
      await broken(
        `byte ${at} of ${entry.key}`,
        () => write(put(entry, entry.value.slice(0, at) + other + entry.value.slice(at + 1))),
        () => write(put(entry)),
      );
    }
  await broken(
    "a space that JSON does not mind",
    () => write(put(middle, middle.value.replace(",", ", "))),
    () => write(put(middle)),
  );
  for (const entry of [found[0], middle, last])
    if (entry)
      await broken(
        `dropped ${entry.key}`,
        () => write({ delete: entry.key }),
        () => write(put(entry)),
      );
  await broken(
    "two swapped",
    () => write(put(found[3] as Entry, found[4]?.value), put(found[4] as Entry, found[3]?.value)),
    () => write(put(found[3] as Entry), put(found[4] as Entry)),
  );
  const early = auditKey(chain, 0);
  await broken(
    "one put before the first",
    () => write({ put: early, value: last.value }),
    () => write({ delete: early }),
  );
  for (const entry of seals)
    await broken(
      `dropped seal ${entry.key}`,
      () => write({ delete: entry.key }),
      () => write(put(entry)),
    );
  const forged = { ...JSON.parse(seal.value), hash: "0".repeat(64) };
  await broken(
    "a forged seal",
    () => write(put(seal, JSON.stringify(forged))),
    () => write(put(seal)),
  );
  await broken(
    "the end cut off with its seals",
    () =>
      write(
        { delete: lastSeal.key },
        ...found
          .filter(({ key }) => Number(key.slice(-12)) >= JSON.parse(lastSeal.value).from)
          .slice(0, 90)
          .map(({ key }) => ({ delete: key })),
      ),
    () =>
      write(
        put(lastSeal),
        ...found
          .filter(({ key }) => Number(key.slice(-12)) >= JSON.parse(lastSeal.value).from)
          .slice(0, 90)
          .map((entry) => put(entry)),
      ),
  );
});

test("chains of earlier runs are bound to the present one, also after a kill", async () => {
  const clock = new TestClock();
  const shared = await openMemoryStore({ clock, random: fixture.context.random });
  const first = await ApiFixture.start({ clock, store: shared });
  await first.make("/vms", machine("first-run"));
  // Killed: nothing is sealed any more, and a number that was under way was never written.
  const { trail } = first.api.services;
  const lost = trail.slot();
  await trail.record({ actor: "system", from: "local", action: "test.last", target: "", result: "done" });
  const second = await ApiFixture.start({ clock, store: shared });
  try {
    const verified = (await second.get("/audit/verification")).body;
    assert.deepEqual(verified.problems, []);
    assert.equal(verified.chains, 2);
    const { items } = (await second.get("/audit?limit=1000")).body as { items: { sequence: number; action: string }[] };
    const actions = items.map(({ action }) => action);
    assert.ok(items.some(({ sequence, action }) => sequence === lost.sequence && action === "audit.fill"));
    assert.ok(actions.includes("test.last") && actions.filter((action) => action === "audit.begin").length === 2);
  } finally {
    await second.stop();
    await first.stop();
  }
});

test("entries are sealed within a second or so, and at once when there are many", async () => {
  const clock = new TestClock();
  const site = await ApiFixture.start({ clock });
  try {
    const { trail } = site.api.services;
    await site.make("/vms", machine("a"));
    assert.ok(trail.head.to < trail.last);
    clock.advance(1100);
    for (let tries = 0; trail.head.to < trail.last; tries += 1) {
      assert.ok(tries < 500);
      await new Promise((resolve) => setImmediate(resolve));
    }
    await Promise.all(Array.from({ length: 150 }, (_, index) => site.request("POST", "/vms", machine(`b${index}`))));
    assert.ok(trail.last - trail.head.to < 100);
  } finally {
    await site.stop();
  }
});

test("a change whose number another server has filled is made under the next one", async () => {
  const { trail } = fixture.api.services;
  const next = auditKey(trail.chain, trail.last + 1);
  await write({
    put: next,
    value: JSON.stringify({ sequence: trail.last + 1, at: 1, actor: "system", from: "", action: "audit.fill", target: "", result: "failed" }),
  });
  await fixture.make("/vms", machine("filled"));
  const [newest, filled] = (await fixture.get("/audit?limit=2")).body.items;
  assert.deepEqual([newest.action, filled.action], ["vm.create", "audit.fill"]);
  assert.deepEqual((await verify()).problems, []);
});
