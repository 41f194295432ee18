/** Machines are looked at one after the other, again every day, slowly, and whatever fails. */
import assert from "node:assert/strict";
import { test } from "node:test";
import { silentLogger, SimulatedClock } from "@sheaf/base";
import { type RecordOf, VmSpec } from "@sheaf/model";
import type { MachineUse } from "@sheaf/planning";
import { UseSurvey, type UseSurveyOptions } from "./use-survey.ts";

const gib = 2 ** 30;
const hourMs = 3_600_000;
const used = (cpus: number): MachineUse => ({
  days: 14,
  cpu: { sustained: cpus, peak: cpus, waiting: 0 },
  memory: { known: "guest", sustainedBytes: 6 * gib, peakBytes: 6 * gib },
  activity: { cpu: cpus },
});
const machine = (id: string, cpus = 8): RecordOf<"vm"> =>
  ({ id, spec: VmSpec.parse({ cpu: { count: cpus }, memory: { bytes: 8 * gib } }) }) as unknown as RecordOf<"vm">; // what is looked at of it

function survey(count: number, use: (id: string) => Promise<MachineUse>) {
  const clock = new SimulatedClock();
  const machines = new Map(Array.from({ length: count }, (_, each) => [`m${each}`, machine(`m${each}`)]));
  const warnings: string[] = [];
  const asked: { readonly id: string; readonly at: number }[] = [];
  const options: UseSurveyOptions = {
    clock,
    logger: { ...silentLogger, warn: (_fields: object, text: string) => void warnings.push(text) },
    cache: { get: (_kind: string, id: string) => machines.get(id), all: () => machines.values() } as unknown as UseSurveyOptions["cache"], // the two that are asked
    figures: {
      use: (id) => {
        asked.push({ id, at: clock.monotonic() });
        return use(id);
      },
    },
  };
  return { clock, machines, warnings, asked, survey: new UseSurvey(options) };
}

test("every machine is looked at once, and again the next day; who is gone is forgotten", async () => {
  const site = survey(20, async () => used(1));
  await site.clock.advance(2 * 60_000);
  assert.deepEqual(new Set(site.asked.map(({ id }) => id)).size, 20);
  assert.equal(site.asked.length, 20);
  await site.clock.advance(20 * hourMs);
  assert.equal(site.asked.length, 20);
  site.machines.delete("m3");
  await site.clock.advance(5 * hourMs);
  assert.deepEqual([site.asked.length, site.survey.size], [39, 19]);
  site.survey.stop();
  await site.clock.advance(48 * hourMs);
  assert.equal(site.asked.length, 39);
});

test("looking takes a tenth of the time at most", async () => {
  const site = survey(100, async () => {
    await new Promise<void>((resolve) => void site.clock.setTimer(20, resolve));
    return used(1);
  });
  await site.clock.advance(60_000 + 10_000);
  assert.ok(site.asked.length >= 49 && site.asked.length <= 51, `${site.asked.length} in 10 s`);
  site.survey.stop();
});

test("a failure is told once, the others are looked at all the same, and that one later", async () => {
  let broken = true;
  const site = survey(5, async (id) => (id === "m2" && broken ? Promise.reject(new Error("the disk does not answer")) : used(1)));
  await site.clock.advance(10 * 60_000);
  assert.deepEqual([site.survey.size, site.warnings.length > 0], [4, true]);
  broken = false;
  await site.clock.advance(10 * 60_000);
  assert.equal(site.survey.size, 5);
  site.survey.stop();
});

test("from day to day the advice does not flip, and by a new size it is new", async () => {
  let peak = 3.36;
  const site = survey(1, async () => used(peak));
  await site.clock.advance(2 * 60_000);
  const suggested = (): number | undefined => site.survey.known(machine("m0"))?.advice.suggested.cpus;
  assert.equal(suggested(), 6);
  peak = 3.3;
  await site.clock.advance(25 * hourMs);
  assert.deepEqual([site.asked.length, suggested()], [2, 6], "within a hair of what it was");
  assert.equal(site.survey.known(machine("m0", 6))?.advice.suggested.cpus, 4);
  site.survey.stop();
});

test("asked for by name it is looked at now, unless that was done a moment ago", async () => {
  const site = survey(1, async () => used(1));
  const vm = machine("m0");
  await site.survey.look(vm);
  await site.survey.look(vm);
  assert.equal(site.asked.length, 1);
  await site.clock.advance(11 * 60_000);
  await site.survey.look(vm);
  assert.equal(site.asked.length, 2);
  site.survey.stop();
});
