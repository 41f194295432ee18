import assert from "node:assert/strict";
import { mkdtemp, rm, stat, symlink, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { after, before, describe, it } from "node:test";
import { NodeFiles } from "./files.ts";

describe("NodeFiles", () => {
  const files = new NodeFiles();
  let directory = "";
  before(async () => {
    directory = await mkdtemp(join(tmpdir(), "sheaf-files-"));
  });
  after(() => rm(directory, { recursive: true }));

  it("replaces a file whole, readable by its owner alone, also over what a crash left", async () => {
    const path = join(directory, "secret");
    await writeFile(`${path}.new`, "half of an older", { mode: 0o644 });
    await files.writeAtomic(path, "first");
    await files.writeAtomic(path, "second");
    assert.equal(await files.readText(path), "second");
    assert.equal((await stat(path)).mode & 0o777, 0o600);
    assert.deepEqual(await files.list(directory), ["secret"]);
  });

  it("answers null for what is not there", async () => {
    assert.equal(await files.read(join(directory, "no")), null);
    assert.equal(await files.readText(join(directory, "secret", "below-a-file")), null);
    assert.equal(await files.facts(join(directory, "no")), null);
    assert.deepEqual(await files.list(join(directory, "no")), []);
    assert.equal(await files.readLink(join(directory, "no")), null);
  });

  it("writes on from a place and cuts off what lies behind", async () => {
    const path = join(directory, "part");
    await writeFile(path, "0123456789");
    const writer = await files.writer(path, 4);
    await writer.write(Buffer.from("ab"));
    await writer.write(Buffer.from("c"));
    await writer.sync();
    await writer.close();
    assert.equal(await files.readText(path), "0123abc");
    assert.equal(Buffer.from(await files.readRange(path, 3, 100)).toString(), "3abc");
    const chunks: Uint8Array[] = [];
    for await (const chunk of files.stream(path, { start: 1, end: 2 })) chunks.push(chunk);
    assert.equal(Buffer.concat(chunks).toString(), "12");
  });

  it("tells links and space", async () => {
    await symlink("target-of-link", join(directory, "link"));
    assert.equal(await files.readLink(join(directory, "link")), "target-of-link");
    const { capacityBytes, availableBytes } = await files.space(directory);
    assert.ok(capacityBytes > availableBytes && availableBytes > 0);
  });
});
