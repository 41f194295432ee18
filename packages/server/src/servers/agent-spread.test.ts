/** When a server gives agents away, how many, and to whom: every site ends even, and stays as it is then. */
import assert from "node:assert/strict";
import { test } from "node:test";
import { silentLogger, SimulatedClock } from "@sheaf/base";
import { AgentSpread, type ServerLoad, surplus } from "./agent-spread.ts";

const names = ["a", "b", "c"];

/** Servers that all run it, whose agents go where they are asked to at once. */
class Site {
  readonly clock = new SimulatedClock();
  readonly agents: number[];
  /** By server: for how long the store has not answered it. */
  readonly silentMs: number[];
  readonly reached: boolean[];
  moves = 0;
  readonly #spreads: AgentSpread[];

  constructor(...agents: number[]) {
    this.agents = agents;
    this.silentMs = agents.map(() => 0);
    this.reached = agents.map(() => true);
    this.#spreads = agents.map((_, me) => this.#spread(me));
  }

  #spread(me: number): AgentSpread {
    const { agents, silentMs, reached, clock } = this;
    const moved = (count: number): void => void (this.moves += count);
    return new AgentSpread({
      own: {
        get agents() {
          return agents[me] ?? 0;
        },
        sendTo: (url, count) => {
          agents[me] = (agents[me] ?? 0) - count;
          agents[names.indexOf(url)] = (agents[names.indexOf(url)] ?? 0) + count;
          moved(count);
          return count;
        },
      },
      store: {
        get storeSilentMs() {
          return silentMs[me] ?? 0;
        },
      },
      others: {
        get loads(): ServerLoad[] | null {
          if (reached.includes(false) || silentMs.some((ms, server) => server !== me && ms > 2500)) return null;
          return agents.flatMap((count, server) => (server === me ? [] : { agentUrl: names[server] ?? "", agents: count }));
        },
      },
      clock,
      logger: silentLogger,
    });
  }

  close(): void {
    for (const spread of this.#spreads) spread.close();
  }
}

test("a server that is back gets its share, a few agents at a time, and nothing moves from then on", async () => {
  for (const [agents, share] of [
    [[2, 0], 1],
    [[3, 0], 2],
    [[4, 2, 0], 2],
    [[600, 0], 300],
    [[0, 1000, 500], 500],
  ] as const) {
    const site = new Site(...agents);
    await site.clock.advance(25_000);
    assert.equal(site.moves, 0, "not at once");
    await site.clock.advance(10_000);
    assert.ok(site.moves >= 1 && site.moves <= Math.max(2, 0.05 * Math.max(...agents)), `${site.moves} moves at first`);
    await site.clock.advance(600_000);
    assert.ok(Math.max(...site.agents) <= share, `${agents.join(", ")} became ${site.agents.join(", ")}`);
    const { moves } = site;
    await site.clock.advance(600_000);
    assert.equal(site.moves, moves);
    site.close();
  }
});

test("a small difference is left alone", async () => {
  for (const agents of [
    [1, 0],
    [2, 1],
    [2, 2, 1],
    [110, 90],
    [0, 0],
  ]) {
    const site = new Site(...agents);
    await site.clock.advance(600_000);
    assert.deepEqual([site.agents, site.moves], [agents, 0]);
    site.close();
  }
});

test("once begun it goes on to the share", () => {
  const others = [{ agentUrl: "b", agents: 95 }];
  assert.equal(surplus(105, others, false), null);
  assert.deepEqual(surplus(105, others, true), { agentUrl: "b", count: 2 });
  assert.equal(surplus(96, others, true), null);
});

test("nothing moves while a server that is there is not reached, or the store does not answer one; the time of waiting begins anew", async () => {
  const site = new Site(10, 0);
  for (const strike of [() => (site.reached[1] = false), () => (site.silentMs[0] = 3000), () => (site.silentMs[1] = 3000)]) {
    strike();
    await site.clock.advance(120_000);
    assert.equal(site.moves, 0);
    site.reached[1] = true;
    site.silentMs.fill(0);
    await site.clock.advance(25_000);
    assert.equal(site.moves, 0);
  }
  await site.clock.advance(60_000);
  assert.deepEqual(site.agents, [5, 5]);
  site.close();
});
