/** When an agent samples, and what it tells a server: all that none has acknowledged, oldest first. */
import assert from "node:assert/strict";
import { test } from "node:test";
import { silentLogger, SimulatedClock } from "@sheaf/base";
import type { SampleBatch } from "@sheaf/contract";
import { vmMetricNames } from "@sheaf/model";
import { LoadMeter } from "./host-load.ts";
import type { DomainStatistics } from "./ports.ts";
import { Sampler } from "./sampler.ts";
import { SimulatedFiles } from "./simulated/simulated-files.ts";
import { StatisticsReader } from "./statistics-reader.ts";

const ours = "0199aaaa-0000-7000-8000-000000000001";
const other = "0199aaaa-0000-7000-8000-000000000002";

function domain(uuid: string, cpuTimeNs: number): DomainStatistics {
  return {
    ...{ uuid, cpuTimeNs, vcpus: 2, balloonBytes: 2 ** 30, memoryUsedBytes: 2 ** 29, residentBytes: 2 ** 28, cpuWaitNs: 0 },
    ...{ diskReadBytes: 0, diskWriteBytes: 0, netReceiveBytes: 0, netTransmitBytes: 0, diskReads: 0, diskWrites: 0, diskTimeNs: 0 },
  };
}

async function start(files = new SimulatedFiles({ "/data/x": "" }), always = false) {
  const clock = new SimulatedClock();
  const sent: SampleBatch[] = [];
  let calls = 0;
  const hypervisor = {
    statistics: async () => {
      calls += 1;
      return [domain(ours, clock.monotonic() * 1.5e6), domain(other, 0)];
    },
  };
  const statistics = new StatisticsReader({ clock, files, hypervisor });
  const load = new LoadMeter({ files, statistics, isOurs: (uuid) => uuid === ours });
  const sampler = await Sampler.open({
    ...{ clock, files, logger: silentLogger, dataDirectory: "/data" },
    statistics,
    isOurs: (uuid) => uuid === ours,
    send: (batch) => sent.push(batch),
    always,
  });
  return { clock, sampler, load, sent, files, calls: () => calls, slots: () => sent.flatMap(({ rows }) => rows.map(({ slot }) => slot)) };
}

test("without a server that keeps samples nothing is asked of the hypervisor", async () => {
  const { clock, sampler, calls } = await start();
  sampler.welcomed(false);
  await clock.advance(60_000);
  assert.equal(calls(), 0);
  await sampler.stop();
});

test("every ten seconds, on the clock's tens, one call for all machines, and one row of the own ones", async () => {
  const { clock, sampler, sent, calls, slots } = await start();
  await clock.advance(3456);
  sampler.welcomed(true);
  await clock.advance(40_000);
  const first = Math.ceil((clock.now() - 40_000) / 10_000);
  assert.deepEqual(slots(), [first, first + 1, first + 2, first + 3]);
  assert.equal(calls(), 4);
  const row = sent.at(-1)?.rows.at(-1);
  assert.deepEqual(
    row?.vms.map(({ id }) => id),
    [ours],
  );
  const figure = (name: string): unknown => row?.vms[0]?.figures[vmMetricNames.indexOf(name)];
  assert.deepEqual(["cpu", "memoryUsedBytes", "memoryResidentBytes", "diskLatencyMicroseconds"].map(figure), [1500, 512, 256, 0]);
  await sampler.stop();
  await clock.advance(60_000);
  assert.equal(calls(), 4);
});

test("heartbeats tell of the samples' reading, and read for themselves where nobody samples: one call in ten seconds either way", async () => {
  const { clock, sampler, load, calls } = await start();
  for (const sampled of [false, true]) {
    sampler.welcomed(sampled);
    const before = calls();
    for (let second = 0; second < 100; second += 1) {
      await clock.advance(1000);
      const { vms } = await load.read();
      if (second > 20) assert.equal(vms[0]?.cpu.toFixed(3), "1.500");
    }
    assert.ok(calls() - before <= 11, `${calls() - before} calls`);
    assert.ok(calls() - before >= 9, `${calls() - before} calls`);
  }
  await sampler.stop();
});

test("cut off, it goes on; a server that comes back is told all that none has, oldest first, a few with each sample", async () => {
  const { clock, sampler, slots, sent } = await start();
  sampler.welcomed(true);
  await clock.advance(100_000);
  const told = slots();
  await sampler.acknowledged(told[4] ?? 0);
  sampler.disconnected();
  await clock.advance(300_000);
  assert.deepEqual(slots(), told);
  sent.length = 0;
  sampler.welcomed(true);
  await clock.advance(10_000);
  assert.equal(slots().length, 12);
  assert.equal(slots()[0], (told[4] ?? 0) + 1);
  await clock.advance(100_000);
  const all = slots();
  assert.deepEqual(
    all,
    all.map((_, each) => (all[0] ?? 0) + each),
    "each once, in order",
  );
  assert.equal(all.at(-1), Math.floor(clock.now() / 10_000));
  await sampler.stop();
});

test("an agent that is restarted while its host is cut off goes on, and tells the server what is on the disk", async () => {
  const before = await start();
  before.sampler.welcomed(true);
  before.sampler.disconnected();
  await before.clock.advance(3_600_000);
  await before.sampler.stop();
  const { sampler, clock, calls, slots } = await start(before.files);
  // Its clock stands where the other's stood at first: what matters is that it samples before any server has said so.
  await clock.advance(10_000);
  assert.equal(calls(), 1);
  sampler.welcomed(true);
  await clock.advance(10_000);
  assert.equal(slots()[0], 176_722_565);
  await sampler.stop();
});

test("for somebody who asks for the newest figures it samples without a server, and puts nothing by", async () => {
  const { clock, sampler, files, slots } = await start(undefined, true);
  assert.equal(sampler.newest?.slot, undefined);
  await clock.advance(3_600_000);
  assert.equal(sampler.newest?.slot, Math.floor(clock.now() / 10_000));
  assert.deepEqual(files.paths("/data/samples"), []);
  sampler.welcomed(true);
  await clock.advance(10_000);
  assert.deepEqual(slots(), [Math.floor(clock.now() / 10_000)]);
  await sampler.stop();
});
