/**
 * Two servers on three members of etcd: members and servers are killed, frozen and cut off in turn, whoever leads first of all, while
 * machines are created and one is moved to and fro all the time. What was acknowledged is there once, nothing runs twice, no host is taken
 * for lost, and control is back within a few seconds.
 */
import assert from "node:assert/strict";
import { setTimeout as pause } from "node:timers/promises";
import { randomInt } from "@sheaf/base";
import { copies, neverTwice } from "../e2e/copies.ts";
import { TwoServers, type ServerName } from "../e2e/two-servers.ts";
import { ServedLoad } from "./served-load.ts";
import type { Round, Story } from "./story.ts";

export interface ServerFaultsRound extends Pick<Round, "random" | "log" | "measured"> {
  /** How long members and servers are frozen or cut off: longer than agents wait for a server that is silent (4 s). */
  readonly holdMs: number;
  /** From a fault until a machine that was asked for after it is placed. */
  readonly controlBackMs: number;
}

export const severalServers: Story = {
  name: "several-servers",
  summary: "two servers and three members of etcd are killed, frozen and cut off in turn while machines are created and moved",
  async open() {
    const servers = await TwoServers.open(17_963);
    return {
      logDirectory: `${servers.site.folder}/d/logs`,
      round: ({ random, log, measured }) => playServerFaults(servers, { holdMs: 60_000, controlBackMs: 5000, random, log, measured }),
      close: () => servers.close(),
    };
  },
};

interface Fault {
  readonly what: string;
  /** Held for `holdMs`; else mended as soon as control is back. */
  readonly held?: boolean;
  /** Which server leads before. */
  readonly leader?: ServerName;
  /** @returns what mends it, and what it was in words */
  strike(): Promise<{ readonly mend: () => Promise<void>; readonly which: string }>;
}

function faultsOf(servers: TwoServers): Fault[] {
  const { cluster, place } = servers;
  const members = cluster.members.map((member): Fault => ({
    what: "a member of etcd is killed",
    async strike() {
      const leads = (await cluster.leader()) === member;
      await member.kill();
      return { mend: async () => member.start(), which: `${member.name}${leads ? ", which led" : ""}` };
    },
  }));
  return [
    ...members,
    {
      what: "etcd's leader is cut off",
      held: true,
      async strike() {
        const member = await cluster.leader();
        await member.place.cut();
        return { mend: () => member.place.join(), which: member.name };
      },
    },
    {
      what: "etcd's leader is frozen",
      held: true,
      async strike() {
        const member = await cluster.leader();
        member.freeze();
        return { mend: async () => member.thaw(), which: member.name };
      },
    },
    {
      what: "the leading server is killed",
      leader: "a",
      async strike() {
        await servers.kill("a");
        return { mend: () => servers.start("a"), which: "a" };
      },
    },
    {
      what: "the leading server loses etcd alone, not its agents",
      held: true,
      leader: "b",
      async strike() {
        for (const member of cluster.members) await place.lose(member.place.address);
        return {
          async mend() {
            for (const member of cluster.members) await place.reach(member.place.address);
          },
          which: "b",
        };
      },
    },
    {
      what: "the leading server is frozen",
      held: true,
      leader: "a",
      async strike() {
        servers.freeze("a");
        return { mend: async () => servers.thaw("a"), which: "a" };
      },
    },
    {
      what: "the leading server is cut off from all",
      held: true,
      leader: "b",
      async strike() {
        await place.cut();
        return { mend: () => place.join(), which: "b" };
      },
    },
  ];
}

export async function playServerFaults(servers: TwoServers, { random, log, measured, holdMs, controlBackMs }: ServerFaultsRound): Promise<void> {
  const { deployment } = servers.site;
  await neverTwice(deployment, async () => {
    const load = new ServedLoad(servers, random);
    await load.begin();
    const late: string[] = [];
    try {
      log(`undisturbed, a machine is placed ${await load.placedAfter(performance.now(), controlBackMs * 4)} ms after it was asked for`);
      for (const fault of faultsOf(servers)) {
        if (fault.leader !== undefined) await servers.makeLead(fault.leader);
        await pause(randomInt(random, 1000));
        const { mend, which } = await fault.strike();
        const at = performance.now();
        try {
          const backMs = await load.placedAfter(at, Math.max(30_000, controlBackMs));
          measured("placed, ms", backMs);
          log(`${fault.what} (${which}): control is back after ${backMs} ms`);
          if (backMs > controlBackMs) late.push(`${fault.what} (${which}): ${backMs} ms`);
          if (fault.leader !== undefined) assert.notEqual(await servers.leader(), fault.leader, `${fault.what}: the other one leads`);
          // Agents notice within a few seconds that their server is silent.
          const actedMs = await load.actedAfter(at, 60_000);
          measured("every host has acted, ms", actedMs);
          log(`  every host has acted after ${actedMs} ms`);
          if (fault.held === true) await pause(Math.max(0, holdMs - (performance.now() - at)));
        } finally {
          await mend();
        }
        await servers.whole();
      }
    } catch (error) {
      log(`when it failed: ${load.open}`);
      throw error;
    } finally {
      await load.end();
      for (const failure of load.failures) log(failure);
    }
    log(load.summary);
    await load.verify();
    const { intact, problems } = await servers.client("a").audit.verify();
    assert.ok(intact, problems.join("; "));
    for (const [vm, on] of await copies(deployment)) assert.equal(on.length, 1, `${vm} runs on ${on.join(" and ")}`);
    log(`each server carries its share of the agents after ${Math.round(await servers.spread())} ms`);
    assert.deepEqual(late, [], `control was back later than ${controlBackMs} ms`);
    await load.removeAll();
  });
}
