/** The line, run by a real shell; the network is played by a program named curl. */
import assert from "node:assert/strict";
import { spawnSync } from "node:child_process";
import { chmodSync, mkdtempSync, readdirSync, rmSync, symlinkSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { after, test } from "node:test";
import { joinLine, type JoinLineInput } from "./join-line.ts";

const folder = mkdtempSync(join(tmpdir(), "sheaf-line-"));
after(() => rmSync(folder, { recursive: true, force: true }));
const script = 'printf "<%s>" "$@"; exit 7\n';
const input: JoinLineInput = {
  server: "https://sheaf.test:7443",
  script,
  token: "join_00ff",
  fingerprint: `sha256:${"ab".repeat(32)}`,
  archives: [
    { platform: "linux-x64", sha256: "01".repeat(32), sizeBytes: 1 },
    { platform: "linux-arm64", sha256: "02".repeat(32), sizeBytes: 1 },
  ],
};

/** @param name which program fetches; @param sent what it gets */
function type(line: string, name: "curl" | "wget", sent: string) {
  const bin = mkdtempSync(join(folder, "bin-"));
  for (const tool of ["sh", "mktemp", "rm", "sha256sum", "cat"])
    symlinkSync(spawnSync("which", [tool], { encoding: "utf8" }).stdout.trim(), join(bin, tool));
  const body = join(bin, "sent");
  writeFileSync(body, sent);
  const file = name === "curl" ? "cat" : 'while [ "$1" != -O ]; do shift; done; cat >"$2"';
  writeFileSync(join(bin, name), `#!/bin/sh\n${file} <${body}\n`);
  chmodSync(join(bin, name), 0o755);
  const scratch = mkdtempSync(join(folder, "tmp-"));
  const result = spawnSync("/bin/sh", ["-c", line], { encoding: "utf8", env: { PATH: bin, TMPDIR: scratch } });
  assert.deepEqual(readdirSync(scratch), [], "nothing is left behind");
  return result;
}

test("the line is one line, and hands the script all that it pins", () => {
  const line = joinLine(input);
  assert.ok(!line.includes("\n"));
  for (const name of ["curl", "wget"] as const) {
    const { status, stdout } = type(line, name, script);
    assert.equal(status, 7, "the script's own exit code");
    const pins = `<--agent><linux-x64=${"01".repeat(32)}><--agent><linux-arm64=${"02".repeat(32)}>`;
    assert.equal(stdout, `<--server><https://sheaf.test:7443><--token><join_00ff><--fingerprint><sha256:${"ab".repeat(32)}>${pins}`);
  }
});

test("a script that is another, cut short, or missing is not run", () => {
  for (const sent of ["echo stolen\n", script.slice(0, -1), ""]) {
    const { status, stdout, stderr } = type(joinLine(input), "curl", sent);
    assert.equal(status, 6);
    assert.equal(stdout, "");
    assert.match(stderr, /https:\/\/sheaf\.test:7443 did not send the script that this line was made for; nothing was run/);
  }
});

test("no word of it is read as anything else by a shell", () => {
  const { stdout } = type(joinLine({ ...input, server: "https://[fd00::1]:7443", token: "a'b $(touch x)", archives: [] }), "curl", script);
  assert.equal(stdout, `<--server><https://[fd00::1]:7443><--token><a'b $(touch x)><--fingerprint><sha256:${"ab".repeat(32)}>`);
});
