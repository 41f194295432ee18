import assert from "node:assert/strict";
import { mkdtemp, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { test } from "node:test";
import { startServerProcess } from "./server-process.ts";

test("a server that does not answer in time is gone when this is told", { timeout: 60_000 }, async () => {
  const folder = await mkdtemp(join(tmpdir(), "sheaf-silent-"));
  let pid = 0;
  try {
    const path = join(folder, "silent.mjs");
    // Where the test fails it is not for long.
    await writeFile(path, 'process.on("SIGTERM", () => {}); process.send(process.pid); setTimeout(() => {}, 20_000);');
    const program = { path, said: (message: unknown) => void (pid = Number(message)) };
    const options = { dataDirectory: folder, port: 0, agentPort: 0, names: [] };
    await assert.rejects(startServerProcess({ ...options, program, answerWithinMs: 2000 }), /the server's answer/);
    assert.notEqual(pid, 0, "it had started");
    assert.throws(() => process.kill(pid, 0), { code: "ESRCH" });
  } finally {
    await rm(folder, { recursive: true });
  }
});
