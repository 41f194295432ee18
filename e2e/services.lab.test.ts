/** Server and agent as services of a real systemd, installed from the server's archive alone: their sandboxes hold and let them work. */
import assert from "node:assert/strict";
import { existsSync } from "node:fs";
import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { basename, join } from "node:path";
import { after, before, test } from "node:test";
import { cgroupHierarchies } from "@sheaf/lab";
import { makeArchive, ownPlatform, planArchive } from "../apps/server/archives/archive.ts";
import { until } from "../apps/server/deployment/processes.ts";
import { bootSystemd, type SystemdMachine } from "./systemd-machine.ts";

let folder: string;
let machine: SystemdMachine;
const address = "10.9.9.1";

before(
  async () => {
    folder = await mkdtemp(join(tmpdir(), "sheaf-services-"));
    const root = join(import.meta.dirname, "..");
    assert.ok(ownPlatform !== undefined);
    await makeArchive(root, await planArchive(root, "server", ownPlatform), join(folder, "shared"));
    machine = await bootSystemd(folder);
  },
  { timeout: 120_000 },
);
after(
  async () => {
    await machine?.stop();
    await rm(folder, { recursive: true, force: true });
  },
  { timeout: 60_000 },
);

const property = async (unit: string, name: string): Promise<string> =>
  (await machine.must(`systemctl show --property ${name} --value ${unit}`)).trim();

test("the server's archive installs a server that answers", { timeout: 120_000 }, async () => {
  await machine.must("mkdir /tmp/server && tar -xzf /media/sheaf-server-*.tar.gz -C /tmp/server --strip-components=1");
  const nameless = await machine.run("/tmp/server/packaging/server/install.sh");
  assert.equal(nameless.code, 2);
  assert.match(nameless.error, /by which address will hosts reach this server/);
  await machine.must(`/tmp/server/packaging/server/install.sh --name ${address}`);
  assert.equal(await property("sheaf-server", "ActiveState"), "active");
  const fingerprint = /"caFingerprint":"([0-9a-f]+)"/.exec(await machine.must("cat /var/lib/sheaf-server/server.json"))?.[1];
  await machine.must(
    `sheaf login https://${address}:7443 --user admin --password-file /var/lib/sheaf-server/admin-password --ca-fingerprint ${fingerprint}`,
  );
  const status = await machine.must(`cat /proc/${await property("sheaf-server", "MainPID")}/status`);
  assert.match(status, /^CapBnd:\s+0+$/m);
  assert.match(status, /^Seccomp:\s+2$/m);
});

test("the line makes the machine a host, held in by its unit", { timeout: 180_000 }, async () => {
  await machine.must("sheaf host add >/tmp/line");
  const joined = await machine.run("sh /tmp/line");
  assert.equal(joined.code, 0, joined.error);
  // Ready is the agent's link; the daemon may be reached a moment later.
  await until("the host with its hypervisor", 60_000, async () => {
    const row = await machine.must("sheaf host list -o wide");
    return (/ ready /.test(row) && !row.includes("libvirtd does not answer")) || undefined;
  });
  const pid = await property("sheaf-agent", "MainPID");
  const status = await machine.must(`cat /proc/${pid}/status`);
  assert.match(status, /^CapBnd:\s+0*100f$/m, "CHOWN, DAC_OVERRIDE, DAC_READ_SEARCH, FOWNER, NET_ADMIN");
  assert.match(status, /^Seccomp:\s+2$/m);
  assert.equal(
    await machine.must(
      `nsenter --target ${pid} --mount sh -c 'touch /srv/x; for f in /usr/x /etc/x /home/x; do ! touch $f || echo $f; done' 2>/dev/null`,
    ),
    "",
  );
  assert.equal((await machine.must("stat -c '%G %a' /etc/pki/qemu/server-key.pem")).trim(), "libvirt-qemu 640");
  assert.match((await machine.run("sh /tmp/line")).error, /nothing to do/);
});

test("whatever happens to the services, an upgrade too, a guest runs on", { timeout: 180_000 }, async () => {
  const domain = "<domain type='qemu'><name>g</name><memory unit='MiB'>32</memory><os><type arch='x86_64'>hvm</type></os><devices/></domain>";
  await machine.must(`echo "${domain}" >/tmp/g.xml && virsh -q create /tmp/g.xml`);
  const guest = (): Promise<string> => machine.must("pgrep -x qemu-system-x86");
  const before = await guest();
  // The server is another version when it starts next.
  await machine.must(`sed -i 's/"version": "[^"]*"/"version": "100.0.0"/' /opt/sheaf-server/current/package.json`);
  for (const change of [
    "restart sheaf-agent",
    "kill --signal=KILL sheaf-agent",
    "restart libvirtd",
    "restart sheaf-server",
    "stop sheaf-agent",
    "start sheaf-agent",
  ]) {
    await machine.must(`systemctl ${change}`);
    assert.equal(await guest(), before, change);
  }
  await until("the agent", 30_000, async () => (await property("sheaf-agent", "ActiveState")) === "active" || undefined);
  // Within the unit's sandbox: another version is fetched, tried and started, and its pulse after it.
  await until("the server", 30_000, async () => / ready /.test((await machine.run("sheaf host list")).out) || undefined);
  const restarts = await property("sheaf-agent", "NRestarts");
  const upgraded = await machine.run("sheaf cluster upgrade default --settle 1s --wait");
  assert.equal(upgraded.code, 0, upgraded.error);
  assert.match(await machine.must("sheaf host list -o wide"), / 100\.0\.0 /);
  assert.equal(await guest(), before, "upgrade");
  assert.equal(await property("sheaf-agent", "NRestarts"), restarts, "the unit goes on");
  await until("the pulse of the new version", 20_000, async () => {
    const [lies, wanted] = await Promise.all([machine.must("sed 1d /var/lib/sheaf/agent/pulse.pid"), machine.must("readlink /opt/sheaf/agent")]);
    return lies.trim() === `/opt/sheaf/${wanted.trim()}/apps/agent` || undefined;
  });
  const purge = await machine.run("/opt/sheaf/agent/packaging/uninstall-agent.sh --purge");
  assert.equal(purge.code, 4);
  const removed = await machine.run("/opt/sheaf/agent/packaging/uninstall-agent.sh");
  assert.equal(removed.code, 0, removed.error);
  assert.match(removed.error, /guests run on: g/);
  assert.equal(await guest(), before);
});

test("uninstalled, nothing of the programs is left; purged, nothing of the data", { timeout: 60_000 }, async () => {
  await machine.must("virsh -q destroy g; /var/lib/sheaf/uninstall-agent.sh --purge");
  await machine.must("/tmp/server/packaging/server/uninstall.sh --purge");
  const places =
    "/opt/sheaf /opt/sheaf-server /etc/sheaf /etc/sheaf-server /var/lib/sheaf /var/lib/sheaf-server /etc/systemd/system/sheaf-* /usr/local/bin/sheaf";
  assert.equal((await machine.run(`ls -d ${places} 2>/dev/null`)).out, "");
  assert.equal(await machine.must("ls -A /etc/pki/qemu"), "");
});

test("its control groups lie below one of its own, and go with it", { timeout: 60_000 }, async () => {
  const groups = (await cgroupHierarchies()).map((hierarchy) => join(hierarchy, basename(folder)));
  assert.ok(groups.some((group) => existsSync(join(group, "init.scope"))));
  await machine.stop();
  assert.deepEqual(
    groups.filter((group) => existsSync(group)),
    [],
  );
});
