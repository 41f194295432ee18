/** `npm run purge`: stops what a start left running and removes the data folder with all machines of a lab or of this host. */
import { rm } from "node:fs/promises";
import { existsSync } from "node:fs";
import { resolve } from "node:path";
import { parseArgs } from "node:util";
import { SheafError } from "@sheaf/model";
import { LabDeployment, labIdentity } from "./deployment/lab-deployment.ts";
import { endLeftRunning } from "./deployment/left-running.ts";
import { isLocalHost, refuseWhileGuestsRun, removeLocalHost } from "./deployment/local-purge.ts";

const { values } = parseArgs({ options: { data: { type: "string", default: ".sheaf" } } });
const dataDirectory = resolve(values.data);
const there = existsSync(dataDirectory);
const asRoot = process.getuid?.() === 0;
const local = asRoot && isLocalHost(dataDirectory);
try {
  if (local) await refuseWhileGuestsRun(dataDirectory);
  await endLeftRunning(dataDirectory);
  const kept = local ? await removeLocalHost(dataDirectory) : [];
  if (asRoot) await LabDeployment.describe({ dataDirectory, hosts: 0, ...labIdentity(dataDirectory), port: 0, agentPort: 0 }).purge();
  await rm(dataDirectory, { recursive: true, force: true });
  for (const path of kept) process.stdout.write(`${path} stays: it lies in a pool outside this machine's own.\n`);
  process.stdout.write(there ? `${dataDirectory} is removed.\n` : "Nothing was there.\n");
} catch (error) {
  const next = error instanceof SheafError ? ` ${error.extra.next ?? ""}` : "";
  process.stderr.write(`Not purged: ${error instanceof Error ? error.message : String(error)}.${next}\n`);
  process.exitCode = error instanceof SheafError ? 4 : 1;
}
