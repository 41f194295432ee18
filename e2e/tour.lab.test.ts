/** README's five minutes, line by line, as a newcomer would type them. */
import assert from "node:assert/strict";
import { readFile } from "node:fs/promises";
import { join } from "node:path";
import { after, before, test } from "node:test";
import { openSite, type Site } from "./site.ts";

let site: Site;
before(
  async () => {
    site = await openSite({ hosts: 3, port: 17_543 });
  },
  { timeout: 180_000 },
);
after(() => site?.close(), { timeout: 60_000 });

async function tourOf(file: string): Promise<string[]> {
  const text = await readFile(join(import.meta.dirname, "..", file), "utf8");
  const block = /```sh\n([\s\S]*?)```/.exec(text)?.[1] ?? "";
  return block.split("\n").filter((line) => line.startsWith("./sheaf "));
}

test("both READMEs show the same tour", async () => {
  const tour = await tourOf("README.md");
  assert.ok(tour.length > 10);
  assert.deepEqual(await tourOf("README.zh-CN.md"), tour);
});

test("every line of the tour works", { timeout: 300_000 }, async () => {
  for (const line of await tourOf("README.md")) {
    const result = await site.sheaf(...line.split(" ").slice(1));
    assert.equal(result.code, 0, `${line}\n${result.error}${result.out}`);
  }
});
