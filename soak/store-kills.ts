/**
 * The store's own tests of killed writers and killed members, with more kills than there is time for in a test run. A round is one run of
 * the test's file, so that what is promised is written down once.
 */
import { spawn } from "node:child_process";
import { join } from "node:path";
import type { Round, Story } from "./story.ts";

const folder = join(import.meta.dirname, "../packages/store/src");

export const sqliteKills: Story = {
  name: "sqlite-kills",
  summary: "the writer of a SQLite store is killed 300 times",
  open: async () => ({
    round: (round) => runTest(round, "sqlite-kill.test.ts", { SHEAF_KILL_CYCLES: "300", SHEAF_KILL_SEED: String(round.seed) }),
    close: async () => {},
  }),
};

export const etcdKills: Story = {
  name: "etcd-kills",
  summary: "members of etcd are killed and frozen 30 times under load",
  open: async () => ({ round: (round) => runTest(round, "etcd-cluster.lab.test.ts", { SHEAF_ETCD_KILLS: "30" }), close: async () => {} }),
};

function runTest({ log }: Round, file: string, environment: Readonly<Record<string, string>>): Promise<void> {
  const child = spawn(process.execPath, ["--disable-warning=ExperimentalWarning", "--test", "--test-reporter=tap", join(folder, file)], {
    stdio: ["ignore", "pipe", "inherit"],
    env: { ...process.env, ...environment },
  });
  let output = "";
  child.stdout.setEncoding("utf8").on("data", (text: string) => (output += text));
  return new Promise((resolve, reject) => {
    child.on("error", reject);
    child.on("close", (code) => {
      log(output);
      if (code === 0) resolve();
      else reject(new Error(`${file} failed: ${/^ *not ok .*$/m.exec(output)?.[0].trim() ?? `exit code ${code}`}`));
    });
  });
}
