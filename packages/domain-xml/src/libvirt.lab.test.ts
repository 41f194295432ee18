/** What this package writes, before libvirt's schema, a real libvirtd and real QEMUs (no system in them: the firmware is enough). */
import assert from "node:assert/strict";
import { mkdtemp, readdir, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { after, before, test } from "node:test";
import type { VmSpec } from "@sheaf/model";
import { createLab, type LabHost } from "@sheaf/lab";
import fc from "fast-check";
import type { z } from "zod";
import { compareDomains } from "./compare-domains.ts";
import type { DomainChange } from "./domain-change.ts";
import type { DomainInput } from "./domain-input.ts";
import { parseCapabilities, parseDomainCapabilities } from "./parse-capabilities.ts";
import { parseDomain } from "./parse-domain.ts";
import { parseNodeDevice } from "./parse-node-device.ts";
import { renderDomain } from "./render-domain.ts";
import { specArbitrary } from "./testing/arbitraries.ts";
import { emulating, features, inputOf, vmId, volumeId } from "./testing/inputs.ts";

const lab = createLab({ root: "/var/lib/dxm-lab", id: "dxm", gateway: "10.98.70.1/24" });
let host: LabHost;
let scratch: string;

before(async () => {
  host = await lab.up("a", "10.98.70.11");
  scratch = await mkdtemp(join(tmpdir(), "domain-xml-"));
});
after(async () => {
  await lab.purge();
  await rm(scratch, { recursive: true, force: true });
});

async function run(...argv: string[]): Promise<string> {
  const { code, stdout, stderr } = await host.exec(argv);
  assert.equal(code, 0, `${argv.join(" ")}: ${stderr}`);
  return stdout;
}
const virsh = (...argv: string[]): Promise<string> => run("virsh", "-q", ...argv);

let files = 0;
async function fileOf(xml: string): Promise<string> {
  const file = join(scratch, `${(files += 1)}.xml`);
  await writeFile(file, xml);
  return file;
}
const define = async (xml: string): Promise<string> => virsh("define", "--validate", await fileOf(xml));
const undefine = (): Promise<string> => virsh("undefine", "--nvram", vmId);

test("every golden file is valid by libvirt's schema", async () => {
  const directory = join(import.meta.dirname, "..", "golden");
  const names = (await readdir(directory)).map((name) => join(directory, name));
  assert.ok(names.length > 25);
  // One shell for all: each validation costs 50 ms, most of it start-up.
  const script = 'for file; do virt-xml-validate "$file" domain >/dev/null || { virt-xml-validate "$file" domain; exit 1; }; done';
  await run("sh", "-c", script, "validate", ...names);
});

/** What libvirt made of a definition has to be what was wanted; rendering it anew has to change nothing. */
async function checkDefined(input: DomainInput): Promise<void> {
  const wanted = renderDomain(input);
  await define(wanted);
  const defined = await virsh("dumpxml", "--inactive", vmId);
  assert.deepEqual(compareDomains(defined, wanted, input.host), { live: [], restart: [] });
  const again = renderDomain(input, parseDomain(defined));
  await define(again);
  assert.equal(await virsh("dumpxml", "--inactive", vmId), defined);
  await undefine();
}

for (const [name, input] of Object.entries(features)) {
  // Hosts that accelerate are not at hand everywhere: their goldens are validated above, the same machines are defined as emulated ones.
  const { firmware: _, ...without } = { ...input.host, accelerated: false };
  test(`libvirt defines: ${name}`, () => checkDefined({ ...input, host: without }));
}

test("libvirt defines any machine", async () => {
  for (const spec of fc.sample(specArbitrary, { numRuns: 40, seed: 1 })) {
    await checkDefined(inputOf(spec)).catch((error: unknown) => {
      throw new Error(`refused: ${JSON.stringify(spec)}`, { cause: error });
    });
  }
});

const mib = 2 ** 20;

/** A machine with its files in the host. */
async function machine(spec: z.input<typeof VmSpec>): Promise<DomainInput> {
  const input = inputOf(spec);
  const disks = input.disks.map((disk) => ({ ...disk, path: `/mnt/local/${disk.disk.name}.qcow2` }));
  for (const { path } of disks) await run("sh", "-c", `test -e ${path} || qemu-img create -q -f qcow2 ${path} 16M`);
  const cdroms = input.cdroms.map((cdrom) => ({ ...cdrom, path: cdrom.cdrom.image === null ? null : "/mnt/local/seed.iso" }));
  await run("sh", "-c", "truncate -s 1M /mnt/local/seed.iso");
  return {
    ...input,
    disks,
    cdroms,
    seedPath: "/mnt/local/seed.iso",
    paths: { nvram: "/mnt/local/nvram.fd", serialLog: "/var/log/libvirt/qemu/serial.log" },
  };
}

async function apply(change: DomainChange): Promise<void> {
  switch (change.kind) {
    case "attach-disk":
    case "attach-nic":
    case "attach-memory":
      await virsh("attach-device", vmId, await fileOf(change.xml), "--live");
      return;
    case "detach-disk":
    case "detach-nic":
      await virsh("detach-device", vmId, await fileOf(change.xml), "--live");
      return;
    case "update-nic":
    case "medium":
      await virsh("update-device", vmId, await fileOf(change.xml), "--live", ...(change.kind === "medium" ? ["--force"] : []));
      return;
    case "disk-limits":
      await virsh(
        "blkdeviotune",
        vmId,
        change.target,
        "--live",
        ...Object.entries(change.tune).flatMap(([name, value]) => [`--${name.replaceAll("_", "-")}`, String(value)]),
      );
      return;
    case "balloon":
      await virsh("setmem", vmId, "--live", `${change.bytes / 1024}`);
      return;
    case "vcpus":
      await virsh("setvcpus", vmId, String(change.count), "--live");
      return;
    case "cpu-tune":
      for (const [name, value] of Object.entries(change.parameters)) await virsh("schedinfo", vmId, "--live", "--set", `${name}=${value}`);
      return;
    case "metadata":
      await virsh("metadata", vmId, "--uri", "urn:sheaf:1", "--key", "sheaf", "--live", "--set", change.xml);
  }
}

test("a running machine is what was wanted, and becomes what is wanted next", async () => {
  const eth0 = { name: "eth0", network: "lan", mac: "52:54:00:70:00:01" };
  const root = { name: "root", volume: volumeId(1) };
  const spec = {
    cpu: { count: 1, maximum: 2 },
    memory: { bytes: 256 * mib, maximumBytes: 1024 * mib },
    disks: [root, { name: "old", volume: volumeId(4), bus: "scsi" as const }],
    cdroms: [{ name: "install", image: "iso" }],
    nics: [eth0],
  };
  const input = await machine(spec);
  await define(renderDomain(input));
  await virsh("start", vmId);
  const running = parseDomain(await virsh("dumpxml", vmId));
  assert.deepEqual(compareDomains(running, renderDomain(input), emulating), { live: [], restart: [] });
  assert.ok(running.id !== undefined);
  assert.match(running.serialPath ?? "", /^\/dev\/pts\/\d+$/);
  await run("test", "-S", running.vncSocket ?? "");
  assert.equal((await run("sh", "-c", "ss -Hltn | grep -c :59 || true")).trim(), "0", "VNC listens on no network");
  await run("test", "-d", `/sys/class/net/${running.nics[0]?.tapName ?? ""}`);

  const limits = { totalBytesPerSecond: 1e6, burstBytesPerSecond: 2e6, burstMs: 5000, readOperationsPerSecond: 100 };
  const next = {
    ...(await machine({
      ...spec,
      cpu: { count: 2, maximum: 2, shares: 50, limitMillicores: 1500 },
      memory: { bytes: 384 * mib, maximumBytes: 1024 * mib },
      disks: [
        { ...root, limits },
        { name: "data", volume: volumeId(2) },
        { name: "more", volume: volumeId(3), bus: "scsi" as const },
      ],
      cdroms: [{ name: "install", image: null }],
      nics: [
        { ...eth0, connected: false },
        { name: "eth1", network: "lan", mac: "52:54:00:70:00:02" },
      ],
    })),
    epoch: 8,
  };
  const wanted = renderDomain(next, running);
  const { live, restart } = compareDomains(running, wanted, emulating);
  assert.deepEqual(restart, []);
  assert.deepEqual(
    live.map(({ kind }) => kind),
    [
      "detach-disk",
      "disk-limits",
      "attach-disk",
      "attach-disk",
      "medium",
      "update-nic",
      "attach-nic",
      "attach-memory",
      "balloon",
      "vcpus",
      "cpu-tune",
      "metadata",
    ],
  );
  for (const change of live) await apply(change);
  const changed = await virsh("dumpxml", vmId);
  assert.deepEqual(compareDomains(changed, wanted, emulating), { live: [], restart: [] });
  assert.equal(parseDomain(changed).machine?.epoch, 8);

  // And back: limits, link and medium can be taken away too.
  const calmed = {
    ...(await machine({
      ...next.vm.spec,
      cpu: { count: 2, maximum: 2 },
      disks: next.vm.spec.disks.map((disk) => ({ ...disk, limits: {} })),
      nics: [eth0, ...next.vm.spec.nics.slice(1)],
      cdroms: spec.cdroms,
    })),
    epoch: 8,
  };
  for (const change of compareDomains(changed, renderDomain(calmed, parseDomain(changed)), emulating).live) await apply(change);
  assert.deepEqual(compareDomains(await virsh("dumpxml", vmId), renderDomain(calmed), emulating), { live: [], restart: [] });

  // The persistent definition is replaced while the guest runs; names stay as they are.
  await define(renderDomain(calmed, parseDomain(changed)));
  const defined = parseDomain(await virsh("dumpxml", "--inactive", vmId));
  const names = (domain: typeof defined): string[] => domain.disks.map(({ alias, target }) => `${alias} ${target}`);
  assert.deepEqual(names(defined), names(parseDomain(changed)));
  await virsh("destroy", vmId);
  await undefine();
});

test("an emulated machine's memory is one that QEMU copies whole, and libvirt sees no difference", async () => {
  const input = await machine({ memory: { bytes: 128 * mib }, disks: [{ name: "root", volume: volumeId(1) }] });
  await define(renderDomain(input));
  await virsh("start", vmId);
  const blocks = await virsh("qemu-monitor-command", "--hmp", vmId, "info ramblock");
  const usedBytes = Number(/^\s*sheaf\.ram\s.*?(0x[0-9a-f]+)\s+0x[0-9a-f]+\s*$/m.exec(blocks)?.[1]);
  assert.ok(usedBytes > 128 * mib && usedBytes % (64 * 4096) !== 0, blocks);
  assert.deepEqual(compareDomains(await virsh("dumpxml", vmId), renderDomain(input), emulating), { live: [], restart: [] });
  await virsh("destroy", vmId);
  await undefine();
});

test("a machine with UEFI, Secure Boot and a TPM starts", async () => {
  const input = await machine({
    memory: { bytes: 256 * mib },
    firmware: { type: "uefi", secureBoot: true, tpm: true },
    disks: [{ name: "root", volume: volumeId(1) }],
  });
  await define(renderDomain(input));
  await virsh("start", vmId);
  const running = await virsh("dumpxml", vmId);
  assert.deepEqual(compareDomains(running, renderDomain(input), emulating), { live: [], restart: [] });
  assert.equal(parseDomain(running).firmware.secureBoot, true);
  await run("test", "-s", "/mnt/local/nvram.fd");
  await virsh("destroy", vmId);
  await undefine();
});

test("this libvirt's capabilities are understood", async () => {
  const { uuid, numa, guests } = parseCapabilities(await virsh("capabilities"));
  assert.match(uuid, /^[0-9a-f-]{36}$/);
  assert.ok((numa[0]?.memoryBytes ?? 0) > 0 && (numa[0]?.cpus.length ?? 0) > 0);
  assert.ok(guests.some(({ machineTypes }) => machineTypes.includes("q35")));
  const { cpuModels, maximumVcpus, uefi, tpm } = parseDomainCapabilities(await virsh("domcapabilities", "--virttype", "qemu", "--machine", "q35"));
  assert.ok(cpuModels.includes("qemu64") && maximumVcpus > 1 && uefi && tpm);
  for (const name of (await virsh("nodedev-list", "--cap", "pci")).split("\n").filter((line) => line !== "")) {
    assert.equal(parseNodeDevice(await virsh("nodedev-dumpxml", name))?.name, name);
  }
});
