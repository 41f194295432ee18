import assert from "node:assert/strict";
import { test } from "node:test";
import { silentLogger } from "@sheaf/base";
import fc from "fast-check";
import { Journal } from "./journal.ts";
import type { Files, FileWriter } from "./ports.ts";
import { SimulatedFiles } from "./simulated/simulated-files.ts";

const directory = "/agent";
const path = `${directory}/kept.log`;

const open = (files: Files) => Journal.open({ files, logger: silentLogger, directory });
const held = ({ journal }: { journal: Journal }): Record<string, unknown> =>
  Object.fromEntries([...journal.entries()].map(([name, json]) => [name, JSON.parse(json)]));

/** @param around what happens to each write of the file's end */
function watchWrites(files: SimulatedFiles, around: (bytes: Uint8Array, write: FileWriter["write"]) => Promise<void>): void {
  const writer = files.writer.bind(files);
  files.writer = async (...place) => {
    const real = await writer(...place);
    return { ...real, write: (bytes) => around(bytes, real.write) };
  };
}

test("what was said to be kept is there after any restart, wherever the last line was cut off", async () => {
  const change = fc.record({ name: fc.constantFrom("a", "b", "c"), value: fc.option(fc.string(), { nil: undefined }) });
  await fc.assert(
    fc.asyncProperty(fc.array(change, { minLength: 1, maxLength: 12 }), fc.nat(), async (changes, cut) => {
      const files = new SimulatedFiles();
      const { journal } = await open(files);
      const states: Record<string, unknown>[] = [{}];
      const ends: number[] = [0];
      for (const { name, value } of changes) {
        await (value === undefined ? journal.remove(name) : journal.put(name, value));
        const { [name]: _, ...others } = states.at(-1) ?? {};
        states.push(value === undefined ? others : { ...others, [name]: value });
        ends.push((await files.read(path))?.byteLength ?? 0);
      }
      const whole = (await files.read(path)) ?? new Uint8Array(0);
      // Not within the file's first line: that was written beside and renamed.
      const length = Math.max(ends[1] ?? 0, cut % (whole.byteLength + 1));
      files.put(path, whole.subarray(0, length));
      const expected = states[ends.findLastIndex((end) => end <= length)];
      const again = await open(files);
      assert.deepEqual(held(again), expected);
      assert.equal(again.damaged, 0);
      await again.journal.put("after", 1);
      assert.deepEqual(held(await open(files)), { ...expected, after: 1 });
    }),
    { numRuns: 300 },
  );
});

test("changes asked for while the disk is busy go out as one line; what did not change is not written", async () => {
  const files = new SimulatedFiles();
  const { journal } = await open(files);
  await journal.put("first", 0);
  const lines: string[] = [];
  watchWrites(files, async (bytes, write) => {
    lines.push(Buffer.from(bytes).toString().slice(9));
    await write(bytes);
  });
  const busy = journal.put("a", 1);
  await Promise.resolve();
  await Promise.all([busy, journal.put("b", 1), journal.put("b", 2), journal.put("c", 3), journal.remove("first"), journal.put("b", 2)]);
  await Promise.all([journal.put("a", 1), journal.remove("never")]);
  assert.deepEqual(lines, ['[["a",1]]\n', '[["b",2],["c",3],["first"]]\n']);
  assert.deepEqual(held(await open(files)), { a: 1, b: 2, c: 3 });
});

test("a change that could not be written is refused; the next one makes the file whole", async () => {
  const files = new SimulatedFiles();
  const { journal } = await open(files);
  await journal.put("a", 1);
  let full = true;
  watchWrites(files, async (bytes, write) => {
    await write(full ? bytes.subarray(0, 10) : bytes);
    if (full) throw new Error("ENOSPC");
  });
  await assert.rejects(journal.put("a", 2), /ENOSPC/);
  assert.deepEqual(held(await open(files)), { a: 1 });
  full = false;
  await Promise.all([journal.put("b", 1), journal.put("c", 1)]);
  assert.deepEqual(held(await open(files)), { a: 1, b: 1, c: 1 });
  await journal.put("d", 1);
  assert.equal((await open(files)).damaged, 0);
});

test("nothing that stood before a damaged line is believed, what came after it is", async () => {
  const files = new SimulatedFiles();
  const { journal } = await open(files);
  for (const [name, value] of Object.entries({ a: "old", b: "spoilt", c: "new", d: "last" })) await journal.put(name, value);
  const text = files.text(path) ?? "";
  files.put(path, text.replace("spoilt", "spoiled"));
  const again = await open(files);
  assert.deepEqual([held(again), again.damaged], [{ c: "new", d: "last" }, 1]);
  assert.match(files.text(`${directory}/set-aside/kept.log`) ?? "", /spoiled/);
  await again.journal.put("e", 1);
  const mended = await open(files);
  assert.deepEqual([held(mended), mended.damaged], [{ c: "new", d: "last", e: 1 }, 0]);
});

test("the file stays within twice what counts and some, over restarts too", async () => {
  const files = new SimulatedFiles();
  const value = "x".repeat(1000);
  for (let start = 0; start < 5; start += 1) {
    const { journal } = await open(files);
    for (let index = 0; index < 200; index += 1) await journal.put(`name-${index % 10}`, `${start} ${index} ${value}`);
    assert.ok((files.text(path)?.length ?? 0) < 90_000, `${files.text(path)?.length}`);
  }
  assert.equal(Object.keys(held(await open(files))).length, 10);
});
