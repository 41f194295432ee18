/** Samples that wait for a server: a quarter of an hour as they are, 72 hours by the minute, through restarts and torn writes. */
import assert from "node:assert/strict";
import { test } from "node:test";
import { silentLogger } from "@sheaf/base";
import { meanRow, SampleShelf } from "./sample-shelf.ts";
import { SimulatedFiles } from "./simulated/simulated-files.ts";

const path = "/data/samples.log";
const row = (slot: number) => ({ slot, host: [slot, null], vms: [{ id: "m", figures: [slot * 2] }] });
const open = (files: SimulatedFiles): Promise<SampleShelf> => SampleShelf.open({ files, logger: silentLogger, path });

async function fill(shelf: SampleShelf, from: number, to: number): Promise<void> {
  for (let slot = from; slot < to; slot += 1) await shelf.put(row(slot));
}
const slotsOf = (shelf: SampleShelf, after = -1, most = 100_000): number[] => shelf.after(after, most).map(({ slot }) => slot);
const empty = (): SimulatedFiles => new SimulatedFiles({ "/data/x": "" });

test("what is older than a quarter of an hour is thinned to minutes and on the disk; a restart has those minutes", async () => {
  const files = empty();
  const shelf = await open(files);
  await fill(shelf, 600, 690);
  assert.equal(files.text(path), null);
  await fill(shelf, 690, 710);
  assert.deepEqual(slotsOf(shelf).slice(0, 5), [605, 611, 617, 623, 624]);
  assert.deepEqual(shelf.after(604, 1), [{ slot: 605, host: [603, null], vms: [{ id: "m", figures: [1205] }] }]);
  await shelf.close();
  assert.deepEqual(slotsOf(await open(files)), [605, 611, 617, 623]);
});

test("72 hours are kept, however long a host is cut off, and the file does not grow beyond them", async () => {
  const files = empty();
  const shelf = await open(files);
  await fill(shelf, 0, 80 * 360);
  const slots = slotsOf(shelf);
  assert.equal(slots.length, 72 * 60 + 90);
  assert.ok((files.text(path) ?? "").split("\n").length <= 72 * 60 + 720 + 1);
  await shelf.close();
  assert.deepEqual(slotsOf(await open(files)), slots.slice(0, 72 * 60));
});

test("what a server has is dropped, and with the last of it the file", async () => {
  const files = empty();
  const shelf = await open(files);
  await fill(shelf, 0, 120);
  await shelf.drop(11);
  assert.equal(slotsOf(shelf)[0], 17);
  await shelf.drop(100);
  assert.equal(files.text(path), null);
  assert.deepEqual(
    slotsOf(shelf),
    Array.from({ length: 19 }, (_, each) => 101 + each),
  );
  await fill(shelf, 120, 220);
  assert.ok(files.text(path));
  await shelf.drop(500);
  assert.ok(shelf.isEmpty);
});

test("a file that was cut off anywhere has the rows before, and goes on behind them", async () => {
  const files = empty();
  const shelf = await open(files);
  await fill(shelf, 0, 109);
  await shelf.close();
  const whole = Buffer.from(files.text(path) ?? "");
  assert.equal(slotsOf(await open(files)).length, 4);
  for (let cut = 0; cut <= whole.length; cut += 1) {
    files.put(path, whole.subarray(0, cut));
    const again = await open(files);
    const before = slotsOf(again);
    assert.deepEqual(before, [5, 11, 17, 23].slice(0, whole.subarray(0, cut).toString().split("\n").length - 1), `cut at ${cut}`);
    await fill(again, 1200, 1297);
    await again.close();
    assert.deepEqual(slotsOf(await open(files)), [...before, 1205, 1211], `cut at ${cut}, and gone on`);
  }
});

test("a file that was damaged has the rows before the damage, and no wrong one", async () => {
  const files = empty();
  const shelf = await open(files);
  await fill(shelf, 0, 109);
  await shelf.close();
  const whole = Buffer.from(files.text(path) ?? "");
  const second = whole.indexOf("\n") + 1;
  for (let at = second; at < whole.indexOf("\n", second); at += 1) {
    const damaged = Buffer.from(whole);
    damaged[at] = (damaged[at] ?? 0) ^ 1;
    files.put(path, damaged);
    assert.deepEqual(slotsOf(await open(files)), [5], `damaged at ${at}`);
  }
});

test("a mean is of what was measured, of machines that were there", () => {
  const rows = [
    { slot: 1, host: [1, null, 4], vms: [{ id: "a", figures: [10] }] },
    { slot: 2, host: [2, null, null], vms: [{ id: "b", figures: [7, null] }] },
  ];
  assert.deepEqual(meanRow(rows), {
    slot: 2,
    host: [2, null, 4],
    vms: [
      { id: "a", figures: [10] },
      { id: "b", figures: [7, null] },
    ],
  });
});
