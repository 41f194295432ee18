/**
 * A real host that is to fence itself and has no watchdog device, as no lab host has: its network is cut, its agent stops the highly
 * available machine when the lease ends, and nobody takes that for a fence.
 */
import assert from "node:assert/strict";
import { after, before, test } from "node:test";
import type { HostStatus, Placement } from "@sheaf/model";
import { until } from "../apps/server/deployment/processes.ts";
import { copies, neverTwice } from "./copies.ts";
import { guestAnswers } from "./guest.ts";
import { openSite, type Site } from "./site.ts";

let site: Site;
before(
  async () => {
    site = await openSite({ hosts: 2, port: 17_823 });
  },
  { timeout: 180_000 },
);
after(() => site?.close(), { timeout: 60_000 });

const leaseMs = 15_000;
/** Two looks of the agent, and libvirt's work on a busy machine. */
const stopsWithinMs = 5000;

test(
  "its highly available machine is stopped within the lease, the other one runs on, and a person lets it start elsewhere",
  { timeout: 240_000 },
  async (context) => {
    const { client, hosts } = site.deployment;
    for (const name of hosts.keys())
      await client.host.change({ params: { id: name }, body: { spec: { fencing: [{ type: "watchdog", leaseMs, watchdogTimeoutMs: 10_000 }] } } });
    const kind = ["--image", "mini", "--memory", "128MiB", "--pool", "shared"];
    await site.must("vm", "create", "web", ...kind, "--highly-available", "--wait");
    const web = await client.vm.get({ params: { id: "web" } });
    const hostId = (web.placement as Placement | undefined)?.host ?? ""; // a machine's record
    const name = (await client.host.get({ params: { id: hostId } })).name;
    const host = hosts.get(name)?.host;
    assert.ok(host);
    await site.must("vm", "create", "plain", ...kind, "--on", name, "--wait");
    const plain = (await client.vm.get({ params: { id: "plain" } })).id;
    const address = web.spec.nics[0]?.addresses?.[0] ?? "";
    const { bootId } = await guestAnswers(address);
    const status = async (): Promise<HostStatus> => (await client.host.get({ params: { id: name } })).status as HostStatus; // a host's record
    const watchdog = await until("the host to tell of its watchdog", 30_000, async () => (await status()).agent?.watchdog);
    assert.equal(watchdog.kind, "none");
    assert.match(watchdog.meaning, /self-fencing: kill only, a person must confirm: there is no watchdog device/);

    await neverTwice(site.deployment, async () => {
      const cutAt = performance.now();
      await host.cut();
      await until("the machine to be stopped", leaseMs + stopsWithinMs, async () => ((await copies(site.deployment)).has(web.id) ? undefined : true));
      context.diagnostic(`its QEMU was gone ${Math.round(performance.now() - cutAt)} ms after the cut`);
      const { fencing, lease } = await until("the loss to be noticed", 30_000, async () => {
        const now = await status();
        return now.fencing === undefined ? undefined : now;
      });
      assert.notEqual(fencing?.state, "fenced");
      assert.equal(lease, undefined, "nothing was relied on");
      assert.deepEqual([...(await copies(site.deployment)).keys()], [plain], "it runs nowhere, and the other one where it was");

      // Somebody goes there and pulls the plug.
      await host.kill();
      await site.must("host", "confirm-off", name, "--wait");
      await until("the guest to answer elsewhere", 90_000, async () => ((await guestAnswers(address)).bootId === bootId ? undefined : true));
      assert.notDeepEqual((await copies(site.deployment)).get(web.id), [name]);
    });
  },
);
