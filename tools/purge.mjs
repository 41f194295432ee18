/** `npm run purge`: stops what a start left running and removes its data folder. */
import { run } from "./run.mjs";

run("apps/server/purge.ts", [], process.argv.slice(2));
