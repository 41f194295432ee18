import assert from "node:assert/strict";
import { test } from "node:test";
import { clusterFigures } from "./balance-figures.ts";
import { clusterBalance } from "./cluster-balance.ts";
import { hostUses } from "./host-use.ts";
import { World } from "./world.test-support.ts";

test("what is kept of a cluster over time is what balancing counts", async () => {
  const world = await World.make();
  await world.addHost("h1");
  const { vm } = await world.addVm("vm", { disk: "shared" });
  await world.until(() => world.agents.runningOn(vm).length === 1, "it runs");
  await world.addHost("h2");
  world.agents.busyCpus.set(vm, 6);
  await world.clock.advance(3_600_000);
  const { cache, clock, agents, snapshot, book } = world;
  const cluster = cache.byName("cluster", "-", "default");
  assert.ok(cluster);
  const { score } = clusterBalance(cluster, { cache, clock, agents, snapshot, book });
  const figures = clusterFigures(hostUses(cache, book, clock.monotonic()), cache).get(cluster.id);
  assert.ok(figures);
  assert.deepEqual(
    [figures.hottestHost, figures.spread, figures.level].map((share) => (100 * share).toFixed(3)),
    [score.hottestPercent, score.spreadPoints, score.levelPercent].map((points) => points.toFixed(3)),
  );
  assert.deepEqual([figures.hosts, figures.cpu.toFixed(3), (100 * figures.hottestHost).toFixed(0)], [2, "0.375", "75"]);
  await world.close();
});

test("of a cluster whose hosts are not known there are no figures", async () => {
  const world = await World.make();
  assert.equal(clusterFigures([], world.cache).size, 0);
  await world.close();
});
