/** A guest that ran under plain libvirt before Sheaf: seen, refused where it must be, adopted while it runs, and from then on a machine like any other. */
import assert from "node:assert/strict";
import { copyFile, mkdir, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { after, before, test } from "node:test";
import { GUEST_IMAGE_CACHE } from "@sheaf/lab";
import { until } from "../apps/server/deployment/processes.ts";
import { guestAnswers } from "./guest.ts";
import { openSite, type Site } from "./site.ts";

const uuid = "3f2b1c5e-0d4a-4c9b-8e77-5a1d2c3b4a59";
const odd = "4f2b1c5e-0d4a-4c9b-8e77-5a1d2c3b4a60";
const mac = "52:54:00:ad:00:01";
const disk = "/mnt/local/sheaf/old/legacy.qcow2";

let site: Site;
let address = "";
before(
  async () => {
    site = await openSite({ hosts: 2, port: 17_943 });
    address = `${site.deployment.options.subnet}.240`;
  },
  { timeout: 180_000 },
);
after(() => site?.close(), { timeout: 60_000 });

const lab = (name: string) => {
  const found = site.deployment.hosts.get(name);
  if (!found) throw new Error(`There is no lab host ${name}.`);
  return found;
};
async function inside(name: string, ...words: string[]): Promise<string> {
  const { code, stdout, stderr } = await lab(name).host.exec(words);
  assert.equal(code, 0, `${words.join(" ")}: ${stderr}`);
  return stdout;
}
const definition = (name = "h1", id = uuid): Promise<string> => inside(name, "virsh", "dumpxml", "--inactive", "--security-info", id);

interface Machine {
  readonly id: string;
  readonly state: string;
  readonly number: number;
  readonly displayName?: string;
  readonly placement?: { readonly epoch: number };
  readonly spec: {
    readonly disks: readonly { readonly volume: string }[];
    readonly nics: readonly { readonly mac: string; readonly addresses: string[] }[];
  };
}
const machine = async (): Promise<Machine> => JSON.parse(await site.must("-o", "json", "vm", "show", "legacy")) as Machine; // the API's record

interface Unmanaged {
  readonly uuid: string;
  readonly name: string;
  readonly state: string;
}
async function unmanaged(name: string): Promise<readonly Unmanaged[]> {
  const record = JSON.parse(await site.must("-o", "json", "host", "show", name)) as { status: { agent?: { unmanaged: Unmanaged[] } } }; // as above
  return record.status.agent?.unmanaged ?? [];
}

/** Every QEMU of every host that runs this machine: `h1/4711`. */
async function copies(): Promise<string[]> {
  const found: string[] = [];
  for (const [name, { host }] of site.deployment.hosts)
    for (const process of await host.qemuProcesses()) if (process.uuid === uuid) found.push(`${name}/${process.pid}`);
  return found;
}

/** As virt-install would write it: files on the host's storage, a card on its bridge, VNC on a port, started with the host. */
const domainXml = (name: string, id: string, devices: string): string => `<domain type='qemu'>
  <name>${name}</name><uuid>${id}</uuid><memory unit='MiB'>128</memory><vcpu>1</vcpu>
  <os><type arch='x86_64' machine='q35'>hvm</type><boot dev='hd'/></os><features><acpi/><apic/></features>
  <cpu mode='custom' match='exact'><model>qemu64</model></cpu>
  <devices>
    <interface type='bridge'><mac address='${id === uuid ? mac : "52:54:00:ad:00:02"}'/><source bridge='br0'/><model type='virtio'/></interface>
    <serial type='pty'/><channel type='unix'><target type='virtio' name='org.qemu.guest_agent.0'/></channel>
    <graphics type='vnc' autoport='yes' listen='127.0.0.1'/><memballoon model='virtio'/>${devices}
  </devices></domain>`;

async function defineDomain(name: string, id: string, devices: string): Promise<void> {
  await writeFile(join(site.deployment.lab.sharedDirectory, `${name}.xml`), domainXml(name, id, devices));
  await inside("h1", "virsh", "-q", "define", `/mnt/shared/${name}.xml`);
}

/** The disk with the guest, and a small one that tells it its address: what its owner had set up. */
async function makeDisks(): Promise<void> {
  const shared = site.deployment.lab.sharedDirectory;
  const seed = join(shared, "legacy-seed");
  await mkdir(seed);
  const network = { match: { macaddress: mac }, addresses: [`${address}/24`] };
  await writeFile(join(seed, "network-config"), JSON.stringify({ version: 2, ethernets: { id0: network } }));
  await writeFile(join(seed, "meta-data"), "instance-id: before-sheaf\nlocal-hostname: legacy\n");
  await writeFile(join(seed, "user-data"), "#cloud-config\n{}\n");
  await copyFile(join(GUEST_IMAGE_CACHE, "mini.qcow2"), join(shared, "mini.qcow2"));
  await inside("h1", "mkdir", "-p", "/mnt/local/sheaf/old");
  await inside("h1", "qemu-img", "convert", "-O", "qcow2", "/mnt/shared/mini.qcow2", disk);
  await inside(
    "h1",
    "xorriso",
    "-as",
    "mkisofs",
    "-quiet",
    "-V",
    "cidata",
    "-J",
    "-r",
    "-o",
    "/mnt/local/sheaf/old/seed.raw",
    "/mnt/shared/legacy-seed",
  );
  await inside("h1", "truncate", "-s", "%1M", "/mnt/local/sheaf/old/seed.raw");
}

let first: { bootId: string; qemu: string[] };

test("a domain of plain libvirt is shown as unmanaged", { timeout: 180_000 }, async () => {
  await makeDisks();
  const disks = `
    <disk type='file' device='disk'><driver name='qemu' type='qcow2'/><source file='${disk}'/><target dev='vda' bus='virtio'/></disk>
    <disk type='file' device='disk'><driver name='qemu' type='raw'/><source file='/mnt/local/sheaf/old/seed.raw'/><target dev='vdb' bus='virtio'/></disk>`;
  await defineDomain("Legacy_1", uuid, disks);
  await inside("h1", "virsh", "-q", "autostart", uuid);
  await inside("h1", "virsh", "-q", "start", uuid);
  const status = await guestAnswers(address);
  first = { bootId: status.bootId, qemu: await copies() };
  assert.equal(first.qemu.length, 1);
  const shown = await until("the running domain among those of the host", 30_000, async () =>
    (await unmanaged("h1")).find((one) => one.uuid === uuid && one.state === "running"),
  );
  assert.equal(shown.name, "Legacy_1");
  assert.match(await site.must("host", "show", "h1"), new RegExp(`uuid: ${uuid}`));
});

test("what Sheaf cannot carry is named, and the domain stays what it was to the letter", { timeout: 60_000 }, async () => {
  await defineDomain("odd", odd, "<sound model='ich9'/>");
  await until("the domain among those of the host", 30_000, async () => (await unmanaged("h1")).find((one) => one.uuid === odd));
  const xml = await definition("h1", odd);
  const refused = await site.sheaf("vm", "adopt", "h1", odd, "odd", "--wait");
  assert.notEqual(refused.code, 0);
  assert.match(refused.error, /parts that Sheaf cannot carry: sound card/);
  assert.match(refused.error, /accept/);
  assert.equal(await definition("h1", odd), xml);
  assert.deepEqual(JSON.parse(await site.must("-o", "json", "vm", "list")), []);
  assert.deepEqual((await unmanaged("h1")).map((one) => one.uuid).toSorted(), [uuid, odd].toSorted());
  await inside("h1", "virsh", "-q", "undefine", odd);
});

test("it is adopted while it runs: the same process, the same boot; its disks, MAC and address are Sheaf's", { timeout: 90_000 }, async () => {
  await site.must("vm", "adopt", "h1", uuid, "legacy", "--wait");
  const adopted = await machine();
  assert.deepEqual([adopted.id, adopted.state, adopted.displayName, adopted.placement?.epoch], [uuid, "running", "Legacy_1", 1]);
  assert.deepEqual([adopted.spec.nics[0]?.mac, adopted.spec.nics[0]?.addresses], [mac, [address]]);
  assert.equal(adopted.spec.disks.length, 2);
  assert.equal((await guestAnswers(address)).bootId, first.bootId);
  assert.deepEqual(await copies(), first.qemu);
  assert.match(await definition(), /<sheaf:machine /);
  assert.match(await inside("h1", "virsh", "dominfo", uuid), /Autostart:\s+disable/);
  await until("no unmanaged domain", 30_000, async () => ((await unmanaged("h1")).length === 0 ? true : undefined));
  const again = await site.sheaf("vm", "adopt", "h1", uuid, "again", "--wait");
  assert.notEqual(again.code, 0);
});

test("kill -9 of server, agent and libvirtd leaves it running, and each knows it", { timeout: 120_000 }, async () => {
  const { deployment } = site;
  await deployment.server.kill();
  await lab("h1").agent.kill();
  await lab("h1").host.restartLibvirtd("SIGKILL");
  await deployment.startServer();
  await deployment.startAgent("h1");
  await deployment.ready();
  await site.signIn();
  await until("the machine as running", 30_000, async () => ((await machine()).state === "running" ? true : undefined));
  assert.equal((await guestAnswers(address)).bootId, first.bootId);
  assert.deepEqual(await copies(), first.qemu);
});

test("it moves to another host with its disks, over no file that is there", { timeout: 180_000 }, async () => {
  await inside("h2", "mkdir", "-p", "/mnt/local/sheaf/old");
  await inside("h2", "sh", "-c", `echo precious >${disk}`);
  // The host counts as unreachable, or as not connected, until its agent has found the new server.
  const refused = await until("an answer about the move", 30_000, async () => {
    const result = await site.sheaf("vm", "migrate", "legacy", "--to", "h2", "--wait");
    return /unreachable|not connected/.test(result.error) ? undefined : result;
  });
  assert.notEqual(refused.code, 0);
  assert.match(refused.error, /another file is/);
  assert.equal(await inside("h2", "cat", disk), "precious\n");
  assert.deepEqual(await copies(), first.qemu);
  await inside("h2", "rm", disk);
  await site.must("vm", "migrate", "legacy", "--to", "h2", "--wait");
  assert.equal((await guestAnswers(address)).bootId, first.bootId);
  assert.deepEqual(
    (await copies()).map((copy) => copy.split("/")[0]),
    ["h2"],
  );
  assert.equal((await machine()).placement?.epoch, 2);
  await until("its files to be gone from h1", 30_000, async () =>
    (await inside("h1", "find", "/mnt/local/sheaf/old", "-type", "f")).trim() === "" ? true : undefined,
  );
  assert.equal((await inside("h1", "virsh", "-q", "list", "--all", "--name")).trim(), "");
});

test("it stops, is resized, starts, and comes back after its host's power was off", { timeout: 240_000 }, async () => {
  await site.must("vm", "stop", "legacy", "--wait");
  assert.deepEqual(await copies(), []);
  await site.must("vm", "resize", "legacy", "--cpus", "2", "--memory", "160MiB", "--wait");
  await site.must("vm", "start", "legacy", "--wait");
  const second = await guestAnswers(address);
  assert.equal(second.hostname, "legacy");
  assert.notEqual(second.bootId, first.bootId);
  const info = await inside("h2", "virsh", "dominfo", uuid);
  assert.match(info, /CPU\(s\):\s+2/);
  assert.match(info, /Max memory:\s+163840 KiB/);
  await lab("h2").host.kill();
  await site.deployment.powerOn("h2");
  const third = await guestAnswers(address);
  assert.notEqual(third.bootId, second.bootId);
  assert.equal((await copies()).length, 1);
});

test("deleted, it leaves its disks as volumes; these go when they are deleted", { timeout: 120_000 }, async () => {
  await site.must("vm", "delete", "legacy", "--wait");
  assert.deepEqual(await copies(), []);
  assert.equal((await inside("h2", "virsh", "-q", "list", "--all", "--name")).trim(), "");
  const volumes = JSON.parse(await site.must("-o", "json", "volume", "list")) as { name: string }[]; // the API's records
  assert.deepEqual(volumes.map(({ name }) => name).toSorted(), ["legacy-vda", "legacy-vdb"]);
  assert.match(await inside("h2", "qemu-img", "info", disk), /file format: qcow2/);
  await site.must("volume", "delete", "legacy-vda", "legacy-vdb", "--wait");
  assert.equal((await inside("h2", "find", "/mnt/local/sheaf/old", "-type", "f")).trim(), "");
});
