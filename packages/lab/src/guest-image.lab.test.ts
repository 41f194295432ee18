/** The guest image boots on a lab host from its disk alone, and does what the seed says. */
import assert from "node:assert/strict";
import { copyFile, mkdir, readFile, writeFile } from "node:fs/promises";
import { createConnection } from "node:net";
import { after, before, test } from "node:test";
import { buildGuestImage, createLab, GUEST_IMAGE_CACHE, waitFor } from "./index.ts";
import type { LabHost } from "./index.ts";
import { must, run } from "./command.ts";

const lab = createLab({ root: "/var/lib/lbg", id: "lbg", gateway: "10.92.3.1/24" });
let host: LabHost;

before(async () => {
  await lab.purge();
  const [image] = await Promise.all([
    buildGuestImage(GUEST_IMAGE_CACHE),
    lab.up("g", "10.92.3.11").then((started) => {
      host = started;
    }),
  ]);
  await copyFile(image.disk, `${lab.sharedDirectory}/mini.qcow2`);
});
after(() => lab.purge());

const BOOT_MS = 120_000;
const local = (name: string): string => `${host.directory}/local/${name}`;
const inside = async (...argv: string[]): Promise<string> => {
  const result = await host.exec(argv);
  assert.equal(result.code, 0, `${argv.join(" ")}: ${result.stderr}`);
  return result.stdout.trim();
};

interface Status {
  readonly hostname: string;
  readonly uptimeSeconds: number;
  readonly bootId: string;
  readonly counter: number;
}

async function status(address: string): Promise<Status> {
  const response = await fetch(`http://${address}/status`, { signal: AbortSignal.timeout(5_000) });
  assert.equal(response.status, 200);
  return (await response.json()) as Status; // the guest's own format; each field is compared below
}

/** The serial console over QEMU's unix socket: everything that it has shown, and a way to type. */
function openConsole(name: string): { text(): string; type(line: string): void; close(): void } {
  const socket = createConnection(local(`${name}.sock`));
  let text = "";
  socket.on("data", (chunk: Buffer) => (text += chunk.toString("latin1")));
  return { text: () => text, type: (line) => void socket.write(`${line}\r`), close: () => void socket.destroy() };
}

/** Types a line until the answer comes: what is typed in the moment in which a program sets up the terminal is thrown away. */
async function answer(console: ReturnType<typeof openConsole>, line: string, expected: string): Promise<void> {
  let typed = -Infinity;
  await waitFor(
    () => {
      if (console.text().includes(expected)) return true;
      if (performance.now() - typed > 3_000) {
        console.type(line);
        typed = performance.now();
      }
      return false;
    },
    { what: () => `"${expected}" on the console: ${console.text()}` },
  );
}

async function start(name: string, disk: string, seed: string | undefined): Promise<void> {
  await inside("qemu-img", "create", "-q", "-f", "qcow2", "-b", "/mnt/shared/mini.qcow2", "-F", "qcow2", `/mnt/local/${name}.qcow2`);
  const cdrom = `<disk type='file' device='cdrom'><source file='/mnt/local/${seed}'/><target dev='sdb' bus='scsi'/><readonly/></disk>`;
  const xml = `<domain type='qemu'><name>${name}</name><memory unit='MiB'>96</memory><vcpu>1</vcpu>
    <os><type arch='x86_64' machine='q35'>hvm</type></os>
    <features><acpi/><apic/></features><cpu mode='custom' match='exact'><model>qemu64</model></cpu>
    <devices>
      <disk type='file' device='disk'><driver name='qemu' type='qcow2' cache='none'/><source file='/mnt/local/${name}.qcow2'/>${disk}</disk>
      ${seed === undefined ? "" : cdrom}<controller type='scsi' model='virtio-scsi'/>
      <interface type='bridge'><mac address='52:54:00:92:03:50'/><source bridge='br0'/><model type='virtio'/></interface>
      <serial type='unix'><source mode='bind' path='/mnt/local/${name}.sock'/><target port='0'/></serial>
      <channel type='unix'><target type='virtio' name='org.qemu.guest_agent.0'/></channel>
    </devices></domain>`;
  await writeFile(local(`${name}.xml`), xml);
  await inside("virsh", "-q", "create", `/mnt/local/${name}.xml`);
}

test("a guest with a seed has its name, address, accounts, key and files; it counts in memory; its disk remembers", async (context) => {
  const files = `${lab.sharedDirectory}/seed`;
  await mkdir(files);
  await must(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", `${lab.sharedDirectory}/key`]);
  const key = (await readFile(`${lab.sharedDirectory}/key.pub`, "utf8")).trim();
  const network = { match: { macaddress: "52:54:00:92:03:50" }, addresses: ["10.92.3.50/24", "fd00:92::50/64"], gateway4: "10.92.3.1" };
  await writeFile(`${files}/network-config`, JSON.stringify({ version: 2, ethernets: { id0: network } }));
  await writeFile(`${files}/meta-data`, "instance-id: i-1\nlocal-hostname: web-01\n");
  const userData = `#cloud-config\npassword: "s3cr'et: #x"\nssh_authorized_keys:\n  - ${key}\nwrite_files:\n  - path: /etc/mine\n    content: |
      hello\n        there\nruncmd:\n  - [sh, -c, "echo 'it ran' > /etc/ran"]\n`;
  await writeFile(`${files}/user-data`, userData);
  await must(["xorriso", "-as", "mkisofs", "-quiet", "-V", "cidata", "-J", "-r", "-o", local("seed.iso"), files]);
  const started = performance.now();
  await start("web", "<target dev='vda' bus='virtio'/>", "seed.iso");
  const console = openConsole("web");
  await waitFor(() => /LAB-READY host=web-01 root=\/dev\/vda2 boots=1 /.test(console.text()), {
    what: () => `LAB-READY: ${console.text()}`,
    timeoutMs: BOOT_MS,
  });
  context.diagnostic(`LAB-READY after ${Math.round(performance.now() - started)} ms`);

  const first = await status("10.92.3.50");
  assert.equal(first.hostname, "web-01");
  assert.match(first.bootId, /^[0-9a-f-]{36}$/);
  const later = await waitFor(
    async () => {
      const now = await status("10.92.3.50");
      return now.counter > first.counter + 2 ? now : undefined;
    },
    { what: "growth of the counter" },
  );
  assert.ok(later.uptimeSeconds > first.uptimeSeconds && later.bootId === first.bootId);
  const page = await fetch("http://10.92.3.50/", { signal: AbortSignal.timeout(5_000) });
  assert.match(await page.text(), /<h1>web-01<\/h1>/);

  await waitFor(() => console.text().includes("web-01 login:"), { what: () => `a login prompt: ${console.text()}`, timeoutMs: BOOT_MS });
  await answer(console, "root", "Password:");
  await answer(console, "s3cr'et: #x", "~ #");
  console.close();

  const known = ["-o", "StrictHostKeyChecking=no", "-o", "UserKnownHostsFile=/dev/null", "-o", "BatchMode=yes", "-o", "LogLevel=ERROR"];
  const script = "cat /etc/mine /etc/ran; hostname; ip addr show dev eth0; ip route";
  const ssh = await must(["ssh", ...known, "-i", `${lab.sharedDirectory}/key`, "root@10.92.3.50", script]);
  assert.match(ssh, /^hello\n {2}there\nit ran\nweb-01\n/);
  assert.match(ssh, /inet6 fd00:92::50\/64/);
  assert.match(ssh, /default via 10\.92\.3\.1/);
  const stranger = await run(["ssh", ...known, "-o", "IdentityFile=/dev/null", "-o", "IdentitiesOnly=yes", "root@10.92.3.50", "id"]);
  assert.notEqual(stranger.code, 0);

  const agent = JSON.parse(await inside("virsh", "-q", "qemu-agent-command", "web", '{"execute":"guest-get-host-name"}'));
  assert.deepEqual(agent, { return: { "host-name": "web-01" } });
  const again = openConsole("web");
  await inside("virsh", "-q", "reboot", "web", "--mode", "acpi");
  await waitFor(() => /LAB-READY host=web-01 root=\/dev\/vda2 boots=2 /.test(again.text()), {
    what: () => `LAB-READY: ${again.text()}`,
    timeoutMs: BOOT_MS,
  });
  again.close();
  assert.notEqual((await status("10.92.3.50")).bootId, first.bootId);
  await inside("virsh", "-q", "shutdown", "web", "--mode", "agent");
  await waitFor(async () => (await host.qemuProcesses()).length === 0, { what: "the guest's power-off" });
});

test("a guest without a seed boots from a SCSI disk and says that root needs no password", async () => {
  await start("plain", "<target dev='sda' bus='scsi'/>", undefined);
  const console = openConsole("plain");
  await waitFor(() => /mini login:/.test(console.text()), { what: () => `a login prompt: ${console.text()}`, timeoutMs: BOOT_MS });
  assert.match(console.text(), /LAB-READY host=mini root=\/dev\/sda2 boots=1 /);
  assert.match(console.text(), /No password was set by user data/);
  await answer(console, "root", "~ #");
  console.close();
  await inside("virsh", "-q", "destroy", "plain");
});
