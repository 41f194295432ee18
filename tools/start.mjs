/** `npm start`: installs what is missing, then hands over to the start-up program under our own Node. */
import { run } from "./run.mjs";

run("apps/server/start.ts", ["host", "lab"], process.argv.slice(2));
