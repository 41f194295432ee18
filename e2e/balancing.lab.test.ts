/** A host with busy guests is found and relieved by live migration, first as advice, then by itself. */
import assert from "node:assert/strict";
import { after, before, test } from "node:test";
import { until } from "../apps/server/deployment/processes.ts";
import { guestAnswers } from "./guest.ts";
import { openSite, type Site } from "./site.ts";
import { SiteMachines } from "./site-machines.ts";

let site: Site;
let machines: SiteMachines;
before(
  async () => {
    site = await openSite({ hosts: 2, port: 17_763 });
    machines = new SiteMachines(site);
  },
  { timeout: 180_000 },
);
after(() => site?.close(), { timeout: 60_000 });

/** Keeps a CPU busy. */
const spins = `#!/bin/sh
(while :; do :; done) </dev/null >/dev/null 2>&1 &
`;

test("busy guests are spread by live migrations while they run; a quiet one stays", { timeout: 400_000 }, async (context) => {
  const { client } = site.deployment;
  // Lab hosts share one machine: each offers it as if it were its own, and what its guests use counts.
  for (const host of ["h1", "h2"]) await client.host.change({ params: { id: host }, body: { spec: { offeredCpus: 2 } } });
  await site.must("host", "cordon", "h2");
  const disks = [{ name: "root", image: "mini", pool: "shared" }];
  for (const name of ["busy-1", "busy-2"]) await machines.create(name, { disks, cloudInit: { userData: spins } });
  await machines.create("quiet", { disks });
  const boots = new Map<string, string>();
  for (const name of ["busy-1", "busy-2", "quiet"]) {
    await machines.inState(name, "running", 90_000);
    boots.set(name, (await guestAnswers(await machines.address(name))).bootId);
  }
  await site.must("host", "activate", "h2");

  await client.cluster.change({ params: { id: "default" }, body: { spec: { balancing: { hotPercent: 40, patienceMinutes: 0, pauseMinutes: 0 } } } });
  const balance = () => client.cluster.balance({ params: { id: "default" } });
  const advice = await until("advice", 150_000, async () => {
    const found = await balance();
    return found.moves.length > 0 ? found : undefined;
  });
  assert.deepEqual(
    advice.moves.map(({ name, fromName, toName }) => [name.slice(0, 4), fromName, toName]),
    [["busy", "h1", "h2"]],
  );
  assert.ok(advice.score.hottestPercent > 40 && advice.promised.hottestPercent < advice.score.hottestPercent, JSON.stringify(advice));
  assert.match(await site.must("cluster", "balance", "default"), /1 moves would bring the hottest host to \d+ %.*\n {2}busy-\d: h1 → h2/);
  assert.match(
    await site.must("cluster", "advice", "list", "default"),
    /busy-\d: h1 → h2 [^]*sheaf cluster advice accept default --id [0-9a-f-]{36}/,
  );
  context.diagnostic(`the hottest host is at ${advice.score.hottestPercent.toFixed(0)} %`);

  await site.must("cluster", "balance", "default", "--mode", "automatic");
  const task = await until("the end of its balancing", 120_000, async () => {
    const { items } = await client.task.list({ query: {} });
    return items.find(({ spec, state }) => spec.verb === "balance" && state === "succeeded");
  });
  context.diagnostic((task.status as { controller?: { message?: string } }).controller?.message ?? "");
  const params = { id: "default" };
  const { plans } = await client.cluster.balanceHistory({ params });
  assert.ok(plans.some(({ moves }) => moves.some(({ state, toName }) => state === "moved" && toName === "h2")));
  // One row every ten seconds; hosts were hot for longer than that before.
  await until("the figures of when it was hot", 30_000, async () => {
    const { values } = await client.cluster.metrics({ params, query: { metrics: "hottestHost" } });
    return values["hottestHost"]?.some((share) => share !== null && share > 0.6) ? true : undefined;
  });
  assert.match(await site.must("cluster", "balance", "default", "--history"), /succeeded, 1 of 1 moved, asked for by system/);
  const hosts = await Promise.all(["busy-1", "busy-2", "quiet"].map(async (name) => (await machines.hostOf(name)).name));
  assert.deepEqual(hosts.slice(0, 2).toSorted(), ["h1", "h2"], "one each");
  assert.equal(hosts[2], "h1", "the quiet one was not moved");
  for (const [name, bootId] of boots) assert.equal((await guestAnswers(await machines.address(name))).bootId, bootId, `${name} never stopped`);
  await until("nothing more to do", 60_000, async () => ((await balance()).moves.length === 0 ? true : undefined));
});
