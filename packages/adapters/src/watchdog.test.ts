/** Against a file: there is no watchdog device to be had where tests run, and one that is opened by mistake resets the machine. */
import assert from "node:assert/strict";
import { mkdtemp, readFile, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { test } from "node:test";
import { nodeWatchdogs, sinceBoot } from "./watchdog.ts";

test("each pet is a byte, V comes last where it need not fire, and nothing where it must", async () => {
  const directory = await mkdtemp(join(tmpdir(), "sheaf-watchdog-"));
  try {
    const path = join(directory, "watchdog0");
    await writeFile(path, "");
    const device = nodeWatchdogs.open(path);
    device.pet();
    device.pet();
    assert.equal(await readFile(path, "latin1"), "\0\0");
    device.disarm();
    assert.equal(await readFile(path, "latin1"), "\0\0V");
    assert.throws(() => device.pet(), { code: "EBADF" });
    const left = nodeWatchdogs.open(path);
    left.pet();
    left.abandon();
    assert.equal(await readFile(path, "latin1"), "\0");
    assert.throws(() => nodeWatchdogs.open(join(directory, "none/watchdog1")), { code: "ENOENT" });
  } finally {
    await rm(directory, { recursive: true, force: true });
  }
});

test("time since the boot goes on, in milliseconds", async () => {
  const before = sinceBoot();
  const uptimeMs = Number((await readFile("/proc/uptime", "utf8")).split(" ")[0]) * 1000;
  assert.ok(Math.abs(uptimeMs - before) < 1000, `${before} and ${uptimeMs}`);
  assert.ok(sinceBoot() >= before);
});
