/** `npm run purge`: stops what a start left running and removes the data folder with all machines of a lab. */
import { rm, rmdir } from "node:fs/promises";
import { existsSync } from "node:fs";
import { join, resolve } from "node:path";
import { parseArgs } from "node:util";
import { LabDeployment, labIdentity } from "./deployment/lab-deployment.ts";

const { values } = parseArgs({ options: { data: { type: "string", default: ".sheaf" } } });
const dataDirectory = resolve(values.data);
if (process.getuid?.() === 0) await LabDeployment.describe({ dataDirectory, hosts: 0, ...labIdentity(dataDirectory), port: 0, agentPort: 0 }).purge();
const there = existsSync(dataDirectory);
await rm(dataDirectory, { recursive: true, force: true });
// Seeds and firmware variables of machines on this host lie outside: what others put there stays.
for (const name of ["guests/seeds", "guests/nvram", "guests", ""]) await rmdir(join("/var/lib/sheaf", name)).catch(() => undefined);
process.stdout.write(there ? `${dataDirectory} is removed.\n` : "Nothing was there.\n");
