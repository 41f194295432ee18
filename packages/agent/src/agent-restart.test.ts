/** The whole agent on a simulated host: what it keeps and goes by through restarts, boots, and times without a server. */
import assert from "node:assert/strict";
import { test } from "node:test";
import type { HostObservation, TaskProgress } from "@sheaf/model";
import { acts, disk, seen, siteHost, volumeSeen } from "./site-host.test-support.ts";
import { sampleDocument, sampleId } from "./simulated/sample-documents.ts";
import { dataDirectory, SimulatedHost } from "./simulated/simulated-host.ts";
import { gib, ids, image, imageContent, network, pool, site, vm, volume } from "./simulated/sample-site.ts";

test("nothing is done with what is not on the disk yet", async () => {
  const host = new SimulatedHost();
  host.server.images.set(ids.image, imageContent);
  host.server.put(...site());
  const lines: string[] = [];
  let written = Promise.resolve();
  const writer = host.files.writer.bind(host.files);
  host.files.writer = async (...place) => {
    const real = await writer(...place);
    return {
      ...real,
      write: async (bytes) => {
        lines.push(Buffer.from(bytes).toString());
        await written;
        await real.write(bytes);
      },
    };
  };
  await host.start();
  let release = (): void => {};
  written = new Promise((resolve) => (release = resolve));
  lines.length = 0;
  host.server.put(vm({ power: "paused" }, { generation: 2 }), volume({ sizeBytes: 4 * gib }, { generation: 2 }));
  await host.settle();
  assert.equal(lines.length, 1);
  assert.match(lines[0] ?? "", /documents\/vm-/);
  assert.deepEqual([seen(host)?.state, volumeSeen(host)?.observedGeneration], ["running", 1]);
  release();
  await host.settle();
  assert.deepEqual([seen(host)?.state, volumeSeen(host)?.observedGeneration], ["paused", 2]);
  await host.stop();
});

test("an agent that is restarted finds its machines again and does nothing to them", async () => {
  const host = await siteHost();
  const before = host.hypervisor.calls.length;
  host.server.reachable = false;
  await host.restart();
  await host.clock.advance(60_000);
  host.server.reachable = true;
  await host.clock.advance(20_000);
  assert.deepEqual(host.hypervisor.calls.slice(before), []);
  assert.equal(seen(host)?.state, "running");
  assert.deepEqual(host.server.hellos.at(-1)?.machines, [{ id: ids.vm, epoch: 1, incarnation: "i1" }]);
  await host.stop();
});

test("cut off from the server, a crashed machine is restarted by its policy, and that is told on return", async () => {
  const host = await siteHost();
  host.server.reachable = false;
  host.server.cut();
  await host.clock.advance(60_000);
  host.hypervisor.stop(ids.vm, "crashed");
  await host.clock.advance(500);
  assert.equal(host.hypervisor.live(ids.vm), null, "it waits for the policy's delay");
  await host.clock.advance(1000);
  assert.ok(host.hypervisor.live(ids.vm));
  assert.equal(seen(host)?.restarts, 0, "nothing can be told yet");
  host.server.reachable = true;
  await host.clock.advance(15_000);
  assert.deepEqual([seen(host)?.state, seen(host)?.restarts], ["running", 1]);
  const history = seen(host)?.history ?? [];
  assert.deepEqual(
    history.map(({ state }) => state),
    ["preparing", "starting", "running", "crashed", "starting", "running"],
  );
  assert.match(history[3]?.reason ?? "", /crashed/);
  const crashedAt = history[3]?.at ?? 0;
  assert.ok(crashedAt > (history[2]?.at ?? 0) + 60_000 && (history[4]?.at ?? 0) >= crashedAt + 1000, JSON.stringify(history));
  await host.stop();
});

test("a machine's history holds the latest of what happened, also across restarts of the agent, and no more", async () => {
  const host = await siteHost([pool(), network(), image(), volume(), vm({ restart: { maximumTries: 100, delayMs: 0 } })]);
  host.server.reachable = false;
  host.server.cut();
  for (let crash = 0; crash < 10; crash += 1) {
    await host.clock.advance(60_000);
    host.hypervisor.stop(ids.vm, "crashed");
    if (crash === 5) await host.restart();
  }
  await host.clock.advance(1000);
  host.server.reachable = true;
  await host.clock.advance(30_000);
  const states = (seen(host)?.history ?? []).map(({ state }) => state);
  assert.equal(states.length, 12);
  assert.deepEqual(states.slice(-3), ["crashed", "starting", "running"], "a restart without delay is no reason to leave the crash out");
  await host.stop();
});

test("cut off, a highly available machine that crashed stays down once the lease is over", async () => {
  const host = await siteHost([pool(), network(), image(), volume(), vm({ highlyAvailable: true })]);
  host.server.reachable = false;
  host.server.cut();
  await host.clock.advance(16_000);
  host.hypervisor.stop(ids.vm, "crashed");
  await host.clock.advance(120_000);
  assert.equal(host.hypervisor.live(ids.vm), null);
  host.server.reachable = true;
  await host.clock.advance(20_000);
  assert.ok(host.hypervisor.live(ids.vm), "the server is back and has not moved it");
  await host.stop();
});

test("after a boot of the host nothing starts before the server has been heard", async () => {
  const host = await siteHost();
  host.server.reachable = false;
  await host.reboot("boot-2");
  await host.clock.advance(600_000);
  assert.equal(host.hypervisor.live(ids.vm), null);
  host.server.reachable = true;
  await host.clock.advance(15_000);
  assert.ok(host.hypervisor.live(ids.vm));
  assert.equal(seen(host)?.bootId, "boot-2");
  await host.stop();
});

test("after a boot nothing starts from what the disk remembers: not before the sync, and not what the sync left out", async () => {
  const host = await siteHost();
  host.server.withholdsSync = true;
  await host.reboot("boot-2");
  await host.clock.advance(4000);
  assert.equal(host.hypervisor.live(ids.vm), null, "it may run elsewhere by now: the server is about to say so");
  // Killed in between: that it was welcomed in this boot is no leave to start.
  host.server.reachable = false;
  host.server.cut();
  await host.restart();
  await host.clock.advance(60_000);
  assert.equal(host.hypervisor.live(ids.vm), null);
  // It was moved away meanwhile; that it is to be removed is told after the sync.
  host.server.documents.delete(`vm/${ids.vm}`);
  host.server.withholdsSync = false;
  host.server.reachable = true;
  await host.clock.advance(60_000);
  assert.equal(host.hypervisor.live(ids.vm), null);
  host.server.put(vm({}, { placement: { ...vm().placement, epoch: 3, host: ids.host } }));
  await host.settle();
  assert.ok(host.hypervisor.live(ids.vm), "it has come back");
  await host.stop();
});

test("cut off between welcome and sync, a host that was heard in this boot goes on as before", async () => {
  const host = await siteHost();
  host.server.withholdsSync = true;
  host.server.cut();
  await host.clock.advance(2000);
  host.server.reachable = false;
  host.server.cut();
  host.hypervisor.stop(ids.vm, "crashed");
  await host.clock.advance(60_000);
  assert.ok(host.hypervisor.live(ids.vm), "it is started again without the server");
  await host.stop();
});

test("after a restore of the store its documents count, although what the host remembers has higher revisions", async () => {
  const host = await siteHost();
  for (let generation = 2; generation < 10; generation += 1) host.server.put(vm({}, { generation }));
  await host.settle();
  host.server.restored("i2");
  await host.clock.advance(15_000);
  host.server.put(vm({ power: "stopped" }, { generation: 2 }));
  await host.clock.advance(15_000);
  assert.equal(host.hypervisor.live(ids.vm), null, "it was asked for after the restore");
  await host.stop();
});

test("machine and disk that were moved away are let go; a restored store's old memories destroy nothing", async () => {
  const host = await siteHost();
  // The store was restored from a backup: another incarnation, in which this machine is somewhere else, with an older placement.
  host.server.incarnation = "i2";
  host.server.cut();
  await host.clock.advance(15_000);
  host.server.remove("vm", ids.vm, false, { epoch: 1, incarnation: "i0" });
  host.server.remove("volume", ids.volume, false, { epoch: 1, incarnation: "i0" });
  host.server.remove("vm", ids.vm, true);
  await host.settle();
  assert.ok(host.hypervisor.live(ids.vm));
  assert.ok(host.files.text(disk));
  // Told again, now with a decision of the present store.
  host.server.remove("vm", ids.vm, false, { epoch: 2, incarnation: "i2" });
  await host.settle();
  assert.deepEqual(await host.hypervisor.domains(), []);
  await host.stop();
});

test("a machine that comes back while it is taken away is kept", async () => {
  const host = await siteHost();
  let back = false;
  host.hypervisor.onChange = () => {
    if (back || host.hypervisor.live(ids.vm) !== null) return;
    back = true;
    host.server.put(vm({}, { generation: 2, placement: { host: ids.host, epoch: 3, incarnation: "i1", at: 0 } }));
  };
  host.server.remove("vm", ids.vm, false, { epoch: 2, incarnation: "i1" });
  await host.clock.advance(10_000);
  assert.ok(back);
  assert.deepEqual([seen(host)?.state, seen(host)?.epoch], ["running", 3]);
  await host.stop();
});

test("a file that cannot be read is set aside, told, and brought anew by the sync", async () => {
  const host = await siteHost();
  await host.stop();
  const file = `${dataDirectory}/kept.log`;
  host.files.put(file, (host.files.text(file) ?? "").replaceAll(`"kind":"vm"`, `"kind":"xm"`));
  await host.start();
  await host.clock.advance(20_000);
  assert.equal(seen(host)?.state, "running");
  assert.ok(host.files.text(`${dataDirectory}/set-aside/kept.log`));
  assert.match(host.files.text(file) ?? "", /"kind":"vm".*"generation":1/);
  assert.match(host.server.part<HostObservation>("host", ids.host)?.problems.join() ?? "", /set aside/);
  assert.equal(acts(host).filter((each) => each === "start").length, 1);
  await host.stop();
});

test("tasks are done once: not again after a restart of the agent, whatever is sent", async () => {
  const host = await siteHost();
  const task = (number: number, verb: string) =>
    sampleDocument("task", { verb, target: { kind: "vm", id: ids.vm, name: "web" }, host: ids.host, requestedBy: "u" }, { id: sampleId(number) });
  host.server.put(task(80, "reset"), task(81, "reboot"));
  await host.settle();
  assert.equal(host.server.part<TaskProgress>("task", sampleId(80))?.state, "succeeded");
  assert.equal(host.server.part<TaskProgress>("task", sampleId(81))?.state, "succeeded");
  await host.restart();
  host.server.put(task(80, "reset"));
  await host.settle();
  assert.equal(acts(host).filter((each) => each === "reset").length, 1);
  assert.equal(host.server.part<TaskProgress>("task", sampleId(80))?.state, "succeeded");
  host.hypervisor.deaf.add(ids.vm);
  host.server.put(task(82, "reboot"));
  await host.clock.advance(130_000);
  assert.match(host.server.part<TaskProgress>("task", sampleId(82))?.message ?? "", /asked to reboot and has not/);
  await host.stop();
});
