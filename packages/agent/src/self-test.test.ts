import assert from "node:assert/strict";
import { test } from "node:test";
import { silentLogger } from "@sheaf/base";
import { writeIdentity } from "./certificates.ts";
import { selfTest } from "./self-test.ts";
import { dataDirectory } from "./simulated/simulated-host.ts";
import { siteHost } from "./site-host.test-support.ts";

/** A host whose agent runs and keeps a machine, as a new version finds it. */
async function scene() {
  const host = await siteHost();
  assert.ok(host.identity);
  await writeIdentity(host.files, dataDirectory, host.identity);
  const { files, hypervisor, clock } = host;
  const written: string[] = [];
  for (const name of ["writeAtomic", "writer", "rename", "remove", "makeDirectory"] as const) {
    const real = files[name].bind(files) as (...words: unknown[]) => Promise<unknown>;
    Object.assign(files, { [name]: (path: string, ...rest: unknown[]) => (written.push(`${name} ${path}`), real(path, ...rest)) });
  }
  const run = async (): Promise<void> => {
    const ended = selfTest({ clock, files, hypervisor, logger: silentLogger }, dataDirectory);
    ended.catch(() => {});
    await clock.advance(30_000);
    return ended;
  };
  return { host, written, run };
}

test("a new version reads all that the running agent keeps, and writes nothing", { timeout: 20_000 }, async () => {
  const { host, written, run } = await scene();
  await run();
  assert.deepEqual(
    written.filter((each) => each.includes("set-aside") || each.includes("kept.log")),
    [],
  );
  await host.stop();
});

test("what it cannot read or reach is told, and still nothing is written", { timeout: 20_000 }, async () => {
  const { host, written, run } = await scene();
  await host.stop();
  const kept = host.files.text(`${dataDirectory}/kept.log`) ?? "";
  written.length = 0;
  host.files.put(`${dataDirectory}/kept.log`, `damaged\n${kept}`);
  await assert.rejects(run(), /cannot take over what the agent keeps: it would change/);
  host.files.put(`${dataDirectory}/kept.log`, kept);
  host.hypervisor.disconnect();
  await assert.rejects(run());
  host.files.put(`${dataDirectory}/identity.json`, "");
  await assert.rejects(run());
  assert.deepEqual(written, []);
});
