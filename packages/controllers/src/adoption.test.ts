import assert from "node:assert/strict";
import { test } from "node:test";
import { macKey, NetworkSpec, numberKey, partKey, VmSpec, type AdoptableDomain, type RecordOf } from "@sheaf/model";
import { gib, World } from "./world.test-support.ts";

const uuid = "3f2b1c5e-0d4a-4c9b-8e77-5a1d2c3b4a59";
const mac = "52:54:00:ab:cd:ef";

async function siteWithDomain(change: Partial<AdoptableDomain> = {}) {
  const world = await World.make({ adoptionRetryMs: 100, adoptionPatienceMs: 5000 });
  const host = await world.addHost("h1");
  const other = await world.addHost("h2");
  const network = world.id();
  await world.put("network", network, "lan", NetworkSpec.parse({ bridge: "br0", subnets: [{ cidr: "10.0.0.0/24" }] }));
  for (const id of [host, other])
    await world.write([{ put: partKey("network", network, `status/hosts/${id}`), value: JSON.stringify({ state: "ready" }) }]);
  const domain: AdoptableDomain = {
    domainName: "Old Web",
    spec: VmSpec.parse({
      memory: { bytes: gib },
      disks: [{ name: "vda", deleteWithVm: false }],
      nics: [{ name: "eth0", network, mac, addresses: [] }],
      cloudInit: { seed: false },
    }),
    disks: [{ name: "vda", path: "/local/old/web.qcow2", format: "qcow2", sizeBytes: gib }],
    addresses: ["10.0.0.9"],
    notes: [],
    ...change,
  };
  world.agents.hosts.get(host)?.foreign.set(uuid, domain);
  const ask = (over: object = {}) =>
    world.addTask("adopt", "host", host, {
      parameters: { uuid, name: "web", project: world.ids.project, number: 107, acceptLosses: false, ...over },
    });
  const foreign = () => world.agents.hosts.get(host)?.foreign.has(uuid) ?? false;
  const problem = (task: string) => world.cache.get("task", task)?.status.controller?.problem;
  const vm = (): RecordOf<"vm"> | undefined => world.cache.get("vm", uuid);
  /** All keys but what is kept of tasks. */
  const kept = async () => new Map([...(await world.everything())].filter(([key]) => !/^r\/task\/|^leader/.test(key)));
  return { world, host, network, domain, ask, foreign, problem, vm, kept };
}

test("a domain becomes a machine where it runs: nothing places, starts or moves it a second time", async () => {
  const { world, host, ask, foreign, vm } = await siteWithDomain({ notes: ["a note"] });
  const task = await ask();
  assert.equal(await world.taskEnds(task), "succeeded");
  assert.match(world.cache.get("task", task)?.status.controller?.message ?? "", /^adopted as web, running; a note$/);
  assert.equal(foreign(), false);
  await world.clock.advance(60_000);
  assert.deepEqual([vm()?.placement?.host, vm()?.placement?.epoch, vm()?.status.agent?.state], [host, 1, "running"]);
  const volume = world.cache.get("volume", vm()?.spec.disks[0]?.volume ?? "");
  assert.deepEqual([volume?.spec.file, volume?.placement?.host, volume?.status.agent?.state], ["old/web.qcow2", host, "ready"]);
  assert.equal(await world.store.get(macKey(mac)).then((entry) => entry?.value), uuid);
  assert.equal(await world.store.get(numberKey("vm", 107)).then((entry) => entry?.value), uuid);
  assert.deepEqual(world.agents.takenOver, [uuid]);
  assert.deepEqual(world.agents.violations, []);
  await world.close();
});

test("an adopted machine moves as any other, and nothing of its adoption goes with it", async () => {
  const { world, host, ask, vm } = await siteWithDomain();
  await world.taskEnds(await ask());
  const move = await world.addTask("migrate", "vm", uuid);
  assert.equal(await world.taskEnds(move), "succeeded", world.cache.get("task", move)?.status.controller?.message);
  assert.notEqual(vm()?.placement?.host, host);
  assert.deepEqual([vm()?.placement?.epoch, vm()?.placement?.adoption], [2, undefined]);
  assert.equal(world.cache.get("volume", vm()?.spec.disks[0]?.volume ?? "")?.placement?.host, vm()?.placement?.host);
  assert.deepEqual(world.agents.violations, []);
  await world.change("vm", uuid, (head) => (head.deletedAt = world.clock.now()));
  await world.until(() => vm() === undefined, "it is gone");
  assert.equal(await world.store.get(macKey(mac)), null);
  await world.close();
});

test("what is refused leaves everything as it was, with cause and next step", async () => {
  const cases: readonly (readonly [code: string, (site: Awaited<ReturnType<typeof siteWithDomain>>) => Promise<object | void>, RegExp])[] = [
    ["not-found", async ({ world, host }) => void world.agents.hosts.get(host)?.foreign.clear(), /no such domain/],
    ["name-taken", async ({ world }) => void (await world.addVm("web")), /has a machine web already/],
    ["name-taken", async ({ world }) => world.write([{ put: macKey(mac), value: "another" }]), /MAC address 52:54:00:ab:cd:ef belongs to another/],
    ["name-taken", async ({ world }) => world.write([{ put: numberKey("vm", 107), value: "another" }]), /number 107 was taken/],
    ["state-refused", async ({ world }) => world.change("pool", world.ids.local, (head) => (head.spec["path"] = "/else")), /lies in no storage pool/],
    [
      "quota-exceeded",
      async ({ world }) => world.change("project", world.ids.project, (head) => (head.spec["quota"] = { memoryBytes: gib / 2 })),
      /may use 512 MiB memory/,
    ],
  ];
  for (const [code, prepare, why] of cases) {
    const site = await siteWithDomain();
    const { world, ask, problem, vm, kept } = site;
    await prepare(site);
    await world.clock.advance(1000);
    const before = await kept();
    const there = site.foreign();
    const task = await ask();
    assert.equal(await world.taskEnds(task), "failed");
    assert.equal(problem(task)?.code, code);
    assert.match(problem(task)?.detail ?? "", why);
    assert.ok((problem(task)?.next ?? "").length > 0);
    assert.equal(vm(), undefined);
    assert.deepEqual(await kept(), before);
    assert.equal(site.foreign(), there);
    await world.close();
  }
});

test("a second adoption of the same domain is refused, and one within a quota is counted once", async () => {
  const { world, ask, problem } = await siteWithDomain();
  await world.change("project", world.ids.project, (head) => (head.spec["quota"] = { vms: 2, memoryBytes: 4 * gib }));
  const [first, second] = [await ask(), await ask({ name: "web-2", number: 108 })];
  assert.deepEqual([await world.taskEnds(first), await world.taskEnds(second)].toSorted(), ["failed", "succeeded"]);
  const failed = world.taskState(first) === "failed" ? first : second;
  assert.match(problem(failed)?.detail ?? "", /is a machine of Sheaf's already/);
  const usage = JSON.parse((await world.store.get(`q/${world.ids.project}`))?.value ?? "{}") as Record<string, number>; // a usage
  assert.deepEqual([usage["vms"], usage["memoryBytes"], usage["diskBytes"]], [1, gib, gib]);
  assert.deepEqual(world.agents.takenOver, [uuid]);
  await world.close();
});

test("a host that does not answer is asked again for a while; then the task says so and nothing was changed", async () => {
  const { world, host, ask, foreign, problem } = await siteWithDomain();
  world.agents.cut(host);
  const task = await ask();
  await world.clock.advance(2000);
  assert.equal(world.taskState(task), "waiting");
  world.agents.heal(host);
  assert.equal(await world.taskEnds(task), "succeeded");

  const other = await siteWithDomain();
  other.world.agents.fault = ({ method }) => (method === "vm.adopt" ? "undone" : undefined);
  const late = await other.ask();
  assert.equal(await other.world.taskEnds(late), "failed");
  assert.equal(other.problem(late)?.code, "timed-out");
  assert.equal(other.foreign(), true);
  assert.deepEqual([foreign(), problem(task)], [false, undefined]);
  await world.close();
  await other.world.close();
});

test("the server killed at every moment of an adoption: adopted once, or not at all and said so", async () => {
  for (let ms = 0; ms < 60; ms += 3) {
    const { world, host, ask, foreign, vm } = await siteWithDomain();
    const task = await ask();
    await world.clock.advance(ms);
    world.killServer();
    await world.clock.advance(50);
    await world.startServer();
    assert.equal(await world.taskEnds(task), "succeeded", `killed after ${ms} ms`);
    assert.deepEqual([vm()?.placement?.host, vm()?.placement?.epoch, foreign()], [host, 1, false]);
    assert.deepEqual([...world.cache.all("vm")].length, 1);
    assert.deepEqual([...world.cache.all("volume")].length, 1, "the disk is one volume, however often it was tried");
    assert.deepEqual(world.agents.takenOver, [uuid]);
    assert.deepEqual(world.agents.violations, []);
    await world.close();
  }
});

test("record written while the agent is away: the task waits, and the agent takes the domain over when it is back", async () => {
  const { world, host, ask, foreign, vm } = await siteWithDomain();
  world.agents.working = false;
  const task = await ask();
  await world.until(() => vm() !== undefined, "the record is written");
  world.agents.cut(host);
  await world.clock.advance(5000);
  assert.equal(world.taskState(task), "running");
  world.killServer();
  await world.startServer();
  await world.clock.advance(120_000);
  assert.equal(foreign(), true);
  assert.deepEqual([vm()?.placement?.host, vm()?.placement?.epoch], [host, 1], "it stays placed where it runs");
  world.agents.working = true;
  world.agents.heal(host);
  assert.equal(await world.taskEnds(task), "succeeded");
  assert.deepEqual(world.agents.runningOn(uuid), [host]);
  await world.close();
});

test("a cancelled adoption changes nothing", async () => {
  const { world, host, ask, foreign, vm } = await siteWithDomain();
  world.agents.cut(host);
  const task = await ask();
  await world.clock.advance(500);
  await world.change("task", task, (head) => (head.spec["cancelRequestedAt"] = world.clock.now()));
  assert.equal(await world.taskEnds(task), "cancelled");
  assert.deepEqual([foreign(), vm()], [true, undefined]);
  await world.close();
});
