/** What bounds a move on real hosts: its rate, its deadline, a person's word, a guest that writes faster than it can be copied. */
import assert from "node:assert/strict";
import { after, before, test } from "node:test";
import type { TaskProgress } from "@sheaf/model";
import { until } from "../apps/server/deployment/processes.ts";
import { guestAnswers } from "./guest.ts";
import { openSite, type Site } from "./site.ts";

let site: Site;
before(
  async () => {
    site = await openSite({ hosts: 2, port: 17_463 });
    await site.deployment.client.vm.create({
      body: {
        name: "writer",
        spec: {
          memory: { bytes: 160 * mib },
          disks: [{ name: "root", image: "mini", pool: "shared" }],
          nics: [{ name: "eth0", network: "default" }],
          cloudInit: { userData: writes },
        },
      },
    });
    await until("the machine", 90_000, async () => ((await vm()).state === "running" ? true : undefined));
    await guestAnswers(await address());
  },
  { timeout: 240_000 },
);
after(() => site?.close(), { timeout: 60_000 });

const mib = 2 ** 20;
/** Keeps writing 32 MiB of memory, so that a slow copy of it never ends. */
const writes = `#!/bin/sh
mkdir -p /run/full
mount -t tmpfs full /run/full
(while :; do cat /dev/zero /dev/zero 2>/dev/null | head -c 33554432 >/run/full/a; tr '\\0' x </run/full/a >/run/full/b; done) </dev/null >/dev/null 2>&1 &
`;

const vm = () => site.deployment.client.vm.get({ params: { id: "writer" } });
const address = async (): Promise<string> => (await vm()).spec.nics[0]?.addresses?.[0] ?? "none";

interface Shown {
  readonly controller?: TaskProgress;
  readonly live?: Readonly<Record<string, unknown>>;
}
const shown = async (task: string): Promise<Shown> => (await site.deployment.client.task.get({ params: { id: task } })).status as Shown; // a task's record
const ended = (task: string): Promise<TaskProgress> =>
  until("the migration's end", 100_000, async () => {
    const { controller } = await shown(task);
    return controller !== undefined && controller.state !== "running" ? controller : undefined;
  });

type Wishes = NonNullable<NonNullable<Parameters<Site["deployment"]["client"]["vm"]["migrate"]>[0]>["body"]>;
async function migrate(body: Wishes): Promise<string> {
  const { task } = await site.deployment.client.vm.migrate({ params: { id: "writer" }, body });
  assert.ok(task !== undefined);
  return task;
}

/** It runs on, unharmed, where it was; and there alone. */
async function stayed(host: string | undefined, bootId: string): Promise<void> {
  await until("the machine as running", 20_000, async () => ((await vm()).state === "running" ? true : undefined));
  const now = await vm();
  assert.equal(now.placement?.host, host);
  assert.equal((await guestAnswers(await address())).bootId, bootId);
  const copies = await Promise.all([...site.deployment.hosts.values()].map(({ host: each }) => each.qemuProcesses()));
  assert.equal(copies.flat().length, 1);
}

test("a slow move tells its figures, keeps to its rate, and is cancelled half-way", { timeout: 120_000 }, async () => {
  const before = await vm();
  const { bootId } = await guestAnswers(await address());
  const task = await migrate({ bandwidthBytesPerSecond: 4 * mib });
  const live = await until("figures", 60_000, async () => {
    const { live: figures } = await shown(task);
    return Number(figures?.["processedBytes"]) > 4 * mib && Number(figures?.["elapsedMs"]) > 2000 ? figures : undefined;
  });
  for (const name of ["totalBytes", "remainingBytes", "bytesPerSecond", "iterations", "percent"]) assert.equal(typeof live[name], "number", name);
  assert.ok(Number(live["percent"]) > 0 && Number(live["percent"]) < 100, String(live["percent"]));
  const rate = Number(live["processedBytes"]) / (Number(live["elapsedMs"]) / 1000);
  assert.ok(rate < 8 * mib, `${rate} bytes/s`);
  await site.must("task", "cancel", task);
  assert.equal((await ended(task)).state, "cancelled");
  await stayed(before.placement?.host, bootId);
});

test("a move past its deadline is given up, with what to do", { timeout: 120_000 }, async () => {
  const before = await vm();
  const { bootId } = await guestAnswers(await address());
  const progress = await ended(await migrate({ bandwidthBytesPerSecond: 2 * mib, deadlineMs: 4000, autoConverge: false }));
  assert.deepEqual([progress.state, progress.problem?.code], ["failed", "timed-out"]);
  assert.match(progress.problem?.next ?? "", /bandwidth/);
  await stayed(before.placement?.host, bootId);
});

test("a guest that writes faster than it is copied goes over by post-copy", { timeout: 180_000 }, async () => {
  const before = await vm();
  const first = await guestAnswers(await address());
  const task = await migrate({ bandwidthBytesPerSecond: 16 * mib, postCopy: true, autoConverge: false, maximumDowntimeMs: 20, deadlineMs: 150_000 });
  const progress = await ended(task);
  const log = (await site.deployment.client.task.log({ params: { id: task } })).lines.map(({ text }) => text).join("\n");
  assert.equal(progress.state, "succeeded", `${progress.message}\n${log}`);
  assert.match(log, /goes on at the target/);
  const moved = await vm();
  assert.notEqual(moved.placement?.host, before.placement?.host);
  const later = await guestAnswers(await address());
  assert.equal(later.bootId, first.bootId);
  assert.ok(later.counter > first.counter);
  await stayed(moved.placement?.host, first.bootId);
});
