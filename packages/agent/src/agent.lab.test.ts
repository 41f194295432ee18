/** The agent as a process on real hosts, with real libvirt, QEMU and guests. */
import assert from "node:assert/strict";
import { after, before, test } from "node:test";
import type { AgentDocument, MigrationCall } from "@sheaf/contract";
import { hostMetricNames, type HostObservation, vmMetricNames, type VmObservation, type VolumeObservation } from "@sheaf/model";
import { guestFilesDirectory } from "./host-paths.ts";
import { guestStatus, imageId, type LabAgent, labSite, type LabSite, until } from "./lab-site.test-support.ts";
import { sampleDocument, sampleId } from "./simulated/sample-documents.ts";

let site: LabSite;
let a: LabAgent;
let b: LabAgent;

const mib = 2 ** 20;
const poolId = sampleId(20);
const sharedId = sampleId(21);
const networkId = sampleId(30);
const local = sampleDocument("pool", { type: "local", path: "/mnt/local/sheaf" }, { id: poolId, name: "local" });
const shared = sampleDocument("pool", { type: "shared", path: "/mnt/shared/sheaf" }, { id: sharedId, name: "shared" });
const network = sampleDocument(
  "network",
  { bridge: "br0", subnets: [{ cidr: "10.93.0.0/24", gateway: "10.93.0.1" }] },
  { id: networkId, name: "lan" },
);

interface Wanted {
  readonly number: number;
  readonly pool?: string;
  readonly spec?: object;
  readonly sizeBytes?: number;
  readonly generation?: number;
  readonly placement?: { readonly host: string; readonly epoch: number };
  readonly deletedAt?: number;
  readonly status?: object;
}

const addressOf = (number: number): string => `10.93.0.${number}`;
const vmId = (number: number): string => sampleId(600 + number);
const volumeId = (number: number): string => sampleId(500 + number);

/** Machine and disk as the server would have them. */
function documents({
  number,
  pool = poolId,
  spec = {},
  sizeBytes = 100 * mib,
  generation = 1,
  placement = { host: a.id, epoch: 1 },
  deletedAt,
  status = {},
}: Wanted): AgentDocument[] {
  const options = { generation, placement: { ...placement, incarnation: "i1" }, ...(deletedAt === undefined ? {} : { deletedAt }) };
  return [
    sampleDocument("volume", { pool, sizeBytes, source: { image: imageId } }, { ...options, id: volumeId(number), name: `disk-${number}` }),
    sampleDocument(
      "vm",
      {
        memory: { bytes: 96 * mib },
        disks: [{ name: "root", volume: volumeId(number) }],
        nics: [{ name: "eth0", network: networkId, mac: `52:54:00:93:00:${number.toString(16).padStart(2, "0")}`, addresses: [addressOf(number)] }],
        restart: { delayMs: 200 },
        ...spec,
      },
      { ...options, id: vmId(number), name: `web-${number}`, number: 1000 + number, status },
    ),
  ];
}

const seen = (agent: LabAgent, number: number): VmObservation | undefined => agent.server.part<VmObservation>("vm", vmId(number));
const inState = (agent: LabAgent, number: number, state: VmObservation["state"], generation = 1) =>
  until(
    () => `state ${state} of machine ${number} (it is ${JSON.stringify(seen(agent, number))})`,
    () => {
      const observation = seen(agent, number);
      return observation?.state === state && observation.observedGeneration >= generation ? observation : undefined;
    },
  );
const answers = (number: number) => until(`an answer of machine ${number}`, () => guestStatus(addressOf(number)));
const domains = async (agent: LabAgent): Promise<string> => (await agent.host.exec(["virsh", "-q", "list", "--all", "--name"])).stdout.trim();

before(async () => {
  site = await labSite(2);
  const [first, second] = site.agents;
  assert.ok(first && second);
  a = first;
  b = second;
  for (const agent of site.agents) {
    await agent.host.exec(["mkdir", "-p", "/mnt/shared/sheaf"]);
    agent.server.put(local, shared, network, site.image);
  }
});
after(() => site?.close());

test("the host tells what it is", async () => {
  // A first look may be had before libvirtd answers.
  const host = await until("the host's inventory", () => {
    const seen = a.server.part<HostObservation>("host", a.id);
    return seen && seen.hypervisor.libvirtVersion !== "" ? seen : undefined;
  });
  assert.equal(host.hostname, "h1");
  assert.match(host.hypervisor.libvirtVersion, /^\d+\.\d+\.\d+$/);
  assert.ok(host.memoryBytes > 2 ** 30 && host.cpu.count >= 1 && host.cpu.flags.length > 10);
  assert.ok(host.hypervisor.cpuModels.includes("qemu64"));
  assert.ok(host.hypervisor.machineTypes.includes("q35"));
  assert.equal(host.hypervisor.accelerated, false);
  assert.ok(host.interfaces.some(({ name, bridge }) => name === "br0" && bridge));
  assert.deepEqual(host.problems, []);
  assert.deepEqual(host.unmanaged, []);
});

test("a machine is made from an image and answers by its own name; its domain needs no second definition", async () => {
  a.server.put(...documents({ number: 50 }));
  await inState(a, 50, "running");
  assert.equal((await answers(50)).hostname, "web-50");
  const log = await a.log();
  const acted = log.split("\n").filter((line) => line.includes(vmId(50)) && line.includes("acted on a machine"));
  assert.deepEqual(
    acted.map((line) => (JSON.parse(line) as { step: string }).step),
    ["seed", "define", "start"],
  );
  await until("the guest's agent", () => seen(a, 50)?.guestAgent?.connected);
  assert.equal(seen(a, 50)?.guestAgent?.hostname, "web-50");
});

test("a guest that is busy is seen to be, in samples every ten seconds, and its host is", async () => {
  a.server.keepsSamples = true;
  a.server.cut();
  const rows = () => a.server.messages.flatMap((message) => (message.type === "samples" ? message.rows : []));
  const [cpuAt, memoryAt] = [vmMetricNames.indexOf("cpu"), vmMetricNames.indexOf("memoryResidentBytes")];
  const figures = () => rows().flatMap(({ vms }) => vms.filter(({ id }) => id === vmId(50)).map((vm) => vm.figures));
  // In thousandths of a CPU; none in the first row, which has nothing before it.
  const cpu = () => figures().flatMap((each) => each[cpuAt] ?? []);
  const idle = await until(
    () => `a guest that idles (its CPU: ${cpu().join()})`,
    () => cpu().find((each) => each < 300),
  );
  const inGuest = async (command: string): Promise<void> => {
    const request = { execute: "guest-exec", arguments: { path: "/bin/sh", arg: ["-c", command] } };
    await a.host.exec(["virsh", "qemu-agent-command", "sheaf-1050-web-50", JSON.stringify(request)]);
  };
  await inGuest("while [ ! -e /tmp/enough ]; do :; done");
  const begun = rows().length;
  const busy = await until(
    () => `a guest that is busy (its CPU: ${cpu().join()})`,
    () => cpu().find((each) => each > Math.max(500, idle * 2)),
  );
  await inGuest("touch /tmp/enough");
  assert.ok(busy <= 1300, `one vCPU and what QEMU needs beside it, not ${busy}`);
  assert.ok((figures().at(-1)?.[memoryAt] ?? 0) > 20, "MiB that the machine takes of the host");
  const host = (name: string) => rows().at(-1)?.host[hostMetricNames.indexOf(name)] ?? null;
  assert.ok((host("cpu") ?? 0) > 100 && (host("memoryAvailableBytes") ?? 0) > 100 && (host("loadAverage") ?? 0) > 0);
  const slots = rows().map(({ slot }) => slot);
  assert.ok(begun > 0 && slots.every((slot, each) => each === 0 || slot > (slots[each - 1] ?? 0)), "in the order of time");
  a.server.keepsSamples = false;
  const hellos = a.server.hellos.length;
  a.server.cut();
  await until("the next connection", () => a.server.hellos.length > hellos);
});

test("an agent killed and started again finds the guest; libvirtd killed too", async () => {
  const { bootId, counter } = await answers(50);
  const restarts = seen(a, 50)?.restarts;
  const hellos = a.server.hellos.length;
  await a.end("SIGKILL");
  await a.start();
  await until("the next hello", () => a.server.hellos.length > hellos);
  await a.host.restartLibvirtd("SIGKILL");
  a.server.put(...documents({ number: 50, generation: 2, spec: { power: "paused" } }));
  await inState(a, 50, "paused", 2);
  a.server.put(...documents({ number: 50, generation: 3 }));
  await inState(a, 50, "running", 3);
  const later = await answers(50);
  assert.equal(later.bootId, bootId);
  assert.ok(later.counter > counter);
  assert.equal(seen(a, 50)?.restarts, restarts);
});

test("what can change while it runs does: limits, CPUs, disk size", async () => {
  a.server.put(...documents({ number: 51, spec: { cpu: { count: 1, maximum: 2 } } }));
  await inState(a, 51, "running");
  await answers(51);
  const more = {
    cpu: { count: 2, maximum: 2, shares: 50 },
    memory: { bytes: 88 * mib },
    disks: [{ name: "root", volume: volumeId(51), limits: { totalBytesPerSecond: 5_000_000, totalOperationsPerSecond: 500 } }],
  };
  a.server.put(...documents({ number: 51, generation: 2, spec: more, sizeBytes: 200 * mib }));
  await inState(a, 51, "running", 2);
  await until("the grown disk", () => a.server.part<VolumeObservation>("volume", volumeId(51))?.sizeBytes === 200 * mib);
  const uuid = vmId(51);
  const tune = (await a.host.exec(["virsh", "blkdeviotune", uuid, "vda"])).stdout;
  assert.match(tune, /total_bytes_sec: 5000000/);
  assert.match(tune, /total_iops_sec *: 500/);
  assert.match((await a.host.exec(["virsh", "vcpucount", uuid, "--live"])).stdout, /2/);
  assert.match((await a.host.exec(["virsh", "domblkinfo", uuid, "vda"])).stdout, new RegExp(`Capacity:\\s+${200 * mib}`));
  assert.deepEqual(seen(a, 51)?.pendingChanges, []);
  assert.equal((await a.host.exec(["virsh", "dumpxml", "--inactive", uuid])).stdout.includes("total_bytes_sec"), true);
});

test("a second disk and network interface are plugged in and out", async () => {
  const extra = sampleDocument(
    "volume",
    { pool: poolId, sizeBytes: 16 * mib },
    { id: volumeId(99), name: "extra", placement: { host: a.id, epoch: 1, incarnation: "i1" } },
  );
  const disks = [
    { name: "root", volume: volumeId(51) },
    { name: "data", volume: volumeId(99) },
  ];
  const nics = [
    { name: "eth0", network: networkId, mac: "52:54:00:93:00:33", addresses: [addressOf(51)] },
    { name: "eth1", network: networkId, mac: "52:54:00:93:00:f0", addresses: [] },
  ];
  const base = { cpu: { count: 2, maximum: 2, shares: 50 }, memory: { bytes: 88 * mib } };
  a.server.put(extra, ...documents({ number: 51, generation: 3, spec: { ...base, disks, nics }, sizeBytes: 200 * mib }));
  await inState(a, 51, "running", 3);
  const list = async () => (await a.host.exec(["virsh", "dumpxml", vmId(51)])).stdout;
  assert.match(await list(), new RegExp(volumeId(99)));
  assert.match(await list(), /52:54:00:93:00:f0/);
  a.server.put(...documents({ number: 51, generation: 4, spec: base, sizeBytes: 200 * mib }));
  await inState(a, 51, "running", 4);
  assert.doesNotMatch(await list(), new RegExp(volumeId(99)));
  assert.doesNotMatch(await list(), /52:54:00:93:00:f0/);
  assert.ok(await guestStatus(addressOf(51)));
});

test("consoles: the serial one shows the login and takes what is typed, VNC speaks, the screenshot is a PNG", async () => {
  await a.server.call("console.open", { vmId: vmId(50), stream: 7, type: "serial" });
  let typedAt = -Infinity;
  const shown = (stream: number) => a.server.streams.get(stream)?.toString("latin1") ?? "";
  await until(
    () => `a login on the serial console (it shows ${JSON.stringify(shown(7).slice(-500))})`,
    () => {
      // Not too often: what is typed while a program sets the terminal up is lost, and each line asks anew.
      if (performance.now() - typedAt > 2000) {
        a.server.sendStream(7, Buffer.from("\r"));
        typedAt = performance.now();
      }
      return /login:/.test(shown(7));
    },
  );
  await a.server.call("console.open", { vmId: vmId(50), stream: 8, type: "vnc" });
  await until("VNC's greeting", () => shown(8).startsWith("RFB 003.008"));
  const { mime, base64 } = await a.server.call("vm.screenshot", { vmId: vmId(50) });
  assert.equal(mime, "image/png");
  assert.equal(Buffer.from(base64, "base64").subarray(1, 4).toString(), "PNG");
});

test("stopped by the power button, started again; a guest's own shutdown is told as such; a killed QEMU is restarted", async () => {
  a.server.put(...documents({ number: 50, generation: 4, spec: { power: "stopped" } }));
  assert.equal((await inState(a, 50, "stopped", 4)).stoppedBy, "user");
  a.server.put(...documents({ number: 50, generation: 5 }));
  await inState(a, 50, "running", 5);
  const first = await answers(50);
  const [qemu] = (await a.host.qemuProcesses()).filter(({ domainName }) => domainName.includes("web-50"));
  assert.ok(qemu);
  process.kill(qemu.pid, "SIGKILL");
  const { restarts = 0 } = seen(a, 50) ?? {};
  await until("the restart", () => seen(a, 50)?.restarts === restarts + 1 && seen(a, 50)?.state === "running");
  assert.notEqual((await answers(50)).bootId, first.bootId);
  // From outside, as a guest's own: pressed again, because a guest that is still booting misses it.
  let pressedAt = -Infinity;
  await until("the guest's end", async () => {
    if (performance.now() - pressedAt > 5000) {
      await a.host.exec(["virsh", "shutdown", vmId(50)]);
      pressedAt = performance.now();
    }
    return seen(a, 50)?.state === "stopped";
  });
  assert.equal(seen(a, 50)?.stoppedBy, "guest");
  a.server.put(...documents({ number: 50, generation: 6, spec: { startRequest: 1 } }));
  await inState(a, 50, "running", 6);
  await answers(50);
});

const task = sampleId(80);

async function migrate(number: number, pool: string): Promise<void> {
  const sharedStorage = pool === sharedId;
  const call: MigrationCall = {
    vmId: vmId(number),
    taskId: task,
    epoch: 1,
    sourceHost: a.id,
    targetHost: b.id,
    targetAddress: b.host.address,
    sharedStorage,
  };
  const moving = (placement: Wanted["placement"], generation: number) =>
    documents({
      number,
      pool,
      generation,
      ...(placement ? { placement } : {}),
      status: { migration: { task, phase: "x", source: a.id, target: b.id, since: 1 } },
    });
  for (const agent of [a, b]) agent.server.put(...moving({ host: a.id, epoch: 1 }, 1));
  const copyVolumes = sharedStorage ? [] : [{ volumeId: volumeId(number), sizeBytes: 100 * mib, format: "qcow2", image: imageId }];
  const begun = await a.server.call("migrate.begin", call);
  const prepared = await b.server.call("migrate.prepare", { ...call, ...begun, copyVolumes, ports: {} });
  const performed = await a.server.call("migrate.perform", {
    ...call,
    cookie: prepared.cookie,
    uri: prepared.uri,
    copyVolumes: copyVolumes.map((each) => each.volumeId),
    bandwidthBytesPerSecond: 0,
    maximumDowntimeMs: 300,
    autoConverge: true,
  });
  assert.deepEqual(await b.server.call("vm.probe", { vmId: vmId(number) }), { state: "incoming", migrating: true });
  for (const agent of [a, b]) agent.server.put(...moving({ host: b.id, epoch: 2 }, 1));
  const finished = await b.server.call("migrate.finish", { ...call, cookie: performed.cookie, cancelled: false, newEpoch: 2 });
  assert.equal(finished.running, true);
  const confirmed = await a.server.call("migrate.confirm", { ...call, cookie: finished.cookie, cancelled: false });
  assert.equal(confirmed.running, false);
  assert.ok((confirmed.stats?.downtimeMs ?? 0) > 0 && (confirmed.stats?.memoryBytes ?? 0) > mib, JSON.stringify(confirmed));
  b.server.put(...documents({ number, pool, placement: { host: b.id, epoch: 2 } }));
  a.server.remove("vm", vmId(number), false, { epoch: 2, incarnation: "i1" });
  a.server.remove("volume", volumeId(number), false, { epoch: 2, incarnation: "i1" });
}

for (const [number, pool, name] of [
  [52, poolId, "local"],
  [53, sharedId, "shared"],
] as const) {
  test(`live migration under TLS with ${name} storage: the guest never stops, one copy is left`, async () => {
    a.server.put(...documents({ number, pool }));
    await inState(a, number, "running");
    const before = await answers(number);
    await migrate(number, pool);
    const observation = await inState(b, number, "running");
    assert.equal(observation.epoch, 2);
    const later = await answers(number);
    assert.equal(later.bootId, before.bootId);
    assert.ok(later.counter >= before.counter);
    await until("the source's copy to be gone", async () => !(await domains(a)).includes(`web-${number}`));
    assert.match((await b.host.exec(["virsh", "dumpxml", vmId(number)])).stdout, /epoch=['"]2['"]/);
    assert.match((await b.host.exec(["virsh", "dumpxml", "--inactive", vmId(number)])).stdout, /epoch=['"]2['"]/);
    const disk = `${name === "local" ? "/mnt/local" : "/mnt/shared"}/sheaf/volumes/${volumeId(number)}.qcow2`;
    assert.equal((await a.host.exec(["test", "-e", disk])).code, name === "local" ? 1 : 0);
    assert.equal((await b.host.exec(["test", "-e", disk])).code, 0);
    assert.equal((await a.host.qemuProcesses()).filter((each) => each.domainName.includes(`web-${number}`)).length, 0);
  });
}

test("a migration that is cancelled leaves the guest running at the source and nothing at the target", async () => {
  const number = 54;
  a.server.put(...documents({ number }));
  await inState(a, number, "running");
  const before = await answers(number);
  const call: MigrationCall = {
    vmId: vmId(number),
    taskId: sampleId(81),
    epoch: 1,
    sourceHost: a.id,
    targetHost: b.id,
    targetAddress: b.host.address,
    sharedStorage: false,
  };
  const status = { migration: { task: sampleId(81), phase: "x", source: a.id, target: b.id, since: 1 } };
  for (const agent of [a, b]) agent.server.put(...documents({ number, status }));
  const begun = await a.server.call("migrate.begin", call);
  const copyVolumes = [{ volumeId: volumeId(number), sizeBytes: 100 * mib, format: "qcow2", image: imageId }];
  const prepared = await b.server.call("migrate.prepare", { ...call, ...begun, copyVolumes, ports: {} });
  await a.server.call("migrate.perform", {
    ...call,
    cookie: prepared.cookie,
    uri: prepared.uri,
    copyVolumes: [volumeId(number)],
    bandwidthBytesPerSecond: 0,
    maximumDowntimeMs: 300,
    autoConverge: true,
  });
  await a.server.call("migrate.abort", call);
  const withdrawn = await b.server.call("migrate.finish", { ...call, cookie: "", cancelled: true, newEpoch: 1 });
  assert.deepEqual([withdrawn.running, withdrawn.neverRan], [false, true]);
  assert.equal((await a.server.call("migrate.confirm", { ...call, cookie: withdrawn.cookie, cancelled: true })).running, true);
  a.server.put(...documents({ number }));
  b.server.remove("vm", vmId(number), false, { epoch: 1, incarnation: "i1" });
  b.server.remove("volume", volumeId(number), false, { epoch: 1, incarnation: "i1" });
  assert.equal((await answers(number)).bootId, before.bootId);
  assert.doesNotMatch(await domains(b), /web-54/);
  await until(
    "the target's disk to be gone",
    async () => (await b.host.exec(["test", "-e", `/mnt/local/sheaf/volumes/${volumeId(number)}.qcow2`])).code === 1,
  );
});

test("a guest whose agent stands still is reset, one that ends it is not", async () => {
  const spec = { restart: { delayMs: 200, onHang: "restart", hangAfterMs: 10_000 } };
  a.server.put(...documents({ number: 90, spec }), ...documents({ number: 91, spec }));
  const before = new Map<number, string>();
  for (const number of [90, 91]) {
    await inState(a, number, "running");
    before.set(number, (await answers(number)).bootId);
    await until(`the agent of guest ${number}`, () => seen(a, number)?.guestAgent?.connected);
  }
  const inGuest = async (number: number, command: string): Promise<void> => {
    const request = { execute: "guest-exec", arguments: { path: "/bin/sh", arg: ["-c", command] } };
    const { stdout } = await a.host.exec(["virsh", "qemu-agent-command", `sheaf-${1000 + number}-web-${number}`, JSON.stringify(request)]);
    assert.match(stdout, /"pid"/);
  };
  // One agent is frozen, the other ends: what a hung guest and an orderly one look like from outside.
  await inGuest(90, "sleep 1; kill -STOP $(pidof qemu-ga)");
  await inGuest(91, "sleep 1; kill $(pidof qemu-ga)");
  await until("the reset of the hung guest", () => (seen(a, 90)?.restarts === 1 ? true : undefined));
  assert.equal(seen(a, 90)?.lastEnd?.by, "hang");
  const again = await until("its new boot", async () => {
    const status = await guestStatus(addressOf(90));
    return status && status.bootId !== before.get(90) ? status : undefined;
  });
  assert.ok(again.uptimeSeconds < 120);
  await until("its agent's word after the reset", () => seen(a, 90)?.guestAgent?.connected);
  assert.deepEqual([(await answers(91)).bootId, seen(a, 91)?.restarts], [before.get(91), 0]);
  for (const number of [90, 91]) {
    a.server.put(...documents({ number, spec, generation: 2, deletedAt: 1 }));
    await inState(a, number, "gone", 2);
    await until("the disk to be gone", () => a.server.part<VolumeObservation>("volume", volumeId(number))?.state === "gone");
    a.server.remove("vm", vmId(number), true);
    a.server.remove("volume", volumeId(number), true);
  }
});

test("deleting everything leaves no domain, disk, seed, image or process", async () => {
  const homes: readonly (readonly [LabAgent, number, string, number])[] = [
    [a, 50, poolId, 1],
    [a, 51, poolId, 1],
    [b, 52, poolId, 2],
    [b, 53, sharedId, 2],
    [a, 54, poolId, 1],
  ];
  for (const [agent, number, pool, epoch] of homes)
    agent.server.put(...documents({ number, pool, generation: 9, deletedAt: 1, placement: { host: agent.id, epoch } }));
  a.server.put(
    sampleDocument(
      "volume",
      { pool: poolId, sizeBytes: 16 * mib },
      { id: volumeId(99), name: "extra", deletedAt: 1, placement: { host: a.id, epoch: 1, incarnation: "i1" } },
    ),
  );
  for (const [agent, number] of homes) {
    await inState(agent, number, "gone", 9);
    await until("the disk to be gone", () => agent.server.part<VolumeObservation>("volume", volumeId(number))?.state === "gone");
    agent.server.remove("vm", vmId(number), true);
    agent.server.remove("volume", volumeId(number), true);
  }
  await until("the loose disk to be gone", () => a.server.part<VolumeObservation>("volume", volumeId(99))?.state === "gone");
  for (const agent of [a, b]) agent.server.remove("image", imageId, true);
  for (const agent of [a, b]) {
    await until(
      "no files",
      async () =>
        (
          await agent.host.exec([
            "find",
            "/mnt/local/sheaf",
            "/mnt/shared/sheaf",
            `${guestFilesDirectory}/seeds`,
            "-type",
            "f",
            "-not",
            "-path",
            "*/pulse/*",
          ])
        ).stdout.trim() === "",
    );
    assert.equal(await domains(agent), "");
    assert.deepEqual(await agent.host.qemuProcesses(), []);
  }
});
