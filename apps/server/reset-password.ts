/** `sheaf admin reset-password USER`: on the server's own machine, with the server stopped. Prints the new password. */
import { resolve } from "node:path";
import { parseArgs } from "node:util";
import { SystemClock, systemRandom } from "@sheaf/adapters";
import { toHex } from "@sheaf/base";
import { resetPassword } from "@sheaf/server";
import { dataFolder } from "./wiring/data-folder.ts";
import { openStore, storeAddress } from "./wiring/open-store.ts";

const { values, positionals } = parseArgs({ options: { data: { type: "string", default: ".sheaf" } }, allowPositionals: true });
const [user = "admin"] = positionals;
const clock = new SystemClock();
try {
  const folder = dataFolder(resolve(values.data));
  const store = await openStore(folder, (await storeAddress(folder, undefined)).address, { clock, random: systemRandom });
  try {
    const password = toHex(systemRandom.bytes(12));
    await resetPassword({ store, clock, random: systemRandom }, user, password);
    process.stdout.write(`The new password of ${user}: ${password}\n`);
  } finally {
    await store.close();
  }
} catch (error) {
  process.stderr.write(`No password was changed: ${error instanceof Error ? error.message : String(error)}\n`);
  process.exitCode = 1;
}
