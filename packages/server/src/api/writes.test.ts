/** Writes that are repeated, raced, tried dry or come too late. */
import assert from "node:assert/strict";
import { after, before, test } from "node:test";
import { openMemoryStore, StoreError, type Store, type TransactionInput } from "@sheaf/store";
import { ApiFixture } from "../testing/api-fixture.ts";
import { TestClock } from "../testing/test-clock.ts";

/** A store that can lose answers, before or after the commit. */
class LossyStore {
  mode: "none" | "before" | "after" = "none";
  /** Nothing can be read. */
  away = false;
  lost = 0;

  wrap(store: Store): Store {
    return new Proxy(store, {
      get: (target, property) => {
        if (property === "get" && this.away) return () => Promise.reject(new StoreError("unavailable", "the store is away"));
        if (property !== "transact") {
          const member: unknown = Reflect.get(target, property, target);
          return typeof member === "function" ? member.bind(target) : member;
        }
        return async (input: TransactionInput) => {
          const { mode } = this;
          if (mode === "none") return target.transact(input);
          this.mode = "none";
          this.lost += 1;
          if (mode === "after") await target.transact(input);
          throw new StoreError("uncertain", "the answer was lost");
        };
      },
    });
  }
}

const lossy = new LossyStore();
let fixture: ApiFixture;
before(async () => {
  const clock = new TestClock();
  const store = await openMemoryStore({ clock, random: { bytes: (length) => crypto.getRandomValues(new Uint8Array(length)) } });
  fixture = await ApiFixture.start({ clock, store: lossy.wrap(store) });
  await fixture.furnish();
});
after(() => fixture.stop());

const machine = (name: string, more: object = {}) => ({ name, spec: { nics: [], ...more } });
const keyed = (key: string) => ({ headers: { "idempotency-key": key } });

test("the same request with the same key is done once and answered alike", async () => {
  const [first, second] = [
    await fixture.request("POST", "/vms", machine("once"), keyed("k1")),
    await fixture.request("POST", "/vms", machine("once"), keyed("k1")),
  ];
  assert.equal(first.status, 201);
  assert.equal(second.status, 201, second.text);
  assert.equal(second.body.record.id, first.body.record.id);
  assert.equal(second.body.task, first.body.task);
  assert.equal(second.headers.get("idempotency-replayed"), "true");
});

test("the same key with another body is refused, and for another user it is another key", async () => {
  await fixture.request("POST", "/vms", machine("keyed"), keyed("k2"));
  const other = await fixture.request("POST", "/vms", machine("keyed-too"), keyed("k2"));
  assert.equal(other.status, 422);
  assert.equal(other.body.code, "idempotency-mismatch");
  const token = await fixture.user("ida", [{ role: "operator", project: "default" }]);
  const theirs = await fixture.request("POST", "/vms", machine("keyed-too"), { token, ...keyed("k2") });
  assert.equal(theirs.status, 201, theirs.text);
});

test("twenty requests with one key at once make one machine", async () => {
  const replies = await Promise.all(Array.from({ length: 20 }, () => fixture.request("POST", "/vms", machine("storm"), keyed("k3"))));
  assert.deepEqual([...new Set(replies.map(({ status }) => status))], [201]);
  assert.equal(new Set(replies.map(({ body }) => body.record.id)).size, 1);
});

test("a key is forgotten after a day", async () => {
  const made = await fixture.request("POST", "/vms", machine("day"), keyed("k4"));
  assert.equal(made.status, 201);
  fixture.clock.advance(25 * 3_600_000 + 60_000);
  fixture.token = await fixture.signIn("admin", "correct horse battery");
  const again = await fixture.request("POST", "/vms", machine("day"), keyed("k4"));
  assert.equal(again.body.code, "name-taken");
});

test("verbs can be repeated by key too", async () => {
  await fixture.make("/vms", machine("stopper"));
  const [first, second] = [
    await fixture.request("POST", "/vms/stopper/stop", {}, keyed("k5")),
    await fixture.request("POST", "/vms/stopper/stop", {}, keyed("k5")),
  ];
  assert.equal(first.status, 202, first.text);
  assert.equal(second.status, 202, second.text);
  assert.equal(second.body.task, first.body.task);
});

test("of two creators of one name exactly one succeeds", async () => {
  for (let round = 0; round < 10; round += 1) {
    const replies = await Promise.all([1, 2, 3].map(() => fixture.request("POST", "/vms", machine(`race-${round}`))));
    assert.deepEqual(replies.map(({ status }) => status).sort(), [201, 409, 409]);
    assert.ok(replies.every(({ body, status }) => status === 201 || body.code === "name-taken"));
  }
});

test("fifty creations at once get fifty numbers, MACs and addresses", async () => {
  const replies = await Promise.all(
    Array.from({ length: 50 }, (_, index) =>
      fixture.request("POST", "/vms", { name: `many-${index}`, spec: { disks: [{ name: "root", image: "mini" }] } }),
    ),
  );
  assert.ok(replies.every(({ status }) => status === 201));
  const of = (read: (record: { number: number; spec: { nics: { mac: string; addresses: string[] }[] } }) => unknown) =>
    new Set(replies.map(({ body }) => read(body.record))).size;
  assert.equal(
    of((record) => record.number),
    50,
  );
  assert.equal(
    of((record) => record.spec.nics[0]?.mac),
    50,
  );
  assert.equal(
    of((record) => record.spec.nics[0]?.addresses[0]),
    50,
  );
  assert.equal(
    of((record) => record.spec.nics[0]?.addresses[1]),
    50,
  );
});

test("of fifty creations at the edge of a quota exactly as many succeed as it allows", async () => {
  await fixture.make("/projects", { name: "narrow", spec: { quota: { vms: 17, vcpus: 1000 } } });
  const replies = await Promise.all(
    Array.from({ length: 50 }, (_, index) => fixture.request("POST", "/vms", { ...machine(`n-${index}`), project: "narrow" })),
  );
  const made = replies.filter(({ status }) => status === 201);
  assert.equal(made.length, 17);
  for (const { body } of replies.filter(({ status }) => status !== 201)) {
    assert.equal(body.code, "quota-exceeded");
    assert.match(body.detail, /may use 17 machines and uses 17; this needs 1 more/);
  }
  assert.equal((await fixture.get("/projects/narrow/usage")).body.used.vms, 17);
});

test("a quota set on a project that is used counts what is there, and a machine's growth counts too", async () => {
  await fixture.make("/projects", { name: "late", spec: {} });
  await fixture.make("/vms", { ...machine("a", { cpu: { count: 2 } }), project: "late" });
  assert.equal((await fixture.request("PATCH", "/projects/late", { spec: { quota: { vcpus: 4 } } })).status, 200);
  assert.equal((await fixture.request("POST", "/vms", { ...machine("b", { cpu: { count: 3 } }), project: "late" })).body.code, "quota-exceeded");
  await fixture.make("/vms", { ...machine("b", { cpu: { count: 2 } }), project: "late" });
  assert.equal((await fixture.request("PATCH", "/vms/b?project=late", { spec: { cpu: { count: 3 } } })).body.code, "quota-exceeded");
  assert.equal((await fixture.request("PATCH", "/vms/b?project=late", { spec: { cpu: { count: 1 } } })).status, 200);
  assert.equal((await fixture.request("PATCH", "/projects/late", { spec: { quota: { vcpus: null } } })).status, 200);
  await fixture.make("/vms", { ...machine("c", { cpu: { count: 30 } }), project: "late" });
});

test("disks of machines count against the quota", async () => {
  await fixture.make("/projects", { name: "disks", spec: { quota: { diskBytes: 3 * 2 ** 30 } } });
  const disk = (name: string) => ({ ...machine(name, { disks: [{ name: "root", sizeBytes: 2 * 2 ** 30 }] }), project: "disks" });
  await fixture.make("/vms", disk("a"));
  const refused = await fixture.request("POST", "/vms", disk("b"));
  assert.equal(refused.body.code, "quota-exceeded");
  assert.match(refused.body.detail, /3 GiB disk space and uses 2 GiB; this needs 2 GiB more/);
  const grown = { spec: { disks: [{ name: "root", sizeBytes: 4 * 2 ** 30 }] } };
  assert.equal((await fixture.request("PATCH", "/vms/a?project=disks", grown)).body.code, "quota-exceeded");
});

test("a change on an older revision than it names is refused, one on the present is made", async () => {
  const made = await fixture.make("/vms", machine("matched"));
  const etag = (await fixture.get("/vms/matched")).headers.get("etag") ?? "";
  assert.equal(etag, `"${made.specRevision}"`);
  const change = (labels: object) => fixture.request("PATCH", "/vms/matched", { labels }, { headers: { "if-match": etag } });
  const first = await change({ a: "1" });
  assert.equal(first.status, 200);
  assert.notEqual(first.headers.get("etag"), etag);
  const second = await change({ a: "2" });
  assert.equal(second.status, 412);
  assert.equal(second.body.code, "precondition-failed");
});

test("of changes at once with one If-Match one is made; without it all are", async () => {
  const made = await fixture.make("/vms", machine("both"));
  const guarded = await Promise.all(
    [1, 2, 3, 4].map((value) =>
      fixture.request("PATCH", "/vms/both", { labels: { [`g${value}`]: "x" } }, { headers: { "if-match": `"${made.specRevision}"` } }),
    ),
  );
  assert.deepEqual(guarded.map(({ status }) => status).sort(), [200, 412, 412, 412]);
  const free = await Promise.all([1, 2, 3, 4].map((value) => fixture.request("PATCH", "/vms/both", { labels: { [`f${value}`]: "x" } })));
  assert.deepEqual([...new Set(free.map(({ status }) => status))], [200]);
  const { labels } = (await fixture.get("/vms/both")).body;
  assert.equal(Object.keys(labels).filter((key) => key.startsWith("f")).length, 4);
});

test("a flood of status does not make a change with If-Match fail", async () => {
  const made = await fixture.make("/vms", machine("flooded"));
  for (let count = 0; count < 5; count += 1) await fixture.part("vm", made.id, "status/placement", { pending: { reason: `try ${count}`, since: 1 } });
  const change = await fixture.request("PATCH", "/vms/flooded", { labels: { a: "b" } }, { headers: { "if-match": `"${made.specRevision}"` } });
  assert.equal(change.status, 200, change.text);
});

test("a change that changes nothing writes nothing", async () => {
  const made = await fixture.make("/vms", { ...machine("same"), labels: { a: "b" } });
  const before = await fixture.contents();
  const again = await fixture.request("PATCH", "/vms/same", { labels: { a: "b" }, spec: { cpu: { count: 1 } } });
  assert.equal(again.status, 200);
  assert.equal(again.body.record.specRevision, made.specRevision);
  assert.equal(again.body.task, undefined);
  assert.deepEqual(await fixture.contents(), before);
});

test("a dry run answers what would be, says what would be refused, and writes nothing", async () => {
  await fixture.make("/vms", machine("dry-there"));
  const before = await fixture.contents();
  const created = await fixture.request("POST", "/vms?dryRun=true", { name: "dry", spec: { disks: [{ name: "root", image: "mini" }] } });
  assert.equal(created.status, 200, created.text);
  assert.equal(created.body.record.spec.nics.length, 1);
  assert.equal((await fixture.request("POST", "/vms?dryRun=true", machine("dry-there"))).body.code, "name-taken");
  const changed = await fixture.request("PATCH", "/vms/dry-there?dryRun=true", { spec: { cpu: { count: 4 } } });
  assert.equal(changed.body.record.spec.cpu.count, 4);
  assert.equal((await fixture.request("DELETE", "/vms/dry-there?dryRun=true")).status, 200);
  assert.deepEqual(await fixture.contents(), before);
  // What a dry run looked at is still free.
  const address = created.body.record.spec.nics[0].addresses[0];
  const real = await fixture.make("/vms", { name: "wet", spec: {} });
  assert.equal(real.spec.nics[0].addresses[0], address);
});

test("an answer of the store that was lost is settled: done is told as done", async () => {
  lossy.mode = "after";
  const reply = await fixture.request("POST", "/vms", machine("lost-after"));
  assert.equal(lossy.mode, "none");
  assert.equal(reply.status, 201, reply.text);
  assert.equal((await fixture.get("/vms/lost-after")).body.id, reply.body.record.id);
});

test("an answer of the store that was lost is settled: not done is told as not done", async () => {
  lossy.mode = "before";
  const reply = await fixture.request("POST", "/vms", machine("lost-before"));
  assert.equal(reply.status, 503);
  assert.equal(reply.body.code, "unavailable");
  assert.equal((await fixture.get("/vms/lost-before")).status, 404);
  assert.equal((await fixture.request("POST", "/vms", machine("lost-before"))).status, 201);
});

test("a repeated request is not refused because of itself while the store cannot tell of the first", async () => {
  const first = await fixture.request("POST", "/vms", machine("echo"), keyed("k-echo"));
  assert.equal(first.status, 201);
  lossy.away = true;
  const meanwhile = await fixture.request("POST", "/vms", machine("echo"), keyed("k-echo"));
  lossy.away = false;
  assert.equal(meanwhile.body.code, "unavailable", meanwhile.text);
  const second = await fixture.request("POST", "/vms", machine("echo"), keyed("k-echo"));
  assert.equal(second.body.record.id, first.body.record.id);
});

test("after all of this the audit trail is whole", async () => {
  const verified = await fixture.get("/audit/verification");
  assert.deepEqual(verified.body.problems, []);
  assert.equal(verified.body.intact, true);
  assert.equal(verified.body.events, verified.body.sealed);
});
