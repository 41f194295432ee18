/**
 * A host's power is cut, again and again, at any moment of its heartbeats, under both profiles of detection: each of its highly available
 * machines answers elsewhere in time, none is forgotten, none ever runs twice, and the host that comes back starts nothing that was moved.
 */
import assert from "node:assert/strict";
import { setTimeout as pause } from "node:timers/promises";
import { randomInt } from "@sheaf/base";
import { copies, neverTwice } from "../e2e/copies.ts";
import { PoweredSite, type Recovery } from "../e2e/powered-site.ts";
import type { Round, Story } from "./story.ts";

export const detections = ["default", "fast"] as const;
export type Detection = (typeof detections)[number];

/** From the cut to the answer elsewhere, without the guest's own boot. */
export const promisedMs: Readonly<Record<Detection, number>> = { default: 20_000, fast: 10_000 };

const machines = ["web", "mail"] as const;

export const failOver: Story = {
  name: "fail-over",
  summary: "a host's power is cut under each profile of detection; its machines answer elsewhere in time, and never run twice",
  async open() {
    const powered = await openFailOverSite(17_863);
    return {
      logDirectory: `${powered.site.folder}/d/logs`,
      async round({ random, log, stop, measured }) {
        const late: string[] = [];
        for (const detection of detections) {
          stop.throwIfAborted();
          for (const recovery of await playPowerCut(powered, { detection, random, log })) {
            const ours = oursMs(recovery);
            measured(`${detection}, ms`, Math.round(ours));
            if (ours > promisedMs[detection]) late.push(`${recovery.name} (${detection}): ${Math.round(ours)} ms`);
          }
        }
        assert.deepEqual(late, [], "machines answered later than promised");
      },
      close: () => powered.close(),
    };
  },
};

/** With machines that run on from round to round. */
export async function openFailOverSite(port: number): Promise<PoweredSite> {
  const powered = await PoweredSite.open({ hosts: 3, port });
  try {
    for (const name of machines) await powered.create(name);
    return powered;
  } catch (error) {
    await powered.close();
    throw error;
  }
}

export const oursMs = ({ outageMs, bootMs }: Recovery): number => outageMs - bootMs;

export interface PowerCut extends Pick<Round, "random" | "log"> {
  readonly detection: Detection;
  /** Of machines that are highly available and answer. */
  readonly names?: readonly string[];
}

/** One host loses its power and is powered on again. @returns what it was for each of its machines, one at least */
export async function playPowerCut(powered: PoweredSite, { detection, names = machines, random, log }: PowerCut): Promise<Recovery[]> {
  const { deployment } = powered.site;
  await deployment.client.cluster.change({ params: { id: "default" }, body: { spec: { highAvailability: { detection } } } });
  // Any moment between two heartbeats, when agents have come back with the new ones.
  await pause(2000 + randomInt(random, 5000));
  const guests = await Promise.all(names.map((name) => powered.guest(name)));
  const victim = guests[randomInt(random, guests.length)]?.host ?? "";
  return neverTwice(deployment, async () => {
    log(`the power of ${victim} is cut, under detection ${detection}`);
    const recoveries = await powered.cutPower(victim, guests);
    for (const recovery of recoveries) {
      const [outage, boot, ours] = [recovery.outageMs, recovery.bootMs, oursMs(recovery)].map(Math.round);
      log(`${recovery.name} answers from ${recovery.to} after ${outage} ms; ${boot} ms are its own boot, ${ours} ms are ours`);
    }
    await powered.powerOn(victim);
    const running = await copies(deployment);
    for (const before of guests) {
      const after = await powered.guest(before.name);
      const moved = recoveries.some(({ name }) => name === before.name);
      assert.deepEqual(running.get(before.id), [after.host], `${before.name} runs once, where the store says`);
      assert.equal(after.host !== before.host, moved, `${before.name} was on ${before.host} and is on ${after.host}`);
      assert.equal(after.epoch, before.epoch + (moved ? 1 : 0), `the epoch of ${before.name}`);
      if (!moved) assert.equal(after.bootId, before.bootId, `${before.name} runs on where its host was not cut off`);
    }
    return recoveries;
  });
}
