import assert from "node:assert/strict";
import { test } from "node:test";
import { wanted } from "../testing/gpu-hosts.ts";
import { type GpuRequest, gpuRequestKey } from "./gpu-request.ts";
import { RequestMix } from "./request-mix.ts";

const learnt = (...weights: readonly (readonly [GpuRequest, number])[]): RequestMix => {
  const mix = new RequestMix();
  for (const [request, weight] of weights) mix.learn(request, weight);
  return mix;
};
const [half, whole, cpu] = [wanted(1, 0.5), wanted(2, 1), wanted(8, 0)];

test("a sample holds each class as often as its weight says, in an order of its own, and no request without GPUs", () => {
  const mix = learnt([half, 30], [whole, 10], [cpu, 1000]);
  const drawn = mix.draw(100);
  assert.equal(drawn.length, 100);
  assert.equal(drawn.filter((request) => request === half).length, 75);
  assert.equal(drawn.filter((request) => request === whole).length, 25);
  assert.ok(drawn.slice(0, 50).includes(whole) && drawn.slice(50).includes(whole), "mixed");
  assert.deepEqual(learnt([cpu, 5], [half, 2]).draw(3), [half, half, half]);
  assert.deepEqual(learnt([cpu, 1]).draw(10), []);
});

test("the same mix gives the same sample, however it was learnt; models in another order are the same class", () => {
  const one = learnt([half, 3], [whole, 3]);
  const other = learnt([whole, 2], [half, 3], [whole, 1]);
  assert.deepEqual(one.draw(64), other.draw(64));
  assert.equal(gpuRequestKey(wanted(1, 1, ["A", "B"])), gpuRequestKey(wanted(1, 1, ["B", "A"])));
  assert.notEqual(gpuRequestKey(wanted(1, 1, ["A"])), gpuRequestKey(wanted(1, 1)));
});

test("it follows the times and stays bounded: what came once is forgotten, what keeps coming outweighs what no longer does", () => {
  const mix = new RequestMix();
  mix.learn(half, 20_000);
  for (let size = 1; size <= 80_000; size += 1) mix.learn(size % 2 === 0 ? whole : wanted(size, 1));
  assert.ok(mix.total <= 32_769);
  assert.ok(mix.classes().length < 20_000);
  assert.equal(mix.classes()[0]?.request, whole);
  assert.ok((mix.classes().find(({ request }) => request === half)?.weight ?? 0) < 2500);
});
