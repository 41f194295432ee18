import assert from "node:assert/strict";
import { test } from "node:test";
import type { VmSpec } from "@sheaf/model";
import type { z } from "zod";
import { compareDomains } from "./compare-domains.ts";
import { parseDomain } from "./parse-domain.ts";
import { renderDomain } from "./render-domain.ts";
import { accelerated, emulating, inputOf, volumeId } from "./testing/inputs.ts";

type Spec = z.input<typeof VmSpec>;
const gib = 2 ** 30;
const mib = 2 ** 20;

const difference = (now: Spec, then: Spec, change: (running: string) => string = (xml) => xml) =>
  compareDomains(change(renderDomain(inputOf(now))), renderDomain(inputOf(then)), emulating);
const restart = (now: Spec, then: Spec): readonly string[] => {
  const { live, restart: sentences } = difference(now, then);
  assert.deepEqual(live, []);
  return sentences;
};

test("what QEMU takes only at its start", () => {
  assert.deepEqual(restart({}, { machineType: "pc" }), ["the machine type becomes pc at the next start (now q35)"]);
  assert.deepEqual(restart({}, { firmware: { type: "uefi", secureBoot: true } }), [
    "the firmware becomes UEFI with Secure Boot at the next start (now BIOS)",
  ]);
  assert.deepEqual(restart({ firmware: { tpm: true } }, {}), ["the TPM becomes off at the next start (now tpm-tis)"]);
  assert.deepEqual(restart({}, { cpu: { model: "Nehalem" } }), ["the CPU model becomes Nehalem at the next start (now qemu64)"]);
  assert.deepEqual(restart({ cpu: { count: 4 } }, { cpu: { count: 4, topology: { sockets: 2, cores: 2, threads: 1 } } }), [
    "the CPU topology (sockets × cores × threads) becomes 2 × 2 × 1 at the next start (now 1 × 4 × 1)",
  ]);
  assert.deepEqual(restart({}, { memory: { hugepages: true } }), ["the use of huge pages becomes on at the next start (now off)"]);
  assert.deepEqual(restart({}, { graphics: "none" }), ["graphics becomes none at the next start (now vnc)"]);
  assert.deepEqual(restart({ guestAgent: false }, {}), ["the guest agent's channel becomes on at the next start (now off)"]);
  assert.deepEqual(restart({}, { bootOrder: ["network"] }), ["the boot order becomes network at the next start (now disk, cdrom)"]);
  const moved = compareDomains(renderDomain(inputOf({})), renderDomain(inputOf({}, accelerated)), accelerated);
  assert.ok(moved.restart.includes("the virtualisation becomes hardware-accelerated at the next start (now emulated)"));
});

test("the CPU model is compared by what was asked for, not by what libvirt made of it", () => {
  const expand = (xml: string): string =>
    xml.replace(/<cpu mode='host-model'>/, "<cpu mode='custom' match='exact' check='full'><model fallback='forbid'>EPYC</model>");
  const spec: Spec = { cpu: { model: "host-model" } };
  const running = expand(renderDomain(inputOf(spec, accelerated)));
  assert.equal(parseDomain(running).cpu.model, "EPYC");
  assert.deepEqual(compareDomains(running, renderDomain(inputOf(spec, accelerated)), accelerated), { live: [], restart: [] });
  const named = compareDomains(running, renderDomain(inputOf({ cpu: { model: "Nehalem" } }, accelerated)), accelerated);
  assert.deepEqual(named.restart, ["the CPU model becomes Nehalem at the next start (now host-model)"]);
});

test("vCPUs grow live up to the maximum the machine started with", () => {
  const now: Spec = { cpu: { count: 1, maximum: 4 } };
  assert.deepEqual(difference(now, { cpu: { count: 3, maximum: 4 } }), { live: [{ kind: "vcpus", count: 3 }], restart: [] });
  assert.deepEqual(restart(now, { cpu: { count: 6 } }), [
    "the CPU topology (sockets × cores × threads) becomes 1 × 6 × 1 at the next start (now 1 × 4 × 1)",
    "the number of vCPUs becomes 6 at the next start (now 1): it started with at most 4",
    "the most vCPUs it can have becomes 6 at the next start (now 4)",
  ]);
  assert.deepEqual(restart({ cpu: { count: 3, maximum: 4 } }, now), [
    "the number of vCPUs becomes 1 at the next start (now 3): guests give none back while they run",
  ]);
});

test("memory shrinks and grows back by the balloon", () => {
  const now: Spec = { memory: { bytes: 2 * gib } };
  assert.deepEqual(difference(now, { memory: { bytes: gib } }), { live: [{ kind: "balloon", bytes: gib }], restart: [] });
  const shrunk = (xml: string): string => xml.replace(/<currentMemory.*/, `<currentMemory unit='KiB'>${gib / 1024}</currentMemory>`);
  assert.deepEqual(difference(now, now, shrunk), { live: [{ kind: "balloon", bytes: 2 * gib }], restart: [] });
  assert.deepEqual(difference(now, { memory: { bytes: gib } }, shrunk), { live: [], restart: [] });
});

test("memory grows by modules up to the ceiling it started with, in steps that Linux takes", () => {
  const now: Spec = { memory: { bytes: gib, maximumBytes: 4 * gib } };
  const { live, restart: sentences } = difference(now, { memory: { bytes: gib + 200 * mib, maximumBytes: 4 * gib } });
  assert.deepEqual(sentences, []);
  assert.deepEqual(
    live.map((change) => ({ ...change, xml: undefined })),
    [
      { kind: "attach-memory", bytes: 256 * mib, xml: undefined },
      { kind: "balloon", bytes: gib + 200 * mib, xml: undefined },
    ],
  );
  assert.deepEqual(difference(now, { memory: { bytes: 4 * gib } }).restart, [], "grown to the ceiling, nothing is pending");
  assert.deepEqual(restart({}, { memory: { bytes: 2 * gib } }), [
    "the memory becomes 2 GiB at the next start (now 1 GiB): it started without a ceiling to grow to",
  ]);
  assert.deepEqual(restart(now, { memory: { bytes: 5 * gib } }), [
    "the memory becomes 5 GiB at the next start (now 1 GiB): it can grow to 4 GiB while it runs",
    "the ceiling of live memory growth becomes none at the next start (now 4 GiB)",
  ]);
});

test("CPU weight and limit are set and taken away live", () => {
  assert.deepEqual(difference({}, { cpu: { shares: 50, limitMillicores: 500 } }).live, [
    { kind: "cpu-tune", parameters: { cpu_shares: 512, global_period: 100_000, global_quota: 50_000 } },
  ]);
  assert.deepEqual(difference({ cpu: { shares: 50, limitMillicores: 500 } }, {}).live, [
    { kind: "cpu-tune", parameters: { cpu_shares: 1024, global_quota: -1 } },
  ]);
  const reset = (xml: string): string => xml.replace(/<os>/, "<cputune><shares>1024</shares><global_quota>-1</global_quota></cputune><os>");
  assert.deepEqual(difference({}, {}, reset).live, [], "what was taken away stays away");
});

const root = { name: "root", volume: volumeId(1) };
const data = { name: "data", volume: volumeId(2) };
const extra = { name: "extra", volume: volumeId(3) };

test("disks are known by serial number, whatever their order and path", () => {
  assert.deepEqual(difference({ disks: [root, data] }, { disks: [data, root] }), { live: [], restart: [] });
  const overlay = (xml: string): string => xml.replace(/source file='[^']*1\.qcow2'/, "source file='/pool/snapshot-1.qcow2'");
  assert.deepEqual(difference({ disks: [root] }, { disks: [root] }, overlay), { live: [], restart: [] });
});

test("a disk is plugged in under a name that is free in the running machine", () => {
  const { live, restart: sentences } = difference({ disks: [root, data] }, { disks: [root, extra] });
  assert.deepEqual(sentences, []);
  assert.deepEqual(
    live.map(({ kind }) => kind),
    ["detach-disk", "attach-disk"],
  );
  const [detach, attach] = live;
  assert.ok(detach?.kind === "detach-disk" && attach?.kind === "attach-disk");
  assert.equal(detach.alias, "ua-disk-data");
  assert.match(detach.xml, /<target dev='vdb' bus='virtio'\/>/);
  assert.match(attach.xml, /<target dev='vdc' bus='virtio'\/>/);
  assert.match(attach.xml, /<alias name='ua-disk-extra'\/>/);
  assert.doesNotMatch(attach.xml, /<boot/);
});

test("a replaced volume under the same disk name is another disk", () => {
  const { live } = difference({ disks: [root, data] }, { disks: [root, { ...data, volume: volumeId(9) }] });
  assert.deepEqual(
    live.map(({ kind }) => kind),
    ["detach-disk", "attach-disk"],
  );
});

test("SCSI disks get a free place on the bus; SATA disks wait", () => {
  const { live } = difference({}, { disks: [{ ...root, bus: "scsi" }] });
  assert.ok(live[0]?.kind === "attach-disk");
  // The seed is sda at target 0.
  assert.match(live[0].xml, /<target dev='sdb' bus='scsi'\/>/);
  assert.match(live[0].xml, /<address type='drive' controller='0' bus='0' target='1' unit='0'\/>/);
  assert.deepEqual(restart({}, { disks: [{ ...root, bus: "sata" }] }), ["disk root is added at the next start: SATA disks cannot be plugged in"]);
  assert.deepEqual(restart({ disks: [{ ...root, bus: "sata" }] }, {}), ["disk root is removed at the next start: SATA disks cannot be unplugged"]);
});

test("limits of a disk change live, its modes at the next start", () => {
  const { live } = difference(
    { disks: [{ ...root, limits: { totalBytesPerSecond: 1e6 } }] },
    { disks: [{ ...root, limits: { readOperationsPerSecond: 100 } }] },
  );
  assert.ok(live[0]?.kind === "disk-limits");
  assert.equal(live[0].target, "vda");
  assert.equal(live[0].tune["total_bytes_sec"], 0);
  assert.equal(live[0].tune["read_iops_sec"], 100);
  assert.deepEqual(restart({ disks: [root] }, { disks: [{ ...root, bus: "scsi", cache: "writeback", discard: false }] }), [
    "bus of disk root becomes scsi at the next start (now virtio)",
    "cache mode of disk root becomes writeback at the next start (now none)",
    "discard of disk root becomes off at the next start (now on)",
  ]);
});

test("media change live, drives at the next start", () => {
  const drive = { name: "install", image: "debian" };
  const { live, restart: sentences } = difference({ cdroms: [drive] }, { cdroms: [{ ...drive, image: null }] });
  assert.deepEqual(sentences, []);
  assert.ok(live[0]?.kind === "medium" && live[0].path === null);
  assert.doesNotMatch(live[0].xml, /<source/);
  assert.deepEqual(restart({}, { cdroms: [drive] }), ["CD drive install is added at the next start"]);
  assert.deepEqual(restart({ cdroms: [drive] }, {}), ["CD drive install is removed at the next start"]);
});

const eth0 = { name: "eth0", network: "lan", mac: "52:54:00:00:00:01" };

test("NICs: plugged, unplugged, cut and moved live; their model waits", () => {
  const kinds = (now: Spec, then: Spec): string[] => difference(now, then).live.map(({ kind }) => kind);
  assert.deepEqual(kinds({}, { nics: [eth0] }), ["attach-nic"]);
  assert.deepEqual(kinds({ nics: [eth0] }, {}), ["detach-nic"]);
  const { live } = difference({ nics: [eth0] }, { nics: [{ ...eth0, connected: false }] });
  assert.ok(live[0]?.kind === "update-nic" && live[0].mac === eth0.mac);
  assert.match(live[0].xml, /<link state='down'\/>/);
  const elsewhere = inputOf({ nics: [eth0] });
  const moved = compareDomains(
    renderDomain(elsewhere),
    renderDomain({ ...elsewhere, nics: elsewhere.nics.map((nic) => ({ ...nic, bridge: "br1" })) }),
    emulating,
  );
  assert.ok(moved.live[0]?.kind === "update-nic");
  assert.match(moved.live[0].xml, /<source bridge='br1'\/>/);
  assert.deepEqual(restart({ nics: [eth0] }, { nics: [{ ...eth0, model: "e1000" }] }), [
    "model of network interface eth0 becomes e1000 at the next start (now virtio)",
  ]);
});

test("Sheaf's mark follows epoch and generation, but keeps what the machine was started with", () => {
  const input = inputOf({});
  const running = renderDomain(input);
  const wanted = renderDomain({ ...inputOf({ cpu: { model: "Nehalem" }, bootOrder: ["network"] }), epoch: 8 });
  const { live, restart: sentences } = compareDomains(running, wanted, emulating);
  assert.ok(live[0]?.kind === "metadata");
  assert.equal(live[0].machine.epoch, 8);
  assert.equal(live[0].machine.cpu, "qemu64");
  assert.deepEqual(live[0].machine.boot, ["disk", "cdrom"]);
  assert.match(live[0].xml, /^<machine id='/);
  assert.equal(sentences.length, 2);
});

test("a domain that libvirt names differently keeps its name and its devices' places", () => {
  const now = inputOf({ disks: [root, data], nics: [eth0] });
  const placed = renderDomain(now)
    .replace("<name>sheaf-1001-web-01</name>", "<name>old-name</name>")
    .replace("<alias name='ua-nic-eth0'/>", "<alias name='ua-nic-eth0'/><address type='pci' domain='0x0000' bus='0x03' slot='0x00' function='0x0'/>");
  const again = parseDomain(renderDomain(inputOf({ disks: [data], nics: [eth0] }), parseDomain(placed)));
  assert.equal(again.name, "old-name");
  assert.equal(again.disks[0]?.target, "vdb");
  assert.deepEqual(again.nics[0]?.address, { type: "pci", domain: 0, bus: 3, slot: 0, function: 0 });
  const other = parseDomain(renderDomain(inputOf({ machineType: "pc", nics: [eth0] }), parseDomain(placed)));
  assert.equal(other.nics[0]?.address, undefined, "another machine type has other places");
});
