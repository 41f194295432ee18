import assert from "node:assert/strict";
import { existsSync } from "node:fs";
import { mkdtemp, readFile, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { test } from "node:test";
import { signOutCommandLine } from "./sign-in.ts";

test("signing out forgets the servers of one authority, and the file with the last of them", async () => {
  const folder = await mkdtemp(join(tmpdir(), "sheaf-sign-out-"));
  const path = join(folder, "cli.json");
  const before = process.env["SHEAF_CONFIG"];
  process.env["SHEAF_CONFIG"] = path;
  try {
    await signOutCommandLine("ours");
    assert.equal(existsSync(path), false);
    const servers = { "https://a:1": { authority: "ours", token: "t" }, "https://b:1": { authority: "theirs", token: "u" } };
    await writeFile(path, JSON.stringify({ current: "https://a:1", servers }));
    await signOutCommandLine("ours");
    assert.deepEqual(JSON.parse(await readFile(path, "utf8")), { servers: { "https://b:1": servers["https://b:1"] } });
    await signOutCommandLine("theirs");
    assert.equal(existsSync(path), false);
  } finally {
    if (before === undefined) delete process.env["SHEAF_CONFIG"];
    else process.env["SHEAF_CONFIG"] = before;
    await rm(folder, { recursive: true });
  }
});
