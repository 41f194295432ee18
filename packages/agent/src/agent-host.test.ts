/** The whole agent on a simulated host: the host's own libvirtd, networks and certificate. */
import assert from "node:assert/strict";
import { test } from "node:test";
import type { HostObservation } from "@sheaf/model";
import { makeCertificateRequest } from "./certificates.ts";
import { seen, siteHost } from "./site-host.test-support.ts";
import { sampleDocument, sampleId } from "./simulated/sample-documents.ts";
import { dataDirectory, sampleAuthority, SimulatedHost } from "./simulated/simulated-host.ts";
import { ids, network } from "./simulated/sample-site.ts";

test("libvirtd goes away and comes back: told as the host's problem, the guest is found again", async () => {
  const host = await siteHost();
  const before = host.hypervisor.calls.length;
  host.hypervisor.disconnect();
  await host.clock.advance(30_000);
  assert.match(host.server.part<HostObservation>("host", ids.host)?.problems.join() ?? "", /libvirtd does not answer/);
  host.hypervisor.reconnect();
  await host.clock.advance(30_000);
  assert.deepEqual(host.server.part<HostObservation>("host", ids.host)?.problems, []);
  assert.deepEqual(host.hypervisor.calls.slice(before), []);
  assert.deepEqual([seen(host)?.state, seen(host)?.problem], ["running", undefined]);
  await host.stop();
});

test("where the host itself cannot be read, the agent tries again after a pause that grows, and not at once", { timeout: 20_000 }, async () => {
  const host = await siteHost();
  let asked = 0;
  host.hypervisor.problems = () => {
    asked += 1;
    // A loop without a pause would never let the test's clock go on.
    if (asked > 100) return [];
    throw new Error("out of memory");
  };
  host.hypervisor.emit({ type: "connected" });
  await host.clock.advance(10_000);
  assert.ok(asked >= 4 && asked <= 8, `asked ${asked} times in ten seconds`);
  await host.stop();
});

test("networks that a host is to use for its own traffic and does not have are told", async () => {
  const host = await siteHost();
  const problems = () => host.server.part<HostObservation>("host", ids.host)?.problems;
  assert.deepEqual(problems(), []);
  host.files.put("/sys/class/net/eno1/address", "52:54:00:00:00:09");
  host.server.put(sampleDocument("host", { managementInterface: "eno1", storageInterface: "eno9", migrationAddress: "192.0.2.9" }, { id: ids.host }));
  await host.clock.advance(1000);
  assert.equal(problems()?.length, 2);
  assert.match(problems()?.join("\n") ?? "", /no interface eno9.*storage/);
  assert.match(problems()?.join("\n") ?? "", /no address 192\.0\.2\.9.*migrations/);
  host.server.put(sampleDocument("host", { managementInterface: "eno1" }, { id: ids.host, generation: 2 }));
  await host.clock.advance(1000);
  assert.deepEqual(problems(), []);
  await host.stop();
});

test("a network is made by Sheaf where it is to be, told where it is missing, and taken away when it is gone", async () => {
  const host = await siteHost(
    [network({ bridge: "sheaf7", managed: true }), network({ bridge: "nowhere" })].map((each, index) => ({ ...each, id: sampleId(30 + index) })),
  );
  const at = (id: string) => host.server.part<{ state: string; problem?: string }>("network", id, `status/hosts/${ids.host}`);
  assert.equal(at(sampleId(30))?.state, "ready");
  assert.match(at(sampleId(31))?.problem ?? "", /no bridge nowhere/);
  assert.ok(host.files.text("/sys/class/net/sheaf7/bridge/stp_state"));
  host.server.remove("network", sampleId(30), true);
  await host.settle();
  assert.equal(host.files.text("/sys/class/net/sheaf7/bridge/stp_state"), null);
  assert.ok(host.files.text("/sys/class/net/br0/bridge/stp_state"), "a bridge that was there stays");
  await host.stop();
});

test("a managed network's uplink: tagged or not, changed, and given back", async () => {
  const host = new SimulatedHost();
  for (const name of ["eno1", "eno2"]) host.files.put(`/sys/class/net/${name}/address`, "52:54:00:00:00:09");
  let generation = 0;
  const wanted = async (spec: object) => {
    host.server.put({ ...network({ bridge: "sheaf7", managed: true, ...spec }), generation: (generation += 1) });
    if (generation === 1) await host.start();
    await host.settle();
    return host.server.part<{ state: string; problem?: string }>("network", ids.network, `status/hosts/${ids.host}`);
  };
  const ports = () => host.files.paths("/sys/class/net/sheaf7/brif").map((path) => path.split("/").at(-1));
  const links = () => [...new Set(host.files.paths("/sys/class/net").map((path) => path.split("/")[4]))];
  assert.equal((await wanted({ uplink: "eno1", vlan: 5 }))?.state, "ready");
  assert.deepEqual(ports(), ["eno1.5"]);
  await wanted({ uplink: "eno1", vlan: 6 });
  assert.deepEqual(ports(), ["eno1.6"], "two VLANs on one bridge would be one network");
  assert.ok(!links().includes("eno1.5"));
  await wanted({ uplink: "eno2" });
  assert.deepEqual(ports(), ["eno2"]);
  await host.restart();
  await wanted({ uplink: "eno1" });
  assert.deepEqual(ports(), ["eno1"]);
  host.processes.broken.set("ip link add link", "RTNETLINK answers: Operation not supported");
  const refused = await wanted({ uplink: "eno1", vlan: 7 });
  assert.match(refused?.problem ?? "", /kernel knows no VLANs.*VLAN 7 on eno1.*8021q/);
  await wanted({ uplink: "eno1" });
  host.server.remove("network", ids.network, true);
  await host.settle();
  assert.deepEqual(links().sort(), ["br0", "eno1", "eno2"]);
  await host.stop();
});

test("the certificate is renewed at two thirds of its life, with a new key", async () => {
  const host = new SimulatedHost();
  const authority = await sampleAuthority(host.clock.now());
  const { request, privateKey } = await makeCertificateRequest(host.id);
  const hour = 3_600_000;
  const days = 3 / 24;
  const before = {
    hostId: host.id,
    serverUrl: "https://server:7444",
    authority: authority.pem,
    privateKey,
    certificate: await authority.sign(request, days, host.clock.now()),
  };
  host.identity = before;
  host.server.sign = (wanted) => authority.sign(wanted, days, host.clock.now());
  await host.start();
  await host.clock.advance(1.9 * hour);
  assert.ok(!host.server.messages.some(({ type }) => type === "renew-certificate"));
  await host.clock.advance(0.2 * hour);
  // Web Crypto works beside the simulated clock.
  const deadline = performance.now() + 10_000;
  const stored = () => JSON.parse(host.files.text(`${dataDirectory}/identity.json`) ?? "{}") as { certificate?: string; privateKey?: string };
  while (stored().certificate === undefined && performance.now() < deadline) await new Promise((resolve) => setTimeout(resolve, 5));
  assert.ok(stored().certificate && stored().certificate !== before.certificate && stored().privateKey !== before.privateKey);
  assert.equal(host.files.text("/etc/libvirt/pki/server-cert.pem"), stored().certificate);
  await host.stop();
});

test("a migration address that the certificate does not name yet has it renewed at once, and once", async () => {
  const host = new SimulatedHost();
  const authority = await sampleAuthority(host.clock.now());
  const { request, privateKey } = await makeCertificateRequest(host.id);
  const certificate = await authority.sign(request, 90, host.clock.now(), ["192.0.2.9"]);
  host.identity = { hostId: host.id, serverUrl: "https://server:7444", authority: authority.pem, privateKey, certificate };
  host.server.sign = (wanted) => authority.sign(wanted, 90, host.clock.now(), ["192.0.2.9", "2001:db8::7"]);
  const asked = () => host.server.messages.filter(({ type }) => type === "renew-certificate").length;
  host.server.put(sampleDocument("host", { migrationAddress: "192.0.2.9" }, { id: host.id }));
  await host.start();
  await host.clock.advance(1000);
  assert.equal(asked(), 0, "that one it names already");
  host.server.put(sampleDocument("host", { migrationAddress: "2001:db8:0::7" }, { id: host.id, generation: 2 }));
  const deadline = performance.now() + 10_000;
  const stored = () => JSON.parse(host.files.text(`${dataDirectory}/identity.json`) ?? "{}") as { certificate?: string };
  while (stored().certificate === undefined && performance.now() < deadline) {
    await host.clock.advance(100);
    await new Promise((resolve) => setTimeout(resolve, 5));
  }
  assert.notEqual(stored().certificate ?? certificate, certificate);
  await host.clock.advance(3_600_000);
  assert.equal(asked(), 1);
  await host.stop();
});
