/** The whole agent on a simulated host: the machines that the server wants come about and live as they are to, and nothing else is touched. */
import assert from "node:assert/strict";
import { test } from "node:test";
import type { HostObservation, PoolOnHost, VmObservation } from "@sheaf/model";
import type { z } from "zod";
import { seedPath } from "./host-paths.ts";
import { acts, disk, seen, siteHost, volumeSeen } from "./site-host.test-support.ts";
import { sampleId } from "./simulated/sample-documents.ts";
import { dataDirectory, SimulatedHost } from "./simulated/simulated-host.ts";
import { ids, image, imageContent, imageHex, network, pool, site, vm, volume } from "./simulated/sample-site.ts";

test("a machine comes about: image fetched, disk linked to it, seed made, defined, started, reported", async () => {
  const host = await siteHost();
  assert.equal(seen(host)?.state, "running");
  assert.equal(seen(host)?.observedGeneration, 1);
  assert.deepEqual(acts(host), ["define", "start"]);
  assert.equal(volumeSeen(host)?.state, "ready");
  assert.equal(JSON.parse(host.files.text(disk) ?? "").backing, `/mnt/local/sheaf/images/${imageHex}.qcow2`);
  const live = host.hypervisor.live(ids.vm);
  assert.equal(live?.name, "sheaf-100-web");
  assert.deepEqual([live?.machine?.id, live?.machine?.epoch, live?.machine?.incarnation], [ids.vm, 1, "i1"]);
  const seed = host.files.text(seedPath(ids.vm)) ?? "";
  assert.match(seed, /10\.0\.0\.7\/24/);
  const states = host.server.reported.filter(({ key }) => key === `vm/${ids.vm}/status/agent`).map(({ value }) => (value as VmObservation).state);
  assert.deepEqual([...new Set(states)], ["preparing", "starting", "running"]);
  assert.deepEqual(host.server.part<z.infer<typeof PoolOnHost>>("pool", ids.pool, `status/hosts/${ids.host}`)?.state, "ready");
  await host.stop();
  assert.equal(host.clock.pendingTimers, 0);
});

test("what a guest says is asked for ever more rarely, and the machine is looked at for news of it alone", async () => {
  const host = await siteHost();
  const { hypervisor } = host;
  let [asked, read] = [0, 0];
  let address = "10.0.0.7";
  hypervisor.guestFacts = async () => {
    asked += 1;
    return { addresses: [address] };
  };
  const describe = hypervisor.describe.bind(hypervisor);
  hypervisor.describe = (uuid, which) => {
    read += 1;
    return describe(uuid, which);
  };
  hypervisor.emit({ type: "guest-agent", uuid: ids.vm, connected: true });
  await host.clock.advance(1000);
  assert.deepEqual(seen(host)?.guestAgent, { connected: true, addresses: ["10.0.0.7"] });
  const before = { asked, read };
  await host.clock.advance(200_000);
  assert.equal(asked - before.asked, 5);
  assert.equal(read, before.read, "nothing was new");
  address = "10.0.0.8";
  await host.clock.advance(300_000);
  assert.deepEqual(seen(host)?.guestAgent?.addresses, ["10.0.0.8"]);
  await host.stop();
});

test("that a machine runs is told when the hypervisor has said so, not after another look at it", async () => {
  const host = new SimulatedHost();
  host.server.images.set(ids.image, imageContent);
  host.server.put(...site());
  const { hypervisor } = host;
  const start = hypervisor.start.bind(hypervisor);
  hypervisor.start = async (uuid, options) => {
    await start(uuid, options);
    hypervisor.hung.add(uuid);
  };
  await host.start();
  const told = host.server.reported.filter(({ key }) => key === `vm/${ids.vm}/status/agent`).map(({ value }) => value as VmObservation);
  const running = told.find(({ state }) => state === "running");
  assert.deepEqual([running?.vcpus, running?.problem], [1, undefined]);
  assert.match(seen(host)?.problem ?? "", /no answer/, "the look that follows tells what it finds");
  await host.stop();
});

test("a guest that shuts itself down is not fought, until a start is asked for", async () => {
  const host = await siteHost();
  host.hypervisor.stop(ids.vm, "shutdown");
  await host.clock.advance(3_600_000);
  assert.deepEqual([seen(host)?.state, seen(host)?.stoppedBy], ["stopped", "guest"]);
  host.server.put(vm({ startRequest: 1 }, { generation: 2 }));
  await host.settle();
  assert.deepEqual([seen(host)?.state, seen(host)?.startRequestSeen, seen(host)?.observedGeneration], ["running", 1, 2]);
  await host.stop();
});

test("stopping: the power button first, pressed again, then the power is cut after the grace time", async () => {
  const host = await siteHost();
  host.hypervisor.deaf.add(ids.vm);
  host.server.put(vm({ power: "stopped" }, { generation: 2 }));
  await host.settle();
  assert.equal(seen(host)?.state, "stopping");
  assert.equal(seen(host)?.observedGeneration, 1);
  await host.clock.advance(61_000);
  assert.deepEqual([seen(host)?.state, seen(host)?.stoppedBy, seen(host)?.observedGeneration], ["stopped", "user", 2]);
  const pressed = acts(host).filter((each) => each === "shutdown").length;
  assert.ok(pressed >= 5 && pressed <= 7, `pressed ${pressed} times`);
  assert.ok(acts(host).includes("destroy"));
  host.server.put(vm({}, { generation: 3 }));
  await host.settle();
  assert.equal(seen(host)?.state, "running");
  await host.stop();
});

test("pause and resume; a machine created paused never runs", async () => {
  const host = await siteHost([pool(), network(), image(), volume(), vm({ power: "paused" })]);
  assert.equal(seen(host)?.state, "paused");
  assert.ok(!acts(host).includes("resume"));
  host.server.put(vm({}, { generation: 2 }));
  await host.settle();
  assert.equal(seen(host)?.state, "running");
  host.server.put(vm({ power: "paused" }, { generation: 3 }));
  await host.settle();
  assert.equal(seen(host)?.state, "paused");
  await host.stop();
});

test("deleting leaves nothing: domain, seed, disk, image, documents", async () => {
  const host = await siteHost();
  host.server.put(vm({}, { deletedAt: 5, generation: 2 }));
  await host.settle();
  assert.equal(seen(host)?.state, "gone");
  host.server.put(volume({}, { deletedAt: 5, generation: 2 }));
  await host.settle();
  assert.equal(volumeSeen(host)?.state, "gone");
  for (const [kind, id] of [
    ["vm", ids.vm],
    ["volume", ids.volume],
    ["image", ids.image],
  ] as const) {
    host.server.remove(kind, id, true);
  }
  await host.settle();
  assert.deepEqual(await host.hypervisor.domains(), []);
  assert.deepEqual(host.files.paths("/mnt/local"), []);
  const left = host.files.paths(dataDirectory).filter((path) => path.includes(ids.vm) || path.includes(ids.volume) || path.includes(ids.image));
  assert.deepEqual(left, []);
  await host.stop();
});

const foreign = (uuid: string) =>
  `<domain type='qemu'><name>old</name><uuid>${uuid}</uuid><memory unit='KiB'>1024</memory><vcpu>1</vcpu><os><type machine='q35'>hvm</type></os><devices/></domain>`;

test("domains that Sheaf did not make are shown and never touched, whatever comes", async () => {
  const host = await siteHost();
  const stranger = sampleId(99);
  host.hypervisor.put(foreign(stranger), "running");
  host.hypervisor.emit({ type: "lifecycle", uuid: stranger, event: "defined", detail: "other" });
  host.server.remove("vm", stranger, true);
  host.server.put(vm({ power: "stopped" }, { id: stranger, number: 101 }));
  await host.settle();
  host.hypervisor.stop(stranger, "crashed");
  await host.clock.advance(60_000);
  assert.deepEqual(
    host.hypervisor.calls.filter((call) => call.endsWith(stranger)),
    [],
  );
  const observed = host.server.part<HostObservation>("host", ids.host);
  assert.deepEqual(
    observed?.unmanaged.map(({ uuid }) => uuid),
    [stranger],
  );
  await host.stop();
});

test("a machine whose calls hang does not hold up another, and does not look healthy", async () => {
  const host = await siteHost();
  host.hypervisor.hung.add(ids.vm);
  host.server.put(vm({ power: "paused" }, { generation: 2 }));
  const second = { id: sampleId(61), number: 101, name: "db" };
  host.server.put(volume({}, { id: sampleId(51), name: "db-root" }), vm({ disks: [{ name: "root", volume: sampleId(51) }], nics: [] }, second));
  await host.clock.advance(5000);
  assert.equal(seen(host, second.id)?.state, "running");
  assert.match(seen(host)?.problem ?? "", /no answer/);
  host.hypervisor.hung.clear();
  await host.clock.advance(60_000);
  assert.deepEqual([seen(host)?.state, seen(host)?.problem], ["paused", undefined]);
  await host.stop();
});

test("what can change live does, what cannot is told as pending and done at the next start", async () => {
  const host = await siteHost();
  host.server.put(
    vm(
      {
        cpu: { count: 1, maximum: 2, shares: 200 },
        disks: [{ name: "root", volume: ids.volume, limits: { totalBytesPerSecond: 5_000_000 } }],
        nics: [{ name: "eth0", network: ids.network, mac: "52:54:00:00:00:60", addresses: ["10.0.0.7"], connected: false }],
      },
      { generation: 2 },
    ),
  );
  await host.settle();
  const live = host.hypervisor.live(ids.vm);
  assert.deepEqual([live?.disks[0]?.limits, live?.nics[0]?.connected], [{ totalBytesPerSecond: 5_000_000 }, false]);
  assert.equal(seen(host)?.observedGeneration, 2);
  assert.match(seen(host)?.pendingChanges.join() ?? "", /vCPUs/);
  host.hypervisor.stop(ids.vm, "crashed");
  await host.clock.advance(3000);
  assert.equal(host.hypervisor.live(ids.vm)?.vcpus.maximum, 2);
  assert.deepEqual(seen(host)?.pendingChanges, []);
  await host.stop();
});

test("a live change that QEMU refuses is told as pending, once, and does not come again by itself", async () => {
  const host = await siteHost();
  host.hypervisor.refusals.set("limits", "block I/O throttle is not supported");
  host.server.put(vm({ disks: [{ name: "root", volume: ids.volume, limits: { totalBytesPerSecond: 5_000_000 } }] }, { generation: 2 }));
  await host.clock.advance(600_000);
  assert.match(seen(host)?.pendingChanges.join() ?? "", /limits of disk vda was refused.*not supported/);
  assert.equal(acts(host).filter((each) => each === "limits").length, 1);
  assert.equal(seen(host)?.observedGeneration, 2);
  await host.stop();
});

test("a start that is refused is tried as often as the policy says, then given up with QEMU's words", async () => {
  const host = new SimulatedHost();
  host.hypervisor.refusals.set("start", 'Failed to get "write" lock');
  host.server.images.set(ids.image, imageContent);
  host.server.put(...site());
  await host.start();
  await host.clock.advance(120_000);
  assert.equal(acts(host).filter((each) => each === "start").length, 4);
  assert.deepEqual([seen(host)?.state, seen(host)?.problem], ["failed", 'Failed to get "write" lock']);
  host.hypervisor.refusals.clear();
  host.server.put(vm({ startRequest: 1 }, { generation: 2 }));
  await host.settle();
  assert.deepEqual([seen(host)?.state, seen(host)?.problem], ["running", undefined]);
  await host.stop();
});
