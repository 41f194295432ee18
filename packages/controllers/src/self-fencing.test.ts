/** The method `watchdog`: nothing is done to a lost host, and a while later it is certain that it runs nothing, or that nobody can know. */
import assert from "node:assert/strict";
import { test } from "node:test";
import { type HostFencing, type HostLease, selfFencedAfterMs } from "@sheaf/model";
import { World } from "./world.test-support.ts";

const terms = { termMs: 60_000, watchdogMs: 30_000 };
const waitMs = selfFencedAfterMs(terms);

interface Scene {
  readonly world: World;
  readonly lost: string;
  readonly vm: string;
  fencing(): HostFencing | undefined;
  lease(change?: Partial<HostLease>): Promise<void>;
}

/** @param methods of the host that will be lost */
async function scene(methods: readonly object[] = [{ type: "watchdog", leaseMs: 60_000, watchdogTimeoutMs: 30_000 }], counts = true): Promise<Scene> {
  const world = await World.make();
  const lost = await world.addHost("h1");
  const { vm } = await world.addVm("web", { disk: "shared", spec: { highlyAvailable: true } });
  await world.until(() => world.agents.runningOn(vm).includes(lost), "it runs on the first host");
  await world.addHost("h2");
  await world.addHost("h3");
  await world.change("host", lost, (head) => (head.spec["fencing"] = methods.map((method) => ({ ...method, ...addressOf(method, lost) }))));
  const it: Scene = {
    ...{ world, lost, vm },
    fencing: () => world.cache.get("host", lost)?.status.fencing,
    async lease(change = {}) {
      const value: HostLease = { incarnation: world.store.incarnation, bootId: "1", ...terms, ...change };
      await world.write([{ put: `r/host/${lost}/status/lease`, value: JSON.stringify(value) }]);
    },
  };
  if (counts) await it.lease();
  return it;
}

const ipmi = { type: "ipmi", user: "admin", password: "secret", port: 623, cipherSuite: 17, privilege: "administrator", timeoutMs: 5000 };
const addressOf = (method: object, host: string): object => ("user" in method ? { address: host } : {});

/** Its power goes, or its machines do: nothing of it runs. */
async function lose({ world, lost, fencing }: Scene): Promise<number> {
  world.agents.powerOff(lost);
  await world.until(() => fencing()?.state === "fencing", "it is waited for");
  return world.clock.monotonic();
}

async function end({ world }: Scene): Promise<void> {
  assert.deepEqual(world.agents.violations, []);
  await world.close();
}

test("it is fenced when lease, watchdog and their margins are over, not a moment earlier, and by no device", async () => {
  const it = await scene();
  const { world, lost, vm, fencing } = it;
  const from = await lose(it);
  await world.clock.advance(waitMs - 1000);
  assert.equal(fencing()?.state, "fencing");
  await world.until(() => fencing()?.state === "fenced", "it is fenced");
  assert.ok(world.clock.monotonic() - from >= waitMs - 100, `${world.clock.monotonic() - from} of ${waitMs} ms`);
  assert.deepEqual([fencing()?.byItself, fencing()?.attempts.map(({ method, outcome }) => [method, outcome])], [true, [["watchdog", "off"]]]);
  await world.until(() => world.vmOn(vm) !== lost && world.agents.runningOn(vm).length === 1, "it runs elsewhere");
  assert.deepEqual(world.bmcs.calls, []);
  await end(it);
});

test("a host whose watchdog does not count waits for a person, who reads why", async () => {
  const it = await scene(undefined, false);
  const { world, lost, fencing } = it;
  world.agents.powerOff(lost);
  await world.until(() => fencing()?.state === "asking", "a person is asked");
  assert.match(fencing()?.reason ?? "", /watchdog: it cannot be relied on: this host has not told of a hardware watchdog/);
  await world.clock.advance(3 * waitMs);
  assert.notEqual(fencing()?.state, "fenced");
  await world.addTask("confirm-off", "host", lost);
  await world.until(() => fencing()?.state === "fenced", "it is fenced by a person's word");
  assert.equal(fencing()?.byItself, undefined);
  await end(it);
});

test("what another life of the store promised is no fence", async () => {
  const it = await scene();
  await it.lease({ incarnation: "another" });
  it.world.agents.powerOff(it.lost);
  await it.world.until(() => it.fencing()?.state === "asking", "a person is asked");
  assert.match(it.fencing()?.reason ?? "", /restored from a backup/);
  await end(it);
});

test("the longest terms that were promised count, not those that its document has now", async () => {
  const it = await scene();
  await it.lease({ termMs: 300_000 });
  await lose(it);
  await it.world.clock.advance(waitMs + 5000);
  assert.equal(it.fencing()?.state, "fencing");
  await it.world.until(() => it.fencing()?.state === "fenced", "it is fenced", selfFencedAfterMs({ ...terms, termMs: 300_000 }));
  await end(it);
});

test("methods are tried in their order: a device that fails, then its own watchdog; or the watchdog that does not count, then a device", async () => {
  const own = { type: "watchdog", leaseMs: 60_000, watchdogTimeoutMs: 30_000 };
  const it = await scene([ipmi, own]);
  it.world.bmcs.faults.set(`ipmi ${it.lost}`, "refuses");
  await lose(it);
  await it.world.until(() => it.fencing()?.state === "fenced", "it is fenced", waitMs + 10_000);
  assert.deepEqual(
    it.fencing()?.attempts.map(({ method }) => method),
    [`ipmi ${it.lost}`, "watchdog"],
  );
  await end(it);
  const other = await scene([own, ipmi], false);
  other.world.agents.powerOff(other.lost);
  await other.world.until(() => other.fencing()?.state === "fenced", "it is fenced", 20_000);
  assert.deepEqual(
    other.fencing()?.attempts.map(({ method, outcome }) => [method, outcome]),
    [
      ["watchdog", "failed"],
      [`ipmi ${other.lost}`, "off"],
    ],
  );
  await end(other);
});

test("its pulse is heard while it is waited for: it is held; when that stops too, it is waited for anew", async () => {
  const it = await scene();
  const { world, lost, fencing } = it;
  await lose(it);
  await world.clock.advance(waitMs / 2);
  world.agents.pulses.set(lost, "server");
  await world.until(() => fencing()?.state === "held", "it is held");
  await world.clock.advance(2 * waitMs);
  assert.equal(fencing()?.state, "held");
  world.agents.pulses.delete(lost);
  await world.until(() => fencing()?.state === "fenced", "it is fenced", waitMs + 20_000);
  await end(it);
});

test("a pulse that only a pool shows holds a host until its lease must be over: none reaches it", async () => {
  const it = await scene();
  const { world, lost, fencing } = it;
  world.agents.pulses.set(lost, "pool");
  world.agents.powerOff(lost);
  await world.until(() => fencing()?.state === "held", "it is held");
  await world.clock.advance(waitMs - 5000);
  assert.equal(fencing()?.state, "held");
  await world.until(() => fencing()?.state === "fenced", "it is fenced", 30_000);
  await end(it);
});

test("a lease that has begun anew meanwhile, through another server, is waited for as a whole", async () => {
  const it = await scene();
  const { world, fencing } = it;
  const from = await lose(it);
  await world.clock.advance(waitMs - 2000);
  await it.lease({ begunAt: world.clock.now() });
  await world.clock.advance(10_000);
  assert.equal(fencing()?.state, "fencing");
  await world.until(() => fencing()?.state === "fenced", "it is fenced", waitMs + 5000);
  assert.ok(world.clock.monotonic() - from >= 2 * waitMs - 3000);
  await end(it);
});

test("a server that begins to lead counts anew: it cannot know what the one before heard last", async () => {
  const it = await scene();
  const { world, fencing } = it;
  await lose(it);
  await world.clock.advance(waitMs - 5000);
  world.killServer();
  await world.startServer();
  const from = world.clock.monotonic();
  await world.clock.advance(waitMs - 5000);
  assert.equal(fencing()?.state, "fencing");
  await world.until(() => fencing()?.state === "fenced", "it is fenced", 20_000);
  assert.ok(world.clock.monotonic() - from >= waitMs - 2000);
  await end(it);
});

test("a person's word is taken while it is waited for", async () => {
  const it = await scene();
  await lose(it);
  await it.world.addTask("confirm-off", "host", it.lost);
  await it.world.until(() => it.fencing()?.state === "fenced", "it is fenced", 5000);
  assert.equal(it.fencing()?.byItself, undefined);
  await end(it);
});
