import assert from "node:assert/strict";
import { test } from "node:test";
import { smoothingMs, UseBook } from "./use-book.ts";

const reading = (cpus: number, own = 1) => ({ cpus: cpus + own, memoryBytes: 100, machines: [{ id: "m", cpus, memoryBytes: 40 }] });
const near = (figure: number | undefined, wanted: number, by = 0.01): void =>
  assert.ok(Math.abs((figure ?? Number.NaN) - wanted) <= by, `${figure}, not ${wanted}`);

test("what the host uses beside its machines, and what they use, as a mean", () => {
  const book = new UseBook();
  for (const [at, cpus] of [2, 4, 2, 4, 2, 4].entries()) book.add("h", reading(cpus), at * 15_000);
  near(book.machine("m", 75_000)?.cpus, 3);
  near(book.host("h", 75_000)?.cpus, 1);
  assert.equal(book.host("h", 75_000)?.memoryBytes, 60);
});

test("after the time constant a step counts for 63 %, however uneven the readings", () => {
  for (const steps of [5, 20, 300]) {
    const book = new UseBook();
    for (let at = 0; at <= 3_600_000; at += 15_000) book.add("h", reading(0), at);
    for (let step = 1; step <= steps; step += 1) book.add("h", reading(10), 3_600_000 + (step * smoothingMs) / steps);
    near(book.machine("m", 3_600_000 + smoothingMs)?.cpus, 6.32, 0.02);
  }
});

test("a machine that has just come is not known yet, and who is not told of is forgotten", () => {
  const book = new UseBook();
  book.add("h", reading(2), 0);
  book.add("h", reading(2), 15_000);
  assert.equal(book.settledMachine("m", 15_000), undefined);
  near(book.machine("m", 15_000)?.cpus, 2);
  book.add("h", reading(2), 60_000);
  near(book.settledMachine("m", 60_000)?.cpus, 2);
  assert.equal(book.machine("m", 200_000), undefined);
  assert.equal(book.host("h", 200_000), undefined);
  book.sweep(200_000);
  book.add("h", reading(7), 210_000);
  assert.equal(book.settledMachine("m", 210_000), undefined, "it is known anew");
});

test("less than its machines use is not used by a host", () => {
  const book = new UseBook();
  book.add("h", { cpus: 1, memoryBytes: 10, machines: [{ id: "m", cpus: 2, memoryBytes: 40 }] }, 0);
  assert.deepEqual([book.host("h", 0)?.cpus, book.host("h", 0)?.memoryBytes], [0, 0]);
});
