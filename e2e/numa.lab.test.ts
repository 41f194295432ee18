/**
 * NUMA cells and CPUs of one's own on real hosts: the threads of QEMU run where the placement says, before and after a live change and a move.
 * The hosts show two cells of one CPU each; the second has no memory, because the kernel binds memory only to cells that it has.
 */
import assert from "node:assert/strict";
import { readdir, readFile } from "node:fs/promises";
import { after, before, test } from "node:test";
import { until } from "../apps/server/deployment/processes.ts";
import { guestAnswers } from "./guest.ts";
import { openSite, type Site } from "./site.ts";
import { SiteMachines } from "./site-machines.ts";

const gib = 2 ** 30;
let site: Site;
let machines: SiteMachines;
before(
  async () => {
    const cells = [
      { cpus: [0], memoryBytes: 4 * gib },
      { cpus: [1], memoryBytes: 0 },
    ];
    site = await openSite({ hosts: 2, port: 17_963, cells });
    machines = new SiteMachines(site);
  },
  { timeout: 180_000 },
);
after(() => site?.close(), { timeout: 60_000 });

const disks = [{ name: "root", image: "mini", pool: "shared" }];

interface Threads {
  /** By vCPU: the CPUs that its thread may run on. */
  readonly vcpus: readonly string[];
  readonly main: string;
}

/** As the kernel says, not libvirt. */
async function threadsOf(name: string): Promise<Threads | undefined> {
  const host = await machines.hostOf(name);
  const process = (await host.qemuProcesses()).find((each) => each.domainName.endsWith(`-${name}`));
  if (process === undefined) return undefined;
  const vcpus: string[] = [];
  let main = "";
  for (const thread of await readdir(`/proc/${process.pid}/task`)) {
    const [comm, status] = await Promise.all(["comm", "status"].map((file) => readFile(`/proc/${process.pid}/task/${thread}/${file}`, "utf8")));
    const allowed = /^Cpus_allowed_list:\s*(\S+)$/m.exec(status ?? "")?.[1] ?? "";
    const vcpu = /^CPU (\d+)\//.exec(comm ?? "")?.[1];
    if (vcpu !== undefined) vcpus[Number(vcpu)] = allowed;
    if (thread === String(process.pid)) main = allowed;
  }
  return { vcpus, main };
}

function runsOn(name: string, vcpus: readonly string[], main: string): Promise<Threads> {
  let seen: Threads | undefined;
  return until(`${name}'s threads on ${vcpus.join(" ")} and ${main}`, 30_000, async () => {
    seen = await threadsOf(name).catch(() => undefined);
    return seen !== undefined && seen.vcpus.join(" ") === vcpus.join(" ") && seen.main === main ? seen : undefined;
  }).catch((error: unknown) => {
    throw new Error(`${String(error)}: they run on ${JSON.stringify(seen)}`);
  });
}

const virsh = async (name: string, command: string): Promise<string> => {
  const { number } = await machines.get(name);
  return (await (await machines.hostOf(name)).exec(["virsh", "-q", command, `sheaf-${number}-${name}`])).stdout;
};

test("threads run where the placement says: in a cell, on CPUs of their own, and everywhere else", { timeout: 240_000 }, async () => {
  await site.must("host", "cordon", "h2");
  await machines.create("float", { disks, cpu: { placement: "floating" } });
  await machines.inState("float", "running", 90_000);
  await runsOn("float", ["0-1"], "0-1");
  await machines.create("web", { disks });
  await machines.inState("web", "running", 90_000);
  await runsOn("web", ["0"], "0");
  assert.match(await virsh("web", "vcpupin"), /0\s+0/);
  const bound = await virsh("web", "numatune");
  assert.match(bound, /numa_mode\s*: preferred/);
  assert.match(bound, /numa_nodeset\s*: 0/);

  const { bootId } = await guestAnswers(await machines.address("float"));
  await site.must("vm", "create", "own", "--image", "mini", "--pool", "shared", "--memory", "128MiB", "--cpu-placement", "dedicated", "--wait");
  await runsOn("own", ["1"], "0");
  await runsOn("float", ["0"], "0");
  assert.equal((await guestAnswers(await machines.address("float"))).bootId, bootId, "others are moved aside while they run");
  const explained = await site.sheaf("vm", "explain", "own");
  assert.match(`${explained.error}${explained.out}`, /NUMA cell 1: 1 vCPU on CPU 1 as its own/);
  const cells = await site.must("host", "numa", "h1");
  assert.match(cells, /own\s+1 its own/);
  assert.match(cells, /any\s+float/);
  for (const name of ["float", "web", "own"])
    assert.deepEqual((await machines.seen(name)).pendingChanges, [], `nothing waits for ${name}'s next start`);

  await machines.create("late", { disks, cpu: { placement: "dedicated" } });
  await until("why the next one waits", 30_000, async () => {
    const { out, error } = await site.sheaf("vm", "explain", "late");
    return /lacks CPUs to dedicate/.test(`${out}${error}`) ? true : undefined;
  });
  await site.must("vm", "delete", "late", "own", "--wait");
  await runsOn("float", ["0-1"], "0-1");
});

test("another wish is applied while the guest runs, and a move gives it the CPUs of its new host", { timeout: 240_000 }, async () => {
  const { client } = site.deployment;
  const { bootId } = await guestAnswers(await machines.address("web"));
  await client.vm.change({ params: { id: "web" }, body: { spec: { cpu: { placement: "dedicated" } } } });
  await runsOn("web", ["0"], "1");
  await runsOn("float", ["1"], "1");
  await site.must("host", "cordon", "h1");
  await site.must("host", "activate", "h2");
  await machines.create("there", { disks, cpu: { placement: "dedicated" } });
  await machines.inState("there", "running", 90_000);
  await runsOn("there", ["0"], "1");
  await site.must("vm", "migrate", "web", "--to", "h2", "--wait");
  assert.equal((await machines.hostOf("web")).name, "h2");
  await runsOn("web", ["1"], "1");
  await runsOn("there", ["0"], "0");
  await runsOn("float", ["0-1"], "0-1");
  assert.equal((await guestAnswers(await machines.address("web"))).bootId, bootId, "it never stopped");
  assert.deepEqual((await machines.seen("web")).pendingChanges, []);
  assert.match(await virsh("web", "numatune"), /numa_nodeset\s*: 0/, "the only cell with memory");
});
