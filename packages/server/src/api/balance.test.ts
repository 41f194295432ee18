/** Balancing of a cluster through the API: what is shown, what is refused, and what a person's word begins. */
import assert from "node:assert/strict";
import { afterEach, beforeEach, test } from "node:test";
import { UseBook } from "@sheaf/planning";
import { ApiFixture } from "../testing/api-fixture.ts";

let book: UseBook;
let fixture: ApiFixture;
beforeEach(async () => {
  book = new UseBook();
  fixture = await ApiFixture.start({ book });
});
afterEach(() => fixture.stop());

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

/** What the hosts use from now on, beside their machines; known for long enough. */
function use(
  uses: readonly { readonly host: string; readonly cpus: number; readonly machines?: readonly { readonly id: string; readonly cpus: number }[] }[],
) {
  for (let at = fixture.clock.monotonic() - 90_000; at <= fixture.clock.monotonic(); at += 15_000)
    for (const { host, cpus, machines = [] } of uses)
      book.add(host, { cpus, memoryBytes: 2 ** 22, machines: machines.map((machine) => ({ ...machine, memoryBytes: 2 ** 20 })) }, at);
}

test("what was read is what is done: by id, refused with what is advised now where the cluster is not what it was; dismissed moves are not advised", async () => {
  await fixture.furnish();
  const cluster = (await fixture.get("/clusters/default")).body;
  const hosts = [await fixture.host("s1"), await fixture.host("s2")];
  const [s1 = "", s2 = ""] = hosts.map(({ id }) => id);
  for (const { id } of hosts) fixture.connected.add(id);
  const vms: string[] = [];
  for (const name of ["db", "web"]) {
    const vm = await fixture.make("/vms", { name, spec: { nics: [], cpu: { count: 2 } } });
    await fixture.place(vm.id, s1, "running");
    vms.push(vm.id);
  }
  const cpus = fixture.cache.get("host", s1)?.status.agent?.cpu.count ?? 0;
  const machines = vms.map((id, index) => ({ id, cpus: cpus * (index === 0 ? 0.3 : 0.6) }));
  use([{ host: s1, cpus: cpus * 0.92, machines }, { host: s2, cpus: cpus * 0.1 }]); // prettier-ignore
  const look = async () => (await fixture.get("/clusters/default/advice")).body;
  const dismiss = (body: unknown) => fixture.request("POST", "/clusters/default/advice/dismiss", body);
  const first = await look();
  assert.deepEqual([first.moves.map(({ name }: { name: string }) => name), first.since], [["db"], undefined]);
  assert.equal((await look()).advice, first.advice, "asked again it is the same");
  assert.equal((await fixture.get("/clusters/default/balance")).body.advice, first.advice);

  // Dismissed: another move helps, or none.
  const wrong = await dismiss({ vms: ["web"] });
  assert.deepEqual([wrong.status, wrong.body.code], [409, "state-refused"]);
  assert.equal((await dismiss({ vms: ["db"], advice: first.advice, forMinutes: 600 })).status, 200);
  const second = await look();
  assert.deepEqual(second.moves.map(({ name }: { name: string }) => name), ["web"]); // prettier-ignore
  assert.deepEqual(second.dismissed.map(({ name, fromName, by, until, at }: Record<string, unknown>) => [name, fromName, by, Number(until) - Number(at)]), [["db", "s1", "admin", 36_000_000]]); // prettier-ignore
  const refused = await fixture.request("POST", "/clusters/default/balance", { advice: first.advice });
  assert.equal(refused.status, 409);
  assert.match(refused.body.detail, /is not what it was: db: it may not be moved now/);
  assert.match(refused.body.next, new RegExp(`Advised now: web: s1 → s2. .*--id ${second.advice}`));
  assert.equal((await dismiss({})).status, 200);
  const none = await look();
  assert.deepEqual([none.moves, none.advice, none.dismissed.map(({ name, until }: Record<string, unknown>) => [name, until === undefined])], [[], undefined, [["db", false], ["web", true]]]); // prettier-ignore
  assert.equal((await dismiss({ vms: ["web"], forMinutes: 0 })).status, 200);
  assert.equal((await dismiss({ vms: ["web"], forMinutes: 0 })).status, 409);
  const entries = (await fixture.get("/audit?limit=20")).body.items.filter(({ action }: { action: string }) => action === "cluster.dismissAdvice");
  assert.equal(entries.length, 3);
  assert.ok(JSON.stringify(entries[0].before).includes(vms[1] ?? "?") && !JSON.stringify(entries[0].after).includes(vms[1] ?? "?"));

  // An id that is not known here is no leave to do something else.
  const unknown = await fixture.request("POST", "/clusters/default/balance", { advice: "0199c0de-0000-7000-8000-000000000001" });
  assert.deepEqual([unknown.status, /not known any more/.test(unknown.body.detail)], [409, true]);
  // Advice on record is shown with since when, and accepted by its id.
  const third = await look();
  const advice = {
    id: "0199c0de-0000-7000-8000-000000000002",
    since: 1_000,
    at: 2_000,
    before: third.score,
    promised: third.promised,
    moves: third.moves,
    frees: [],
  };
  await fixture.part("cluster", cluster.id, "status/advice", advice);
  assert.deepEqual([(await look()).advice, (await look()).since], [advice.id, 1_000]);
  const begun = await fixture.request("POST", "/clusters/default/balance", { advice: advice.id });
  assert.equal(begun.status, 202);
  const { spec } = (await fixture.get(`/tasks/${begun.body.task}`)).body;
  assert.deepEqual([spec.parameters.advice, spec.parameters.moves.map(({ vm, to, state }: Record<string, string>) => [vm, to, state])], [advice.id, [[vms[1], s2, "waiting"]]]); // prettier-ignore
});

test("history tells what was moved, why, what was promised and what it came to, at its end and some minutes later", async () => {
  await fixture.furnish();
  const host = await fixture.host("h1");
  const vm = await fixture.make("/vms", { name: "db", spec: { nics: [] } });
  const cluster = (await fixture.get("/clusters/default")).body;
  const history = async () => (await fixture.get("/clusters/default/balance/history")).body;
  assert.deepEqual(await history(), { plans: [] });
  const score = (hottestPercent: number) => ({ hottestPercent, spreadPoints: 10, levelPercent: 40 });
  const id = "0199c0de-0000-7000-8000-000000000003";
  const move = {
    vm: vm.id,
    name: "db",
    from: host.id,
    to: "0199c0de-0000-7000-8000-000000000004",
    reason: "h1 92 → 72 %",
    after: [],
    state: "waiting",
  };
  const target = { kind: "cluster", id: cluster.id, name: "default" };
  const parameters = { moves: [move], before: score(92), promised: score(72) };
  const spec = { verb: "balance", target, parameters, requestedBy: "system" };
  await fixture.part("task", id, "spec", { kind: "task", id, name: "balance-1", labels: {}, generation: 1, createdAt: 5, createdBy: "system", finalizers: [], spec }); // prettier-ignore
  const [begun] = (await history()).plans;
  assert.deepEqual([begun.state, begun.before.hottestPercent, begun.moves[0].state, begun.moves[0].fromName], ["waiting", 92, "waiting", "h1"]);
  const result = { moves: [{ ...move, state: "moved", begunAt: 6 }], measured: score(75), settled: score(73) };
  await fixture.part("task", id, "status/controller", { state: "succeeded", message: "", startedAt: 6, endedAt: 9, result });
  const [plan] = (await history()).plans;
  assert.deepEqual(
    [
      plan.task,
      plan.requestedBy,
      plan.at,
      plan.endedAt,
      plan.state,
      plan.promised.hottestPercent,
      plan.measured.hottestPercent,
      plan.settled.hottestPercent,
    ],
    [id, "system", 5, 9, "succeeded", 72, 75, 73],
  );
  assert.deepEqual([plan.moves[0].state, plan.moves[0].begunAt, plan.moves[0].reason], ["moved", 6, "h1 92 → 72 %"]);
  assert.equal((await fixture.get("/clusters/default/metrics")).body.code, "unavailable", "without telemetry");
});
