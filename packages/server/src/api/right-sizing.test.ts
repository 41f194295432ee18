/** Advice on machines' sizes through the API, from two weeks of figures as agents tell them. */
import assert from "node:assert/strict";
import { after, before, test } from "node:test";
import { figuresInOrder, rightSizingLabel, vmMetricNames } from "@sheaf/model";
import type { Telemetry } from "@sheaf/telemetry";
import { until } from "../gateway/gateway.test-support.ts";
import { OwnFigures } from "../telemetry/own-figures.ts";
import { SampleIntake } from "../telemetry/sample-intake.ts";
import { SiteFigures } from "../telemetry/site-figures.ts";
import { ApiFixture } from "../testing/api-fixture.ts";
import { openTelemetry } from "../testing/open-telemetry.ts";
import { TestClock } from "../testing/test-clock.ts";

const gib = 2 ** 30;
const windowMs = 300_000;
const days = 14;
const clock = new TestClock();
let fixture: ApiFixture;
let telemetry: Telemetry;
let ends: (() => Promise<void>)[] = [];
let viewer = "";
const ids: Record<string, string> = {};

/** What each uses: CPUs, and of 8 GiB memory how much is available; `undefined`: the guest says nothing. */
const lives: Record<string, { project: string; cpu: number; availableBytes?: number; bytesPerSecond: number; fromDay: number }> = {
  large: { project: "red", cpu: 1.5, availableBytes: 6 * gib, bytesPerSecond: 1e6, fromDay: 0 },
  busy: { project: "red", cpu: 7.9, availableBytes: 2 * gib, bytesPerSecond: 1e6, fromDay: 0 },
  idle: { project: "blue", cpu: 0.01, availableBytes: 7.5 * gib, bytesPerSecond: 0, fromDay: 0 },
  silent: { project: "blue", cpu: 5.5, bytesPerSecond: 1e6, fromDay: 0 },
  young: { project: "blue", cpu: 0.5, availableBytes: 6 * gib, bytesPerSecond: 1e6, fromDay: 12 },
};

before(async () => {
  const end = Math.floor(clock.now() / windowMs) * windowMs;
  const start = end - days * 86_400_000;
  telemetry = await openTelemetry({ after: (done) => void ends.push(done as () => Promise<void>) }, start);
  fixture = await ApiFixture.start({
    clock,
    telemetry: ({ cache, clock: time }) => new SiteFigures(new OwnFigures(telemetry, cache, time), { figures: async () => [] }),
  });
  const host = await fixture.host("h1");
  for (const name of ["red", "blue"]) await fixture.make("/projects", { name, spec: {} });
  for (const [name, { project }] of Object.entries(lives))
    ids[name] = (await fixture.make("/vms", { name, project, spec: { cpu: { count: 8 }, memory: { bytes: 8 * gib }, nics: [] } })).id;
  viewer = await fixture.user("vera", [{ role: "viewer", project: "red" }]);
  const intake = new SampleIntake(telemetry);
  for (let now = start; now < end; now += windowMs) {
    const vms = Object.entries(lives).flatMap(([name, { cpu, availableBytes, bytesPerSecond, fromDay }]) => {
      if (now < start + fromDay * 86_400_000) return [];
      const rates = {
        diskReadBytesPerSecond: 0,
        diskWriteBytesPerSecond: bytesPerSecond,
        netReceiveBytesPerSecond: 0,
        netTransmitBytesPerSecond: bytesPerSecond,
      };
      const memory = { memoryAssignedBytes: 8 * gib, memoryResidentBytes: 8 * gib, memoryAvailableBytes: availableBytes };
      return [{ id: ids[name] ?? "", figures: figuresInOrder("vm", { cpu, cpuWaiting: 0, ...memory, ...rates }) }];
    });
    const batch = { hostMetrics: ["cpu"], vmMetrics: [...vmMetricNames], rows: [{ slot: now / 10_000, host: [400], vms }] };
    intake.take(now, host.id, batch, () => true);
    if (now % 3_600_000 === 0) await telemetry.keep(now);
  }
  await telemetry.keep(end);
});
after(async () => {
  await fixture.stop();
  for (const end of ends) await end();
  ends = [];
});

const change = async (name: string, body: object): Promise<void> => {
  const reply = await fixture.request("PATCH", `/vms/${ids[name]}`, body);
  assert.ok(reply.status < 300, reply.text);
};

const advice = async (name: string): Promise<Record<string, unknown>> => {
  const reply = await fixture.get(`/vms/${ids[name]}/advice`);
  assert.equal(reply.status, 200, reply.text);
  return reply.body as Record<string, unknown>; // the contract's schema
};

test("all are looked at in the background; the list comes from memory, by what is worth most, for those that the caller may see", async () => {
  const none = await fixture.get("/right-sizing/vms");
  assert.deepEqual([none.body.items, none.body.waiting], [[], 5]);
  clock.advance(60_000);
  await until("all to be looked at", () => fixture.api.services.survey?.size === 5);
  const names = async (query: string, token?: string): Promise<unknown> => {
    const reply = await fixture.get(`/right-sizing/vms?${query}`, token === undefined ? {} : { token });
    assert.equal(reply.status, 200, reply.text);
    return reply.body.items.map(({ name }: { name: string }) => name);
  };
  assert.deepEqual(await names(""), ["busy", "idle", "large"]);
  assert.deepEqual(await names("verdict=idle"), ["idle"]);
  assert.deepEqual(await names("verdict=right"), ["silent"]);
  assert.deepEqual(await names("project=red"), ["busy", "large"]);
  assert.deepEqual(await names("skip=1&count=1"), ["idle"]);
  assert.deepEqual(await names("", viewer), ["busy", "large"]);
  const { body } = await fixture.get("/right-sizing/vms");
  assert.deepEqual(
    [body.total, body.looked, body.waiting, body.verdicts, body.saving],
    [3, 5, 0, { idle: 1, "too-large": 1, "too-small": 1, right: 1, unknown: 1 }, { cpus: 8 + 6 - 4, memoryBytes: 13.5 * gib }],
  );
  assert.equal((await fixture.get("/right-sizing/vms?project=blue", { token: viewer })).status, 404);
  assert.equal((await fixture.get("/vms/idle/advice?project=blue", { token: viewer })).status, 404);
  assert.equal((await fixture.get("/right-sizing/vms?verdict=huge")).status, 400);
});

test("a machine that is asked for is looked at on the spot", async () => {
  const large = await advice("large");
  assert.deepEqual(
    [large["verdict"], large["suggested"], large["days"], large["confidence"]],
    ["too-large", { cpus: 2, memoryBytes: 2.5 * gib }, 14, "high"],
  );
  assert.match(String(large["reasons"]), /it used 1\.50 of 8 vCPUs or less.*needed 2 GiB of 8 GiB memory/);
  assert.deepEqual(large["effect"], { cpus: "next-start", memory: "next-start" }, "it does not run");
  const busy = await advice("busy");
  assert.deepEqual([busy["verdict"], busy["suggested"]], ["too-small", { cpus: 12, memoryBytes: 8 * gib }]);
  const idle = await advice("idle");
  assert.deepEqual([idle["verdict"], (idle["saving"] as { cpus: number }).cpus], ["idle", 8]);
  const silent = await advice("silent");
  assert.equal(silent["verdict"], "right");
  assert.match(String(silent["reasons"]), /its guest does not say how much memory it needs/);
  const young = await advice("young");
  assert.deepEqual([young["verdict"], young["days"]], ["unknown", 2]);
  assert.match(String(young["reasons"]), /figures of 2\.0 days; nothing is said before 3 days/);
});

test("a machine that was resized is judged by its new size, at once", async () => {
  await change("large", { spec: { cpu: { count: 2 }, memory: { bytes: 2.5 * gib } } });
  const { body } = await fixture.get("/right-sizing/vms?verdict=right&project=red");
  assert.deepEqual(
    body.items.map(({ name, given }: { name: string; given: unknown }) => [name, given]),
    [["large", { cpus: 2, memoryBytes: 2.5 * gib }]],
  );
});

test("who does not want advice is left out, for good or until a day", async () => {
  const listed = async (query = ""): Promise<unknown[]> =>
    (await fixture.get(`/right-sizing/vms?verdict=idle${query}`)).body.items.map(({ dismissed }: { dismissed: boolean }) => dismissed);
  const label = (wish: string | null) => change("idle", { labels: { [rightSizingLabel]: wish } });
  const day = (ms: number): string => new Date(ms).toISOString().slice(0, 10);
  assert.deepEqual(await listed(), [false]);
  await label("off");
  assert.deepEqual([await listed(), await listed("&dismissed=true")], [[], [true]]);
  assert.equal((await advice("idle"))["dismissed"], true);
  await label(day(clock.now() + 2 * 86_400_000));
  assert.deepEqual(await listed(), []);
  await label(day(clock.now() - 86_400_000));
  assert.deepEqual(await listed(), [false]);
  await label(null);
  assert.deepEqual(await listed(), [false]);
});
