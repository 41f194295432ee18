/** Taking over a domain that was there before Sheaf, on a simulated host: looked at without a change, marked when its record says so, and from then on like any other. */
import assert from "node:assert/strict";
import { test } from "node:test";
import type { AdoptionQuestion } from "@sheaf/contract";
import type { AdoptableDomain, HostObservation, VmObservation, VolumeObservation } from "@sheaf/model";
import { seedPath } from "./host-paths.ts";
import { SimulatedHost } from "./simulated/simulated-host.ts";
import { gib, ids, network, pool, vm, volume } from "./simulated/sample-site.ts";

const uuid = "3f2b1c5e-0d4a-4c9b-8e77-5a1d2c3b4a59";
const path = "/mnt/local/sheaf/old/web.qcow2";
const mac = "52:54:00:aa:bb:cc";
const xml = (change: (text: string) => string = (text) => text): string =>
  change(`<domain type='qemu'><name>Old Web</name><uuid>${uuid}</uuid><memory unit='MiB'>256</memory><vcpu>1</vcpu>
    <os><type arch='x86_64' machine='pc-q35-6.2'>hvm</type><boot dev='hd'/></os><cpu mode='custom'><model>qemu64</model></cpu>
    <devices>
      <disk type='file' device='disk'><driver name='qemu' type='qcow2'/><source file='${path}'/><target dev='vda' bus='virtio'/></disk>
      <interface type='bridge'><mac address='${mac}'/><source bridge='br0'/><model type='virtio'/></interface>
      <graphics type='vnc'><listen type='socket'/></graphics>
    </devices></domain>`);

async function hostWith(text = xml(), state: "running" | "stopped" = "running", backing: string | null = null): Promise<SimulatedHost> {
  const host = new SimulatedHost();
  host.files.put(path, JSON.stringify({ format: "qcow2", sizeBytes: gib, backing, data: "the guest's" }));
  host.hypervisor.put(text, state);
  host.hypervisor.autostarted.add(uuid);
  host.server.put(pool(), network());
  await host.start();
  return host;
}

async function ask(host: SimulatedHost, change: Partial<AdoptionQuestion> = {}): Promise<AdoptableDomain> {
  const answer = host.server.call("vm.adopt", { uuid, networks: { br0: ids.network }, acceptLosses: false, ...change });
  const settled = answer.then(
    () => {},
    () => {},
  );
  await host.settle();
  await settled;
  return answer;
}

/** As the adoption controller writes it. */
function adopt(host: SimulatedHost, { spec }: AdoptableDomain, change: object = {}, options: object = {}): void {
  const placement = { host: ids.host, epoch: 1, incarnation: "i1", adoption: ids.cluster };
  const disks = spec.disks.map((disk) => ({ ...disk, volume: ids.volume, sizeBytes: gib }));
  host.server.put(
    volume({ source: undefined, file: "old/web.qcow2" }, { name: "web-vda" }),
    vm({ ...spec, disks, ...change }, { id: uuid, name: "web", placement, ...options }),
  );
}

const seen = (host: SimulatedHost): VmObservation | undefined => host.server.part<VmObservation>("vm", uuid);
const unmanaged = (host: SimulatedHost) => host.server.part<HostObservation>("host", ids.host)?.unmanaged;
const acts = (host: SimulatedHost): string[] =>
  host.hypervisor.calls.filter((call) => call.endsWith(uuid)).map((call) => call.split(" ", 1).join(""));

test("a domain is described without a change", async () => {
  const host = await hostWith();
  assert.deepEqual(unmanaged(host), [{ uuid, name: "Old Web", state: "running" }]);
  const answer = await ask(host);
  assert.equal(answer.domainName, "Old Web");
  assert.equal(answer.spec.power, "running");
  assert.deepEqual(answer.disks, [{ name: "vda", path, format: "qcow2", sizeBytes: gib }]);
  assert.deepEqual([answer.spec.nics[0]?.mac, answer.spec.nics[0]?.network], [mac, ids.network]);
  assert.deepEqual(acts(host), []);
  await host.stop();
});

test("what is not Sheaf's is shown with the state it has now", async () => {
  const host = await hostWith(xml(), "stopped");
  assert.equal(unmanaged(host)?.[0]?.state, "stopped");
  await host.hypervisor.start(uuid, { paused: false });
  await host.settle();
  assert.equal(unmanaged(host)?.[0]?.state, "running");
  host.hypervisor.pause(uuid, "user");
  await host.settle();
  assert.equal(unmanaged(host)?.[0]?.state, "paused");
  await host.stop();
});

test("what cannot be a machine as it stands is refused with why, and nothing is done to it", async () => {
  const cases: readonly (readonly [RegExp, Partial<AdoptionQuestion>, string?, (string | null)?])[] = [
    [/is of machine type microvm/, {}, xml((text) => text.replace("pc-q35-6.2", "microvm"))],
    [/is connected to br0, which belongs to no network/, { networks: {} }],
    [/based on \/base.qcow2/, {}, xml(), "/base.qcow2"],
    [/has no domain/, { uuid: ids.volume }],
  ];
  for (const [why, question, text, backing] of cases) {
    const host = await hostWith(text, "running", backing);
    await assert.rejects(ask(host, question), why);
    assert.deepEqual(acts(host), []);
    await host.stop();
  }
});

test("a disk that another domain has too, and settings that wait for a restart, are refused", async () => {
  const host = await hostWith();
  await host.hypervisor.define(xml((text) => text.replace("<vcpu>1</vcpu>", "<vcpu>2</vcpu>")));
  await assert.rejects(ask(host), /runs with other settings than it is defined with: .*vCPUs/);
  await host.hypervisor.define(xml());
  host.hypervisor.put(
    xml((text) => text.replace(uuid, ids.vm).replace("Old Web", "twin").replace(mac, "52:54:00:aa:bb:cd")),
    "stopped",
  );
  await assert.rejects(ask(host), /shares its disk .* with the domain twin/);
  await host.stop();
});

test("its record makes it Sheaf's: marked, not started by libvirtd any more, nothing else; the guest runs on", async () => {
  const host = await hostWith();
  adopt(host, await ask(host));
  await host.settle();
  assert.deepEqual(acts(host), ["no-autostart", "mark"]);
  assert.deepEqual([seen(host)?.state, seen(host)?.epoch, seen(host)?.observedGeneration], ["running", 1, 1]);
  assert.deepEqual(host.hypervisor.live(uuid)?.machine?.id, uuid);
  assert.deepEqual(unmanaged(host), []);
  assert.equal(host.server.part<VolumeObservation>("volume", ids.volume)?.path, path);
  assert.equal(host.files.text(seedPath(uuid)), null, "no seed is made for it");
  await host.stop();
});

test("an agent that dies between record and take-over, or in the midst of it, takes it over when it is back", async () => {
  for (const step of ["no-autostart", "mark"]) {
    const host = await hostWith();
    const answer = await ask(host);
    host.hypervisor.refusals.set(step, "the daemon is going down");
    adopt(host, answer);
    await host.settle();
    assert.equal(host.hypervisor.live(uuid)?.machine, null);
    await host.stop();
    host.hypervisor.refusals.clear();
    await host.start();
    await host.settle();
    assert.equal(host.hypervisor.live(uuid)?.machine?.id, uuid);
    assert.equal(seen(host)?.state, "running");
    assert.ok(
      acts(host).every((act) => act === "mark" || act === "no-autostart"),
      "it was neither started nor stopped nor defined",
    );
    await host.stop();
  }
});

test("afterwards it stops, starts as itself, survives agent, daemon and host, and goes with its record while its disk stays", async () => {
  const host = await hostWith();
  const answer = await ask(host);
  adopt(host, answer);
  await host.settle();
  adopt(host, answer, { power: "stopped" }, { generation: 2 });
  await host.clock.advance(20_000);
  assert.equal(seen(host)?.state, "stopped");
  adopt(host, answer, { power: "running", startRequest: 1, memory: { bytes: gib } }, { generation: 3 });
  await host.clock.advance(20_000);
  assert.equal(seen(host)?.state, "running");
  const live = host.hypervisor.live(uuid);
  assert.deepEqual([live?.name, live?.uuid, live?.disks[0]?.path, live?.memory.bytes, live?.machineType], ["Old Web", uuid, path, gib, "pc-q35-6.2"]);
  await host.restart();
  host.hypervisor.disconnect();
  host.hypervisor.connected = true;
  host.hypervisor.emit({ type: "connected" });
  await host.clock.advance(20_000);
  assert.equal(acts(host).filter((act) => act === "start").length, 1);
  await host.reboot("boot-2");
  await host.clock.advance(20_000);
  assert.equal(seen(host)?.state, "running", "started again by Sheaf, after the server was heard");
  adopt(host, answer, {}, { generation: 4, deletedAt: 1 });
  await host.clock.advance(20_000);
  assert.equal(seen(host)?.state, "gone");
  assert.equal(await host.hypervisor.domain(uuid), null);
  assert.match(host.files.text(path) ?? "", /the guest's/);
  await host.stop();
});

test("a paused guest stays paused; one that shut itself down meanwhile is not started again", async () => {
  const host = await hostWith();
  host.hypervisor.pause(uuid, "user");
  const paused = await ask(host);
  assert.equal(paused.spec.power, "paused");
  adopt(host, paused);
  await host.settle();
  assert.equal(seen(host)?.state, "paused");
  await host.stop();

  const other = await hostWith();
  const answer = await ask(other);
  other.hypervisor.stop(uuid, "shutdown");
  adopt(other, answer);
  await other.clock.advance(20_000);
  assert.deepEqual([seen(other)?.state, seen(other)?.stoppedBy], ["stopped", "guest"]);
  await other.stop();
});

test("an adopted disk whose file is gone is never made anew", async () => {
  const host = await hostWith(xml(), "stopped");
  const answer = await ask(host);
  await host.files.remove(path);
  adopt(host, answer);
  await host.clock.advance(20_000);
  assert.equal(host.files.text(path), null);
  assert.match(host.server.part<VolumeObservation>("volume", ids.volume)?.problem ?? "", /is not made anew/);
  await host.stop();
});

test("a domain of another placement's id is left alone: only an adoption takes one over", async () => {
  const host = await hostWith();
  adopt(host, await ask(host), {}, { placement: { host: ids.host, epoch: 2, incarnation: "i1" } });
  await host.clock.advance(20_000);
  assert.deepEqual(acts(host), []);
  assert.match(seen(host)?.problem ?? "", /that Sheaf did not make/);
  await host.stop();
});
