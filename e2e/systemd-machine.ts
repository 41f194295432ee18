/**
 * A machine with a real systemd as its pid 1, in namespaces: for what only an init system shows. It writes to memory alone, and its control
 * groups lie below one of its own.
 */
import { spawn } from "node:child_process";
import { openSync, closeSync } from "node:fs";
import { mkdir, readFile } from "node:fs/promises";
import { basename, join } from "node:path";
import { cgroupHierarchies, CgroupTree, enterInLedger } from "@sheaf/lab";
import { ended, until } from "../apps/server/deployment/processes.ts";

export interface Said {
  readonly code: number;
  readonly out: string;
  readonly error: string;
}

export interface SystemdMachine {
  run(script: string): Promise<Said>;
  /** @throws Error where it does not end with 0 */
  must(script: string): Promise<string>;
  stop(): Promise<void>;
}

/** @param folder of its own, by whose name it goes on this machine; what lies in its `shared` is seen as /media */
export async function bootSystemd(folder: string): Promise<SystemdMachine> {
  enterInLedger(basename(folder), folder);
  await mkdir(join(folder, "machine"));
  await mkdir(join(folder, "shared"), { recursive: true });
  const logFile = join(folder, "boot.log");
  const log = openSync(logFile, "w");
  const namespaces = ["--fork", "--kill-child=KILL", "--pid", "--mount", "--uts", "--ipc", "--cgroup", "--net"];
  const boot = ["sh", join(import.meta.dirname, "systemd-boot.sh"), join(folder, "machine"), join(folder, "shared")];
  const groups = new CgroupTree(await cgroupHierarchies(), basename(folder));
  await groups.ensure();
  // Before `--cgroup`: what systemd takes for the root of its groups is then this one.
  const child = spawn("sh", ["-e", ...groups.enterArguments(["unshare", ...namespaces, ...boot])], { stdio: ["ignore", log, log] });
  closeSync(log);
  const children = async (): Promise<string> => (await readFile(`/proc/${child.pid}/task/${child.pid}/children`, "utf8").catch(() => "")).trim();
  const run = (script: string): Promise<Said> =>
    children().then(
      (init) =>
        new Promise((resolve, reject) => {
          const inside = spawn("nsenter", ["--target", init, "--all", "--", "sh", "-c", script], {
            stdio: ["ignore", "pipe", "pipe"],
            env: { PATH: "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin", HOME: "/root", LC_ALL: "C" },
            timeout: 120_000,
          });
          let out = "";
          let error = "";
          inside.stdout.setEncoding("utf8").on("data", (chunk: string) => (out += chunk));
          inside.stderr.setEncoding("utf8").on("data", (chunk: string) => (error += chunk));
          inside.on("error", reject);
          inside.on("close", (code) => resolve({ code: code ?? 128, out, error }));
        }),
    );
  const stop = async (): Promise<void> => {
    child.kill("SIGKILL");
    await ended(child);
    await groups.remove();
  };
  try {
    await until("systemd", 60_000, async () => {
      if (child.exitCode !== null) throw new Error(`systemd did not start: ${(await readFile(logFile, "utf8")).slice(-2000)}`);
      if ((await children()) === "") return undefined;
      return (await run("systemctl is-active copy.target")).out.trim() === "active" || undefined;
    });
  } catch (error) {
    await stop();
    throw error;
  }
  return {
    run,
    stop,
    async must(script) {
      const said = await run(script);
      if (said.code !== 0) throw new Error(`${script} ended with ${said.code}:\n${said.error}${said.out}`);
      return said.out;
    },
  };
}
