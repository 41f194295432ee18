/** The book of use takes in what agents tell soon after they did, and the scheduler is told from it. */
import assert from "node:assert/strict";
import { test } from "node:test";
import { SimulatedClock } from "@sheaf/base";
import type { HostLoad } from "@sheaf/contract";
import type { Measured } from "@sheaf/scheduling";
import { UseSampler, type UseSamplerOptions } from "./use-sampler.ts";

const rates = { diskReadBytesPerSecond: 0, diskWriteBytesPerSecond: 0, netReceiveBytesPerSecond: 0, netTransmitBytesPerSecond: 0 };
const loadOf = (cpu: number, vmCpus: number): HostLoad => ({
  cpu,
  memoryUsedBytes: 50,
  memoryTotalBytes: 200,
  vms: [{ id: "vm", cpu: vmCpus, memoryUsedBytes: 10, ...rates }],
});

function start() {
  const clock = new SimulatedClock();
  const host = (id: string, spec = {}) => ({ id, spec, status: { agent: { cpu: { count: 8 }, memoryBytes: 200 } } });
  const records: Record<string, { readonly id: string }[]> = {
    host: [host("a"), host("b"), host("shared", { offeredCpus: 4 })],
    vm: [{ id: "vm", placement: { host: "a" } } as { id: string }], // what is looked at of it
  };
  const loads = new Map<string, HostLoad>();
  const told: Record<string, Measured> = {};
  const sampler = new UseSampler({
    clock,
    cache: {
      all: (kind: string) => records[kind] ?? [],
      get: (kind: string, id: string) => records[kind]?.find((record) => record.id === id),
    } as unknown as UseSamplerOptions["cache"], // what is looked at of it
    agents: { load: (id: string) => loads.get(id) ?? null } as unknown as UseSamplerOptions["agents"], // as above
    snapshot: { measure: (id, figures) => void (told[id] = figures) },
  });
  return { clock, sampler, loads, told };
}

test("the scheduler is told what hosts use of what they offer, and forgets who is not known any more", async () => {
  const { clock, sampler, loads, told } = start();
  for (let beat = 0; beat < 40; beat += 1) {
    loads.set("a", loadOf(0.5, 2));
    loads.set("shared", loadOf(1, 1));
    await clock.advance(5000);
  }
  assert.deepEqual(told, {
    // Its machine is placed there, and known.
    a: { cpuPercent: 50, memoryPercent: 25 },
    // Of its own share, and its machine is another's by now: nothing is used here.
    shared: { cpuPercent: 0, memoryPercent: 20 },
  });
  loads.delete("shared");
  await clock.advance(150_000);
  assert.deepEqual(Object.entries(told).at(-1), ["shared", {}]);
  assert.deepEqual(Object.keys(told), ["a", "shared"], "of b nothing is known");
  sampler.close();
});

test("what was told is in the book within two seconds, and counts once", async () => {
  const { clock, sampler, loads } = start();
  const load = loadOf(0.25, 0);
  loads.set("a", load);
  await clock.advance(2000);
  assert.equal(sampler.book.host("a", clock.monotonic())?.cpus, 2);
  let added = 0;
  const add = sampler.book.add.bind(sampler.book);
  sampler.book.add = (...reading) => {
    added += 1;
    add(...reading);
  };
  await clock.advance(60_000);
  assert.equal(added, 3, "the same again only so that it is not forgotten");
  loads.set("a", loadOf(0.75, 0));
  await clock.advance(2000);
  assert.equal(added, 4);
  sampler.close();
});
