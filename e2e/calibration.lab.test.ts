/** The simulator's hypervisor against real ones: how long libvirt's steps, boots and moves take here, and how fast an idle guest's memory changes. */
import assert from "node:assert/strict";
import { readdir, readFile } from "node:fs/promises";
import { join } from "node:path";
import { after, before, test } from "node:test";
import { defaultTimes, disagreements, type LabFigures } from "@sheaf/simulation";
import { until } from "../apps/server/deployment/processes.ts";
import { openSite, type Site } from "./site.ts";

const machines = ["one", "two", "three"];
const memoryMib = 128;
let site: Site;
before(
  async () => {
    site = await openSite({ hosts: 2, port: 17_783 });
  },
  { timeout: 180_000 },
);
after(() => site?.close(), { timeout: 60_000 });

interface Seen {
  readonly state: string;
  readonly startedAt?: number;
  readonly guestAgent?: { readonly connected: boolean };
}
const seen = async (name: string): Promise<Seen | undefined> =>
  ((await site.deployment.client.vm.get({ params: { id: name } })).status as { agent?: Seen }).agent; // a machine's record

test("the hypervisor model keeps to the lab's figures within its factors", { timeout: 300_000 }, async (context) => {
  const { client } = site.deployment;
  const figures = { boot: [] as number[], shutdown: [] as number[], dirtyShare: [] as number[], migrationBytesPerSecond: [] as number[] };
  for (const name of machines) {
    await client.vm.create({
      body: {
        name,
        spec: {
          memory: { bytes: memoryMib * 2 ** 20 },
          disks: [{ name: "root", image: "mini", pool: "shared" }],
          nics: [{ name: "eth0", network: "default" }],
        },
      },
    });
    const startedAt = await until(`${name}'s boot`, 90_000, async () => {
      const now = await seen(name);
      return now?.guestAgent?.connected ? now.startedAt : undefined;
    });
    figures.boot.push(Date.now() - startedAt);
    figures.dirtyShare.push((await dirtyMibPerSecond(name)) / memoryMib);
    const { task = "" } = await client.vm.migrate({ params: { id: name }, body: {} });
    await until(`${name}'s move`, 60_000, async () => {
      const { controller } = (await client.task.get({ params: { id: task } })).status as {
        controller?: { state: string; result?: { memoryBytes?: number } };
      }; // a task's record
      if (controller?.state !== "succeeded") return undefined;
      const copyMs = (await phases(task)).find(({ to }) => to === "performed")?.tookMs ?? Number.NaN;
      return figures.migrationBytesPerSecond.push((controller.result?.memoryBytes ?? Number.NaN) / (copyMs / 1000));
    });
    const asked = Date.now();
    await client.vm.stop({ params: { id: name }, body: {} });
    await until(`${name}'s end`, 60_000, async () => ((await seen(name))?.state === "stopped" ? true : undefined), 20);
    figures.shutdown.push(Date.now() - asked);
  }
  const steps = await stepsOfAgents();
  const lab: LabFigures = {
    ...figures,
    define: steps("define"),
    start: steps("start"),
    finish: (await phases()).filter(({ to }) => to === "finished" || to === "confirmed").map(({ tookMs }) => tookMs),
  };
  context.diagnostic(JSON.stringify(lab));
  assert.deepEqual(disagreements(defaultTimes, lab), []);
});

const lines = async (file: string): Promise<Record<string, unknown>[]> =>
  (await readFile(join(site.folder, "d/logs", file), "utf8"))
    .split("\n")
    .flatMap((line) => (line.startsWith("{") ? [JSON.parse(line) as Record<string, unknown>] : [])); // the programs' own logs

/** How long each phase of each move took, from the server's log. @param task of this one only */
async function phases(task?: string): Promise<{ readonly to: string; readonly tookMs: number }[]> {
  const found: { to: string; tookMs: number }[] = [];
  const before = new Map<string, number>();
  for (const line of await lines("server.log")) {
    if (line["msg"] !== "a migration went on" && line["msg"] !== "a migration began") continue;
    const [of, at] = [String(line["task"]), Date.parse(String(line["time"]))];
    const since = before.get(of);
    before.set(of, at);
    if (since !== undefined && (task === undefined || task === of)) found.push({ to: String(line["to"]), tookMs: at - since });
  }
  return found;
}

/** What libvirt took for each kind of step, from the agents' logs. */
async function stepsOfAgents(): Promise<(step: string) => number[]> {
  const files = (await readdir(join(site.folder, "d/logs"))).filter((name) => name.startsWith("agent-"));
  const all = (await Promise.all(files.map(lines))).flat().filter(({ msg }) => msg === "acted on a machine");
  return (step) => all.filter((line) => line["step"] === step).map((line) => Number(line["durationMs"]));
}

/** As QEMU counts it over a second. */
async function dirtyMibPerSecond(name: string): Promise<number> {
  const { id, placement } = await site.deployment.client.vm.get({ params: { id: name } });
  const host = await Promise.all(
    [...site.deployment.hosts.values()].map(async ({ host: each }) =>
      (await site.deployment.client.host.get({ params: { id: each.name } })).id === placement?.host ? each : null,
    ),
  ).then((all) => all.find((each) => each !== null));
  if (!host) throw new Error(`${name} has no host`);
  await host.exec(["virsh", "-q", "domdirtyrate-calc", id, "--seconds", "1"]);
  return until("the dirty rate", 20_000, async () => {
    const { stdout } = await host.exec(["virsh", "-q", "domstats", id, "--dirtyrate"]);
    const rate = /dirtyrate\.megabytes_per_second=(\d+)/.exec(stdout)?.[1];
    return rate === undefined ? undefined : Number(rate);
  });
}
