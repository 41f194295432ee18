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
    for (const name of site.deployment.hosts.keys()) names.set((await site.deployment.client.host.get({ params: { id: name } })).id, name);
  },
  { timeout: 240_000 },
);
after(() => site?.close(), { timeout: 60_000 });

const mib = 2 ** 20;
/** Keeps writing 64 MiB of memory, so that a slow copy of it hardly ends. */
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
const ended = async (task: string): Promise<TaskProgress> => {
  try {
    return await until("the migration's end", 100_000, async () => {
      const { controller } = await shown(task);
      return controller !== undefined && controller.state !== "running" ? controller : undefined;
    });
  } catch (error) {
    throw new Error(`the migration does not end: ${JSON.stringify(await shown(task))}\n${await logOf(task)}`, { cause: error });
  }
};
const logOf = async (task: string): Promise<string> =>
  (await site.deployment.client.task.log({ params: { id: task } })).lines.map(({ text }) => text).join("\n");

type Wishes = NonNullable<NonNullable<Parameters<Site["deployment"]["client"]["vm"]["migrate"]>[0]>["body"]>;
async function migrate(body: Wishes): Promise<string> {
  const { task } = await site.deployment.client.vm.migrate({ params: { id: "writer" }, body });
  assert.ok(task !== undefined);
  return task;
}

/** Names of hosts by their ids. */
const names = new Map<string, string>();
function hostOf(id: string | undefined) {
  const found = [...site.deployment.hosts.values()].map(({ host }) => host).find((host) => host.name === names.get(id ?? ""));
  assert.ok(found);
  return found;
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
  const task = await migrate({ bandwidthBytesPerSecond: 4 * mib, maximumDowntimeMs: 77 });
  const live = await until("figures", 60_000, async () => {
    const { live: figures } = await shown(task);
    return Number(figures?.["processedBytes"]) > 4 * mib && Number(figures?.["elapsedMs"]) > 2000 ? figures : undefined;
  });
  for (const name of ["totalBytes", "remainingBytes", "bytesPerSecond", "iterations", "percent"]) assert.equal(typeof live[name], "number", name);
  assert.ok(Number(live["percent"]) > 0 && Number(live["percent"]) < 100, String(live["percent"]));
  const rate = Number(live["processedBytes"]) / (Number(live["elapsedMs"]) / 1000);
  assert.ok(rate < 8 * mib, `${rate} bytes/s`);
  const { stdout } = await hostOf(before.placement?.host).exec(["virsh", "migrate-getmaxdowntime", before.id]);
  assert.equal(stdout.trim(), "77");
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

test("where post-copy is allowed and not needed, the guest goes over as without it", { timeout: 120_000 }, async () => {
  const first = await guestAnswers(await address());
  for (let move = 0; move < 2; move += 1) {
    const before = await vm();
    const task = await migrate({ postCopy: true, maximumDowntimeMs: 2000 });
    const progress = await ended(task);
    const log = await logOf(task);
    assert.equal(progress.state, "succeeded", `${progress.message}\n${log}`);
    assert.doesNotMatch(log, /goes on at the target|failed/);
    const moved = await vm();
    assert.notEqual(moved.placement?.host, before.placement?.host);
    await stayed(moved.placement?.host, first.bootId);
  }
});

test("a guest that writes faster than it is copied goes over by post-copy", { timeout: 240_000 }, async () => {
  const first = await guestAnswers(await address());
  // Where its program happens to rest it converges, and goes over without.
  for (let move = 0; ; move += 1) {
    const before = await vm();
    const task = await migrate({
      bandwidthBytesPerSecond: 16 * mib,
      postCopy: true,
      autoConverge: false,
      maximumDowntimeMs: 20,
      deadlineMs: 150_000,
    });
    const progress = await ended(task);
    const log = await logOf(task);
    assert.equal(progress.state, "succeeded", `${progress.message}\n${log}`);
    const moved = await vm();
    assert.notEqual(moved.placement?.host, before.placement?.host);
    const later = await guestAnswers(await address());
    assert.equal(later.bootId, first.bootId);
    assert.ok(later.counter > first.counter);
    assert.doesNotMatch(log, /cannot go on/);
    await stayed(moved.placement?.host, first.bootId);
    if (/goes on at the target/.test(log)) return;
    assert.ok(move < 7, `it converges each time:\n${log}`);
  }
});

test("snapshots inside a shared disk come along, and can be gone back to", { timeout: 180_000 }, async () => {
  const { id, placement } = await vm();
  const source = hostOf(placement?.host);
  const before = await guestAnswers(await address());
  for (const name of ["first", "second"]) {
    const { code, stderr } = await source.exec(["virsh", "snapshot-create-as", id, name]);
    assert.equal(code, 0, stderr);
  }
  const progress = await ended(await migrate({}));
  assert.equal(progress.state, "succeeded", progress.message);
  const target = hostOf((await vm()).placement?.host);
  assert.notEqual(target.name, source.name);
  assert.match((await target.exec(["virsh", "snapshot-list", "--tree", id])).stdout, /^first\n\s+\|\s*\n\s+\+- second/);
  assert.match((await target.exec(["virsh", "snapshot-info", "--current", id])).stdout, /Name:\s+second/);
  await until("a counter beyond the snapshot's", 60_000, async () =>
    (await guestAnswers(await address())).counter > before.counter + 50 ? true : undefined,
  );
  const later = await guestAnswers(await address());
  const { code, stderr } = await target.exec(["virsh", "snapshot-revert", id, "first"]);
  assert.equal(code, 0, stderr);
  const again = await guestAnswers(await address());
  assert.equal(again.bootId, before.bootId);
  assert.ok(again.counter >= before.counter && again.counter < later.counter + 50, JSON.stringify([before, later, again]));
  await stayed((await vm()).placement?.host, before.bootId);
});

test("a move goes over the address that its target names for migrations", { timeout: 120_000 }, async () => {
  const { placement } = await vm();
  const target = [...site.deployment.hosts.values()].map(({ host }) => host).find((host) => host.name !== names.get(placement?.host ?? ""));
  assert.ok(target);
  const migrationAddress = `${site.deployment.options.subnet}.9`;
  await target.exec(["ip", "address", "add", `${migrationAddress}/24`, "dev", "br0"]);
  await site.deployment.client.host.change({ params: { id: target.name }, body: { spec: { migrationAddress } } });
  await until("the new certificate", 30_000, async () => {
    const { stdout } = await target.exec(["openssl", "x509", "-in", "/var/lib/sheaf/agent/certificate.pem", "-noout", "-text"]);
    return stdout.includes(`IP Address:${migrationAddress}`) ? true : undefined;
  });
  // A new certificate means a new connection.
  const fits = async () =>
    (await site.deployment.client.host.get({ params: { id: target.name } })).state === "ready" &&
    (await site.deployment.client.vm.targets({ params: { id: "writer" } })).hosts.some(({ name, fits: may }) => name === target.name && may);
  await until("the target's agent again", 30_000, async () => ((await fits()) ? true : undefined));
  let task = "";
  const progress = await until("the move", 60_000, async () => {
    task = await migrate({ host: target.name });
    const end = await ended(task);
    return /not connected/.test(end.message) ? undefined : end;
  });
  assert.equal(progress.state, "succeeded", progress.message);
  const log = await logOf(task);
  assert.match(log, new RegExp(`copying to tcp://${migrationAddress.replaceAll(".", "\\.")}:`));
});
