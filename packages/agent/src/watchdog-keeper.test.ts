/** The pulse's side: which device it takes, and when it pets it. The kernel's files are made up; every write to a device is recorded. */
import assert from "node:assert/strict";
import { test } from "node:test";
import { silentLogger } from "@sheaf/base";
import { type AgentLease, LeaseFiles } from "./lease-files.ts";
import { SimulatedFiles } from "./simulated/simulated-files.ts";
import { WatchdogKeeper } from "./watchdog-keeper.ts";

const hostId = "01900000-0000-7000-8000-000000000001";
const bootId = "boot";
const tree = (name: string, identity: string, seconds: number): Record<string, string> => ({
  [`/sys/class/watchdog/${name}/identity`]: `${identity}\n`,
  [`/sys/class/watchdog/${name}/timeout`]: `${seconds}\n`,
});
const hardware = tree("watchdog1", "iTCO_wdt", 30);
const software = tree("watchdog0", "Software Watchdog", 60);

class Scene {
  now = 1_000_000;
  readonly files: SimulatedFiles;
  /** `open watchdog1`, `pet`, `disarm`, `abandon`, `wdctl …`, in their order. */
  readonly done: string[] = [];
  readonly busy = new Set<string>();
  readonly leases: LeaseFiles;
  keeper: WatchdogKeeper;

  constructor(kernel: Record<string, string>) {
    this.files = new SimulatedFiles(kernel);
    this.leases = new LeaseFiles({ files: this.files, hostId, bootId });
    this.keeper = this.start();
  }

  /** As a new process. */
  start(): WatchdogKeeper {
    const { files, done, busy } = this;
    return (this.keeper = new WatchdogKeeper({
      ...{ files, hostId, bootId, logger: silentLogger, sinceBoot: () => this.now },
      processes: {
        run: async (program, words) => {
          done.push([program, ...words].join(" "));
          return { exitCode: 0, output: "", errorOutput: "" };
        },
      },
      watchdogs: {
        open: (path) => {
          if (busy.has(path)) throw new Error("EBUSY");
          done.push(`open ${path}`);
          return { pet: () => void done.push("pet"), disarm: () => void done.push("disarm"), abandon: () => void done.push("abandon") };
        },
      },
    }));
  }

  lease(lease: Partial<AgentLease>): Promise<void> {
    const usual = { watchdogTimeoutMs: 30_000, atRisk: true, relied: true, leaseEndMs: this.now + 60_000, server: "https://a" };
    return this.leases.writeAgent({ ...usual, ...lease });
  }

  async look(afterMs = 500): Promise<string> {
    this.now += afterMs;
    this.done.length = 0;
    await this.keeper.look();
    return this.done.join(" ");
  }

  async kind(): Promise<string | undefined> {
    return (await this.leases.pulse())?.watchdog.kind;
  }
}

test("nothing is opened before a watchdog is wanted", async () => {
  const scene = new Scene({ ...hardware, ...software });
  assert.equal(await scene.look(), "");
  await scene.lease({ watchdogTimeoutMs: null, atRisk: false });
  assert.equal(await scene.look(), "");
  assert.equal(scene.keeper.wanted, false);
});

test("hardware is taken before the kernel's own, with its timeout set before it is opened", async () => {
  const scene = new Scene({ ...hardware, ...software });
  await scene.lease({ watchdogTimeoutMs: 20_000 });
  assert.equal(await scene.look(), "wdctl --settimeout 20 /dev/watchdog1 open /dev/watchdog1 pet");
  const { watchdog } = (await scene.leases.pulse()) ?? {};
  // What the driver says counts, not what was asked for.
  assert.deepEqual([watchdog?.kind, watchdog?.device, watchdog?.identity, watchdog?.timeoutMs], ["hardware", "/dev/watchdog1", "iTCO_wdt", 30_000]);
  assert.equal(await scene.look(), "pet");
});

test("one that another program holds is passed over, and tried again later", async () => {
  const scene = new Scene({ ...hardware, ...software });
  scene.busy.add("/dev/watchdog1");
  await scene.lease({ watchdogTimeoutMs: 60_000 });
  assert.match(await scene.look(), /open \/dev\/watchdog0 pet$/);
  assert.equal(await scene.kind(), "software");
  assert.match((await scene.leases.pulse())?.watchdog.meaning ?? "", /kill only, a person must confirm: Software Watchdog is part of the kernel/);
  const other = new Scene(hardware);
  other.busy.add("/dev/watchdog1");
  await other.lease({});
  assert.equal(await other.look(), "");
  assert.match((await other.leases.pulse())?.watchdog.meaning ?? "", /kill only.*\/dev\/watchdog1 cannot be opened .*RuntimeWatchdogSec/);
  other.busy.clear();
  assert.equal(await other.look(), "", "not for every look");
  await other.lease({});
  assert.equal(await other.look(10_000), "open /dev/watchdog1 pet");
});

test("a device that does not say what it is does not count", async () => {
  const scene = new Scene({ "/sys/class/watchdog/watchdog0/timeout": "30\n" });
  await scene.lease({});
  await scene.look();
  assert.equal(await scene.kind(), "software");
});

test("it is petted until the lease's end and not a look longer; with a new lease again", async () => {
  const scene = new Scene(hardware);
  await scene.lease({ leaseEndMs: scene.now + 2000 });
  assert.equal(await scene.look(), "open /dev/watchdog1 pet");
  assert.equal(await scene.look(1400), "pet");
  assert.equal(await scene.look(100), "", "the very moment of its end is too late");
  assert.equal(await scene.look(), "");
  await scene.lease({ leaseEndMs: scene.now + 2000 });
  assert.equal(await scene.look(), "pet");
});

test("the server makes the lease longer through the pulse, from when that asked; the agent learns of it", async () => {
  const scene = new Scene(hardware);
  const end = scene.now + 2000;
  await scene.lease({ leaseEndMs: end });
  await scene.look();
  scene.keeper.granted(scene.now, { leaseMs: 5000, relied: true });
  scene.keeper.granted(scene.now, { leaseMs: 0, relied: true });
  assert.equal(await scene.look(4900), "pet");
  assert.equal((await scene.leases.pulse())?.leaseEndMs, end - 2000 + 500 + 5000);
  assert.equal(await scene.look(200), "");
});

test("where nothing is at risk it is petted without a lease", async () => {
  const scene = new Scene(hardware);
  await scene.lease({ atRisk: false, leaseEndMs: 0 });
  assert.equal(await scene.look(), "open /dev/watchdog1 pet");
  assert.equal(await scene.look(600_000), "pet");
});

test("an agent that says nothing any more, its file gone too, is held to what it said", async () => {
  const scene = new Scene(hardware);
  await scene.lease({ leaseEndMs: scene.now + 2000 });
  await scene.look();
  await scene.files.remove(`/run/sheaf/${hostId}.agent`);
  assert.equal(await scene.look(), "pet");
  assert.equal(await scene.look(2000), "");
});

test("a pulse that ends disarms it only where nothing is at risk; the next one opens it again", async () => {
  const scene = new Scene(hardware);
  await scene.lease({});
  await scene.look();
  scene.done.length = 0;
  scene.keeper.end();
  assert.deepEqual(scene.done, []);
  scene.start();
  assert.equal(await scene.look(), "open /dev/watchdog1 pet");
  await scene.lease({ atRisk: false });
  await scene.look();
  scene.done.length = 0;
  scene.keeper.end();
  assert.deepEqual(scene.done, ["disarm"]);
});

test("it is disarmed when the method is taken from the host; what an earlier boot left means nothing", async () => {
  const scene = new Scene(hardware);
  await scene.lease({});
  await scene.look();
  await scene.lease({ watchdogTimeoutMs: null, atRisk: false, relied: false });
  assert.equal(await scene.look(), "disarm");
  const old = new LeaseFiles({ files: scene.files, hostId, bootId: "earlier" });
  await old.writeAgent({ watchdogTimeoutMs: 30_000, atRisk: true, relied: true, leaseEndMs: 9e9, server: "" });
  scene.start();
  assert.equal(await scene.look(), "");
});
