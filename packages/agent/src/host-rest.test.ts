/** The whole agent on a simulated host that is to sleep: nothing runs, nothing is started, and a boot by itself starts nothing either. */
import assert from "node:assert/strict";
import { test } from "node:test";
import { acts, seen, siteHost } from "./site-host.test-support.ts";
import { SimulatedHost } from "./simulated/simulated-host.ts";
import { ids, image, imageContent, network, pool, vm, volume } from "./simulated/sample-site.ts";

const boot = "boot-1";
const asleep = (host: SimulatedHost, bootId = boot) => host.server.call("host.sleep", { bootId });

async function emptyHost(): Promise<SimulatedHost> {
  const host = new SimulatedHost();
  host.server.images.set(ids.image, imageContent);
  host.server.put(pool(), network(), image());
  await host.start();
  return host;
}
/** Its answer, while time passes. */
async function answer<T>(host: SimulatedHost, work: Promise<T>): Promise<T> {
  let ended = false;
  const settled = work.finally(() => (ended = true));
  settled.catch(() => {});
  await host.clock.advanceUntil(() => ended, 60_000);
  return settled;
}

test("a host on which something runs does not sleep, and goes on as before", async () => {
  const host = await siteHost();
  await assert.rejects(answer(host, asleep(host)), /does not sleep: .* runs here/);
  host.hypervisor.stop(ids.vm, "crashed");
  await host.clock.advance(2000);
  assert.equal(seen(host)?.state, "running", "what crashed is started again: it is not quiet");
  await host.stop();
});

test("a host that is to sleep starts nothing, asks systemd to shut it down where there is one, and is at work again if nothing comes of it", async () => {
  const host = await emptyHost();
  assert.deepEqual(await answer(host, asleep(host)), { shutsDown: false });
  assert.deepEqual(
    host.processes.runs.filter((line) => line.startsWith("systemctl")),
    [],
  );
  host.server.put(vm(), volume());
  await host.clock.advance(60_000);
  assert.ok(!acts(host).includes("start"));
  assert.match(seen(host)?.reason ?? "", /this one is about to sleep/);
  await host.clock.advance(120_000);
  assert.equal(seen(host)?.state, "running");
  await host.stop();
});

test("systemd is asked where it is there; then nothing is started before the host has booted", async () => {
  const host = await emptyHost();
  host.files.put("/run/systemd/system/mark", "");
  host.processes.succeeds.add("systemctl poweroff");
  assert.deepEqual(await answer(host, asleep(host)), { shutsDown: true });
  host.server.put(vm(), volume());
  await host.clock.advance(600_000);
  assert.ok(!acts(host).includes("start"));
  await host.reboot("boot-2");
  assert.equal(seen(host)?.state, "running", "it was heard from the server in this boot");
  await host.stop();
});

test("an order for another boot is refused", async () => {
  const host = await emptyHost();
  await assert.rejects(answer(host, asleep(host, "boot-0")), /has booted since/);
  await host.stop();
});

test("a sleeping host that is turned on by somebody, cut off from its server, starts no machine that it once had", async () => {
  const host = await siteHost();
  assert.equal(seen(host)?.state, "running");
  // The machine was moved away, and the agent has not heard of it: it still holds its document.
  host.server.reachable = false;
  host.server.cut();
  const before = acts(host).filter((act) => act === "start").length;
  await host.reboot("boot-2");
  await host.clock.advance(3_600_000);
  assert.equal(acts(host).filter((act) => act === "start").length, before);
  await host.stop();
});
