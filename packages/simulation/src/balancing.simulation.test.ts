/**
 * Balancing carried out by the real server over real agents: plans are made from what hosts tell and carried out by live migrations that
 * take their time. Looked at every second by what guests really use.
 */
import assert from "node:assert/strict";
import { test } from "node:test";
import { Chance } from "./chance.ts";
import type { FaultKind } from "./fault-plan.ts";
import { FaultMaker } from "./fault-maker.ts";
import { SimulatedSite } from "./site.ts";

const gib = 2 ** 30;
const minuteMs = 60_000;
const cpus = 16;
const hotPercent = 80;
/** Rounding, and the host's own processes. */
const slack = 0.02;
/** Looks in a row, one a second: longer than any switch, and than one whose agents or server are killed meanwhile. */
const longestStop = { quiet: 3, faults: 60 } as const;

class BusySite {
  readonly site: SimulatedSite;
  /** vCPUs in use, by machine. */
  readonly #busy: Map<string, number>;
  /** Where each machine ran last, and at how many looks since it did not. */
  readonly #ran = new Map<string, { readonly host: string; readonly away: number }>();

  private constructor(site: SimulatedSite, busy: Map<string, number>) {
    this.site = site;
    this.#busy = busy;
  }

  /** Twelve hosts with eight machines each; every third host is busier than the others. Nothing moves yet. @param shares of their vCPUs in use */
  static async open(seed: number, shares: { readonly others: number; readonly third: number }): Promise<BusySite> {
    const hosts = 12;
    const busy = new Map<string, number>();
    const counts = new Map<string, number>();
    const site = await SimulatedSite.open({
      ...{ seed, hosts, cpus, balancing: { mode: "off" } },
      busyShare: (machine) => (busy.get(machine) ?? 0) / (counts.get(machine) ?? 1),
    });
    const chance = new Chance(seed, "layout");
    for (let index = 0; index < hosts * 8; index += 1) {
      const host = index % hosts;
      const name = `m${index}`;
      const count = chance.pick([2, 3, 4]);
      const spec = {
        cpu: { count },
        memory: { bytes: gib * chance.pick([1, 2, 4]) },
        disks: [{ name: "root", pool: "shared", sizeBytes: gib }],
        nics: [{ name: "eth0", network: "lan" }],
        placement: { host: `h${host + 1}` },
      };
      const made = await site.done(site.operator.ask(`creates ${name}`, { method: "POST", path: "/vms", body: { name, spec } }));
      const id: string = made?.body.record.id;
      busy.set(id, count * (host % 3 === 0 ? shares.third : shares.others) * chance.between(60, 140) * 0.01);
      counts.set(id, count);
    }
    for (const id of busy.keys()) {
      await site.until(() => site.truth.runningOn(id).length === 1, minuteMs, "a machine runs");
      await site.done(site.operator.ask("sets it free", { method: "PATCH", path: `/vms/${id}`, body: { spec: { placement: { host: null } } } }));
    }
    return new BusySite(site, busy);
  }

  async balance(goal: "hot-spots" | "even"): Promise<void> {
    const { site } = this;
    const balancing = { mode: "automatic", goal, hotPercent, unevenPoints: 3, patienceMinutes: 1, pauseMinutes: 2, maximumMoves: 50 };
    const path = `/clusters/${site.records.byName("cluster", "default")}`;
    await site.done(site.operator.ask("has it balanced", { method: "PATCH", path, body: { spec: { balancing } } }));
  }

  /** Share of each host's CPUs in use by the machines that run there. */
  uses(weather: keyof typeof longestStop = "quiet"): Map<string, number> {
    const uses = new Map(this.site.hosts.map(({ name }) => [name, 0]));
    for (const [machine, share] of this.#busy) {
      // At the switch its CPUs stand still for a moment.
      const [host = this.#ran.get(machine)?.host ?? ""] = this.site.truth.runningOn(machine);
      const away = this.site.truth.runningOn(machine).length === 0 ? (this.#ran.get(machine)?.away ?? 0) + 1 : 0;
      this.#ran.set(machine, { host, away });
      assert.ok(away < longestStop[weather], `${this.site.records.name("vm", machine)} does not run any more`);
      uses.set(host, (uses.get(host) ?? 0) + share / cpus);
    }
    return uses;
  }

  get moved(): number {
    return [...this.#busy.keys()].filter((id) => (this.site.records.part("vm", id, "placement")?.epoch ?? 1) > 1).length;
  }

  /** @param each what goes wrong, every second */
  async watch(forMs: number, each?: (second: number) => void): Promise<{ hottest: number; spread: number }> {
    const atMost = new Map([...this.uses()].map(([host, use]) => [host, Math.max(hotPercent / 100, use) + slack]));
    for (let second = 0; second * 1000 < forMs; second += 1) {
      each?.(second);
      await this.site.advance(1000);
      for (const [host, use] of this.uses(each ? "faults" : "quiet"))
        assert.ok(use <= (atMost.get(host) ?? 0), `${host} is at ${use} after ${second} s`);
    }
    const last = [...this.uses().values()];
    const level = last.reduce((sum, use) => sum + use, 0) / last.length;
    return { hottest: Math.max(...last), spread: Math.sqrt(last.reduce((sum, use) => sum + (use - level) ** 2, 0) / last.length) };
  }
}

test("hot hosts are relieved by live migrations, and no host is overloaded on the way", { timeout: 240_000 }, async () => {
  const busy = await BusySite.open(1, { others: 0.46, third: 0.62 });
  const before = [...busy.uses().values()];
  assert.ok(before.filter((use) => use > hotPercent / 100).length >= 2, `${before.map((use) => use.toFixed(2)).join(" ")}`);
  await busy.balance("hot-spots");
  const { hottest } = await busy.watch(15 * minuteMs);
  assert.ok(hottest <= hotPercent / 100 + slack, `a host is still at ${hottest}`);
  assert.ok(busy.moved <= 12, `${busy.moved} machines moved`);
  busy.site.checkAtRest();
});

test("hosts are evened out, and then nothing moves any more", { timeout: 240_000 }, async () => {
  const busy = await BusySite.open(2, { others: 0.25, third: 0.5 });
  await busy.balance("even");
  const { spread } = await busy.watch(20 * minuteMs);
  assert.ok(spread < 0.03, `the spread is ${spread}`);
  const moved = busy.moved;
  await busy.watch(20 * minuteMs);
  assert.equal(busy.moved, moved);
  busy.site.checkAtRest();
});

test("also while the server, agents and migrations fail", { timeout: 240_000 }, async () => {
  const busy = await BusySite.open(3, { others: 0.25, third: 0.5 });
  const { site } = busy;
  const faults = new FaultMaker(site);
  const chance = new Chance(3, "what goes wrong");
  const kinds: readonly FaultKind[] = ["server-crash", "server-restart", "agent-crash", "libvirt-refuses", "libvirt-lies", "partition"];
  await busy.balance("even");
  const { spread } = await busy.watch(30 * minuteMs, (second) => {
    if (second % 20 === 0 && second < 25 * 60)
      faults.make({ type: "fault", atMs: 0, kind: chance.pick(kinds), host: chance.between(0, 11), forMs: 8000, amount: chance.between(1, 30) });
  });
  assert.ok(spread < 0.05, `the spread is ${spread}`);
  faults.healAll();
  await site.advance(5 * minuteMs);
  site.checkAtRest();
});
