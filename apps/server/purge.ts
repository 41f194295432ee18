/**
 * `npm run purge`: stops what a start left running and removes the data folder with all machines of a lab or of this host, and the folder of a
 * simulated data centre; `--demo`: that one alone; `--data DIR`: DIR alone, of either kind.
 */
import { readFile, rm } from "node:fs/promises";
import { existsSync } from "node:fs";
import { resolve } from "node:path";
import { parseArgs } from "node:util";
import { SheafError } from "@sheaf/model";
import { demoFolder } from "./deployment/demo-deployment.ts";
import { LabDeployment, labIdentity } from "./deployment/lab-deployment.ts";
import { endLeftRunning } from "./deployment/left-running.ts";
import { isLocalHost, refuseWhileGuestsRun, removeLocalHost } from "./deployment/local-purge.ts";
import { signOutCommandLine } from "./deployment/sign-in.ts";
import { dataFolder } from "./wiring/data-folder.ts";

const { values } = parseArgs({ options: { data: { type: "string" }, demo: { type: "boolean", default: false } } });
try {
  if (values.demo || values.data === undefined) await purgeDemo(resolve(values.data ?? demoFolder));
  if (!values.demo) await purge(resolve(values.data ?? ".sheaf"));
} catch (error) {
  const next = error instanceof SheafError ? ` ${error.extra.next ?? ""}` : "";
  process.stderr.write(`Not purged: ${error instanceof Error ? error.message : String(error)}.${next}\n`);
  process.exitCode = error instanceof SheafError ? 4 : 1;
}

async function purgeDemo(dataDirectory: string): Promise<void> {
  if (!existsSync(dataDirectory)) return;
  await endLeftRunning(dataDirectory);
  await signOut(dataDirectory);
  await rm(dataDirectory, { recursive: true, force: true });
  process.stdout.write(`${dataDirectory} is removed.\n`);
}

async function purge(dataDirectory: string): Promise<void> {
  const there = existsSync(dataDirectory);
  const asRoot = process.getuid?.() === 0;
  const local = asRoot && isLocalHost(dataDirectory);
  if (local) await refuseWhileGuestsRun(dataDirectory);
  await endLeftRunning(dataDirectory);
  await signOut(dataDirectory);
  const kept = local ? await removeLocalHost(dataDirectory) : [];
  if (asRoot) await LabDeployment.describe({ dataDirectory, hosts: 0, ...labIdentity(dataDirectory), port: 0, agentPort: 0 }).purge();
  await rm(dataDirectory, { recursive: true, force: true });
  for (const path of kept) process.stdout.write(`${path} stays: it lies in a pool outside this machine's own.\n`);
  process.stdout.write(there ? `${dataDirectory} is removed.\n` : "Nothing was there.\n");
}

/** What this user's command line keeps of its server is worth nothing from now on. */
async function signOut(dataDirectory: string): Promise<void> {
  const authority = await readFile(dataFolder(dataDirectory).authority, "utf8").catch(() => null);
  if (authority !== null) await signOutCommandLine(authority);
}
