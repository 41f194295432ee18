/** Guests that hang are reset by the whole agent on a simulated host, and no others. */
import assert from "node:assert/strict";
import { test } from "node:test";
import type { VmObservation } from "@sheaf/model";
import { SimulatedHost } from "./simulated/simulated-host.ts";
import { ids, imageContent, site, vm } from "./simulated/sample-site.ts";

const seen = (host: SimulatedHost): VmObservation | undefined => host.server.part<VmObservation>("vm", ids.vm);
const resets = (host: SimulatedHost): number => host.hypervisor.calls.filter((call) => call.startsWith("reset ")).length;

const watched = { restart: { onHang: "restart", hangAfterMs: 30_000 } };
async function watchedHost(spec: object = watched, prepare: (host: SimulatedHost) => void = () => {}): Promise<SimulatedHost> {
  const host = new SimulatedHost();
  prepare(host);
  host.server.images.set(ids.image, imageContent);
  host.server.put(...site().filter(({ kind }) => kind !== "vm"), vm(spec));
  await host.start();
  await host.clock.advance(60_000);
  assert.equal(seen(host)?.state, "running");
  return host;
}

test("a guest whose agent answered and does not any more is reset after its time, once, and told as a restart with why", async () => {
  const host = await watchedHost();
  const { silentGuests } = host.hypervisor;
  silentGuests.add(ids.vm);
  const silentAt = host.clock.now();
  await host.clock.advance(29_000);
  assert.equal(resets(host), 0);
  await host.clock.advance(10_000);
  assert.equal(resets(host), 1);
  assert.deepEqual([seen(host)?.restarts, seen(host)?.lastEnd?.by, seen(host)?.state], [1, "hang", "running"]);
  assert.ok(Math.abs((seen(host)?.lastEnd?.at ?? 0) - silentAt) <= 10_000);
  assert.ok((seen(host)?.startedAt ?? 0) >= silentAt + 30_000);
  // Until it answers again it is starting, however long that takes.
  await host.clock.advance(600_000);
  assert.equal(resets(host), 1);
  silentGuests.clear();
  await host.clock.advance(60_000);
  silentGuests.add(ids.vm);
  await host.clock.advance(45_000);
  assert.equal(resets(host), 2);
  await host.stop();
});

test("a guest that never answered, has closed its agent's channel, is paused, cannot be asked, or is not to be watched is never reset", async () => {
  const never = await watchedHost(watched, ({ hypervisor }) => hypervisor.silentGuests.add(ids.vm));
  const closed = await watchedHost();
  closed.hypervisor.silentGuests.add(ids.vm);
  closed.hypervisor.closedChannels.add(ids.vm);
  const paused = await watchedHost();
  paused.server.put(vm({ ...watched, power: "paused" }, { generation: 2 }));
  await paused.settle();
  paused.hypervisor.silentGuests.add(ids.vm);
  const ignored = await watchedHost({});
  ignored.hypervisor.silentGuests.add(ids.vm);
  const busy = await watchedHost();
  busy.hypervisor.busyGuests.add(ids.vm);
  for (const host of [busy, never, closed, paused, ignored]) {
    await host.clock.advance(600_000);
    assert.equal(resets(host), 0);
    await host.stop();
  }
});

test("an agent that is killed in between, or was away for long, counts the silence from its own begin", async () => {
  const host = await watchedHost();
  host.hypervisor.silentGuests.add(ids.vm);
  await host.clock.advance(25_000);
  await host.restart();
  await host.clock.advance(25_000);
  assert.equal(resets(host), 0);
  await host.clock.advance(15_000);
  assert.equal(resets(host), 1);
  await host.stop();
});

test("a guest that hangs again and again is left alone after the policy's tries", async () => {
  const host = await watchedHost({ restart: { onHang: "restart", hangAfterMs: 5000, maximumTries: 2 } });
  for (let round = 0; round < 8; round += 1) {
    host.hypervisor.silentGuests.add(ids.vm);
    await host.clock.advance(15_000);
    host.hypervisor.silentGuests.clear();
    await host.clock.advance(15_000);
  }
  assert.equal(resets(host), 2);
  await host.stop();
});

test("the watch can be switched on while a machine runs, and off again", async () => {
  const host = await watchedHost({});
  host.server.put(vm(watched, { generation: 2 }));
  await host.clock.advance(20_000);
  host.hypervisor.silentGuests.add(ids.vm);
  host.server.put(vm({}, { generation: 3 }));
  await host.clock.advance(120_000);
  assert.equal(resets(host), 0);
  host.hypervisor.silentGuests.clear();
  host.server.put(vm(watched, { generation: 4 }));
  await host.clock.advance(20_000);
  host.hypervisor.silentGuests.add(ids.vm);
  await host.clock.advance(45_000);
  assert.equal(resets(host), 1);
  await host.stop();
});
