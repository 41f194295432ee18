/**
 * Sheaf against libvirt alone, on the same lab hosts in the same run: creation to running, one and twenty at once; live migration's time and
 * downtime. Measured in alternating pairs, so that what else happens on the machine falls on both. `node bench/hypervisor.ts`, as root.
 */
import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { parseArgs } from "node:util";
import { GUEST_IMAGE_CACHE } from "@sheaf/lab";
import { DomainStats } from "@sheaf/libvirt";
import type { TaskProgress } from "@sheaf/model";
import { LabDeployment, labIdentity } from "../apps/server/deployment/lab-deployment.ts";
import { importMiniImage } from "../apps/server/deployment/mini-image.ts";
import { until } from "../apps/server/deployment/processes.ts";
import { atMost, publish, type Target } from "./outcome.ts";
import { type Move, moveRaw, RawHost } from "./raw-libvirt.ts";
import { median, medianRatio, type Pair, spread, upperBound } from "./statistics.ts";
import { takeDown } from "./take-down.ts";
import { watch } from "./watcher.ts";

const { values } = parseArgs({
  options: {
    pairs: { type: "string", default: "12" },
    crowds: { type: "string", default: "3" },
    moves: { type: "string", default: "24" },
    keep: { type: "boolean", default: false },
  },
});
const crowd = 20;
const port = 18_643;
const say = (text: string): void => void process.stderr.write(`${text}\n`);

const folder = await mkdtemp(join(tmpdir(), "sb-"));
const deployment = LabDeployment.describe({
  dataDirectory: join(folder, "d"),
  hosts: 2,
  ...labIdentity(folder),
  port,
  agentPort: port + 1,
  offeredMemoryBytes: 8 * 2 ** 30,
});
const raw: RawHost[] = [];
const targets: Target[] = [];
const details: Record<string, unknown> = {};
let starting: Promise<void> | undefined;
const end = takeDown(async () => {
  // What is just being started could not be stopped yet.
  await starting?.catch(() => {});
  for (const host of raw) await host.close();
  if (values.keep) return say(`kept: ${folder}`);
  await deployment.purge();
  await rm(folder, { recursive: true, force: true });
});
try {
  starting = deployment.start();
  await starting;
  // A host of two CPUs is to take twenty machines and more.
  for (const name of deployment.hosts.keys()) await deployment.client.host.change({ params: { id: name }, body: { spec: { cpuOvercommit: 64 } } });
  await importMiniImage(deployment.client, GUEST_IMAGE_CACHE);
  for (const { host } of deployment.hosts.values()) raw.push(await RawHost.open(host));
  const sheaf = await openSheaf();
  await sheaf.remove(await sheaf.create("warm-1", "h1", "local"));
  await sheaf.remove(await sheaf.create("warm-2", "h2", "local"));
  await creations(sheaf);
  await migrations(sheaf);
  sheaf.close();
} finally {
  await end();
}
publish(targets, details);

type Sheaf = Awaited<ReturnType<typeof openSheaf>>;

/** Sheaf as a user has it: the API over TLS, and a watch that tells when something has come about. */
async function openSheaf() {
  const { client } = deployment;
  const waiting = new Map<string, (record: Record<string, unknown> | undefined) => void>();
  const told = ({ id, record }: { id: string; record?: Record<string, unknown> | undefined }): void => waiting.get(id)?.(record);
  const watches = [await watch(client, "kind=vm", told), await watch(client, "kind=task", told)];
  const seen = <T>(id: string, what: string, test: (record: Record<string, unknown> | undefined) => T | undefined): Promise<T> =>
    new Promise((resolve, reject) => {
      const timer = setTimeout(() => reject(new Error(`${what} did not come about`)), 120_000);
      waiting.set(id, (record) => {
        const found = test(record);
        if (found === undefined) return;
        clearTimeout(timer);
        waiting.delete(id);
        resolve(found);
      });
    });
  /** From the request on, as the watch tells. */
  const steps: Record<string, number[]> = {};
  return {
    steps,
    async create(name: string, host: string, pool: string): Promise<string> {
      const spec = {
        memory: { bytes: 128 * 2 ** 20 },
        placement: { host },
        disks: [{ name: "root", image: "mini", sizeBytes: 80 * 2 ** 20, pool }],
        nics: [{ name: "eth0", network: "default" }],
      };
      const from = performance.now();
      const reached = (step: string): void => {
        const times = (steps[step] ??= []);
        times.push(performance.now() - from);
      };
      const { record } = await client.vm.create({ body: { name, spec } });
      reached("answered");
      const known = new Set<string>();
      const state = await seen(record.id, `${name} as running`, (vm) => {
        const at = (vm?.["status"] as { agent?: { state: string } } | undefined)?.agent?.state ?? (vm?.["placement"] ? "placed" : ""); // a machine's record
        if (at !== "" && !known.has(at)) reached(at);
        known.add(at);
        return vm?.["state"] === "running" || vm?.["state"] === "failed" ? vm["state"] : undefined;
      });
      if (state !== "running") throw new Error(`${name} is ${String(state)}`);
      return record.id;
    },
    async remove(id: string): Promise<void> {
      const gone = seen(id, `the end of ${id}`, (vm) => (vm === undefined ? true : undefined));
      await client.vm.delete({ params: { id } });
      await gone;
    },
    async move(id: string, host: string): Promise<Move> {
      const from = performance.now();
      const { task } = await client.vm.migrate({ params: { id }, body: { host } });
      const progress = await seen(task ?? "", "the end of the migration", (record) => {
        const progress = (record?.["status"] as { controller?: TaskProgress } | undefined)?.controller; // a task's record
        return progress?.endedAt === undefined ? undefined : progress;
      });
      const tookMs = performance.now() - from;
      if (progress.state !== "succeeded") throw new Error(`the migration failed: ${progress.message}`);
      return { tookMs, downtimeMs: Number(progress.result?.["downtimeMs"] ?? Number.NaN) };
    },
    close: () => watches.forEach((each) => each.close()),
  };
}

async function creations(sheaf: Sheaf): Promise<void> {
  const [host] = raw;
  if (!host) throw new Error("there is no lab host");
  const model = await sheaf.create("model", "h1", "local");
  const pattern = await host.patternOf(model);
  await sheaf.remove(model);
  let number = 0;
  const ours = async (count: number): Promise<number> => {
    const from = performance.now();
    number += 1;
    const ids = await Promise.all(Array.from({ length: count }, (_, index) => sheaf.create(`m-${number}-${index}`, "h1", "local")));
    const tookMs = performance.now() - from;
    for (const id of ids) await sheaf.remove(id);
    return tookMs;
  };
  const theirs = async (count: number): Promise<number> => {
    const from = performance.now();
    const made = await Promise.all(Array.from({ length: count }, () => host.create(pattern, (number += 1))));
    const tookMs = performance.now() - from;
    for (const machine of made) await host.remove(machine);
    return tookMs;
  };
  await theirs(1);
  const single = await alternating(
    Number(values.pairs),
    () => ours(1),
    () => theirs(1),
  );
  targets.push(atMost("creation to running, one machine: Sheaf / libvirt", medianRatio(single), 1.15, "×"));
  details["creationStepsMs"] = Object.fromEntries(Object.entries(sheaf.steps).map(([step, times]) => [step, Math.round(median(times))]));
  details["creationMs"] = both(single);
  say(`creation of one: ${JSON.stringify({ ...details })}`);
  const many = await alternating(
    Number(values.crowds),
    () => ours(crowd),
    () => theirs(crowd),
  );
  targets.push(atMost("creation to running, twenty at once: Sheaf / libvirt", medianRatio(many), 1.15, "×"));
  details["creationOfTwentyMs"] = many;
  say(`creation of twenty: ${JSON.stringify(many)}`);
}

async function migrations(sheaf: Sheaf): Promise<void> {
  const [first, second] = raw;
  if (!first || !second) throw new Error("two lab hosts are needed");
  const id = await sheaf.create("traveller", "h1", "shared");
  await deployment.client.vm.change({ params: { id }, body: { spec: { placement: { host: null } } } });
  const pattern = await first.patternOf(id);
  const machine = await first.create(pattern, 0xffff);
  await booted(first, [id, machine.id]);
  let at = 0;
  const hosts = [first, second];
  const here = (): RawHost => hosts[at % 2] ?? first;
  const there = (): RawHost => hosts[(at + 1) % 2] ?? second;
  const pairs: { ours: Move; theirs: Move }[] = [];
  const ours = () => sheaf.move(id, at % 2 === 0 ? "h2" : "h1");
  const theirs = () => moveRaw(here(), there(), machine);
  // Once there and back without counting: caches, certificates, connections.
  for (; at < 2; at += 1) {
    await ours();
    await theirs();
  }
  for (let count = 0; count < Number(values.moves); count += 1, at += 1) {
    const pair =
      count % 4 < 2 ? { ours: await ours(), theirs: await theirs() } : await (async () => ({ theirs: await theirs(), ours: await ours() }))();
    pairs.push(pair);
  }
  const times = pairs.map((pair) => ({ ours: pair.ours.tookMs, theirs: pair.theirs.tookMs }));
  const downtimes = pairs.map((pair) => ({ ours: pair.ours.downtimeMs, theirs: pair.theirs.downtimeMs }));
  targets.push(
    atMost("migration time: Sheaf / libvirt", medianRatio(times), 1.15, "×"),
    atMost("migration downtime: Sheaf / libvirt, median", medianRatio(downtimes), 1.1, "×"),
    atMost("migration downtime: Sheaf / libvirt, upper 95 % bound", upperBound(downtimes), 1.25, "×"),
  );
  details["migrationMs"] = both(times);
  details["downtimeMs"] = both(downtimes);
  say(`migration: ${JSON.stringify(details["migrationMs"])}\ndowntime: ${JSON.stringify(details["downtimeMs"])}`);
  await here().remove(machine);
  await sheaf.remove(id);
}

function both(pairs: readonly Pair[]) {
  return {
    ours: spread(pairs.map((pair) => pair.ours)),
    theirs: spread(pairs.map((pair) => pair.theirs)),
    medianDifference: Number(median(pairs.map(({ ours, theirs }) => ours - theirs)).toFixed(1)),
    pairs: pairs.map(({ ours, theirs }) => [Math.round(ours), Math.round(theirs)]),
  };
}

/** ours, theirs, theirs, ours, … : neither side always comes first. */
async function alternating(count: number, ours: () => Promise<number>, theirs: () => Promise<number>): Promise<Pair[]> {
  const pairs: Pair[] = [];
  for (let index = 0; index < count; index += 1) {
    if (index % 2 === 0) pairs.push({ ours: await ours(), theirs: await theirs() });
    else {
      const other = await theirs();
      pairs.push({ ours: await ours(), theirs: other });
    }
  }
  return pairs;
}

/** Until the guests' CPUs are at rest: a booting guest dirties memory as it likes. */
async function booted(host: RawHost, ids: readonly string[]): Promise<void> {
  const used = async (): Promise<number> => {
    const found = await host.client.domains.statistics(DomainStats.cpuTotal);
    return found.filter(({ domain }) => ids.includes(domain.uuid)).reduce((sum, { values }) => sum + Number(values["cpu.time"] ?? 0), 0) / 1e6;
  };
  await until("guests at rest", 90_000, async () => {
    const before = await used();
    await new Promise((resolve) => setTimeout(resolve, 1000));
    return (await used()) - before < 150 ? true : undefined;
  });
}
