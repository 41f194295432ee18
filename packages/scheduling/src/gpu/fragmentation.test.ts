import assert from "node:assert/strict";
import { test } from "node:test";
import { gpuHost, gpuHosts, mixOf, wanted } from "../testing/gpu-hosts.ts";
import { Fragmentation } from "./fragmentation.ts";
import type { GpuHosts } from "./gpu-hosts.ts";
import { placeOnGpus } from "./gpu-policy.ts";
import type { GpuRequest } from "./gpu-request.ts";

const decide = (request: GpuRequest, hosts: GpuHosts, ...mix: readonly GpuRequest[]) => {
  const decision = placeOnGpus(request, hosts, new Fragmentation(hosts, mixOf(...mix)));
  return decision && { host: decision.host, gpus: decision.gpus, cost: decision.cost };
};

test("what stays idle when a host is full: gaps, scarce CPU and memory, whole GPUs, models", () => {
  const idle = (host: Parameters<typeof gpuHost>, ...mix: readonly GpuRequest[]): number => {
    const hosts = gpuHosts(gpuHost(...host));
    return new Fragmentation(hosts, mixOf(...mix)).idleWhenFull(0);
  };
  assert.equal(idle(["a", 64, [1000, 1000]], wanted(1, 0.6)), 800, "0.4 of each GPU");
  assert.equal(idle(["a", 64, [1000, 400]], wanted(1, 0.6)), 800);
  assert.equal(idle(["a", 12, [1000, 1000, 1000, 1000]], wanted(4, 1)), 1000, "CPU for three");
  assert.equal(idle(["a", 64, [1000, 1000, 1000], "A", 8], wanted(1, 1, [], 4)), 1000, "memory for two");
  assert.equal(idle(["a", 64, [1000, 1000, 900]], wanted(1, 2)), 900, "a GPU in use is no whole one");
  assert.equal(idle(["a", 64, [1000, 1000]], wanted(1, 1, ["B"])), 2000, "another model is wanted");
  assert.equal(idle(["a", 64, [1000, 1000]]), 2000, "nothing is known of requests");
  const either = idle(["a", 64, [1000]], wanted(1, 0.6), wanted(1, 0.4));
  assert.ok(either >= 12.5 && either <= 100, `0.2 of the GPU where two of 0.4 come first, about one fill in four, else nothing: ${either}`);
});

test("a share goes where it uses what nobody else could; on the host to the tightest GPU", () => {
  // Halves are wanted. 0.4 of a whole GPU spoils 0.1 of it, 0.4 of a gap of 0.9 uses the 0.4 that a half would have left.
  const hosts = gpuHosts(gpuHost("a", 64, [1000, 1000]), gpuHost("b", 64, [1000, 900]), gpuHost("c", 64, [500, 1000]));
  assert.deepEqual(decide(wanted(1, 0.4), hosts, wanted(1, 0.5)), { host: "b", gpus: [1], cost: -400 });
  assert.deepEqual(decide(wanted(1, 0.4), gpuHosts(gpuHost("a", 64, [1000, 700, 450])), wanted(1, 0.5)), { host: "a", gpus: [2], cost: -400 });
});

test("whole GPUs are kept together for those who want several", () => {
  const hosts = gpuHosts(gpuHost("a", 64, [1000, 1000, 1000, 1000]), gpuHost("b", 64, [1000, 0, 0, 0]));
  assert.deepEqual(decide(wanted(1, 1), hosts, wanted(1, 4), wanted(1, 4)), { host: "b", gpus: [0], cost: -1000 });
  assert.deepEqual(decide(wanted(1, 2), hosts, wanted(1, 4))?.gpus, [0, 1]);
});

test("without GPUs: where CPU is in surplus beside the GPUs", () => {
  // Each GPU needs 8 cores: a has exactly those, b 16 too many.
  const hosts = gpuHosts(gpuHost("a", 16, [1000, 1000]), gpuHost("b", 32, [1000, 1000]));
  assert.deepEqual(decide(wanted(8, 0), hosts, wanted(8, 1)), { host: "b", gpus: [], cost: 0 });
  assert.deepEqual(decide(wanted(8, 0), gpuHosts(gpuHost("a", 16, [1000, 1000])), wanted(8, 1)), { host: "a", gpus: [], cost: 1000 });
});

test("models that are asked for by name are left to those who ask", () => {
  const hosts = gpuHosts(gpuHost("a", 64, [1000], "rare"), gpuHost("b", 64, [1000], "plain"));
  assert.equal(decide(wanted(1, 1), hosts, wanted(1, 1, ["rare"]), wanted(1, 1, ["rare"]))?.host, "b");
  assert.equal(decide(wanted(1, 1, ["rare"]), hosts, wanted(1, 1))?.host, "a");
});

test("equal costs go to the smaller host id; nothing fits: no decision", () => {
  const hosts = gpuHosts(gpuHost("c", 8, [1000]), gpuHost("a", 8, [1000]), gpuHost("b", 8, [1000]));
  assert.equal(decide(wanted(1, 0.3), hosts, wanted(1, 0.5))?.host, "a");
  assert.equal(decide(wanted(9, 0.3), hosts, wanted(1, 0.5)), undefined);
  assert.equal(decide(wanted(1, 2), hosts, wanted(1, 0.5)), undefined);
});

test("hosts that come, change and go between decisions count as they are", () => {
  const hosts = gpuHosts(gpuHost("b", 64, [1000]));
  const policy = new Fragmentation(hosts, mixOf(wanted(1, 0.5)));
  const host = (): string | undefined => placeOnGpus(wanted(1, 0.4), hosts, policy)?.host;
  assert.equal(host(), "b");
  hosts.put(gpuHost("c", 64, [900]));
  assert.equal(host(), "c");
  hosts.put(gpuHost("c", 64, [1000]));
  assert.equal(host(), "b");
  hosts.put(gpuHost("a", 64, [1000]));
  assert.equal(host(), "a");
  hosts.remove("a");
  hosts.remove("b");
  assert.equal(host(), "c");
});

test("it learns the mix from what arrives", () => {
  const hosts = gpuHosts(gpuHost("a", 64, [1000]));
  const policy = new Fragmentation(hosts);
  assert.equal(policy.idleWhenFull(0), 1000);
  for (let arrived = 0; arrived < 32; arrived += 1) policy.learn(wanted(1, 0.7));
  assert.equal(policy.idleWhenFull(0), 300);
  for (let arrived = 0; arrived < 10_000; arrived += 1) policy.learn(wanted(1, 0.25));
  assert.ok(policy.idleWhenFull(0) < 50);
});
