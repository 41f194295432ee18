/** `sheaf backup restore`: with the server stopped, puts a backup of the store in its place. The old file is kept beside it. */
import { existsSync, renameSync } from "node:fs";
import { resolve } from "node:path";
import { parseArgs } from "node:util";
import { SystemClock, systemRandom } from "@sheaf/adapters";
import { openSqliteStore, restoreSqliteStore } from "@sheaf/store";
import { dataFolder } from "./wiring/data-folder.ts";

const { values, positionals } = parseArgs({ options: { data: { type: "string", default: ".sheaf" } }, allowPositionals: true });
const [backup] = positionals;
if (backup === undefined) {
  process.stderr.write("Name the backup's file.\n");
  process.exit(2);
}
const folder = dataFolder(resolve(values.data));
const clock = new SystemClock();
try {
  // Opened and closed: refused while a server has it, and its log is written back.
  if (existsSync(folder.store)) await (await openSqliteStore({ path: folder.store, clock, random: systemRandom })).close();
  const aside = `${folder.store}.before-${new Date().toISOString().replaceAll(":", "-")}`;
  if (existsSync(folder.store)) renameSync(folder.store, aside);
  try {
    const { incarnation } = await restoreSqliteStore({ backup: resolve(backup), path: folder.store, clock, random: systemRandom });
    process.stdout.write(
      `Restored as incarnation ${incarnation}. ${existsSync(aside) ? `What was there before lies in ${aside}.` : ""}\nStart the server; machines go on as their hosts report them.\n`,
    );
  } catch (error) {
    if (existsSync(aside)) renameSync(aside, folder.store);
    throw error;
  }
} catch (error) {
  process.stderr.write(`Nothing was restored: ${error instanceof Error ? error.message : String(error)}\n`);
  process.exitCode = 1;
}
