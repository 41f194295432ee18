/** Against what libvirt 9.0 with QEMU 7.2 said on Debian 12 (fixtures/), without KVM, with ovmf and swtpm installed. */
import assert from "node:assert/strict";
import { readFileSync } from "node:fs";
import { join } from "node:path";
import { test } from "node:test";
import { parseCapabilities, parseDomainCapabilities } from "./parse-capabilities.ts";
import { parseNodeDevice } from "./parse-node-device.ts";

const fixture = (name: string): string => readFileSync(join(import.meta.dirname, "..", "fixtures", name), "utf8");

test("the host's CPU, memory and guests", () => {
  const { uuid, cpu, numa, guests } = parseCapabilities(fixture("capabilities-emulated.xml"));
  assert.equal(uuid, "11111111-2222-4333-8444-555555555555");
  const { features, ...rest } = cpu;
  assert.deepEqual(rest, { architecture: "x86_64", model: "kvm64", vendor: "AMD", sockets: 1, cores: 2, threads: 1 });
  assert.ok(features.includes("avx2") && features.includes("sse4.1"));
  assert.deepEqual(numa, [
    {
      id: 0,
      memoryBytes: 6_777_044 * 1024,
      cpus: [0, 1],
      siblings: [],
      hugepages: [
        { sizeBytes: 2 ** 21, count: 0 },
        { sizeBytes: 2 ** 30, count: 0 },
      ],
    },
  ]);
  const guest = guests.find(({ architecture }) => architecture === "x86_64");
  assert.equal(guest?.emulator, "/usr/bin/qemu-system-x86_64");
  assert.deepEqual(guest?.domainTypes, ["qemu"]);
  assert.ok(guest?.machineTypes.includes("q35") && guest.machineTypes.includes("pc-q35-7.2"));
});

test("huge pages, dies and KVM are read", () => {
  const xml = fixture("capabilities-emulated.xml")
    .replace("<pages unit='KiB' size='2048'>0</pages>", "<pages unit='KiB' size='2048'>512</pages>")
    .replace("dies='1' cores='2'", "dies='2' cores='4'")
    .replaceAll(/siblings='[01]'/g, "siblings='0-1'")
    .replaceAll("<domain type='qemu'/>", "<domain type='qemu'/><domain type='kvm'/>");
  const { cpu, numa, guests } = parseCapabilities(xml);
  assert.equal(numa[0]?.hugepages[0]?.count, 512);
  assert.deepEqual(numa[0].siblings, [[0, 1]]);
  assert.equal(cpu.cores, 8);
  assert.deepEqual(guests[0]?.domainTypes, ["qemu", "kvm"]);
});

test("what guests can have", () => {
  const { cpuModels, ...rest } = parseDomainCapabilities(fixture("domain-capabilities-emulated.xml"));
  assert.deepEqual(rest, {
    emulator: "/usr/bin/qemu-system-x86_64",
    type: "qemu",
    machineType: "pc-q35-7.2",
    architecture: "x86_64",
    maximumVcpus: 288,
    cpuModes: ["maximum", "host-model", "custom"],
    uefi: true,
    secureBoot: true,
    loaders: ["/usr/share/OVMF/OVMF_CODE_4M.ms.fd", "/usr/share/OVMF/OVMF_CODE_4M.secboot.fd", "/usr/share/OVMF/OVMF_CODE_4M.fd"],
    tpm: true,
  });
  assert.ok(cpuModels.includes("qemu64"));
  assert.ok(!cpuModels.includes("Skylake-Server"), "models that the host cannot run are left out");
});

test("without firmware and TPM packages", () => {
  const xml = fixture("domain-capabilities-emulated.xml").replace("<value>efi</value>", "").replace("<value>emulator</value>", "");
  const { uefi, secureBoot, tpm } = parseDomainCapabilities(xml);
  assert.deepEqual({ uefi, secureBoot, tpm }, { uefi: false, secureBoot: false, tpm: false });
});

test("a PCI device", () => {
  const gpu = `<device><name>pci_0000_81_00_0</name><path>/sys/x</path><parent>pci_0000_80_03_1</parent><driver><name>nvidia</name></driver>
    <capability type='pci'><class>0x030200</class><domain>0</domain><bus>129</bus><slot>0</slot><function>0</function>
      <product id='0x20b0'>GA100 [A100 PCIe 40GB]</product><vendor id='0x10de'>NVIDIA Corporation</vendor>
      <iommuGroup number='74'><address domain='0x0000' bus='0x81' slot='0x00' function='0x0'/></iommuGroup><numa node='1'/></capability></device>`;
  assert.deepEqual(parseNodeDevice(gpu), {
    name: "pci_0000_81_00_0",
    address: "0000:81:00.0",
    vendor: "NVIDIA Corporation",
    product: "GA100 [A100 PCIe 40GB]",
    vendorId: "0x10de",
    productId: "0x20b0",
    class: "0x030200",
    driver: "nvidia",
    iommuGroup: 74,
    numaNode: 1,
  });
  const nameless = gpu.replace(">GA100 [A100 PCIe 40GB]</product>", "/>").replace("<driver><name>nvidia</name></driver>", "");
  assert.equal(parseNodeDevice(nameless)?.product, "0x20b0");
  assert.equal(parseNodeDevice("<device><name>net_eth0</name><capability type='net'/></device>"), null);
});

test("another text is refused with its words", () => {
  assert.throws(() => parseCapabilities("<domain/>"), /holds no <capabilities>/);
  assert.throws(() => parseCapabilities("<capabilities><host>"), /cannot be read/);
});
