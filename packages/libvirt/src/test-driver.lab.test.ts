/** Against a real libvirtd and its test hypervisor: does it understand us, do we understand it, over every transport it offers? */
import assert from "node:assert/strict";
import { readFile } from "node:fs/promises";
import { after, before, test } from "node:test";
import { createLab, type LabHost } from "@sheaf/lab";
import { type Codec, encodeValue } from "./codec.ts";
import { connect, type LibvirtClient } from "./connect.ts";
import { isLibvirtError, LibvirtConnectionError, LibvirtError } from "./errors.ts";
import { LifecycleEvent, SuspendedDetail } from "./flags.ts";
import { GeneratingReader, seededDraw } from "./generating-reader.ts";
import type { LibvirtEvent } from "./procedures/events.ts";
import { procedures } from "./procedures/table.ts";
import { tcpTransport } from "./transport-tcp.ts";
import { tlsTransport } from "./transport-tls.ts";
import { unixTransport } from "./transport-unix.ts";

const lab = createLab({
  root: "/var/lib/lvt-lab",
  id: "lvt",
  gateway: "10.91.1.1/24",
  certificates: true,
  listenTcp: true,
  listenTls: true,
});
let host: LabHost;
let client: LibvirtClient;

before(async () => {
  host = await lab.up("a", "10.91.1.11");
  client = await connect({ transport: unixTransport(host.socketPath), uri: "test:///default" });
});
after(async () => {
  client?.close();
  await lab.purge();
});

const raw: Codec<Uint8Array> = {
  minBytes: 0,
  encode: (writer, value) => writer.fixedOpaque(value, value.byteLength),
  decode: (reader) => reader.fixedOpaque(reader.remaining),
};

test("the daemon reads the arguments of every procedure to their last byte, and misses that byte when it is not there", async () => {
  const draw = seededDraw(7);
  const signingIn = new Set(["authList", "authPolkit", "connectOpen", "connectClose"]);
  /** Newer than the daemon of Debian 12 (9.0). */
  const newer = new Set(["networkSetMetadata", "networkGetMetadata"]);
  const said = async (key: string, bytes: Uint8Array) => {
    const procedure = Object.entries(procedures).find(([name]) => name === key)?.[1];
    assert.ok(procedure);
    const error = await client.callRaw({ ...procedure, args: raw, reply: raw, long: false }, bytes).then(
      () => undefined,
      (reason: unknown) => reason,
    );
    if (error === undefined) return "accepted";
    assert.ok(error instanceof LibvirtError, `${key}: ${String(error)}`);
    return error.libvirtMessage;
  };
  let checked = 0;
  for (const [key, { args }] of Object.entries(procedures)) {
    if (signingIn.has(key)) continue;
    const codec: Codec<unknown> = args;
    const bytes = encodeValue(codec, codec.decode(new GeneratingReader(draw)));
    const whole = await said(key, bytes);
    if (newer.has(key) && /unknown procedure/.test(whole)) continue;
    assert.doesNotMatch(whole, /Unable to decode message payload|unknown procedure/, key);
    if (bytes.byteLength > 0) assert.match(await said(key, bytes.subarray(0, -4)), /Unable to decode message payload/, key);
    checked += 1;
  }
  assert.ok(checked > 290, `${checked} procedures`);
});

test("the host's facts are those of the test hypervisor", async () => {
  const { host: node } = client;
  assert.equal(await node.type(), "TEST");
  assert.equal(await node.uri(), "test:///default");
  assert.match(await node.libvirtVersion(), /^\d+\.\d+\.\d+$/);
  assert.deepEqual(await node.nodeInfo(), { model: "i686", memory: 3_145_728, cpus: 16, mhz: 1_400, nodes: 2, sockets: 2, cores: 2, threads: 2 });
  assert.match(await node.capabilities(), /<arch name='i686'>/);
  assert.equal((await node.cellsFreeMemory()).length, 2);
  assert.ok((await node.freeMemory()) > 0);
  const { cpuMap, online, present } = await client.call("nodeGetCpuMap", { needMap: true, needOnline: true, flags: 0 });
  assert.deepEqual([cpuMap.byteLength > 0, online > 0, present >= online], [true, true, true]);
});

test("lists, look-ups, descriptions and states agree with each other", async () => {
  const domains = await client.domains.list();
  assert.deepEqual(
    domains.map(({ name }) => name),
    ["test"],
  );
  const [domain] = domains;
  assert.ok(domain);
  assert.deepEqual(await client.domains.lookupByName("test"), domain);
  assert.deepEqual(await client.domains.lookupByUuid(domain.uuid), domain);
  assert.deepEqual(await client.domains.lookupById(domain.id), domain);
  assert.match(await client.domains.getXml(domain), new RegExp(`<uuid>${domain.uuid}</uuid>`));
  assert.equal((await client.domains.getState(domain)).state, 1);
  const info = await client.domains.getInfo(domain);
  assert.deepEqual([info.state, info.maxMemory, info.vcpus, typeof info.cpuTime], [1, 8_388_608, 2, "bigint"]);
  assert.deepEqual([await client.domains.isActive(domain), await client.domains.isPersistent(domain)], [true, true]);
  const missing = await client.domains.lookupByName("missing").catch((error: unknown) => error);
  assert.ok(isLibvirtError(missing, "noDomain") && missing.fromName === "test");
});

test("a domain is defined, started, described, changed, snapshotted and removed", async () => {
  const { domains, snapshots } = client;
  const domain = await domains.define("<domain type='test'><name>extra</name><memory>65536</memory><vcpu>2</vcpu><os><type>hvm</type></os></domain>");
  await domains.create(domain);
  await domains.setMetadata(domain, { type: 1, metadata: "Extra <&> ü", key: null, uri: null });
  assert.equal(await domains.getMetadata(domain, 1), "Extra <&> ü");
  await domains.setMetadata(domain, { type: 2, metadata: "<owner>me</owner>", key: "sheaf", uri: "urn:x" });
  assert.match(await domains.getMetadata(domain, 2, "urn:x"), /me<\/owner>/);
  await domains.setAutostart(domain, true);
  assert.equal(await domains.getAutostart(domain), true);
  await domains.setMemory(domain, 32_768);
  assert.equal((await domains.getInfo(domain)).memory, 32_768);
  await domains.pinVcpu(domain, 1, [0, 9]);
  const pins = await client.call("domainGetVcpuPinInfo", { domain, mapCount: 2, mapLength: 2, flags: 0 });
  assert.deepEqual([...pins.cpuMaps.subarray(2)], [1, 2]);
  const snapshot = await snapshots.create(domain, "<domainsnapshot><name>before</name></domainsnapshot>");
  assert.deepEqual(
    (await snapshots.list(domain)).map(({ name }) => name),
    ["before"],
  );
  assert.match(await snapshots.getXml(snapshot), /<name>before<\/name>/);
  await snapshots.revert(snapshot);
  await snapshots.delete(snapshot);
  await domains.destroy(domain);
  await domains.rename(domain, "renamed");
  assert.equal((await domains.lookupByUuid(domain.uuid)).name, "renamed");
  await domains.undefine(domain);
  assert.ok(isLibvirtError(await domains.lookupByUuid(domain.uuid).catch((error: unknown) => error), "noDomain"));
});

test("events come in order, and only for the domain that was asked for", async () => {
  const [domain] = await client.domains.list();
  assert.ok(domain);
  const seen: LibvirtEvent<"lifecycle">[] = [];
  const subscription = await client.events.subscribe(["lifecycle"], (event) => seen.push(event), { domain });
  const other = await client.domains.define("<domain type='test'><name>noise</name><memory>1024</memory><os><type>hvm</type></os></domain>");
  await client.domains.undefine(other);
  await client.domains.suspend(domain);
  await client.domains.resume(domain);
  await until(() => seen.length === 2);
  assert.deepEqual(
    seen.map(({ domain: { name }, event, detail }) => [name, event, detail]),
    [
      ["test", LifecycleEvent.suspended, SuspendedDetail.paused],
      ["test", LifecycleEvent.resumed, 0],
    ],
  );
  await subscription.close();
});

test("pools, volumes, networks, host interfaces and devices answer", async () => {
  const { pools, volumes, networks } = client;
  const pool = await pools.lookupByName("default-pool");
  assert.equal((await pools.getInfo(pool)).state, 2);
  const seen: string[] = [];
  const subscription = await client.events.subscribe(["storagePoolRefresh"], ({ pool: { name } }) => seen.push(name));
  await pools.refresh(pool);
  await until(() => seen.length === 1);
  await subscription.close();
  const volume = await volumes.create(pool, "<volume><name>v1</name><capacity unit='bytes'>1048576</capacity></volume>");
  assert.deepEqual(await volumes.getInfo(volume), { type: 0, capacity: 1_048_576, allocation: 1_048_576 });
  assert.deepEqual(await volumes.lookupByPath(await volumes.getPath(volume)), volume);
  const copy = await volumes.clone(pool, "<volume><name>v2</name><capacity unit='bytes'>1048576</capacity></volume>", volume);
  assert.deepEqual((await pools.volumes(pool)).map(({ name }) => name).toSorted(), ["v1", "v2"]);
  for (const each of [volume, copy]) await volumes.delete(each);
  const network = await networks.lookupByName("default");
  assert.match(await networks.getXml(network), /<bridge name='virbr0'/);
  assert.equal((await client.call("connectListAllInterfaces", { needResults: true, flags: 0 })).interfaces[0]?.name, "eth1");
  assert.ok((await client.nodeDevices.list()).length > 0);
});

test("many calls at once are all answered", async () => {
  const answers = await Promise.all(Array.from({ length: 500 }, () => client.host.hostname()));
  assert.equal(new Set(answers).size, 1);
});

test("the same over TCP and over TLS with certificates", async () => {
  const pki = async (name: string) => readFile(`${host.directory}/etc/pki/${name}.pem`, "utf8");
  const [ca, certificate, key] = [await pki("ca-cert"), await pki("client-cert"), await pki("client-key")];
  for (const transport of [tcpTransport(host.address), tlsTransport({ host: host.address, ca, certificate, key })]) {
    const remote = await connect({ transport, uri: "test:///default" });
    try {
      assert.equal(await remote.host.type(), "TEST", transport.description);
      assert.equal((await Promise.all(Array.from({ length: 100 }, () => remote.host.hostname()))).length, 100);
    } finally {
      remote.close();
    }
  }
});

test("a daemon of another authority is not trusted, and says so", async () => {
  const pki = async (name: string) => readFile(`${host.directory}/etc/pki/${name}.pem`, "utf8");
  const [certificate, key] = [await pki("client-cert"), await pki("client-key")];
  // The client's own certificate is no authority: the daemon's was not signed by it.
  const transport = tlsTransport({ host: host.address, ca: certificate, certificate, key });
  const error = await connect({ transport, uri: "test:///default" }).catch((reason: unknown) => reason);
  assert.ok(error instanceof LibvirtConnectionError && /cannot connect to tls:10\.91\.1\.11:16514/.test(error.message), String(error));
});

/** Events have no call to wait for. */
async function until(condition: () => boolean): Promise<void> {
  const deadline = performance.now() + 20_000;
  while (!condition()) {
    assert.ok(performance.now() < deadline, "what was waited for did not come within 20 s");
    await new Promise((resolve) => setTimeout(resolve, 10));
  }
}
