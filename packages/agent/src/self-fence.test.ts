/** The whole agent on a host that is to fence itself: when its lease ends, what it stops then, and what it remembers of it. */
import assert from "node:assert/strict";
import { test } from "node:test";
import type { LeaseGrant } from "@sheaf/contract";
import type { HostObservation } from "@sheaf/model";
import { type AgentLease, LeaseFiles, type PulseLease } from "./lease-files.ts";
import { seen } from "./site-host.test-support.ts";
import { sampleDocument, sampleId } from "./simulated/sample-documents.ts";
import { SimulatedHost } from "./simulated/simulated-host.ts";
import { ids, image, imageContent, network, pool, sharedPool, vm, volume } from "./simulated/sample-site.ts";

const plainId = sampleId(61);
const plainVolume = sampleId(51);
const termMs = 30_000;

interface Options {
  readonly device?: "hardware" | "software" | "none";
  readonly highlyAvailable?: boolean;
  /** Where the highly available machine's disk lies. */
  readonly disk?: "shared" | "local";
  readonly method?: boolean;
}

/** A host with a highly available machine on shared storage, another one on its own, and a pulse that holds such a device. */
class Scene {
  readonly host = new SimulatedHost();
  readonly files: LeaseFiles;
  device: "hardware" | "software" | "none";
  pulseEndMs = 0;
  #pulseLives = true;
  relied = false;

  private constructor(device: Scene["device"]) {
    this.device = device;
    this.files = new LeaseFiles({ files: this.host.files, hostId: this.host.id, bootId: "boot-1" });
    // As the server does: what is promised is relied on, and no longer when it is not.
    this.host.server.grant = ({ watchdogMs }): LeaseGrant => {
      this.relied = watchdogMs !== undefined;
      return { leaseMs: termMs, relied: this.relied };
    };
  }

  static async open({ device = "hardware", highlyAvailable = true, disk = "shared", method = true }: Options = {}): Promise<Scene> {
    const scene = new Scene(device);
    const { host } = scene;
    host.server.images.set(ids.image, imageContent);
    host.server.put(
      ...[sampleDocument("host", { fencing: method ? [{ type: "watchdog", leaseMs: termMs }] : [] }, { id: host.id, name: "h1" })],
      ...[pool(), sharedPool(), network(), image(), volume({ pool: disk === "shared" ? ids.shared : ids.pool })],
      vm({ highlyAvailable }),
      volume({}, { id: plainVolume, name: "plain-root" }),
      vm({ disks: [{ name: "root", volume: plainVolume }], nics: [] }, { id: plainId, name: "plain", number: 101 }),
    );
    await host.start();
    await scene.pass(6000);
    assert.deepEqual(scene.running(), [ids.vm, plainId]);
    return scene;
  }

  /** Time passes; the pulse says once a second that it holds the device. */
  async pass(ms: number): Promise<void> {
    for (let left = ms; left > 0; left -= 1000) {
      if (this.#pulseLives && this.device !== "none") await this.files.writePulse(this.#told());
      await this.host.clock.advance(Math.min(1000, left));
    }
  }

  stopPulse(): void {
    this.#pulseLives = false;
  }

  #told(): Omit<PulseLease, "bootId"> {
    const kind = this.device;
    return { atMs: this.host.clock.monotonic(), leaseEndMs: this.pulseEndMs, watchdog: { kind, timeoutMs: 30_000, meaning: `it is ${kind}` } };
  }

  running(): string[] {
    return this.host.hypervisor.active().toSorted();
  }

  agentLease(): Promise<AgentLease | null> {
    return this.files.agent();
  }

  cutOff(): void {
    this.host.server.reachable = false;
    this.host.server.cut();
  }

  /** Of the newest heartbeat. */
  promised(): number | undefined {
    return this.host.server.messages.findLast((message) => message.type === "heartbeat")?.watchdogMs;
  }
}

test("with a hardware watchdog that servers rely on, everything is stopped when the lease ends, and the pulse is told that nothing is at risk", async () => {
  const scene = await Scene.open();
  assert.deepEqual([scene.promised(), scene.relied], [30_000, true]);
  assert.deepEqual([(await scene.agentLease())?.relied, (await scene.agentLease())?.atRisk], [true, true]);
  scene.cutOff();
  await scene.pass(termMs - 6000);
  assert.deepEqual(scene.running(), [ids.vm, plainId]);
  await scene.pass(7000);
  assert.deepEqual(scene.running(), []);
  assert.equal((await scene.agentLease())?.atRisk, false);
  await scene.pass(120_000);
  assert.deepEqual(scene.running(), [], "nothing starts without a lease");
  scene.host.server.reachable = true;
  await scene.pass(20_000);
  assert.deepEqual(scene.running(), [ids.vm, plainId]);
  assert.equal((await scene.agentLease())?.atRisk, true);
  await scene.host.stop();
});

for (const device of ["none", "software"] as const)
  test(`with ${device === "none" ? "no watchdog" : "the kernel's own watchdog"} only what is highly available is stopped, and nothing is promised`, async () => {
    const scene = await Scene.open({ device });
    assert.deepEqual([scene.promised(), scene.relied], [undefined, false]);
    assert.equal(scene.host.server.part<HostObservation>("host", scene.host.id)?.watchdog?.kind, device);
    scene.cutOff();
    await scene.pass(termMs + 1000);
    assert.deepEqual(scene.running(), [plainId]);
    assert.equal((await scene.agentLease())?.atRisk, false);
    await scene.host.stop();
  });

test("a highly available machine whose disk is this host's alone can start nowhere else, and runs on", async () => {
  const scene = await Scene.open({ device: "none", disk: "local" });
  scene.cutOff();
  await scene.pass(termMs + 10_000);
  assert.deepEqual(scene.running(), [ids.vm, plainId]);
  await scene.host.stop();
});

test("without the method nothing is stopped, and no file is written", async () => {
  const scene = await Scene.open({ method: false });
  scene.cutOff();
  await scene.pass(600_000);
  assert.deepEqual(scene.running(), [ids.vm, plainId]);
  assert.equal(await scene.agentLease(), null);
  await scene.host.stop();
});

test("without a highly available machine nothing is promised, nothing at risk, and nothing stopped", async () => {
  const scene = await Scene.open({ highlyAvailable: false });
  assert.equal(scene.promised(), undefined);
  assert.equal((await scene.agentLease())?.atRisk, false);
  scene.cutOff();
  await scene.pass(600_000);
  assert.deepEqual(scene.running(), [ids.vm, plainId]);
  await scene.host.stop();
});

test("the lease counts from when the heartbeat was sent, however late its answer comes", async () => {
  const scene = await Scene.open({ device: "none" });
  const { host } = scene;
  const before = (await scene.agentLease())?.leaseEndMs ?? 0;
  const sent = host.server.messages.filter((message) => message.type === "heartbeat").length;
  host.server.delaysBeats = (send) => void host.clock.setTimer(9000, send);
  await host.clock.advanceUntil(() => host.server.messages.filter((message) => message.type === "heartbeat").length > sent, 10_000);
  const sentAt = host.clock.monotonic();
  await host.clock.advance(9500);
  const after = (await scene.agentLease())?.leaseEndMs ?? 0;
  assert.ok(after > before && after <= sentAt + termMs, `${after} and ${sentAt + termMs}`);
  await host.stop();
});

test("a lease that begins anew through the pulse alone starts nothing: what is kept may be older than a fence", async () => {
  const scene = await Scene.open();
  const { host } = scene;
  scene.cutOff();
  await scene.pass(termMs + 2000);
  assert.deepEqual(scene.running(), []);
  // The fence is over, a server hears the pulse before the agent has come back; the machine runs elsewhere since.
  scene.pulseEndMs = host.clock.monotonic() + 600_000;
  await scene.pass(20_000);
  assert.deepEqual(scene.running(), [], "a lease, and no word on what belongs here");
  host.server.put(vm({ highlyAvailable: true }, { placement: { host: sampleId(9), epoch: 2, incarnation: "store-1", reason: "", at: 0 } }));
  host.server.reachable = true;
  await scene.pass(30_000);
  assert.deepEqual(scene.running(), [plainId]);
  await host.stop();
});

test("an agent that is restarted, or away for long, keeps the lease of the one before, the pulse's too", async () => {
  const scene = await Scene.open();
  const { host } = scene;
  scene.cutOff();
  await host.stop();
  await scene.pass(10_000);
  await host.start();
  await scene.pass(5000);
  assert.deepEqual(scene.running(), [ids.vm, plainId]);
  assert.equal(host.agent?.guards, true);
  await host.stop();
  scene.pulseEndMs = host.clock.monotonic() + 100_000;
  await scene.pass(50_000);
  await host.start();
  await scene.pass(5000);
  assert.deepEqual(scene.running(), [ids.vm, plainId], "the server has made the lease longer through the pulse");
  await scene.pass(50_000);
  assert.deepEqual(scene.running(), []);
  await host.stop();
});

test("an agent that comes back after the lease's end stops everything that was relied on, before it hears a server", async () => {
  const scene = await Scene.open();
  scene.cutOff();
  await scene.host.stop();
  await scene.pass(termMs + 5000);
  assert.deepEqual(scene.running(), [ids.vm, plainId], "the hardware would have reset it by and by");
  await scene.host.start();
  await scene.pass(1000);
  assert.deepEqual(scene.running(), []);
  await scene.host.stop();
});

test("a watchdog that is lost is not promised any more, and what was promised is kept until a server says that it knows", async () => {
  const scene = await Scene.open();
  scene.stopPulse();
  const grant = scene.host.server.grant;
  // The store does not answer that server: it relies on the host still.
  scene.host.server.grant = () => ({ leaseMs: 0, relied: true });
  await scene.pass(12_000);
  assert.equal(scene.promised(), undefined);
  assert.equal((await scene.agentLease())?.relied, true);
  await scene.pass(termMs);
  assert.deepEqual(scene.running(), []);
  scene.host.server.grant = grant;
  await scene.pass(10_000);
  assert.equal((await scene.agentLease())?.relied, false);
  assert.deepEqual(scene.running(), [ids.vm, plainId]);
  await scene.host.stop();
});

test("machines that the hypervisor does not stop leave the host at risk: the watchdog is not petted", async () => {
  const scene = await Scene.open();
  scene.host.hypervisor.disconnect();
  scene.cutOff();
  await scene.pass(termMs + 10_000);
  assert.equal((await scene.agentLease())?.atRisk, true);
  scene.host.hypervisor.reconnect();
  await scene.pass(3000);
  assert.deepEqual(scene.running(), []);
  assert.equal((await scene.agentLease())?.atRisk, false);
  await scene.host.stop();
});

test("the method is taken away: what was promised holds until a server has said so, then the pulse may let the device go", async () => {
  const scene = await Scene.open();
  const { host } = scene;
  host.server.put(sampleDocument("host", {}, { id: host.id, name: "h1", generation: 2 }));
  await scene.pass(500);
  assert.equal((await scene.agentLease())?.watchdogTimeoutMs, 30_000);
  await scene.pass(7000);
  assert.deepEqual([(await scene.agentLease())?.watchdogTimeoutMs, (await scene.agentLease())?.relied], [null, false]);
  assert.equal(seen(host)?.state, "running");
  assert.equal(host.agent?.guards, false);
  scene.cutOff();
  await scene.pass(600_000);
  assert.deepEqual(scene.running(), [ids.vm, plainId]);
  await host.stop();
});
