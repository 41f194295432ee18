import assert from "node:assert/strict";
import { test } from "node:test";
import fc from "fast-check";
import { gpuHost, gpuHosts, mixOf, wanted } from "../testing/gpu-hosts.ts";
import { Fragmentation } from "./fragmentation.ts";
import type { GpuHosts } from "./gpu-hosts.ts";
import { type GpuDecision, placeOnGpus } from "./gpu-policy.ts";
import { type GpuRequest, gpuMilliWanted } from "./gpu-request.ts";

const models = ["A", "B", "C"];
const hostArbitrary = fc.record({
  cores: fc.integer({ min: 1, max: 32 }),
  memoryGib: fc.integer({ min: 1, max: 64 }),
  model: fc.constantFrom(...models),
  idle: fc.array(fc.constantFrom(1000, 1000, 700, 250), { maxLength: 5 }),
});
const requestArbitrary: fc.Arbitrary<GpuRequest> = fc
  .record({
    cores: fc.integer({ min: 0, max: 8 }),
    memoryGib: fc.integer({ min: 0, max: 16 }),
    gpus: fc.constantFrom(0, 0.1, 0.25, 0.5, 0.7, 1, 1, 2, 4),
    models: fc.subarray(models, { maxLength: 2 }),
  })
  .map((of) => wanted(of.cores, of.gpus, of.models, of.memoryGib));
const site = fc.record({
  hosts: fc.array(hostArbitrary, { minLength: 1, maxLength: 6 }),
  requests: fc.array(requestArbitrary, { minLength: 1, maxLength: 20 }),
  mix: fc.array(requestArbitrary, { maxLength: 5 }),
});
type Site = typeof site extends fc.Arbitrary<infer T> ? T : never;

const build = (of: Site, order = of.hosts.map((_, at) => at)): GpuHosts =>
  gpuHosts(
    ...order.flatMap((at) => {
      const host = of.hosts[at];
      return host === undefined ? [] : [gpuHost(`h${at}`, host.cores, host.idle, host.model, host.memoryGib)];
    }),
  );

/** One after the other; what was decided is taken. */
function placeAll(of: Site, hosts: GpuHosts, fresh = false): (GpuDecision | undefined)[] {
  const lasting = new Fragmentation(hosts, mixOf(...of.mix));
  return of.requests.map((request) => {
    const decision = placeOnGpus(request, hosts, fresh ? new Fragmentation(hosts, mixOf(...of.mix)) : lasting);
    if (decision !== undefined) hosts.take(hosts.demand(request), decision.slot, decision.gpus);
    return decision;
  });
}
const named = (decisions: readonly (GpuDecision | undefined)[]) => decisions.map((each) => each && `${each.host}:${each.gpus.join()}`);

test("nothing is promised twice: each GPU, CPU and memory of each host; shares from one GPU, whole ones of one host, accepted models", () => {
  fc.assert(
    fc.property(site, (of) => {
      const hosts = build(of);
      const decisions = placeAll(of, hosts);
      of.hosts.forEach((host, at) => {
        const mine = of.requests.filter((_, index) => decisions[index]?.host === `h${at}`);
        const sum = (figure: (request: GpuRequest) => number): number => mine.reduce((total, request) => total + figure(request), 0);
        assert.ok(sum(({ cpuMilli }) => cpuMilli) <= host.cores * 1000);
        assert.ok(sum(({ memoryBytes }) => memoryBytes) <= host.memoryGib * 2 ** 30);
        host.idle.forEach((idle, gpu) => {
          const here = of.requests.filter((_, index) => decisions[index]?.host === `h${at}` && decisions[index].gpus.includes(gpu));
          assert.ok(here.reduce((total, { gpuMilli }) => total + gpuMilli, 0) <= idle);
        });
        for (const request of mine) assert.ok(gpuMilliWanted(request) === 0 || request.models.length === 0 || request.models.includes(host.model));
      });
      decisions.forEach((decision, index) => {
        const request = of.requests[index];
        if (decision !== undefined && request !== undefined) assert.equal(new Set(decision.gpus).size, request.gpus);
      });
    }),
    { numRuns: 150 },
  );
});

test("nobody is refused who fits somewhere", () => {
  fc.assert(
    fc.property(site, (of) => {
      const hosts = build(of);
      const decisions = placeAll(of, hosts);
      // What is idle only shrinks: who was refused fits nowhere at the end either.
      of.requests.forEach((request, index) => {
        if (decisions[index] !== undefined) return;
        for (let slot = 0; slot < hosts.length; slot += 1) assert.ok(!hosts.fits(hosts.demand(request), slot));
      });
    }),
    { numRuns: 100 },
  );
});

test("the same input has the same answer, with what was kept from earlier decisions and without, and in whatever order the hosts came", () => {
  fc.assert(
    fc.property(site, fc.nat(), (given, turn) => {
      // The same requests come again and again: what they cost on a host is known, until it changes.
      const of = { ...given, requests: [...given.requests, ...given.requests, ...given.requests] };
      const order = of.hosts.map((_, at) => (at + turn) % of.hosts.length);
      const decisions = named(placeAll(of, build(of)));
      assert.deepEqual(named(placeAll(of, build(of))), decisions);
      assert.deepEqual(named(placeAll(of, build(of), true)), decisions);
      assert.deepEqual(named(placeAll(of, build(of, order))), decisions);
    }),
    { numRuns: 30 },
  );
});
