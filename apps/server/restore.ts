/** `sheaf backup restore`: with the server stopped, puts a backup of the store in its place. What was there is kept beside it. */
import { existsSync, renameSync } from "node:fs";
import { resolve } from "node:path";
import { parseArgs } from "node:util";
import { SystemClock, systemRandom } from "@sheaf/adapters";
import { openSqliteStore, restoreSqliteStore } from "@sheaf/store";
import { dataFolder } from "./wiring/data-folder.ts";
import { restoreToEtcd } from "./wiring/move-store.ts";
import { rememberStore, storeAddress } from "./wiring/open-store.ts";

const { values, positionals } = parseArgs({
  options: { data: { type: "string", default: ".sheaf" }, store: { type: "string" } },
  allowPositionals: true,
});
const [backup] = positionals;
if (backup === undefined) {
  process.stderr.write("Name the backup's file.\n");
  process.exit(2);
}
const folder = dataFolder(resolve(values.data));
const ports = { clock: new SystemClock(), random: systemRandom };
try {
  const { address, text } = await storeAddress(folder, values.store);
  const { incarnation, aside } =
    address.kind === "etcd" ? await restoreToEtcd(folder, address, resolve(backup), ports) : await restoreToFile(resolve(backup));
  await rememberStore(folder, text);
  process.stdout.write(
    `Restored as incarnation ${incarnation}. ${aside === null ? "" : `What was there before lies in ${aside}.`}\nStart the server; machines go on as their hosts report them.\n`,
  );
} catch (error) {
  process.stderr.write(`Nothing was restored: ${error instanceof Error ? error.message : String(error)}\n`);
  process.exitCode = 1;
}

async function restoreToFile(from: string): Promise<{ incarnation: string; aside: string | null }> {
  // Opened and closed: refused while a server has it, and its log is written back.
  if (existsSync(folder.store)) await (await openSqliteStore({ path: folder.store, ...ports })).close();
  const aside = `${folder.store}.before-${new Date().toISOString().replaceAll(":", "-")}`;
  if (existsSync(folder.store)) renameSync(folder.store, aside);
  try {
    const { incarnation } = await restoreSqliteStore({ backup: from, path: folder.store, ...ports });
    return { incarnation, aside: existsSync(aside) ? aside : null };
  } catch (error) {
    if (existsSync(aside)) renameSync(aside, folder.store);
    throw error;
  }
}
