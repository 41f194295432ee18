/** The server. Wiring only. */
import { openStore } from "./wiring/open-store.ts";
import { serverProgram } from "./wiring/server-program.ts";

await serverProgram(openStore);
