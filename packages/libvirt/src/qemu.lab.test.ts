/** Against real libvirtd and real QEMU guests (no system in them: the firmware is enough), two hosts, with migration between them. */
import assert from "node:assert/strict";
import { after, before, test } from "node:test";
import { createLab, type LabHost } from "@sheaf/lab";
import { connect, type LibvirtClient } from "./connect.ts";
import { isLibvirtError, LibvirtConnectionError } from "./errors.ts";
import {
  BlockResizeFlag,
  CreateFlag,
  DomainState,
  DomainStats,
  JobType,
  KeyCodeSet,
  LifecycleEvent,
  MigrateFlag,
  MigrateParameter,
  MonitorCommandFlag,
  PausedReason,
  StartedDetail,
  StoppedDetail,
  VolumeStreamFlag,
} from "./flags.ts";
import type { EventName, LibvirtEvent } from "./procedures/events.ts";
import type { StreamPiece } from "./stream.ts";
import { unixTransport } from "./transport-unix.ts";
import { parameter } from "./typed-params.ts";

const lab = createLab({ root: "/var/lib/lvq-lab", id: "lvq", gateway: "10.91.2.1/24" });
let hostA: LabHost;
let a: LibvirtClient;
let b: LibvirtClient;

before(async () => {
  hostA = await lab.up("a", "10.91.2.11");
  const hostB = await lab.up("b", "10.91.2.12");
  a = await connect({ transport: unixTransport(hostA.socketPath) });
  b = await connect({ transport: unixTransport(hostB.socketPath) });
});
after(async () => {
  a?.close();
  b?.close();
  await lab.purge();
});

const guest = (name: string, devices = "") => `<domain type='qemu'>
  <name>${name}</name><memory unit='MiB'>32</memory><vcpu>1</vcpu>
  <os><type arch='x86_64' machine='pc'>hvm</type></os>
  <features><acpi/></features>
  <cpu mode='custom' match='exact'><model>qemu64</model></cpu>
  <on_poweroff>destroy</on_poweroff><on_reboot>restart</on_reboot>
  <devices>${devices}<serial type='pty'/><video><model type='vga'/></video><graphics type='vnc' autoport='yes' listen='127.0.0.1'/><memballoon model='virtio'/></devices>
</domain>`;

/** Events have no call to wait for. */
async function until(condition: () => boolean | Promise<boolean>, what: string): Promise<void> {
  const deadline = performance.now() + 60_000;
  while (!(await condition())) {
    assert.ok(performance.now() < deadline, `${what} did not happen within 60 s`);
    await new Promise((resolve) => setTimeout(resolve, 20));
  }
}

/** Runs `work` while the named events are collected. */
async function listening<N extends EventName>(
  client: LibvirtClient,
  names: readonly N[],
  work: (seen: LibvirtEvent<N>[]) => Promise<void>,
): Promise<void> {
  const seen: LibvirtEvent<N>[] = [];
  const subscription = await client.events.subscribe(names, (event) => seen.push(event));
  try {
    await work(seen);
  } finally {
    await subscription.close();
  }
}

test("the host answers with its own facts", async () => {
  assert.equal(await a.host.type(), "QEMU");
  assert.equal(await a.host.hostname(), "a");
  assert.match(await a.host.hypervisorVersion(), /^\d+\.\d+\.\d+$/);
  assert.match(await a.host.capabilities(), /<domain type='qemu'\/>/);
  assert.match(await a.host.domainCapabilities({ virtType: "qemu", arch: "x86_64" }), /<domainCapabilities>/);
  const memory = await a.host.memoryStats();
  assert.ok((memory["total"] ?? 0) > (memory["free"] ?? 0) && (memory["free"] ?? 0) > 0);
  assert.ok(((await a.host.cpuStats())["idle"] ?? 0n) > 0n);
  assert.equal((await a.host.freePages([4])).length, 1);
  assert.ok((await a.host.cpuModels("x86_64")).includes("qemu64"));
  const cpu = "<cpu><arch>x86_64</arch><model>qemu64</model></cpu>";
  assert.match(await a.host.baselineHypervisorCpu([cpu, cpu], { virtType: "qemu", arch: "x86_64" }), /<model/);
});

test("a guest is defined, started paused, resumed, looked at, asked, and destroyed, and says so in events", async () => {
  const { domains } = a;
  await listening(a, ["lifecycle", "deviceAdded", "deviceRemoved"], async (seen) => {
    const defined = await domains.define(guest("life"));
    assert.equal(defined.id, -1);
    const running = await domains.create(defined, CreateFlag.paused);
    assert.ok(running.id > 0 && running.uuid === defined.uuid);
    assert.deepEqual(await domains.getState(defined), { state: DomainState.paused, reason: PausedReason.user });
    await domains.resume(defined);
    assert.equal((await domains.getState(defined)).state, DomainState.running);

    const { mime, image } = await domains.screenshot(defined);
    assert.match(mime ?? "", /^image\//);
    // PPM begins with "P6", PNG with "\x89P".
    assert.ok(image.byteLength > 1_000 && Buffer.from(image.subarray(0, 2)).toString("latin1").includes("P"));

    const [record] = await domains.statistics(DomainStats.state | DomainStats.balloon | DomainStats.vcpu, 0, [defined]);
    assert.equal(record?.values["state.state"], DomainState.running);
    assert.equal(record?.values["balloon.maximum"], 32_768);
    const status = JSON.parse(await domains.monitorCommand(defined, '{"execute":"query-status"}')) as { return: { running: boolean } };
    assert.equal(status.return.running, true);
    assert.match(await domains.monitorCommand(defined, "info name", MonitorCommandFlag.human), /life/);
    await domains.sendKey(defined, KeyCodeSet.linux, [29, 56, 111]);
    assert.equal((await domains.memoryStats(defined)).size > 0, true);
    assert.equal((await domains.getControlInfo(defined)).state, 0);

    await domains.attachDevice(defined, "<rng model='virtio'><backend model='random'>/dev/urandom</backend><alias name='ua-rng'/></rng>", 1);
    await until(() => seen.some(({ name }) => name === "deviceAdded"), "deviceAdded");
    await domains.suspend(defined);
    await domains.reset(defined);
    await domains.resume(defined);
    await domains.destroy(defined);
    await domains.undefine(defined);
    await until(() => seen.some((event) => event.name === "lifecycle" && event.event === LifecycleEvent.undefined), "the last event");
    const story = seen.flatMap((event) => (event.name === "lifecycle" ? [[event.event, event.detail]] : []));
    assert.deepEqual(story[0], [LifecycleEvent.defined, 0]);
    assert.ok(story.some(([event, detail]) => event === LifecycleEvent.started && detail === StartedDetail.booted));
    assert.ok(story.some(([event, detail]) => event === LifecycleEvent.stopped && detail === StoppedDetail.destroyed));
  });
});

test("the firmware's console is read as a stream, and a second reader is refused", async () => {
  const { domains } = a;
  // libvirt locks a console's pty there, as all programs do that open serial lines.
  await hostA.exec(["mkdir", "-p", "/run/lock"]);
  const domain = await domains.define(guest("console").replace("<os>", "<os><bios useserial='yes'/>"));
  await domains.create(domain, CreateFlag.paused);
  const stream = await domains.openConsole(domain);
  const second = await domains.openConsole(domain).catch((error: unknown) => error);
  assert.ok(isLibvirtError(second, "operationFailed"), String(second));
  await domains.resume(domain);
  let text = "";
  while (!/SeaBIOS/.test(text)) {
    const piece = await stream.read();
    assert.ok(piece?.kind === "data", "the console ended");
    text += Buffer.from(piece.data).toString("latin1");
  }
  await stream.write(Buffer.from("x"));
  stream.abort();
  await domains.destroy(domain);
  await domains.undefine(domain);
});

async function bytesOf(pieces: AsyncIterable<StreamPiece>): Promise<{ data: Buffer; holes: number }> {
  const chunks: Buffer[] = [];
  let holes = 0;
  for await (const piece of pieces) {
    if (piece.kind === "hole") holes += piece.lengthBytes;
    chunks.push(piece.kind === "data" ? Buffer.from(piece.data) : Buffer.alloc(piece.lengthBytes));
  }
  return { data: Buffer.concat(chunks), holes };
}

test("pools and volumes are made, and what is uploaded comes back, holes and all", async () => {
  const { pools, volumes } = a;
  const pool = await pools.define("<pool type='dir'><name>local</name><target><path>/mnt/local/pool</path></target></pool>");
  await pools.build(pool);
  await pools.create(pool);
  const info = await pools.getInfo(pool);
  assert.ok(info.state === 2 && info.capacity > info.available);
  const megabytes = 20;
  const volume = await volumes.create(pool, `<volume><name>data.raw</name><capacity unit='MiB'>${megabytes}</capacity></volume>`);
  const data = Buffer.alloc(megabytes * 1_048_576, "sheaf-0123456789");
  await volumes.upload(volume, [data]);
  const plain = await bytesOf(await volumes.download(volume));
  assert.ok(plain.data.equals(data));

  const part = await bytesOf(await volumes.download(volume, { offset: 6, length: 10 }));
  assert.equal(part.data.toString(), "0123456789");

  const sparse = await volumes.create(
    pool,
    `<volume><name>sparse.raw</name><capacity unit='MiB'>${megabytes}</capacity><allocation>0</allocation></volume>`,
  );
  const { stream } = await a.openStream("storageVolUpload", { volume: sparse, offset: 0, length: 0, flags: VolumeStreamFlag.sparse });
  await stream.write(Buffer.alloc(1_048_576, 1));
  await stream.writeHole((megabytes - 2) * 1_048_576);
  await stream.write(Buffer.alloc(1_048_576, 2));
  await stream.finish();
  const back = await bytesOf(await volumes.download(sparse, { flags: VolumeStreamFlag.sparse }));
  assert.equal(back.data.byteLength, megabytes * 1_048_576);
  assert.deepEqual([back.data[0], back.data[5_000_000], back.data.at(-1)], [1, 0, 2]);
  assert.ok(back.holes >= 10 * 1_048_576, `${back.holes} bytes came as holes`);

  for await (const _piece of await volumes.download(volume)) break;
  await volumes.resize(volume, 40 * 1_048_576);
  assert.equal((await volumes.getInfo(volume)).capacity, 40 * 1_048_576);
  await volumes.wipe(volume);
  const clone = await volumes.clone(
    pool,
    "<volume><name>clone.qcow2</name><capacity unit='MiB'>40</capacity><target><format type='qcow2'/></target></volume>",
    volume,
  );
  assert.match(await volumes.getXml(clone), /qcow2/);
  assert.deepEqual((await pools.volumes(pool)).map(({ name }) => name).toSorted(), ["clone.qcow2", "data.raw", "sparse.raw"]);
  for (const each of await pools.volumes(pool)) await volumes.delete(each);
  const missing = await volumes.lookupByName(pool, "data.raw").catch((error: unknown) => error);
  assert.ok(isLibvirtError(missing, "noStorageVolume"));
  await pools.destroy(pool);
  await pools.undefine(pool);
});

test("a running guest's disk is limited, grown, snapshotted and copied", async () => {
  const { domains, snapshots } = a;
  await hostA.exec(["qemu-img", "create", "-q", "-f", "qcow2", "/mnt/local/disk.qcow2", "16M"]);
  const disk =
    "<disk type='file' device='disk'><driver name='qemu' type='qcow2'/><source file='/mnt/local/disk.qcow2'/><target dev='vda' bus='virtio'/></disk>";
  const domain = await domains.define(guest("disk", disk));
  await domains.create(domain);
  await domains.setBlockIoTune(domain, "vda", [parameter.ullong("total_iops_sec", 100), parameter.string("group_name", "slow")], 1);
  const tune = await domains.getBlockIoTune(domain, "vda", 1);
  assert.deepEqual([tune["total_iops_sec"], tune["group_name"]], [100, "slow"]);
  await domains.blockResize(domain, "vda", 24 * 1_048_576);
  assert.equal((await domains.blockInfo(domain, "vda")).capacity, 24 * 1_048_576);
  assert.equal(BlockResizeFlag.bytes, 1);

  const snapshot = await snapshots.create(domain, "<domainsnapshot><name>s1</name></domainsnapshot>");
  await snapshots.revert(snapshot);
  await snapshots.delete(snapshot);
  assert.deepEqual(await snapshots.list(domain), []);

  await listening(a, ["blockJob2"], async (seen) => {
    const copy = "<disk type='file'><source file='/mnt/local/copy.qcow2'/><driver type='qcow2'/></disk>";
    await domains.blockCopy(domain, "vda", copy, [], 4);
    await until(() => seen.some(({ status }) => status === 3), "the copy's readiness");
    const job = await domains.blockJobInfo(domain, "vda");
    assert.ok(job !== undefined && job.current === job.end);
    await domains.blockJobAbort(domain, "vda", 2);
    assert.match(await domains.getXml(domain), /copy\.qcow2/);
    assert.equal(await domains.blockJobInfo(domain, "vda"), undefined);
  });
  await domains.destroy(domain);
  await domains.undefine(domain);
});

test("a saved guest goes on where it was", async () => {
  const { domains } = a;
  const domain = await domains.define(guest("saved"));
  await domains.create(domain);
  await domains.managedSave(domain);
  assert.ok(await domains.hasManagedSave(domain));
  assert.equal((await domains.getState(domain)).state, DomainState.shutoff);
  await domains.create(domain);
  assert.deepEqual(await domains.getState(domain), { state: DomainState.running, reason: 3 });
  assert.equal(await domains.hasManagedSave(domain), false);
  await domains.destroy(domain);
  await domains.undefine(domain);
});

/** All five phases, as an agent at each end would do them; the sessions are closed after the phase `last`. */
async function migrate(uuid: string, last: "prepare" | "perform" | "confirm"): Promise<number> {
  const flags = MigrateFlag.live | MigrateFlag.persistDestination | MigrateFlag.undefineSource;
  const [source, target] = [await a.openMigration(), await b.openMigration()];
  try {
    const domain = await a.domains.lookupByUuid(uuid);
    const begun = await source.begin(domain, { params: [], flags });
    const uri = "tcp://10.91.2.12";
    const xml = parameter.string(MigrateParameter.destinationXml, begun.xml);
    const prepared = await target.prepare({ params: [xml, parameter.string(MigrateParameter.uri, uri)], flags }, begun.cookieOut);
    if (last === "prepare") return -1;
    const performParams = [xml, parameter.string(MigrateParameter.uri, prepared.uriOut ?? uri)];
    const performed = await source.perform(domain, { params: performParams, flags }, prepared.cookieOut);
    if (last === "perform") return -1;
    const finished = await target.finish({ params: [parameter.string(MigrateParameter.destinationName, domain.name)], flags }, performed, false);
    await source.confirm(domain, { params: [], flags }, finished.cookieOut, false);
    assert.equal(finished.domain.uuid, uuid);
    return finished.domain.id;
  } finally {
    source.close();
    target.close();
  }
}

test("a guest migrates, each side held by its own client, with the phases' sessions and cookies", async () => {
  const domain = await a.domains.define(guest("mover"));
  await a.domains.create(domain);
  await a.domains.setMigrationMaxSpeed(domain, 1_000);
  assert.equal(await a.domains.getMigrationMaxSpeed(domain), 1_000);
  await a.domains.setMigrationMaxDowntime(domain, 250);
  assert.equal(await a.domains.getMigrationMaxDowntime(domain), 250);
  await listening(b, ["lifecycle"], async (seen) => {
    assert.ok((await migrate(domain.uuid, "confirm")) > 0);
    await until(
      () => seen.some(({ event, detail }) => event === LifecycleEvent.started && detail === StartedDetail.migrated),
      "the start at the target",
    );
  });
  assert.deepEqual(await b.domains.getState(domain), { state: DomainState.running, reason: 2 });
  assert.ok(isLibvirtError(await a.domains.lookupByUuid(domain.uuid).catch((error: unknown) => error), "noDomain"));
  const stats = await b.domains.jobStats(domain, 1);
  assert.equal(stats.type, JobType.completed);
  await b.domains.destroy(domain);
  await b.domains.undefine(domain);
});

test("a migration whose sessions close before it is performed is undone by both daemons", async () => {
  const domain = await a.domains.define(guest("stayer"));
  await a.domains.create(domain);
  await migrate(domain.uuid, "prepare");
  await until(async () => (await b.domains.list()).length === 0, "the end of the target's half");
  assert.equal((await a.domains.getState(domain)).state, DomainState.running);
  await until(async () => (await a.domains.jobStats(domain)).type === JobType.none, "the end of the source's job");
  await a.domains.suspend(domain);
  await a.domains.destroy(domain);
  await a.domains.undefine(domain);
});

test("a migration whose sessions close after it was performed leaves the source paused, for whoever knows that the target did not start", async () => {
  const domain = await a.domains.define(guest("waiter"));
  await a.domains.create(domain);
  await migrate(domain.uuid, "perform");
  await until(async () => (await b.domains.list()).length === 0, "the end of the target's half");
  assert.deepEqual(await a.domains.getState(domain), { state: DomainState.paused, reason: PausedReason.migration });
  await until(async () => (await a.domains.jobStats(domain)).type === JobType.none, "the end of the source's job");
  await a.domains.resume(domain);
  assert.equal((await a.domains.getState(domain)).state, DomainState.running);
  await a.domains.destroy(domain);
  await a.domains.undefine(domain);
});

test("secrets keep their value", async () => {
  const { secrets } = a;
  const defined = await secrets.define("<secret ephemeral='no' private='no'><usage type='volume'><volume>/x</volume></usage></secret>");
  await secrets.setValue(defined, Uint8Array.of(0, 1, 2, 255));
  assert.deepEqual([...(await secrets.getValue(defined))], [0, 1, 2, 255]);
  assert.deepEqual(await secrets.lookupByUsage(1, "/x"), defined);
  await secrets.undefine(defined);
});

test("a daemon that is killed and comes back is found again: calls under way fail, guests run on, events come", async () => {
  const domain = await a.domains.define(guest("survivor"));
  const { id } = await a.domains.create(domain);
  const states: string[] = [];
  const stop = a.onState(({ kind }) => states.push(kind));
  await listening(a, ["lifecycle"], async (seen) => {
    // A call that hangs as long as the guest's agent does not answer: there is none.
    const waiting = a.domains.getXml(domain).then(
      () => undefined,
      (error: unknown) => error,
    );
    await hostA.restartLibvirtd("SIGKILL");
    const error = await waiting;
    assert.ok(error === undefined || error instanceof LibvirtConnectionError);
    await until(() => states.includes("connected"), "the new connection");
    assert.deepEqual(states, ["disconnected", "connected"]);
    await until(async () => (await a.domains.lookupByUuid(domain.uuid)).id === id, "the guest found again");
    await a.domains.suspend(domain);
    await until(() => seen.some(({ event }) => event === LifecycleEvent.suspended), "an event after the restart");
  });
  stop();
  await a.domains.destroy(domain);
  await a.domains.undefine(domain);
});

test("a frozen host is noticed by its silence, without hanging the caller", async () => {
  const client = await connect({ transport: unixTransport(hostA.socketPath), keepaliveIntervalMs: 200, keepaliveCount: 2, callTimeoutMs: 30_000 });
  try {
    await hostA.freeze();
    const error = await client.host.hostname().catch((reason: unknown) => reason);
    assert.ok(error instanceof LibvirtConnectionError && /has not answered 2 pings/.test(error.message), String(error));
  } finally {
    client.close();
    await hostA.thaw();
  }
});
