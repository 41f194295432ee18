/** Machines are put together, the host that comes free is powered off through its management controller, and woken by what needs it. */
import assert from "node:assert/strict";
import { after, before, test } from "node:test";
import type { Placement } from "@sheaf/model";
import { until } from "../apps/server/deployment/processes.ts";
import { guestAnswers } from "./guest.ts";
import { PoweredSite } from "./powered-site.ts";

let powered: PoweredSite;
before(
  async () => {
    powered = await PoweredSite.open({ hosts: 2, port: 17_923 });
  },
  { timeout: 240_000 },
);
after(() => powered?.close(), { timeout: 120_000 });

const mib = 2 ** 20;
const state = (name: string) => powered.site.deployment.hosts.get(name)?.host.state();

test(
  "a host comes free by itself, is really off, sleeps without being lost, and is woken by a machine that needs it",
  { timeout: 400_000 },
  async (context) => {
    const { client } = powered.site.deployment;
    // Lab hosts share one machine: each offers a little of it, and what its guests use counts.
    for (const host of ["h1", "h2"])
      await client.host.change({ params: { id: host }, body: { spec: { offeredCpus: 2, offeredMemoryBytes: 1024 * mib } } });
    const disks = [{ name: "root", image: "mini", pool: "shared" }];
    const create = (name: string, host?: string) =>
      client.vm.create({
        body: {
          name,
          spec: {
            memory: { bytes: 384 * mib },
            disks,
            nics: [{ name: "net0", network: "default" }],
            ...(host === undefined ? {} : { placement: { host } }),
          },
        },
      });
    for (const [name, other] of [
      ["one", "h2"],
      ["two", "h1"],
    ] as const) {
      await powered.site.must("host", "cordon", other);
      await create(name);
      await powered.guest(name);
      await powered.site.must("host", "activate", other);
    }
    const boots = await Promise.all(["one", "two"].map(async (name) => (await powered.guest(name)).bootId));
    assert.notEqual(await hostOf("one"), await hostOf("two"));

    const beganAt = performance.now();
    const seconds = (): string => `${Math.round((performance.now() - beganAt) / 1000)} s`;
    await client.cluster.change({
      params: { id: "default" },
      body: {
        spec: {
          balancing: { goal: "consolidate", mode: "automatic", patienceMinutes: 0, pauseMinutes: 0 },
          power: { mode: "automatic", spareHosts: 0, minimumAwakeMinutes: 0, minimumAsleepMinutes: 0, wakeMinutes: 2 },
        },
      },
    });
    const asleep = await until("a host to sleep", 240_000, async () => {
      for (const name of ["h1", "h2"]) if ((await powered.hostStatus(name)).power?.state === "asleep") return name;
      return undefined;
    });
    context.diagnostic(`${asleep} came free and sleeps after ${seconds()}`);
    const awake = asleep === "h1" ? "h2" : "h1";
    assert.equal(await state(asleep), "off", "its power is really off");
    assert.deepEqual([await hostOf("one"), await hostOf("two")], [awake, awake]);
    assert.deepEqual(await Promise.all(["one", "two"].map(async (name) => (await powered.guest(name)).bootId)), boots, "no guest stopped");
    await until("it to be asleep instead of lost", 60_000, async () =>
      (await powered.hostStatus(asleep)).liveness?.state === "asleep" ? true : undefined,
    );
    assert.equal((await powered.hostStatus(asleep)).fencing, undefined);
    assert.match(await powered.site.must("host", "list", "--output", "wide"), new RegExp(`${asleep} .*asleep.*system: it has no machines`));
    const { hosts, ready, asleep: sleeping } = await client.system.capacity({ query: {} });
    assert.deepEqual([hosts, ready, sleeping], [2, 1, 1]);

    const wokenAt = performance.now();
    await create("three");
    const told = await until("it to say what it waits for", 60_000, async () => {
      const { placement, status } = await powered.machine("three");
      const reason = status.placement?.pending?.reason ?? "";
      return placement !== undefined || reason.startsWith("waits for host") ? reason || "placed" : undefined;
    });
    context.diagnostic(`three: ${told}`);
    const three = await powered.guest("three");
    context.diagnostic(`its guest answers ${Math.round((performance.now() - wokenAt) / 1000)} s after it was asked for`);
    assert.equal(three.host, asleep);
    assert.equal(await state(asleep), "up");
    assert.equal((await powered.hostStatus(asleep)).power, undefined);
    for (const name of ["one", "two"]) await guestAnswers((await powered.guest(name)).address);
  },
);

async function hostOf(name: string): Promise<string | undefined> {
  const vm = await powered.machine(name);
  return powered.hostOf((vm.placement as Placement | undefined)?.host);
}
