/** `sheaf store migrate`: with every server stopped, moves the store between SQLite and etcd, either way. */
import { resolve } from "node:path";
import { parseArgs } from "node:util";
import { SystemClock, systemRandom } from "@sheaf/adapters";
import { parseStoreAddress } from "@sheaf/store";
import { dataFolder } from "./wiring/data-folder.ts";
import { moveStore } from "./wiring/move-store.ts";
import { rememberStore } from "./wiring/open-store.ts";

const { values } = parseArgs({ options: { data: { type: "string", default: ".sheaf" }, from: { type: "string" }, to: { type: "string" } } });
const { from = "", to = "" } = values;
const folder = dataFolder(resolve(values.data));
try {
  const moved = await moveStore(folder, parseStoreAddress(from), parseStoreAddress(to), { clock: new SystemClock(), random: systemRandom });
  await rememberStore(folder, to);
  process.stdout.write(
    `Moved ${moved.keys} keys (${moved.bytes} bytes, sha256 ${moved.sha256}) as incarnation ${moved.incarnation}.\n` +
      `${moved.aside === null ? "The old place is closed: no server starts from it." : `What was there before lies in ${moved.aside}.`}\n` +
      `Start the server: this data folder remembers the new place.\n`,
  );
} catch (error) {
  process.stderr.write(`The store was not moved: ${error instanceof Error ? error.message : String(error)}\n`);
  process.exitCode = 1;
}
