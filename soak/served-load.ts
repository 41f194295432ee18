/**
 * What goes on all the time while servers are broken: machines are created, one after the other for each host, and deleted when their host
 * has acted on them; one that runs is moved to and fro. Remembers what was acknowledged, and when it was done.
 */
import assert from "node:assert/strict";
import { setTimeout as pause } from "node:timers/promises";
import type { Random } from "@sheaf/base";
import { SheafError, taskState, type TaskStatus, type VmStatus } from "@sheaf/model";
import type { LocalClient } from "../apps/server/deployment/local-client.ts";
import { until } from "../apps/server/deployment/processes.ts";
import { copies } from "../e2e/copies.ts";
import type { TwoServers } from "../e2e/two-servers.ts";

/** Asked for so often, whatever became of the ones before. */
const everyMs = 400;
/** More are not on their way at once. */
const mostAtOnce = 8;
/** One in so many stays to the end, as long as hosts have room. */
const keptOneIn = 20;
const mostKept = 10;
const mover = "mover";

interface Creation {
  readonly name: string;
  readonly host: string;
  /** `performance.now()`. */
  readonly began: number;
  id?: string;
  placed?: number;
  /** Its host has said that it has it. */
  acted?: number;
  /** The deletion was acknowledged. */
  deleted?: boolean;
}

export class ServedLoad {
  readonly #servers: TwoServers;
  readonly #random: Random;
  readonly #creations: Creation[] = [];
  /** Migrations that were acknowledged. */
  readonly #moves: string[] = [];
  readonly #ended = new Map<string, number>();
  readonly #work = new Set<Promise<void>>();
  readonly #failures: unknown[] = [];
  readonly #lost = new Set<string>();
  #kept = 0;
  #unanswered = 0;
  #stopped = false;

  constructor(servers: TwoServers, random: Random) {
    this.#servers = servers;
    this.#random = random;
  }

  async begin(): Promise<void> {
    const memory = { bytes: 96 * 2 ** 20 };
    const disks = [{ name: "root", image: "mini", pool: "shared" }];
    const { record } = await this.#create(mover, { memory, disks });
    await until("the machine that is moved", 120_000, async () => ((await this.#look(record.id)).state === "running" ? true : undefined), 250);
    this.#go(this.#createAll());
    this.#go(this.#moveAll(record.id));
    this.#go(this.#watchHosts());
  }

  /** Ms from `at` until a machine that was asked for after it is placed. @throws Error where none is in time */
  placedAfter(at: number, timeoutMs: number): Promise<number> {
    return until("a machine's place", timeoutMs, () => after(this.#creations, at, "placed"), 20);
  }

  /** Ms from `at` until every host has acted on one that was asked for after it. */
  async actedAfter(at: number, timeoutMs: number): Promise<number> {
    const hosts = [...this.#servers.site.deployment.hosts.keys()];
    const all = hosts.map((host) => {
      const own = () => this.#creations.filter((creation) => creation.host === host);
      return until(`what ${host} does with a new machine`, timeoutMs, () => after(own(), at, "acted"), 20);
    });
    return Math.max(...(await Promise.all(all)));
  }

  /** What is under way is finished. */
  async end(): Promise<void> {
    this.#stopped = true;
    await Promise.all(this.#work);
  }

  /** What is under way, for looking at a round that fails. */
  get open(): string {
    const now = performance.now();
    const lines = this.#creations
      .filter(({ acted, deleted }) => acted === undefined || deleted !== true)
      .map(
        ({ name, host, began, placed, acted }) =>
          `${name} on ${host} for ${Math.round((now - began) / 1000)} s: ${acted ? "there" : placed ? "placed" : "acknowledged"}`,
      );
    return `${this.#unanswered} are not acknowledged; ${lines.join(", ")}`;
  }

  /** What went wrong with the load itself, in words. */
  get failures(): readonly string[] {
    return this.#failures.map((error) => `${String(error)} ${error instanceof Error ? String(error.cause ?? "") : ""}`.trim());
  }

  get summary(): string {
    const deleted = this.#creations.filter((creation) => creation.deleted === true).length;
    const ends = [...this.#ended].map(([state, count]) => `${count} ${state}`).join(", ");
    return `${this.#creations.length} machines created, ${deleted} deleted; ${this.#moves.length} migrations: ${ends}`;
  }

  /** After `end`. @throws where something acknowledged is lost, or something else is there */
  async verify(): Promise<void> {
    if (this.#failures.length > 0) throw this.#failures[0];
    assert.deepEqual([...this.#lost], [], "no host was ever called unreachable");
    assert.ok(this.#moves.length > 0 && this.#creations.length > 0, "there was a load");
    for (const name of ["a", "b"] as const) {
      const client = this.#servers.client(name);
      const newest = (await this.#servers.client("a").vm.list({ query: { limit: 1 } })).revision;
      const { items } = await client.vm.list({ query: { limit: 1000, revision: newest } });
      const expected = this.#creations.filter(({ deleted }) => deleted !== true).map((creation) => [creation.name, creation.id]);
      const found = items.filter((vm) => vm.name !== mover && vm.deletedAt === undefined).map((vm) => [vm.name, vm.id]);
      assert.deepEqual(found.toSorted(), expected.toSorted(), `every acknowledged machine is there once, and no other, as ${name} says`);
      for (const id of this.#moves) {
        const { status } = await client.task.get({ params: { id } });
        const state = taskState(status as TaskStatus); // a task's record
        assert.ok(["succeeded", "failed", "cancelled"].includes(state), `the migration ${id} is ${state}`);
      }
    }
    await until("the moved machine to run once, where the store says", 60_000, async () => {
      const { id, placement, state } = await this.#look(mover);
      const host = (await this.#servers.client("a").host.list()).items.find((each) => each.id === placement?.host)?.name;
      const [on, ...more] = (await copies(this.#servers.site.deployment)).get(id) ?? [];
      return (state === "running" && more.length === 0 && on === host) || undefined;
    });
  }

  async removeAll(): Promise<void> {
    const client = this.#servers.client("a");
    for (const { id } of (await client.vm.list({ query: { limit: 1000 } })).items) await client.vm.delete({ params: { id } });
    await until("the end of all machines", 120_000, async () => ((await client.vm.list()).total === 0 ? true : undefined), 250);
  }

  #go(work: Promise<void>): void {
    const kept = work.catch((error: unknown) => void this.#failures.push(error)).finally(() => this.#work.delete(kept));
    this.#work.add(kept);
  }

  #create(name: string, spec: { readonly memory: { readonly bytes: number } } & Record<string, unknown>) {
    const idempotencyKey = Buffer.from(this.#random.bytes(12)).toString("hex");
    return this.#servers.anywhere(`creating ${name}`, (client) => client.vm.create({ body: { name, spec }, idempotencyKey }));
  }

  async #look(id: string) {
    const vm = await this.#servers.anywhere(`looking at ${id}`, (client) => client.vm.get({ params: { id } }));
    return { ...vm, status: vm.status as VmStatus }; // a machine's record
  }

  async #createAll(): Promise<void> {
    const hosts = [...this.#servers.site.deployment.hosts.keys()];
    const open = new Set<Promise<void>>();
    for (let number = 1; !this.#stopped; number += 1) {
      if (open.size < mostAtOnce) {
        const one = this.#createOne(`m${number}`, hosts[number % hosts.length] ?? "").finally(() => open.delete(one));
        one.catch((error: unknown) => this.#failures.push(error));
        open.add(one);
      }
      await pause(everyMs);
    }
    await Promise.allSettled(open);
  }

  async #createOne(name: string, host: string): Promise<void> {
    const creation: Creation = { name, host, began: performance.now() };
    this.#unanswered += 1;
    const { record } = await this.#create(name, { memory: { bytes: 16 * 2 ** 20 }, power: "stopped", placement: { host } }).finally(() => {
      this.#unanswered -= 1;
    });
    creation.id = record.id;
    this.#creations.push(creation);
    await until(`${name} on ${host}`, 120_000, async () => {
      const vm = await this.#look(record.id);
      if (vm.placement !== undefined) creation.placed ??= performance.now();
      return vm.status.agent?.state === "stopped" || undefined;
    });
    creation.acted = performance.now();
    if (this.#creations.indexOf(creation) % keptOneIn === 0 && this.#kept < mostKept) {
      this.#kept += 1;
      return;
    }
    await this.#servers.anywhere(`deleting ${name}`, (client) => remove(client, record.id, record.revision));
    creation.deleted = true;
  }

  async #moveAll(id: string): Promise<void> {
    const { hosts } = this.#servers.site.deployment;
    while (!this.#stopped) {
      const { placement } = await this.#look(id);
      const from = placement && (await this.#servers.anywhere("looking at a host", (client) => client.host.get({ params: { id: placement.host } })));
      const host = [...hosts.keys()].find((name) => name !== from?.name) ?? "";
      const idempotencyKey = Buffer.from(this.#random.bytes(12)).toString("hex");
      const accepted = await this.#servers
        .anywhere("a migration", (client) => client.vm.migrate({ params: { id }, body: { host }, idempotencyKey }), 3000)
        // It may be starting anew, or its host's agent be on the way to another server.
        .catch(() => undefined);
      if (accepted?.task !== undefined) await this.#followMove(accepted.task);
      await pause(300);
    }
  }

  async #followMove(task: string): Promise<void> {
    this.#moves.push(task);
    const state = await until(`the end of the migration ${task}`, 180_000, async () => {
      const { status } = await this.#servers.anywhere("looking at a migration", (client) => client.task.get({ params: { id: task } }));
      const now = taskState(status as TaskStatus); // a task's record
      return now === "waiting" || now === "running" ? undefined : now;
    });
    this.#ended.set(state, (this.#ended.get(state) ?? 0) + 1);
  }

  /** What either server says of the hosts. */
  async #watchHosts(): Promise<void> {
    while (!this.#stopped) {
      const { items } = await this.#servers.anywhere("looking at the hosts", (client) => client.host.list());
      for (const { name, status } of items) if ((status as { liveness?: { state: string } }).liveness?.state === "unreachable") this.#lost.add(name); // a host's record
      await pause(500);
    }
  }
}

/** @param revision at which the machine was there */
async function remove(client: LocalClient, id: string, revision: number): Promise<void> {
  try {
    await client.vm.delete({ params: { id } });
  } catch (error) {
    if (!isGone(error)) throw error;
    // By an attempt that was not answered; or this server does not know of the machine yet: then it does not answer this one either.
    await client.vm.get({ params: { id }, query: { revision } }).then(
      () => Promise.reject(error),
      (again: unknown) => (isGone(again) ? undefined : Promise.reject(again)),
    );
  }
}

const isGone = (error: unknown): boolean => error instanceof SheafError && error.code === "not-found";

function after(creations: readonly Creation[], at: number, what: "placed" | "acted"): number | undefined {
  const done = creations.flatMap((creation) => (creation.began >= at ? (creation[what] ?? []) : []));
  return done.length === 0 ? undefined : Math.round(Math.min(...done) - at);
}
