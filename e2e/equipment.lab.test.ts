/** What machines are made of and connected to, on real hosts: networks, CDs, firmware, images of the same bytes, sizes that change. */
import assert from "node:assert/strict";
import { execFile } from "node:child_process";
import { writeFile } from "node:fs/promises";
import { join } from "node:path";
import { after, before, test } from "node:test";
import { promisify } from "node:util";
import { GUEST_IMAGE_CACHE } from "@sheaf/lab";
import { until } from "../apps/server/deployment/processes.ts";
import { guestAnswers } from "./guest.ts";
import { mib, SiteMachines } from "./site-machines.ts";
import { openSite, type Site } from "./site.ts";

const run = promisify(execFile);
let site: Site;
let machines: SiteMachines;
before(
  async () => {
    site = await openSite({ hosts: 2, port: 17_483 });
    machines = new SiteMachines(site);
  },
  { timeout: 240_000 },
);
after(() => site?.close(), { timeout: 60_000 });

test("a network that Sheaf makes: a bridge on each host, IPv4 and IPv6 addresses in the guest, gone in the end", { timeout: 180_000 }, async () => {
  await site.deployment.client.network.create({
    body: {
      name: "inner",
      spec: {
        bridge: "shfinner",
        managed: true,
        subnets: [
          { cidr: "10.77.0.0/24", range: { from: "10.77.0.10", to: "10.77.0.20" } },
          { cidr: "fd00:77::/64", range: { from: "fd00:77::10", to: "fd00:77::20" } },
        ],
      },
    },
  });
  await machines.create("dual", {
    nics: [
      { name: "eth0", network: "default" },
      { name: "eth1", network: "inner" },
    ],
  });
  await machines.inState("dual", "running");
  const told = (await machines.get("dual")).spec.nics[1]?.addresses;
  assert.deepEqual(told, ["10.77.0.10", "fd00:77::10"]);
  await guestAnswers(await machines.address("dual"));
  await until("both addresses in the guest", 60_000, async () => {
    const { guestAgent } = await machines.seen("dual");
    return told.every((each) => guestAgent?.addresses?.includes(each)) ? true : undefined;
  });
  await site.must("vm", "delete", "dual", "--wait");
  await site.must("network", "delete", "inner");
  await until("the bridges to be gone", 60_000, async () => {
    const found = await Promise.all(machines.hosts.map((host) => host.exec(["test", "-e", "/sys/class/net/shfinner"])));
    return found.every(({ code }) => code === 1) ? true : undefined;
  });
});

test("a VLAN is made where the kernel has them, and told where it has none", { timeout: 60_000 }, async () => {
  const probe = await machines.hosts[0]?.exec(["ip", "link", "add", "link", "br0", "name", "probe.9", "type", "vlan", "id", "9"]);
  if (probe?.code === 0) await machines.hosts[0]?.exec(["ip", "link", "delete", "dev", "probe.9"]);
  await site.deployment.client.network.create({ body: { name: "tagged", spec: { bridge: "shftag", managed: true, uplink: "br0", vlan: 9 } } });
  const there = await until("what the hosts say", 30_000, async () => {
    const { status } = await site.deployment.client.network.get({ params: { id: "tagged" } });
    const told = Object.values((status as { hosts?: Record<string, { state: string; problem?: string }> }).hosts ?? {}); // a network's record
    return told.length === 2 ? told : undefined;
  });
  for (const { state, problem } of there) {
    if (probe?.code === 0) assert.equal(state, "ready");
    else assert.match(problem ?? "", /kernel knows no VLANs \(802\.1Q\).*8021q/);
  }
  await site.must("network", "delete", "tagged");
});

test("two CDs: one to install from, one with drivers; changed while it runs", { timeout: 120_000 }, async () => {
  for (const name of ["install", "drivers"]) {
    await writeFile(join(site.folder, `${name}.txt`), name);
    await run("xorriso", [
      "-as",
      "mkisofs",
      "-quiet",
      "-V",
      name,
      "-J",
      "-r",
      "-o",
      join(site.folder, `${name}.iso`),
      join(site.folder, `${name}.txt`),
    ]);
    await site.must("image", "import", name, join(site.folder, `${name}.iso`), "--wait");
  }
  await machines.create("cds", {
    cdroms: [
      { name: "install", image: "install" },
      { name: "drivers", image: "drivers" },
    ],
  });
  await machines.inState("cds", "running");
  const host = await machines.hostOf("cds");
  const drives = async () => (await host.exec(["virsh", "-q", "domblklist", (await machines.get("cds")).id])).stdout;
  assert.equal((await drives()).split("\n").filter((line) => line.includes("/images/") && line.includes(".iso")).length, 2);
  await site.deployment.client.vm.change({
    params: { id: "cds" },
    body: {
      spec: {
        cdroms: [
          { name: "install", image: null },
          { name: "drivers", image: "drivers" },
        ],
      },
    },
  });
  await until("the first drive to be empty", 30_000, async () =>
    (await drives()).split("\n").filter((line) => line.includes("/images/") && line.includes(".iso")).length === 1 ? true : undefined,
  );
  await site.must("vm", "delete", "cds", "--wait");
});

test("UEFI with Secure Boot and a TPM: its state goes along to another host", { timeout: 180_000 }, async () => {
  await machines.create("secure", { memory: { bytes: 256 * mib }, firmware: { type: "uefi", secureBoot: true, tpm: true }, disks: [] });
  await machines.inState("secure", "running");
  await site.must("vm", "migrate", "secure", "--wait");
  await machines.inState("secure", "running");
  const host = await machines.hostOf("secure");
  assert.match((await host.exec(["virsh", "dumpxml", (await machines.get("secure")).id])).stdout, /<tpm /);
  await site.must("vm", "delete", "secure", "--wait");
});

test("an image whose bytes another has too can be deleted without harm to the other's machines", { timeout: 180_000 }, async () => {
  await machines.create("first", {});
  await machines.inState("first", "running");
  const bootId = (await guestAnswers(await machines.address("first"))).bootId;
  const host = await machines.hostOf("first");
  await site.must("image", "import", "twin", join(GUEST_IMAGE_CACHE, "mini.qcow2"), "--wait");
  await machines.create("second", { disks: [{ name: "root", image: "twin" }], placement: { host: host.name } });
  await machines.inState("second", "running");
  await site.must("vm", "delete", "second", "--wait");
  await site.must("image", "delete", "twin", "--wait");
  await until("the record to be gone", 30_000, async () => ((await site.sheaf("image", "show", "twin")).code === 3 ? true : undefined));
  await site.must("vm", "stop", "first", "--force", "--wait");
  await site.must("vm", "start", "first", "--wait");
  assert.notEqual((await guestAnswers(await machines.address("first"))).bootId, bootId);
});

test("resize: live where QEMU can, else told as pending and done at the next start", { timeout: 180_000 }, async () => {
  await machines.create("grown", { cpu: { count: 1, maximum: 2 }, memory: { bytes: 256 * mib, maximumBytes: 1024 * mib } });
  await machines.inState("grown", "running");
  await guestAnswers(await machines.address("grown"));
  await site.must("vm", "resize", "grown", "--cpus", "2", "--memory", "384MiB", "--wait");
  await until("what it has", 30_000, async () => {
    const { vcpus, memoryBytes } = await machines.seen("grown");
    return vcpus === 2 && memoryBytes === 384 * mib ? true : undefined;
  });
  assert.deepEqual((await machines.seen("grown")).pendingChanges, []);
  await site.must("vm", "resize", "grown", "--memory", "320MiB", "--wait");
  await until("the balloon", 30_000, async () => ((await machines.seen("grown")).memoryBytes === 320 * mib ? true : undefined));
  await site.deployment.client.vm.change({ params: { id: "grown" }, body: { spec: { cpu: { count: 4, maximum: 4 } } } });
  const pending = await until("what waits", 30_000, async () => {
    const { pendingChanges = [] } = await machines.seen("grown");
    return pendingChanges.length > 0 ? pendingChanges : undefined;
  });
  assert.match(pending.join("; "), /vCPUs/);
  await site.must("vm", "stop", "grown", "--force", "--wait");
  await site.must("vm", "start", "grown", "--wait");
  await until("what it has now", 30_000, async () => ((await machines.seen("grown")).vcpus === 4 ? true : undefined));
  assert.deepEqual((await machines.seen("grown")).pendingChanges, []);
  await site.must("vm", "delete", "grown", "--wait");
});
