import assert from "node:assert/strict";
import { test } from "node:test";
import { SheafError } from "@sheaf/model";
import { compareDomains } from "./compare-domains.ts";
import { describeDomain } from "./describe-domain.ts";
import { parseDomain } from "./parse-domain.ts";
import { accelerated, inputOf, volumeId } from "./testing/inputs.ts";
import { type AdoptionOptions, toVmSpec } from "./to-vm-spec.ts";

/** As virt-install writes it. */
const foreign = (devices = "", name = "Alte Maschine_1"): string => `<?xml version="1.0"?>
<domain type='kvm' id='4' xmlns:qemu='http://libvirt.org/schemas/domain/qemu/1.0'>
  <name>${name}</name><uuid>01890a5d-ac96-474b-bcce-b302099a8057</uuid>
  <metadata><libosinfo:libosinfo xmlns:libosinfo="http://libosinfo.org/xmlns/libvirt/domain/1.0"><libosinfo:os id="x"/></libosinfo:libosinfo></metadata>
  <memory unit='GiB'>2</memory><currentMemory unit='KiB'>1048576</currentMemory><vcpu placement='static'>2</vcpu>
  <cputune><shares>2048</shares></cputune>
  <os><type arch='x86_64' machine='pc-q35-6.2'>hvm</type><boot dev='hd'/><boot dev='network'/></os>
  <cpu mode='host-passthrough' check='none' migratable='on'/>
  <devices>
    <emulator>/usr/bin/qemu-system-x86_64</emulator>
    <disk type='file' device='disk'><driver name='qemu' type='qcow2'/><source file='/var/lib/libvirt/images/alt.qcow2'/><target dev='vda' bus='virtio'/>
      <iotune><total_bytes_sec>1000000</total_bytes_sec></iotune></disk>
    <disk type='file' device='cdrom'><target dev='sda' bus='sata'/><readonly/></disk>
    <controller type='usb' index='0' model='qemu-xhci'/>
    <interface type='bridge'><mac address='52:54:00:aa:bb:cc'/><source bridge='br0'/><target dev='vnet0'/><model type='virtio'/></interface>
    <serial type='pty'><source path='/dev/pts/7'/></serial>
    <graphics type='vnc' port='5900' autoport='yes' listen='127.0.0.1'/>
    <memballoon model='virtio'/>${devices}
  </devices>
</domain>`;
const options: AdoptionOptions = { networkOf: (bridge) => (bridge === "br0" ? "lan" : null), cgroupVersion: 1 };
const refused = (xml: string, given: AdoptionOptions = options): string => {
  try {
    toVmSpec(parseDomain(xml), given);
  } catch (error) {
    assert.ok(error instanceof SheafError && error.code === "state-refused");
    return error.message;
  }
  return "adopted";
};

test("a domain of virt-install becomes a spec", () => {
  const { name, spec, disks, notes } = toVmSpec(parseDomain(foreign()), options);
  assert.equal(name, "alte-maschine-1");
  assert.equal(spec.power, "running");
  assert.deepEqual(spec.cpu, { count: 2, topology: { sockets: 2, cores: 1, threads: 1 }, model: "host-passthrough", shares: 200 });
  assert.equal(spec.memory.bytes, 2 ** 30);
  assert.equal(spec.machineType, "q35");
  assert.deepEqual(spec.bootOrder, ["disk", "network"]);
  assert.deepEqual(disks, [{ name: "vda", path: "/var/lib/libvirt/images/alt.qcow2", format: "qcow2" }]);
  assert.equal(spec.disks[0]?.limits?.totalBytesPerSecond, 1e6);
  assert.equal(spec.disks[0]?.deleteWithVm, false, "an adopted disk is never deleted by default");
  assert.equal(spec.disks[0]?.cache, "writeback");
  assert.deepEqual(spec.nics, [
    { name: "eth0", network: "lan", mac: "52:54:00:aa:bb:cc", addresses: [], model: "virtio", queues: 1, connected: true },
  ]);
  assert.deepEqual(notes, ["the balloon leaves 1 GiB of 2 GiB memory, which is what it has from now on"]);
  assert.equal(spec.cloudInit.seed, false, "its cloud-init would take a seed for a new machine");
});

test("an adopted machine needs Sheaf's mark and nothing else while it runs", () => {
  const domain = parseDomain(foreign());
  const { spec, disks } = toVmSpec(domain, options);
  const stored = { ...spec, disks: spec.disks.map((disk) => ({ ...disk, volume: volumeId(1) })) };
  const made = inputOf(stored, { ...accelerated, cgroupVersion: 1 });
  const input = { ...made, seedPath: null, disks: made.disks.map((disk, index) => ({ ...disk, path: disks[index]?.path ?? "" })) };
  const wanted = describeDomain(input, domain);
  assert.equal(wanted.name, "Alte Maschine_1");
  assert.equal(wanted.uuid, domain.uuid, "libvirt would refuse another UUID under the same name");
  const { live, restart } = compareDomains(domain, wanted, { cgroupVersion: 1 });
  assert.deepEqual(restart, ["VNC's place becomes a unix socket that only the agent reaches at the next start (now a network port)"]);
  assert.deepEqual(
    live.map(({ kind }) => kind),
    ["metadata"],
  );
});

test("what the next start would lose is refused, by name, unless the loss is accepted", () => {
  const xml = foreign(
    "<hostdev mode='subsystem' type='pci'/><disk type='block' device='disk'><source dev='/dev/sdb'/><target dev='vdb' bus='virtio'/></disk>",
  );
  assert.equal(refused(xml), "The domain Alte Maschine_1 has parts that Sheaf cannot carry: passed-through host device, disk vdb of type block.");
  assert.equal(toVmSpec(parseDomain(xml), { ...options, acceptLosses: true }).notes[0], "passed-through host device: gone after the next start");
  const withMedium = foreign().replace("<target dev='sda'", "<source file='/iso/x.iso'/><target dev='sda'");
  assert.match(refused(withMedium), /cannot carry: the medium \/iso\/x.iso in CD drive sda/);
  assert.equal(toVmSpec(parseDomain(withMedium), { ...options, acceptLosses: true }).notes[0], "the medium /iso/x.iso in CD drive sda is ejected");
});

test("settings that rewriting would lose are named", () => {
  const named = (xml: string): string => refused(xml).replace(/^.*cannot carry: (.*)\.$/, "$1");
  const inDisk = (text: string): string => named(foreign().replace("<target dev='vda'", `${text}<target dev='vda'`));
  const inNic = (text: string): string => named(foreign().replace("<source bridge='br0'/>", `<source bridge='br0'/>${text}`));
  const inDomain = (text: string): string => named(foreign().replace("<os>", `${text}<os>`));
  assert.equal(inDisk("<shareable/>"), "sharing with other machines of disk vda");
  assert.equal(inDisk("<encryption format='luks'/>"), "encryption of disk vda");
  assert.equal(inNic("<virtualport type='openvswitch'/>"), "virtual port of network interface 52:54:00:aa:bb:cc");
  assert.equal(inNic("<filterref filter='clean-traffic'/>"), "packet filter of network interface 52:54:00:aa:bb:cc");
  assert.equal(inDomain("<clock offset='localtime'/>"), "clock offset localtime");
  assert.equal(inDomain("<iothreads>2</iothreads>"), "I/O threads");
  assert.equal(inDomain("<sysinfo type='smbios'/>"), "SMBIOS data");
  assert.equal(named(foreign().replace("type='vnc'", "type='vnc' passwd='x'")), "VNC password");
  const features = "<cpu mode='custom'><feature policy='require' name='vmx'/></cpu>";
  assert.equal(
    named(
      foreign()
        .replace(/<cpu [^>]*>/, features)
        .replace("id='4' ", ""),
    ),
    "CPU features",
  );
  assert.equal(refused(foreign().replace(/<cpu [^>]*>/, features)), "adopted", "in a running domain libvirt adds what the model became");
});

test("a bridge without a network, a foreign disk format and Sheaf's own domains are refused", () => {
  assert.match(refused(foreign(), { ...options, networkOf: () => null }), /is connected to br0, which belongs to no network/);
  assert.match(refused(foreign().replace("type='qcow2'", "type='vmdk'")), /in format vmdk/);
  assert.match(refused(foreign().replace("pc-q35-6.2", "microvm")), /of machine type microvm/);
  const own = foreign().replace("<metadata>", `<metadata><s:machine xmlns:s="urn:sheaf:1" id="x" epoch="1" incarnation="i" generation="1"/>`);
  assert.match(refused(own), /is Sheaf's already/);
});

test("any name becomes a label", () => {
  assert.equal(toVmSpec(parseDomain(foreign("", "--- 机器 ---")), options).name, "adopted");
  assert.equal(toVmSpec(parseDomain(foreign("", "a".repeat(80))), options).name, "a".repeat(63));
});
