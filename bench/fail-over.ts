/**
 * How long a fail-over takes: hosts of a lab lose their power, their machines answer elsewhere; the guest's own boot is not counted. Several
 * cuts under each profile of detection, at any moment between heartbeats. `node bench/fail-over.ts [--cuts N]`, as root.
 */
import { randomInt } from "node:crypto";
import { parseArgs } from "node:util";
import { seededRandom } from "@sheaf/base";
import type { PoweredSite } from "../e2e/powered-site.ts";
import { detections, openFailOverSite, oursMs, playPowerCut, promisedMs } from "../soak/fail-over.ts";
import { atMost, publish, type Target } from "./outcome.ts";
import { median, spread } from "./statistics.ts";
import { takeDown } from "./take-down.ts";

const { values } = parseArgs({ options: { cuts: { type: "string", default: "5" }, seed: { type: "string" } } });
const seed = Number(values.seed ?? randomInt(2 ** 32));
const random = seededRandom(seed);
const log = (text: string): void => void process.stderr.write(`${text}\n`);

let opening: Promise<PoweredSite> | undefined;
const end = takeDown(async () => (await opening?.catch(() => undefined))?.close());
const targets: Target[] = [];
const details: Record<string, unknown> = { seed };
try {
  opening = openFailOverSite(18_743);
  const powered = await opening;
  for (const detection of detections) {
    const ours: number[] = [];
    const boots: number[] = [];
    for (let cut = 0; cut < Number(values.cuts); cut += 1) {
      for (const recovery of await playPowerCut(powered, { detection, random, log })) {
        ours.push(oursMs(recovery));
        boots.push(recovery.bootMs);
      }
    }
    const what = `power cut to the answer elsewhere without the guest's boot, detection ${detection}`;
    const boundSeconds = promisedMs[detection] / 1000;
    targets.push(
      atMost(`${what}, median`, median(ours) / 1000, boundSeconds, "s"),
      atMost(`${what}, worst`, Math.max(...ours) / 1000, boundSeconds, "s"),
    );
    details[detection] = { oursMs: spread(ours), bootMs: spread(boots), each: ours.map(Math.round) };
  }
} finally {
  await end();
}
publish(targets, details);
