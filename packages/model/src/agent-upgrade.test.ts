import assert from "node:assert/strict";
import { test } from "node:test";
import { compareVersions, judgeUpgrade, type AgentInstallation } from "./agent-upgrade.ts";

test("versions are compared by their numbers, and what is before a release is before it", () => {
  const inOrder = ["not a version", "0.9.0", "0.10.0-rc.2", "0.10.0-rc.10", "0.10.0", "0.10.1", "1.0.0"];
  for (const [at, one] of inOrder.entries())
    for (const [than, other] of inOrder.entries()) assert.equal(Math.sign(compareVersions(one, other)), Math.sign(at - than), `${one} ${other}`);
  assert.equal(compareVersions("1.0.0+one", "1.0.0+other"), 0);
});

const sha256 = "0b".repeat(32);
const release = { version: "0.2.0", archives: [{ platform: "linux-x64", sha256, sizeBytes: 9 }] };
const seen = (agentVersion: string, installation?: Partial<AgentInstallation>) => ({
  agentVersion,
  installation: installation && { platform: "linux-x64", archive: "0a".repeat(32), ...installation },
});
const why = (...words: Parameters<typeof seen>): string => {
  const verdict = judgeUpgrade(seen(...words), release);
  return verdict.does === "refuse" ? verdict.why : verdict.does;
};

test("an older agent, and another archive of the same version, are replaced; the very same one is left alone", () => {
  assert.equal(why("0.1.0", {}), "upgrade");
  assert.equal(why("0.2.0", {}), "upgrade");
  assert.equal(why("0.2.0", { archive: sha256 }), "nothing");
});

test("an agent newer than its server is refused, and so is what cannot be replaced, each with its reason", () => {
  assert.match(why("0.3.0", {}), /0\.3\.0 is newer than the server, 0\.2\.0: upgrade the server first/);
  assert.match(why("0.1.0", { platform: "linux-arm64" }), /no agent for linux-arm64/);
  assert.equal(why("0.1.0", { fixed: "it runs from source files" }), "it runs from source files");
  assert.match(why("0.1.0"), /knows nothing of upgrades/);
  assert.deepEqual(judgeUpgrade(undefined, release), { does: "refuse", why: "its agent has not said yet what it is" });
});
