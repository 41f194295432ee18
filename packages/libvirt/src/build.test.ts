import assert from "node:assert/strict";
import { execFileSync } from "node:child_process";
import { mkdtempSync, readdirSync, readFileSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join, resolve } from "node:path";
import { after, test } from "node:test";

const directory = mkdtempSync(join(tmpdir(), "libvirt-build-"));
after(() => rmSync(directory, { recursive: true }));

test("what goes to npm is JavaScript with types that works by itself", () => {
  execFileSync(process.execPath, [resolve(import.meta.dirname, "../../../tools/build-libvirt.ts"), directory]);
  const script = `
    const { connect, FakeServer } = await import("./index.js");
    const server = new FakeServer({ handlers: { connectGetHostname: () => ({ hostname: "built" }) } });
    const client = await connect({ transport: server.transport });
    console.log(await client.host.hostname());
    client.close();`;
  assert.equal(
    execFileSync(process.execPath, ["--no-strip-types", "--input-type=module", "-e", script], { cwd: directory, encoding: "utf8" }).trim(),
    "built",
  );
  assert.match(readFileSync(join(directory, "index.d.ts"), "utf8"), /export \{ connect \}/);
  // package.json is ours and an object.
  const manifest = JSON.parse(readFileSync(join(directory, "package.json"), "utf8")) as Record<string, unknown>;
  assert.deepEqual(
    [manifest["private"], manifest["dependencies"], manifest["exports"]],
    [undefined, undefined, { ".": { types: "./index.d.ts", default: "./index.js" } }],
  );
  assert.deepEqual(
    readdirSync(directory, { recursive: true, encoding: "utf8" }).filter((name) => /\.test\.|manual-timers|generating/.test(name)),
    [],
  );
});
