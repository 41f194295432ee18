/** `npm run soak`: installs what is missing, then plays stories on lab hosts (docs/reference/soak.md) under our own Node. */
import { run } from "./run.mjs";

run("soak/main.ts", ["host", "lab", "test"], process.argv.slice(2));
