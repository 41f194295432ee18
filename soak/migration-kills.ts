/**
 * A live migration is hit at every step of its table: the power of its source or target, one of their agents, or the server, just before the
 * step is persisted or just after. In the end its task has ended, one copy runs, the store knows where, and never have two run.
 */
import assert from "node:assert/strict";
import { randomInt } from "@sheaf/base";
import { taskState, type TaskStatus } from "@sheaf/model";
import { until } from "../apps/server/deployment/processes.ts";
import { copies, neverTwice, nothingIsLeft } from "../e2e/copies.ts";
import { HeldServer } from "../e2e/held-server.ts";
import { openSite, type Site } from "../e2e/site.ts";
import { rotatedKillPoints, transitionName, ways, type KillPoint, type Nudge, type TransitionName } from "./kill-points.ts";
import type { Round, Story } from "./story.ts";

export interface MigrationSite {
  readonly site: Site;
  readonly server: HeldServer;
  close(): Promise<void>;
}

/** One on each kind of storage: with shared disks the two copies would write to the same ones. */
const machines = { local: "mover-local", shared: "mover-shared" } as const;

export async function openMigrationSite(): Promise<MigrationSite> {
  const server = new HeldServer();
  const site = await openSite({ hosts: 3, port: 17_673, serverProgram: server.program });
  return { site, server, close: () => site.close() };
}

export async function createMovers({ site }: MigrationSite): Promise<void> {
  for (const [pool, name] of Object.entries(machines)) {
    await site.must("vm", "create", name, "--image", "mini", "--memory", "96MiB", "--pool", pool, "--wait");
    await site.deployment.client.vm.change({ params: { id: name }, body: { spec: { restart: { maximumTries: 100, delayMs: 0 } } } });
  }
}

/** What was killed in between must not have left anything either: a prepared copy, a copied disk. */
export async function removeMovers({ site }: MigrationSite): Promise<void> {
  await site.must("vm", "delete", "--all", "--wait");
  await until(
    "the hosts' clearing up",
    60_000,
    () =>
      nothingIsLeft(site.deployment).then(
        () => true,
        () => undefined,
      ),
    500,
  ).catch(() => {});
  await nothingIsLeft(site.deployment);
}

export const migrationKills: Story = {
  name: "migration-kills",
  summary: "hosts, agents and the server are killed at every step of live migrations; eight rounds in a row play every kill point",
  async open() {
    const opened = await openMigrationSite();
    return {
      logDirectory: `${opened.site.folder}/d/logs`,
      async round({ seed, random, log, stop }: Round) {
        await createMovers(opened);
        for (const point of rotatedKillPoints(seed)) {
          stop.throwIfAborted();
          await playKillPoint(opened, point, { random, log });
        }
        await removeMovers(opened);
      },
      close: opened.close,
    };
  },
};

export const killPointName = ({ from, to, moment, victim }: KillPoint): string => `${victim} killed ${moment} ${from} → ${to} is persisted`;

export async function playKillPoint(
  { site, server }: MigrationSite,
  point: KillPoint,
  { random, log }: Pick<Round, "random" | "log">,
): Promise<void> {
  const { deployment } = site;
  log(killPointName(point));
  const name = Object.values(machines)[randomInt(random, 2)] ?? machines.local;
  const names = new Map((await deployment.client.host.list()).items.map((host) => [host.id, host.name]));
  // The case before may have restarted its host.
  const vm = await until(`${name} to run`, 60_000, async () => {
    const found = await deployment.client.vm.get({ params: { id: name } });
    return found.state === "running" ? found : undefined;
  });
  const source = names.get(vm.placement?.host ?? "");
  assert.ok(source !== undefined, `${name} is placed`);
  const others = [...names.values()].filter((each) => each !== source).toSorted();
  const target = others[randomInt(random, others.length)] ?? "";
  const moving: Moving = { id: vm.id, name, source, target, agentOf: randomInt(random, 2) === 0 ? source : target, names };
  assert.ok(ways[transitionName(point)], `${transitionName(point)} has its case`);
  const hit = await neverTwice(deployment, async () => {
    const { task, hit } = await migrate(site, server, moving, point, log);
    if (hit) await revive(site, point, moving);
    await settled(site, moving, task, log);
    return hit;
  });
  const { spec } = await deployment.client.host.get({ params: { id: target } });
  if (spec.schedulable === "cordoned") await deployment.client.host.activate({ params: { id: target } });
  assert.ok(hit, `the migration came to ${transitionName(point)}`);
}

interface Moving {
  readonly id: string;
  readonly name: string;
  readonly source: string;
  readonly target: string;
  /** Whose agent is killed where an agent is the victim. */
  readonly agentOf: string;
  readonly names: ReadonlyMap<string, string>;
}

/** Starts the migration and lets it go to its kill point. @returns `hit: false` where it ended without having come there */
async function migrate(
  site: Site,
  server: HeldServer,
  moving: Moving,
  point: KillPoint,
  log: (text: string) => void,
): Promise<{ task: string; hit: boolean }> {
  const { deployment } = site;
  const { nudge } = ways[transitionName(point)] ?? {};
  let task = "";
  let nudged = false;
  let hit = false;
  server.failure = undefined;
  server.atHalt = async (halt) => {
    if (halt.machine !== moving.id || hit) return;
    const at: TransitionName = `${halt.from} → ${halt.to}` as TransitionName; // states of the table, which the server took them from
    log(`  ${halt.moment} ${at}`);
    if (at === transitionName(point) && halt.moment === point.moment) {
      await kill(site, point, moving);
      hit = true;
    } else if (nudge && !nudged && at === nudge.at && halt.moment === nudge.moment) {
      nudged = true;
      log(`  ${nudge.does}`);
      await nudgeIt(site, nudge.does, moving, task);
    }
  };
  ({ task = "" } = await deployment.client.vm.migrate({ params: { id: moving.id }, body: { host: moving.target } }));
  await until(`the migration's coming to ${transitionName(point)}`, 90_000, async () => {
    if (server.failure !== undefined) throw server.failure;
    return hit || (await hasEnded(site, task)) ? true : undefined;
  });
  return { task, hit };
}

async function nudgeIt(site: Site, does: Nudge["does"], moving: Moving, task: string): Promise<void> {
  const { deployment } = site;
  const { client } = deployment;
  switch (does) {
    case "cancel":
      await client.task.cancel({ params: { id: task || (await taskOf(site, moving)) } });
      return;
    case "cordon the target":
      await client.host.cordon({ params: { id: moving.target } });
      await client.vm.change({ params: { id: moving.id }, body: { labels: { nudged: String(Date.now()) } } });
      return;
    case "restart the server":
      await deployment.server.kill();
      return deployment.startServer();
    case "restart the target's agent":
      await deployment.hosts.get(moving.target)?.agent.kill();
      return deployment.startAgent(moving.target);
  }
}

/** A halt may be told before the answer to the request is here. */
async function taskOf({ deployment }: Site, { id }: Moving): Promise<string> {
  const { items } = await deployment.client.task.list({ query: { filter: "spec.verb=migrate", limit: 1000 } });
  const open = items.find(({ spec, status }) => spec.target.id === id && !isEnd(status as TaskStatus)); // a task's record
  assert.ok(open, "the migration's task is there");
  return open.id;
}

const isEnd = (status: TaskStatus): boolean => !["waiting", "running"].includes(taskState(status));

async function hasEnded({ deployment }: Site, task: string): Promise<boolean> {
  const record = await deployment.client.task.get({ params: { id: task } }).catch(() => undefined); // the server may be down
  return record !== undefined && isEnd(record.status as TaskStatus); // a task's record
}

async function kill({ deployment }: Site, { victim }: KillPoint, moving: Moving): Promise<void> {
  switch (victim) {
    case "source host":
      return deployment.hosts.get(moving.source)?.host.kill();
    case "target host":
      return deployment.hosts.get(moving.target)?.host.kill();
    case "agent":
      return deployment.hosts.get(moving.agentOf)?.agent.kill();
    case "server":
      return deployment.server.kill();
  }
}

async function revive({ deployment }: Site, { victim }: KillPoint, moving: Moving): Promise<void> {
  switch (victim) {
    case "source host":
      return deployment.powerOn(moving.source);
    case "target host":
      return deployment.powerOn(moving.target);
    case "agent":
      return deployment.startAgent(moving.agentOf);
    case "server":
      return deployment.startServer();
  }
}

/** The task has ended; one copy is there, on the host that the store names, its CPUs on; no other host knows the machine. */
async function settled({ deployment }: Site, { id, name, names }: Moving, task: string, log: (text: string) => void): Promise<void> {
  const { client } = deployment;
  await deployment.ready();
  // The next migration needs all of them, not merely the time that silence is put up with.
  await until(
    "all agents' connections",
    60_000,
    async () => {
      const { text } = await client.raw({ method: "GET", path: "/metrics" });
      return new RegExp(`^sheaf_agents_connected ${deployment.hosts.size}$`, "m").test(text) ? true : undefined;
    },
    100,
  );
  let last = "";
  await until(
    `one running copy of ${name}`,
    90_000,
    async () => {
      const [record, vm, processes] = await Promise.all([
        client.task.get({ params: { id: task } }),
        client.vm.get({ params: { id } }),
        copies(deployment),
      ]);
      const host = names.get(vm.placement?.host ?? "") ?? "";
      last = `task ${JSON.stringify(record.status)}, machine ${vm.state} on ${host}, processes on ${(processes.get(id) ?? []).join(", ") || "no host"}`;
      if (!isEnd(record.status as TaskStatus) || vm.state !== "running" || processes.get(id)?.join() !== host) return undefined; // a task's record
      const domains = await Promise.all(
        [...deployment.hosts.values()].map(
          async (each) => `${each.host.name} ${(await each.host.exec(["virsh", "-q", "domstate", id])).stdout.trim()}`,
        ),
      );
      last += `; ${domains.join(", ")}`;
      return domains.filter((domain) => !domain.endsWith(" ")).join() === `${host} running` ? true : undefined;
    },
    200,
  ).catch((error: unknown) => {
    throw new Error(`${String(error)} At last: ${last}`, { cause: error });
  });
  log(`  ${last}`);
}
