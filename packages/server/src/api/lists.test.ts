/** Lists: filter, label, sort, fields, pages. */
import assert from "node:assert/strict";
import { after, before, test } from "node:test";
import { ApiFixture } from "../testing/api-fixture.ts";

let fixture: ApiFixture;
before(async () => {
  fixture = await ApiFixture.start();
  await fixture.furnish();
  const host = await fixture.host("h1");
  await fixture.make("/projects", { name: "red", spec: {} });
  for (let index = 0; index < 30; index += 1) {
    const vm = await fixture.make("/vms", {
      name: `vm-${String(index).padStart(2, "0")}`,
      labels: { tier: index % 3 === 0 ? "web" : "db", ...(index % 2 === 0 ? { even: "yes" } : {}) },
      spec: { nics: [], cpu: { count: 1 + (index % 4) }, memory: { bytes: (1 + index) * 2 ** 28 } },
    });
    if (index < 10) await fixture.place(vm.id, host.id, index < 6 ? "running" : "stopped");
  }
  await fixture.make("/vms", { name: "elsewhere", project: "red", spec: { nics: [] } });
});
after(() => fixture.stop());

const names = async (query: string): Promise<string[]> => {
  const reply = await fixture.get(`/vms?${query}`);
  assert.equal(reply.status, 200, reply.text);
  return reply.body.items.map((item: { name: string }) => item.name);
};
const count = async (query: string): Promise<number> => (await fixture.get(`/vms?${query}`)).body.total;

test("filters", async () => {
  assert.equal(await count("filter=state=running"), 6);
  assert.equal(await count("filter=state!=running&project=default"), 24);
  assert.equal(await count("filter=spec.cpu.count>2"), 14);
  assert.equal(await count("filter=spec.cpu.count>=2,spec.cpu.count<4&project=default"), 15);
  assert.equal(await count(`filter=${encodeURIComponent("spec.memory.bytes>=7GiB")}`), 3);
  assert.deepEqual(await names("filter=name~M-1&sort=name"), [
    "vm-10",
    "vm-11",
    "vm-12",
    "vm-13",
    "vm-14",
    "vm-15",
    "vm-16",
    "vm-17",
    "vm-18",
    "vm-19",
  ]);
  assert.equal(await count("filter=host=h1"), 10);
  assert.equal(await count("filter=host=h1,state=stopped"), 4);
  assert.equal(await count("filter=number=100"), 1);
  assert.equal(await count("filter=project=red"), 1);
  assert.equal(await count("filter=spec.guestAgent=true&project=red"), 1);
  assert.equal(await count("filter="), 31);
  assert.equal((await fixture.get("/tasks?filter=verb=create,target=vm-00")).body.total, 1);
  assert.equal((await fixture.get("/hosts?filter=cluster=default")).body.total, 1);
});

test("label selectors", async () => {
  assert.equal(await count("label=tier=web"), 10);
  assert.equal(await count("label=tier!=web&project=default"), 20);
  assert.equal(await count("label=even"), 15);
  assert.equal(await count("label=even=yes,tier=web"), 5);
});

test("sorting, both ways, absent values last", async () => {
  assert.deepEqual((await names("sort=-name&limit=3&project=default")).slice(0, 3), ["vm-29", "vm-28", "vm-27"]);
  assert.deepEqual(await names("sort=-spec.memory.bytes&limit=2"), ["vm-29", "vm-28"]);
  const byHost = await names("sort=placement.host&limit=31");
  assert.deepEqual(new Set(byHost.slice(0, 10)), new Set(Array.from({ length: 10 }, (_, index) => `vm-0${index}`)));
});

test("pages hold every record once, also while records come and go", async () => {
  const seen: string[] = [];
  let cursor = "";
  let pages = 0;
  do {
    const { body } = await fixture.get(`/vms?project=default&sort=-spec.cpu.count&limit=7${cursor === "" ? "" : `&cursor=${cursor}`}`);
    seen.push(...body.items.map((item: { name: string }) => item.name));
    cursor = body.next ?? "";
    pages += 1;
    assert.ok(body.total >= 30 && body.revision > 0);
    if (pages === 2) await fixture.make("/vms", { name: "newcomer", spec: { nics: [], cpu: { count: 16 } } });
  } while (cursor !== "");
  assert.equal(pages, 5);
  assert.equal(new Set(seen).size, seen.length);
  assert.equal(seen.length, 30, "the newcomer sorts before what was read already");
});

test("a cursor belongs to its list", async () => {
  const { next } = (await fixture.get("/vms?limit=2")).body;
  assert.equal((await fixture.get(`/vms?limit=2&sort=name&cursor=${next}`)).body.code, "invalid-input");
});

test("fields", async () => {
  const { items } = (await fixture.get("/vms?filter=name=vm-00&fields=name,state,spec.cpu.count,labels.tier")).body;
  assert.deepEqual(items, [{ name: "vm-00", state: "running", spec: { cpu: { count: 1 } }, labels: { tier: "web" } }]);
});

test("a list waits for a revision, but not for ever", async () => {
  const reply = await fixture.get("/vms?revision=1&limit=1");
  assert.equal(reply.status, 200);
  const late = fixture.get("/vms?revision=999999&limit=1");
  await new Promise((resolve) => setImmediate(resolve));
  const timer = setInterval(() => fixture.clock.advance(11_000), 5);
  const answer = await late;
  clearInterval(timer);
  assert.equal(answer.body.code, "timed-out");
});
