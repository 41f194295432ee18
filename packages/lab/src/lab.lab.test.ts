import assert from "node:assert/strict";
import { spawn } from "node:child_process";
import { once } from "node:events";
import { existsSync } from "node:fs";
import { readdir, readFile, writeFile } from "node:fs/promises";
import { after, before, test } from "node:test";
import { createLab, LabError, waitFor } from "./index.ts";
import type { LabHost } from "./index.ts";
import { run } from "./command.ts";

const options = { root: "/var/lib/lba", id: "lba", gateway: "10.92.1.1/24" };
const lab = createLab({ ...options, certificates: true, listenTcp: true, listenTls: true });
let a: LabHost;
let b: LabHost;

before(async () => {
  await lab.purge();
  a = await lab.up("a", "10.92.1.11");
  b = await lab.up("b", "10.92.1.12");
});
after(() => lab.purge());

const shell = async (host: LabHost, script: string): Promise<string> => {
  const result = await host.exec(["sh", "-c", script]);
  assert.equal(result.code, 0, result.stderr);
  return result.stdout.trim();
};
const virsh = async (host: LabHost, ...argv: string[]): Promise<string> => {
  const result = await run(["virsh", "-q", "-c", `qemu+unix:///system?socket=${host.socketPath}`, ...argv]);
  assert.equal(result.code, 0, result.stderr);
  return result.stdout.trim();
};

test("hosts have identities, storage and processes of their own", async () => {
  const facts = "hostname; cat /etc/hostname /etc/machine-id /proc/sys/kernel/random/boot_id; readlink /proc/self/ns/net";
  const [one, two] = [(await shell(a, facts)).split("\n"), (await shell(b, facts)).split("\n")];
  assert.deepEqual(one.slice(0, 2), ["a", "a"]);
  for (const index of [2, 3, 4]) assert.notEqual(one[index], two[index]);
  assert.notEqual(one[3], (await readFile("/proc/sys/kernel/random/boot_id", "utf8")).trim());
  assert.match(await virsh(a, "capabilities"), new RegExp(`<uuid>${one[2]?.replace(/^(.{8})(.{4})(.{4})(.{4})(.{12})$/, "$1-$2-$3-$4-$5")}</uuid>`));

  await shell(a, "echo own >/mnt/local/x; echo all >/mnt/shared/x; echo state >/var/lib/sheaf/x");
  assert.equal(await shell(b, "cat /mnt/shared/x /mnt/cluster/x; ls /mnt/local /var/lib/sheaf"), "all\nall\n/mnt/local:\n\n/var/lib/sheaf:");
  assert.equal((await readFile(`${a.directory}/agent/x`, "utf8")).trim(), "state");
  assert.equal(await shell(a, "stat -f -c %T /mnt/cluster"), "fuseblk");
  // Nothing of this is seen on the machine.
  assert.ok(!existsSync("/mnt/local") && !existsSync("/mnt/cluster"));
});

test("hosts reach each other and the machine; a cut link stops that, the socket still answers", async () => {
  const ping = (address: string): Promise<{ code: number }> => a.exec(["bash", "-c", `timeout 1 bash -c 'exec 3<>/dev/tcp/${address}/16509'`]);
  assert.equal((await ping(b.address)).code, 0);
  await b.cut();
  assert.notEqual((await ping(b.address)).code, 0);
  assert.equal(await b.answers(), true);
  await b.join();
  await waitFor(async () => (await ping(b.address)).code === 0, { what: "the link's return" });
  const tls = await b.exec(["virsh", "-q", "-c", `qemu+tls://${a.address}/system?pkipath=/etc/libvirt/pki`, "hostname"], { timeoutMs: 20_000 });
  assert.equal(tls.stdout.trim(), "a", tls.stderr);
});

test("power-off and power-on: new boot, empty /run, same identity and definitions", async () => {
  const before = { boot: await shell(a, "cat /proc/sys/kernel/random/boot_id; touch /run/stale"), machine: await shell(a, "cat /etc/machine-id") };
  const xml = `<domain type='qemu'><name>kept</name><memory unit='MiB'>64</memory><os><type>hvm</type></os></domain>`;
  await writeFile(`${lab.sharedDirectory}/kept.xml`, xml);
  await virsh(a, "define", `${lab.sharedDirectory}/kept.xml`);
  await virsh(a, "start", "kept");
  const guests = await a.qemuProcesses();
  assert.deepEqual(
    guests.map((guest) => guest.domainName),
    ["kept"],
  );
  assert.equal(guests[0]?.uuid, await virsh(a, "domuuid", "kept"));
  const program = await a.spawn(["sh", "-c", "echo ready; exec sleep 1000"], { stdio: ["ignore", "pipe", "inherit"] });
  if (program.stdout !== null) await once(program.stdout, "data");
  const ended = once(program, "exit");

  await a.kill();
  assert.deepEqual(await a.pids(), []);
  assert.deepEqual((await ended).slice(1), ["SIGKILL"]);
  assert.equal(await a.state(), "off");
  await assert.rejects(a.exec(["true"]), /is off/);

  a = await lab.up("a", a.address);
  assert.notEqual(await shell(a, "cat /proc/sys/kernel/random/boot_id"), before.boot);
  assert.equal(await shell(a, "cat /etc/machine-id; ls /run/stale 2>/dev/null || true"), before.machine);
  assert.equal(await virsh(a, "domstate", "kept"), "shut off");
});

test("libvirtd ends and starts again while guests go on", async () => {
  await virsh(a, "start", "kept");
  const [guest] = await a.qemuProcesses();
  for (const name of ["SIGKILL", "SIGTERM"] as const) {
    await a.restartLibvirtd(name);
    assert.equal(await virsh(a, "domstate", "kept"), "running");
  }
  await a.stopLibvirtd("SIGKILL");
  assert.equal(await a.state(), "hung");
  assert.deepEqual(await a.qemuProcesses(), [guest]);
  await a.startLibvirtd();
  // libvirt may still be finding the guest again, and then calls it gone before its own destroy ends.
  const destroyed = await a.exec(["virsh", "-q", "destroy", "kept"]);
  assert.match(destroyed.stderr, /^\s*$|domain is not running/);
  // A dead QEMU must not stay as a zombie: pid 1 reaps.
  await waitFor(async () => (await a.qemuProcesses()).length === 0, { what: "the guest's end" });
  assert.ok((await shell(a, "cat /proc/[0-9]*/status | grep -c 'State:.Z' || true")).startsWith("0"));
  // A host whose libvirtd is gone is mended by up().
  await a.stopLibvirtd("SIGKILL");
  a = await lab.up("a", a.address);
  assert.equal(await a.state(), "up");
});

test("a frozen host hangs and goes on, and can be powered off", async () => {
  await b.freeze();
  assert.equal(await b.state(), "frozen");
  assert.equal(await b.answers(), false);
  await assert.rejects(b.exec(["true"]), /frozen/);
  await b.thaw();
  assert.equal(await b.state(), "up");
  await b.freeze();
  await b.kill();
  assert.equal(await b.state(), "off");
  b = await lab.up("b", b.address);
});

test("a started program lives in the host, gets signals, and does not outlive its parent", async () => {
  const script = "trap 'echo stopping; exit 7' TERM; echo ready; while :; do sleep 0.05; done";
  const child = await a.spawn(["bash", "-c", script], { stdio: ["ignore", "pipe", "inherit"] });
  const output: string[] = [];
  child.stdout?.on("data", (chunk: Buffer) => output.push(chunk.toString()));
  await waitFor(() => output.join("").includes("ready"), { what: "the program's first word" });
  assert.match(await shell(a, "cat /proc/[0-9]*/cmdline | tr '\\0' ' '"), /echo stopping/);
  assert.equal(child.kill("SIGTERM"), true);
  assert.deepEqual(await once(child, "close"), [7, null]);
  assert.match(output.join(""), /stopping/);
  assert.equal(child.kill("SIGTERM"), false);

  const lost = await a.spawn(["sleep", "4242"], { stdio: "ignore" });
  const running = async (): Promise<boolean> => (await shell(a, "cat /proc/[0-9]*/cmdline | tr '\\0' ' '")).includes("sleep 4242");
  await waitFor(running, { what: "the program's start" });
  spawn("kill", ["-9", String(lost.pid)]);
  await once(lost, "exit");
  await waitFor(async () => !(await running()), { what: "the program's end after its parent's" });
});

test("a command has its input, code and deadline, and a program under /run is refused", async () => {
  assert.deepEqual(await a.exec(["sh", "-c", "cat; echo no >&2; exit 3"], { input: "yes" }), { code: 3, stdout: "yes", stderr: "no\n" });
  await assert.rejects(a.exec(["sleep", "30"], { timeoutMs: 100 }), /did not end within 100 ms/);
  await assert.rejects(a.spawn(["/usr/bin/env", "node", "/run/agent.ts"]), LabError);
});

test("a crash between any two steps is mended by the next up", async () => {
  // The link is gone, the bridge is gone, a foreign file stands where the namespace should be.
  await b.down();
  await run(["ip", "link", "del", "lbabr0"]);
  await writeFile("/run/netns/lba-b", "");
  b = await lab.up("b", b.address);
  assert.equal(await b.state(), "up");
  await run(["ip", "link", "del", "lba-b"]);
  await b.kill();
  b = await lab.up("b", b.address);
  assert.equal((await a.exec(["bash", "-c", `exec 3<>/dev/tcp/${b.address}/16509`], { timeoutMs: 5_000 })).code, 0);
  await assert.rejects(lab.up("b", "10.92.1.99"), /take it down first/);
});

test("a slow disk is slow for this host only, until it is lifted", async (context) => {
  if (!existsSync("/sys/fs/cgroup/blkio/blkio.throttle.write_bps_device")) return context.skip("no blkio throttle on this machine");
  const write = (host: LabHost): Promise<string> =>
    shell(host, "s=$(date +%s%N); dd if=/dev/zero of=/mnt/local/slow bs=256K count=4 oflag=direct status=none; echo $((($(date +%s%N)-s)/1000000))");
  await a.slowDisk(1024 * 1024);
  const slow = Number(await write(a));
  assert.ok(slow > 500, `1 MiB at 1 MiB/s took ${slow} ms`);
  assert.ok(Number(await write(b)) < slow);
  await a.slowDisk(undefined);
  assert.ok(Number(await write(a)) < slow);
});

test("without control groups a host works and freezes too; purge leaves nothing", async () => {
  const plain = createLab({ root: "/var/lib/lbb", id: "lbb", gateway: "10.92.2.1/24", cgroups: "off" });
  try {
    const c = await plain.up("c", "10.92.2.11");
    await c.freeze();
    assert.equal(await c.state(), "frozen");
    assert.equal(await c.answers(), false);
    await c.thaw();
    assert.equal(await c.state(), "up");
    assert.deepEqual(await plain.hosts(), [{ name: "c", address: "10.92.2.11", state: "up" }]);
  } finally {
    await plain.purge();
  }
  const links = (await run(["ip", "-br", "link"])).stdout;
  assert.ok(!links.includes("lbb"), links);
  assert.ok(!(await readdir("/run/netns")).some((name) => name.startsWith("lbb-")));
  assert.ok(!existsSync("/var/lib/lbb"));
  assert.ok(!(await run(["ps", "axo", "args"])).stdout.includes("lab-host-lbb-"));
});
