/** The files of volumes, made by the real qemu-img. */
import assert from "node:assert/strict";
import { mkdtemp, readFile, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { after, before, test } from "node:test";
import { NodeFiles, runProgram } from "@sheaf/adapters";
import type { Processes } from "./ports.ts";
import { VolumeFiles } from "./volume-files.ts";

const mib = 2 ** 20;
const deadline = { deadlineMs: 30_000 };
const programs = { run: runProgram };
const started: string[] = [];
const watched: Processes = {
  run: (program, words, options) => {
    started.push(words[0] ?? "");
    return programs.run(program, words, options);
  },
};
let folder = "";

before(async () => {
  folder = await mkdtemp(join(tmpdir(), "sheaf-volume-files-"));
  for (const [name, size] of [
    ["a", 8 * mib],
    ["b", 16 * mib],
  ] as const)
    await programs.run("qemu-img", ["create", "-q", "-f", "qcow2", join(folder, name), String(size)], deadline);
});
after(() => rm(folder, { recursive: true, force: true }));

test("the second empty disk of a kind is what qemu-img would have made, without the program being started", async () => {
  const maker = new VolumeFiles(new NodeFiles(), watched);
  const linkedTo = (base: string) => ({ type: "linked", path: join(folder, base), format: "qcow2" }) as const;
  const kinds = [
    { source: linkedTo("a"), sizeBytes: 64 * mib },
    { source: linkedTo("a"), sizeBytes: 2 ** 40 },
    { source: linkedTo("b"), sizeBytes: 64 * mib },
    { source: { type: "empty" }, sizeBytes: 64 * mib },
  ] as const;
  for (const [index, { source, sizeBytes }] of kinds.entries()) {
    const [first, second, byProgram] = [1, 2, 3].map((number) => join(folder, `kind-${index}-${number}`)) as [string, string, string]; // three of three
    await maker.make(first, "qcow2", sizeBytes, source);
    started.length = 0;
    await maker.make(second, "qcow2", sizeBytes, source);
    assert.deepEqual(started, [], "no program");
    const backing = source.type === "linked" ? ["-b", source.path, "-F", "qcow2"] : [];
    await programs.run("qemu-img", ["create", "-q", "-f", "qcow2", ...backing, byProgram, String(sizeBytes)], deadline);
    assert.deepEqual(await readFile(second), await readFile(byProgram));
    const checked = await programs.run("qemu-img", ["check", "-q", "-f", "qcow2", second], deadline);
    assert.equal(checked.exitCode, 0, checked.errorOutput);
    assert.equal((await maker.measure(second, "qcow2")).virtualBytes, sizeBytes);
    assert.equal(await maker.backing(second), source.type === "linked" ? source.path : null);
  }
});

test("a disk whose image is gone is not made, be it the first of its kind or not", async () => {
  const maker = new VolumeFiles(new NodeFiles(), watched);
  const base = join(folder, "short-lived");
  await programs.run("qemu-img", ["create", "-q", "-f", "qcow2", base, String(8 * mib)], deadline);
  const source = { type: "linked", path: base, format: "qcow2" } as const;
  await maker.make(join(folder, "while-there"), "qcow2", 8 * mib, source);
  await rm(base);
  const files = new NodeFiles();
  for (const each of [maker, new VolumeFiles(files, programs)]) {
    await assert.rejects(each.make(join(folder, "too-late"), "qcow2", 8 * mib, source));
    assert.equal(await files.facts(join(folder, "too-late")), null);
  }
});
