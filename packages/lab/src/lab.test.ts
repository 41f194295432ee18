import assert from "node:assert/strict";
import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { test } from "node:test";
import { assertVisible, createLab, LabError } from "./index.ts";
import { withFileLock } from "./file-lock.ts";
import { parseGateway } from "./lab-network.ts";
import { waitFor } from "./wait.ts";

const good = { root: "/var/lib/x-lab", id: "x", gateway: "10.99.0.1/24" };

test("options that cannot work are refused with what to do", () => {
  for (const [change, words] of [
    [{ id: "toolong" }, /one to four/],
    [{ id: "A" }, /one to four/],
    [{ root: "relative" }, /absolute path/],
    [{ root: "/mnt/lab" }, /\/mnt and \/run are the host's own/],
    [{ root: "/run/lab" }, /\/mnt and \/run are the host's own/],
  ] as const) {
    assert.throws(() => createLab({ ...good, ...change }), words);
  }
});

test("a program under a hidden folder is refused, the host's own storage is not", () => {
  assert.throws(() => assertVisible("/run/user/0/agent.ts", "program"), LabError);
  assert.throws(() => assertVisible("/mnt", "working directory"), LabError);
  assertVisible("/mnt/local/x", "program");
  assertVisible("/mnt-other/x", "program");
  assertVisible("sleep", "program");
});

test("a gateway is an address and a prefix length", () => {
  assert.deepEqual(parseGateway("10.99.0.1/24"), { address: "10.99.0.1", prefixLength: 24 });
  for (const bad of ["10.99.0.1", "10.99.0.256/24", "10.99.0.1/31", "host/24", "10.99.0.1/24; reboot"])
    assert.throws(() => parseGateway(bad), /bad gateway/);
});

test("the file lock lets one in at a time and is given back by a failure", async () => {
  const directory = await mkdtemp(join(tmpdir(), "lock-"));
  try {
    const path = join(directory, "lock");
    let inside = 0;
    let most = 0;
    const work = async (): Promise<void> => {
      inside += 1;
      most = Math.max(most, inside);
      await new Promise((resolve) => setImmediate(resolve));
      inside -= 1;
    };
    await assert.rejects(
      withFileLock(path, () => Promise.reject(new Error("no"))),
      /no/,
    );
    await Promise.all([withFileLock(path, work), withFileLock(path, work), withFileLock(path, work)]);
    assert.equal(most, 1);
  } finally {
    await rm(directory, { recursive: true });
  }
});

test("waiting ends with the value, or at the deadline with what was waited for", async () => {
  let looks = 0;
  assert.equal(await waitFor(() => (++looks === 3 ? "here" : undefined), { what: "it", intervalMs: 1 }), "here");
  await assert.rejects(
    waitFor(() => false, { what: () => "the tide", timeoutMs: 5, intervalMs: 1 }),
    /the tide did not happen within 5 ms/,
  );
});
