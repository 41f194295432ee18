/** Balancing of a cluster through the API: what is shown, what is refused, and what a person's word begins. */
import assert from "node:assert/strict";
import { after, before, test } from "node:test";
import { UseBook } from "@sheaf/planning";
import { ApiFixture } from "../testing/api-fixture.ts";

const book = new UseBook();
let fixture: ApiFixture;
before(async () => (fixture = await ApiFixture.start({ book })));
after(() => fixture.stop());

test("use and advice are shown; nothing to do, a plan under way and balancing that is off are refused; a person's word makes a task", async () => {
  await fixture.furnish();
  const hosts = [await fixture.host("h1"), await fixture.host("h2")];
  for (const host of hosts) fixture.connected.add(host.id);
  const vms: string[] = [];
  for (const name of ["quiet", "busy"]) {
    const vm = await fixture.make("/vms", { name, spec: { nics: [], cpu: { count: 2 } } });
    await fixture.place(vm.id, hosts[0]?.id ?? "", "running");
    vms.push(vm.id);
  }
  const look = async () => (await fixture.get("/clusters/default/balance")).body;
  const unknown = await look();
  assert.deepEqual(
    [unknown.mode, unknown.goal, unknown.hosts, unknown.unknown.toSorted(), unknown.moves],
    ["advise", "hot-spots", [], ["h1", "h2"], []],
  );
  const nothing = await fixture.request("POST", "/clusters/default/balance", {});
  assert.deepEqual([nothing.status, nothing.body.code], [409, "state-refused"]);
  assert.match(nothing.body.detail, /No move would help cluster default/);
  assert.match(nothing.body.next, /--goal even/);

  const cpus = fixture.cache.get("host", hosts[0]?.id ?? "")?.status.agent?.cpu.count ?? 0;
  for (let at = fixture.clock.monotonic() - 90_000; at <= fixture.clock.monotonic(); at += 15_000) {
    const machines = vms.map((id, index) => ({ id, cpus: cpus * (index === 0 ? 0.2 : 0.7), memoryBytes: 2 ** 20 }));
    book.add(hosts[0]?.id ?? "", { cpus: cpus * 0.92, memoryBytes: 2 ** 22, machines }, at);
    book.add(hosts[1]?.id ?? "", { cpus: cpus * 0.1, memoryBytes: 2 ** 22, machines: [] }, at);
  }
  const known = await look();
  assert.deepEqual(known.hosts.map(({ name, cpuPercent }: { name: string; cpuPercent: number }) => [name, cpuPercent]).toSorted(), [["h1", 92], ["h2", 10]]); // prettier-ignore
  assert.deepEqual(
    known.moves.map(({ name, fromName, toName, reason }: Record<string, string>) => [name, fromName, toName, reason]),
    [["quiet", "h1", "h2", "h1 92 → 72 %, h2 10 → 30 %"]],
  );
  assert.equal(known.promised.hottestPercent, 72);

  const begun = await fixture.request("POST", "/clusters/default/balance", {});
  assert.equal(begun.status, 202);
  const { spec } = (await fixture.get(`/tasks/${begun.body.task}`)).body;
  assert.deepEqual([spec.verb, spec.target.name, spec.parameters.moves.length, spec.requestedBy], ["balance", "default", 1, "admin"]);
  assert.equal((await look()).task, begun.body.task);
  assert.match((await fixture.request("POST", "/clusters/default/balance", {})).body.detail, /is being balanced already/);

  assert.equal((await fixture.request("PATCH", "/clusters/default", { spec: { balancing: { mode: "off" } } })).status, 200);
  const off = await fixture.get("/clusters/default/balance");
  assert.deepEqual([off.status, off.body.code], [409, "state-refused"]);
  assert.match(off.body.next, /--mode advise/);
});
