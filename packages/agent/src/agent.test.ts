/** The whole agent on a simulated host: what the server wants comes about, survives crashes and outages, and nothing else is touched. */
import assert from "node:assert/strict";
import { test } from "node:test";
import type { HostObservation, PoolOnHost, TaskProgress, VmObservation, VolumeObservation } from "@sheaf/model";
import type { z } from "zod";
import { seedPath } from "./host-paths.ts";
import { makeCertificateRequest } from "./certificates.ts";
import { sampleDocument, sampleId } from "./simulated/sample-documents.ts";
import { dataDirectory, sampleAuthority, SimulatedHost } from "./simulated/simulated-host.ts";
import { gib, ids, image, imageContent, imageHex, network, pool, site, vm, volume } from "./simulated/sample-site.ts";

async function siteHost(documents = site()): Promise<SimulatedHost> {
  const host = new SimulatedHost();
  host.server.images.set(ids.image, imageContent);
  host.server.put(...documents);
  await host.start();
  return host;
}

const seen = (host: SimulatedHost, id = ids.vm): VmObservation | undefined => host.server.part<VmObservation>("vm", id);
const volumeSeen = (host: SimulatedHost, id = ids.volume): VolumeObservation | undefined => host.server.part<VolumeObservation>("volume", id);
const acts = (host: SimulatedHost): string[] => host.hypervisor.calls.map((call) => call.split(" ", 1).join(""));
const disk = `/mnt/local/sheaf/volumes/${ids.volume}.qcow2`;

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

test("what a guest says is asked for each minute, and the machine is looked at for news of it alone", async () => {
  const host = await siteHost();
  const { hypervisor } = host;
  let [asked, read] = [0, 0];
  let address = "10.0.0.7";
  hypervisor.guestFacts = async () => {
    asked += 1;
    return { addresses: [address] };
  };
  const xml = hypervisor.xml.bind(hypervisor);
  hypervisor.xml = (uuid, which) => {
    read += 1;
    return xml(uuid, which);
  };
  hypervisor.emit({ type: "guest-agent", uuid: ids.vm, connected: true });
  await host.clock.advance(1000);
  assert.deepEqual(seen(host)?.guestAgent, { connected: true, addresses: ["10.0.0.7"] });
  const before = { asked, read };
  await host.clock.advance(200_000);
  assert.equal(asked - before.asked, 3);
  assert.equal(read, before.read, "nothing was new");
  address = "10.0.0.8";
  await host.clock.advance(60_000);
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

test("a disk that is still being made is not attached to a running machine", async () => {
  const host = await siteHost();
  const added = sampleId(51);
  const run = host.processes.run.bind(host.processes);
  let make = (): void => {};
  const making = new Promise<void>((resolve) => (make = resolve));
  host.processes.run = async (program, words) => {
    if (words.some((word) => word.includes(added))) await making;
    return run(program, words);
  };
  const disks = [...vm().spec.disks, { ...vm().spec.disks[0], name: "data", volume: added }];
  host.server.put(volume({ sizeBytes: 3 * gib }, { id: added, name: "data" }), vm({ disks }, { generation: 2 }));
  await host.settle();
  assert.deepEqual(acts(host), ["define", "start"]);
  assert.equal(seen(host)?.observedGeneration, 1);
  make();
  await host.settle();
  assert.equal(acts(host)[2], "attach");
  assert.equal(seen(host)?.observedGeneration, 2);
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

test("a volume is not deleted under a running machine", async () => {
  const host = await siteHost();
  host.server.put(volume({}, { deletedAt: 5, generation: 2 }));
  await host.clock.advance(60_000);
  assert.ok(host.files.text(disk));
  host.server.put(vm({}, { deletedAt: 6, generation: 2 }));
  await host.clock.advance(60_000);
  assert.equal(host.files.text(disk), null);
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

test("a volume that moved away takes its local file along, a shared one's stays", async () => {
  const host = await siteHost();
  host.server.remove("vm", ids.vm, false, { epoch: 2, incarnation: "i1" });
  host.server.remove("volume", ids.volume, false, { epoch: 2, incarnation: "i1" });
  await host.clock.advance(30_000);
  assert.equal(host.files.text(disk), null);
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

test("libvirtd goes away and comes back: told as the host's problem, the guest is found again", async () => {
  const host = await siteHost();
  const before = host.hypervisor.calls.length;
  host.hypervisor.disconnect();
  await host.clock.advance(30_000);
  assert.match(host.server.part<HostObservation>("host", ids.host)?.problems.join() ?? "", /libvirtd does not answer/);
  host.hypervisor.reconnect();
  await host.clock.advance(30_000);
  assert.deepEqual(host.server.part<HostObservation>("host", ids.host)?.problems, []);
  assert.deepEqual(host.hypervisor.calls.slice(before), []);
  assert.deepEqual([seen(host)?.state, seen(host)?.problem], ["running", undefined]);
  await host.stop();
});

test("an image is fetched once for all who need it, resumed where it broke off, and checked", async () => {
  const documents = [
    pool(),
    network(),
    image(),
    volume(),
    volume({}, { id: sampleId(51), name: "b" }),
    volume({ source: { image: ids.image, clone: "full" } }, { id: sampleId(52), name: "c" }),
  ];
  const host = new SimulatedHost();
  host.server.images.set(ids.image, imageContent);
  host.server.breakFetchAfter = 10;
  host.server.put(...documents);
  await host.start();
  assert.equal(host.server.fetches, 1);
  await host.clock.advance(10_000);
  assert.equal(host.server.fetches, 2);
  for (const id of [ids.volume, sampleId(51), sampleId(52)]) assert.equal(volumeSeen(host, id)?.state, "ready");
  assert.equal(host.files.text(`/mnt/local/sheaf/images/${imageHex}.qcow2`), imageContent.toString());
  assert.deepEqual(
    host.files.paths("/mnt/local/sheaf/images").filter((path) => path.endsWith(".part")),
    [],
  );
  await host.stop();
});

test("an image that arrives altered is never used", async () => {
  const host = new SimulatedHost();
  host.server.images.set(ids.image, Buffer.from(imageContent.toString().replace("all", "ALL")));
  host.server.put(...site());
  await host.start();
  await host.clock.advance(5000);
  assert.equal(volumeSeen(host)?.state, "failed");
  assert.match(volumeSeen(host)?.problem ?? "", /digest/);
  assert.equal(seen(host)?.state, "failed");
  assert.deepEqual(host.files.paths("/mnt/local/sheaf/images"), []);
  host.server.images.set(ids.image, imageContent);
  await host.clock.advance(60_000);
  assert.equal(seen(host)?.state, "running");
  await host.stop();
});

test("a disk whose file vanished is never made anew", async () => {
  const host = await siteHost([pool(), network(), image(), volume(), vm({ power: "stopped" })]);
  await host.files.remove(disk);
  host.server.put(volume({}, { generation: 2 }));
  await host.settle();
  host.server.put(vm({}, { generation: 2 }));
  await host.clock.advance(120_000);
  assert.equal(host.files.text(disk), null);
  assert.match(volumeSeen(host)?.problem ?? "", /not on this host any more/);
  assert.equal(seen(host)?.state, "failed");
  await host.restart();
  await host.clock.advance(60_000);
  assert.equal(host.files.text(disk), null, "also not after a restart");
  await host.stop();
});

test("volumes grow: by the hypervisor under a running machine, by qemu-img otherwise; none shrinks", async () => {
  const host = await siteHost();
  host.server.put(volume({ sizeBytes: 2 * gib }, { generation: 2 }));
  await host.settle();
  assert.ok(host.hypervisor.calls.includes(`resize-vda-${2 * gib} ${ids.vm}`));
  assert.equal(volumeSeen(host)?.sizeBytes, 2 * gib);
  host.server.put(volume({}, { id: sampleId(51), name: "loose" }));
  await host.settle();
  host.server.put(volume({ sizeBytes: 3 * gib }, { id: sampleId(51), name: "loose", generation: 2 }));
  await host.settle();
  assert.equal(volumeSeen(host, sampleId(51))?.sizeBytes, 3 * gib);
  host.server.put(volume({}, { id: sampleId(51), name: "loose", generation: 3 }));
  await host.settle();
  assert.match(volumeSeen(host, sampleId(51))?.problem ?? "", /smaller/);
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

test("networks that a host is to use for its own traffic and does not have are told", async () => {
  const host = await siteHost();
  const problems = () => host.server.part<HostObservation>("host", ids.host)?.problems;
  assert.deepEqual(problems(), []);
  host.files.put("/sys/class/net/eno1/address", "52:54:00:00:00:09");
  host.server.put(sampleDocument("host", { managementInterface: "eno1", storageInterface: "eno9", migrationAddress: "192.0.2.9" }, { id: ids.host }));
  await host.clock.advance(1000);
  assert.equal(problems()?.length, 2);
  assert.match(problems()?.join("\n") ?? "", /no interface eno9.*storage/);
  assert.match(problems()?.join("\n") ?? "", /no address 192\.0\.2\.9.*migrations/);
  host.server.put(sampleDocument("host", { managementInterface: "eno1" }, { id: ids.host, generation: 2 }));
  await host.clock.advance(1000);
  assert.deepEqual(problems(), []);
  await host.stop();
});

test("a network is made by Sheaf where it is to be, told where it is missing, and taken away when it is gone", async () => {
  const host = await siteHost(
    [network({ bridge: "sheaf7", managed: true }), network({ bridge: "nowhere" })].map((each, index) => ({ ...each, id: sampleId(30 + index) })),
  );
  const at = (id: string) => host.server.part<{ state: string; problem?: string }>("network", id, `status/hosts/${ids.host}`);
  assert.equal(at(sampleId(30))?.state, "ready");
  assert.match(at(sampleId(31))?.problem ?? "", /no bridge nowhere/);
  assert.ok(host.files.text("/sys/class/net/sheaf7/bridge/stp_state"));
  host.server.remove("network", sampleId(30), true);
  await host.settle();
  assert.equal(host.files.text("/sys/class/net/sheaf7/bridge/stp_state"), null);
  assert.ok(host.files.text("/sys/class/net/br0/bridge/stp_state"), "a bridge that was there stays");
  await host.stop();
});

test("a managed network's uplink: tagged or not, changed, and given back", async () => {
  const host = new SimulatedHost();
  for (const name of ["eno1", "eno2"]) host.files.put(`/sys/class/net/${name}/address`, "52:54:00:00:00:09");
  let generation = 0;
  const wanted = async (spec: object) => {
    host.server.put({ ...network({ bridge: "sheaf7", managed: true, ...spec }), generation: (generation += 1) });
    if (generation === 1) await host.start();
    await host.settle();
    return host.server.part<{ state: string; problem?: string }>("network", ids.network, `status/hosts/${ids.host}`);
  };
  const ports = () => host.files.paths("/sys/class/net/sheaf7/brif").map((path) => path.split("/").at(-1));
  const links = () => [...new Set(host.files.paths("/sys/class/net").map((path) => path.split("/")[4]))];
  assert.equal((await wanted({ uplink: "eno1", vlan: 5 }))?.state, "ready");
  assert.deepEqual(ports(), ["eno1.5"]);
  await wanted({ uplink: "eno1", vlan: 6 });
  assert.deepEqual(ports(), ["eno1.6"], "two VLANs on one bridge would be one network");
  assert.ok(!links().includes("eno1.5"));
  await wanted({ uplink: "eno2" });
  assert.deepEqual(ports(), ["eno2"]);
  await host.restart();
  await wanted({ uplink: "eno1" });
  assert.deepEqual(ports(), ["eno1"]);
  host.processes.broken.set("ip link add link", "RTNETLINK answers: Operation not supported");
  const refused = await wanted({ uplink: "eno1", vlan: 7 });
  assert.match(refused?.problem ?? "", /kernel knows no VLANs.*VLAN 7 on eno1.*8021q/);
  await wanted({ uplink: "eno1" });
  host.server.remove("network", ids.network, true);
  await host.settle();
  assert.deepEqual(links().sort(), ["br0", "eno1", "eno2"]);
  await host.stop();
});

test("the certificate is renewed at two thirds of its life, with a new key", async () => {
  const host = new SimulatedHost();
  const authority = await sampleAuthority(host.clock.now());
  const { request, privateKey } = await makeCertificateRequest(host.id);
  const hour = 3_600_000;
  const days = 3 / 24;
  const before = {
    hostId: host.id,
    serverUrl: "https://server:7444",
    authority: authority.pem,
    privateKey,
    certificate: await authority.sign(request, days, host.clock.now()),
  };
  host.identity = before;
  host.server.sign = (wanted) => authority.sign(wanted, days, host.clock.now());
  await host.start();
  await host.clock.advance(1.9 * hour);
  assert.ok(!host.server.messages.some(({ type }) => type === "renew-certificate"));
  await host.clock.advance(0.2 * hour);
  // Web Crypto works beside the simulated clock.
  const deadline = performance.now() + 10_000;
  const stored = () => JSON.parse(host.files.text(`${dataDirectory}/identity.json`) ?? "{}") as { certificate?: string; privateKey?: string };
  while (stored().certificate === undefined && performance.now() < deadline) await new Promise((resolve) => setTimeout(resolve, 5));
  assert.ok(stored().certificate && stored().certificate !== before.certificate && stored().privateKey !== before.privateKey);
  assert.equal(host.files.text("/etc/libvirt/pki/server-cert.pem"), stored().certificate);
  await host.stop();
});

test("a migration address that the certificate does not name yet has it renewed at once, and once", async () => {
  const host = new SimulatedHost();
  const authority = await sampleAuthority(host.clock.now());
  const { request, privateKey } = await makeCertificateRequest(host.id);
  const certificate = await authority.sign(request, 90, host.clock.now(), ["192.0.2.9"]);
  host.identity = { hostId: host.id, serverUrl: "https://server:7444", authority: authority.pem, privateKey, certificate };
  host.server.sign = (wanted) => authority.sign(wanted, 90, host.clock.now(), ["192.0.2.9", "2001:db8::7"]);
  const asked = () => host.server.messages.filter(({ type }) => type === "renew-certificate").length;
  host.server.put(sampleDocument("host", { migrationAddress: "192.0.2.9" }, { id: host.id }));
  await host.start();
  await host.clock.advance(1000);
  assert.equal(asked(), 0, "that one it names already");
  host.server.put(sampleDocument("host", { migrationAddress: "2001:db8:0::7" }, { id: host.id, generation: 2 }));
  const deadline = performance.now() + 10_000;
  const stored = () => JSON.parse(host.files.text(`${dataDirectory}/identity.json`) ?? "{}") as { certificate?: string };
  while (stored().certificate === undefined && performance.now() < deadline) {
    await host.clock.advance(100);
    await new Promise((resolve) => setTimeout(resolve, 5));
  }
  assert.notEqual(stored().certificate ?? certificate, certificate);
  await host.clock.advance(3_600_000);
  assert.equal(asked(), 1);
  await host.stop();
});
