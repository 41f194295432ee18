/** Figures over time through the API: what is answered, to whom, and what is refused. */
import assert from "node:assert/strict";
import { after, before, test } from "node:test";
import type { Telemetry } from "@sheaf/telemetry";
import { OwnFigures } from "../telemetry/own-figures.ts";
import { SampleIntake } from "../telemetry/sample-intake.ts";
import { SiteFigures } from "../telemetry/site-figures.ts";
import { ApiFixture } from "../testing/api-fixture.ts";
import { openTelemetry } from "../testing/open-telemetry.ts";

const slotMs = 10_000;
let fixture: ApiFixture;
let telemetry: Telemetry;
let ends: (() => Promise<void>)[] = [];
let host: { id: string; name: string };
let red = "";
let blue = "";
let viewer = "";
/** First slot that was told. */
let start = 0;

before(async () => {
  start = Math.floor(Date.now() / 600_000) * 60 - 120;
  telemetry = await openTelemetry({ after: (end) => void ends.push(end as () => Promise<void>) }, Date.now());
  fixture = await ApiFixture.start({
    telemetry: ({ cache, clock }) => new SiteFigures(new OwnFigures(telemetry, cache, clock), { figures: async () => [] }),
  });
  host = await fixture.host("h1");
  for (const name of ["red", "blue"]) await fixture.make("/projects", { name, spec: {} });
  red = (await fixture.make("/vms", { name: "one", project: "red", spec: { nics: [] } })).id;
  blue = (await fixture.make("/vms", { name: "two", project: "blue", spec: { nics: [] } })).id;
  viewer = await fixture.user("vera", [{ role: "viewer", project: "red" }]);
  const intake = new SampleIntake(telemetry);
  for (let slot = start; slot < start + 60; slot += 1) {
    const vms = [
      { id: red, figures: [slot % 2 ? 100 : 300, 512] },
      { id: blue, figures: [700, 1024] },
    ];
    intake.take(
      slot * slotMs,
      host.id,
      { hostMetrics: ["cpu"], vmMetrics: ["cpu", "memoryUsedBytes"], rows: [{ slot, host: [400], vms }] },
      () => true,
    );
  }
});
after(async () => {
  await fixture.stop();
  for (const end of ends) await end();
  ends = [];
});

const span = (): string => `from=${start * slotMs}&to=${(start + 60) * slotMs}`;

test("a machine's series by steps, of the figures asked for", async () => {
  const mean = await fixture.get(`/vms/one/metrics?project=red&metrics=cpu,memoryUsedBytes&${span()}&stepMs=60000`);
  assert.equal(mean.status, 200, mean.text);
  assert.deepEqual([mean.body.from, mean.body.stepMs, mean.body.rowMs], [start * slotMs, 60_000, slotMs]);
  assert.deepEqual(mean.body.values, { cpu: Array(10).fill(0.2), memoryUsedBytes: Array(10).fill(2 ** 29) });
  for (const [by, cpu] of [
    ["max", 0.3],
    ["min", 0.1],
    ["p95", 0.3],
    ["p50", 0.1],
  ] as const)
    assert.deepEqual(
      (await fixture.get(`/vms/one/metrics?project=red&metrics=cpu&${span()}&stepMs=600000&by=${by}`)).body.values,
      { cpu: [cpu] },
      by,
    );
  const all = await fixture.get(`/hosts/h1/metrics?${span()}`);
  assert.equal(Object.keys(all.body.values).length, 40);
  assert.ok(all.body.values.cpu.every((figure: number) => figure === 0.4));
});

test("the greatest are those that the caller may see", async () => {
  const top = async (token?: string, query = ""): Promise<unknown> =>
    (await fixture.get(`/telemetry/top-vms?windowMs=3600000${query}`, token === undefined ? {} : { token })).body.items;
  const [one, two] = [
    { id: red, name: "one", value: 0.2 },
    { id: blue, name: "two", value: 0.7 },
  ];
  const without = (items: unknown): unknown => (items as { project: string }[]).map(({ project: _project, ...item }) => item);
  assert.deepEqual(without(await top()), [two, one]);
  assert.deepEqual(without(await top(undefined, "&count=1")), [two]);
  assert.deepEqual(without(await top(undefined, "&project=red&by=max")), [{ ...one, value: 0.3 }]);
  assert.deepEqual(without(await top(viewer)), [one]);
  const hosts = await fixture.get("/telemetry/top-hosts?windowMs=3600000");
  assert.deepEqual(hosts.body.items, [{ ...host, value: 0.4 }]);
});

test("another project's machine is not there, and hosts are not for who may not see them", async () => {
  assert.equal((await fixture.get("/vms/one/metrics?project=red", { token: viewer })).status, 200);
  assert.equal((await fixture.get("/vms/two/metrics?project=blue", { token: viewer })).status, 404);
  assert.equal((await fixture.get("/telemetry/top-vms?project=blue", { token: viewer })).status, 404);
  assert.equal((await fixture.get("/telemetry/top-hosts", { token: viewer })).status, 403);
});

test("what cannot be answered is refused with what would be right", async () => {
  for (const query of ["metrics=cpu,nothing", "by=median", "by=p0", "from=5&to=5", "stepMs=1", "windowMs=1"]) {
    const reply = await fixture.get(`/vms/one/metrics?project=red&${query}`);
    assert.equal(reply.status, 400, `${query}: ${reply.text}`);
  }
  assert.match((await fixture.get("/telemetry/top-vms?metric=nothing")).text, /must be one of cpu, /);
});
