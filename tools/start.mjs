/** `npm start`: installs what is missing, then hands over to the start-up program under our own Node. */
import { run } from "./run.mjs";

const words = process.argv.slice(2);
// A simulated data centre needs nothing of the system.
const groups = words.some((word) => /^--demo(=|$)/.test(word)) ? [] : ["host", "lab"];
run("apps/server/start.ts", groups, words);
