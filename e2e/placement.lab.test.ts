/** Where machines go on real hosts: a drain spreads them over several targets, and group rules hold before, during and after it. */
import assert from "node:assert/strict";
import { after, before, test } from "node:test";
import { guestAnswers } from "./guest.ts";
import { openSite, type Site } from "./site.ts";
import { SiteMachines } from "./site-machines.ts";

let site: Site;
let machines: SiteMachines;
before(
  async () => {
    site = await openSite({ hosts: 3, port: 17_803 });
    machines = new SiteMachines(site);
  },
  { timeout: 180_000 },
);
after(() => site?.close(), { timeout: 60_000 });

test("a drain spreads its machines over several hosts, and those that stay apart do", { timeout: 300_000 }, async () => {
  const { client } = site.deployment;
  const disks = [{ name: "root", image: "mini", pool: "shared" }];
  const names = ["a", "b", "c", "pair-1", "pair-2"];
  for (const host of ["h2", "h3"]) await site.must("host", "cordon", host);
  await machines.create("a", { disks });
  const { bootId } = await guestAnswers(await machines.address("a"));
  for (const name of ["b", "c", "pair-1"]) await machines.create(name, { disks, ...(name === "pair-1" ? apart : {}) });
  // Its like is on the only open host.
  await machines.create("pair-2", { disks, ...apart });
  for (const name of names.slice(0, 4)) await machines.inState(name, "running", 90_000);
  const waits = await site.sheaf("vm", "explain", "pair-2");
  assert.match(waits.out, /h1.*holds a machine it must keep apart from/);
  await site.must("host", "activate", "h2");
  await machines.inState("pair-2", "running", 90_000);
  assert.equal((await machines.hostOf("pair-2")).name, "h2");
  await site.must("host", "activate", "h3");

  await site.must("host", "drain", "h1", "--parallel", "2", "--wait");
  const at = new Map<string, string>();
  for (const name of names) at.set(name, (await machines.hostOf(name)).name);
  assert.equal(at.get("pair-1"), "h3", "the only host without its like");
  assert.equal(at.get("pair-2"), "h2");
  assert.deepEqual(
    ["h1", "h2", "h3"].map((host) => [...at.values()].filter((on) => on === host).length > 1),
    [false, true, true],
    `spread over both: ${JSON.stringify([...at])}`,
  );
  assert.equal((await guestAnswers(await machines.address("a"))).bootId, bootId, "a never stopped");
  const refused = await site.sheaf("vm", "migrate", "pair-1", "--to", "h2", "--wait");
  assert.notEqual(refused.code, 0);
  assert.match(refused.error, /holds a machine it must keep apart from/);
  assert.equal((await client.vm.get({ params: { id: "pair-1" } })).state, "running");
});

const apart = { placement: { apart: "pair" } };
