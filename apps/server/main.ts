/** The server. Wiring only. */
import { openSqliteStore } from "@sheaf/store";
import { serverProgram } from "./wiring/server-program.ts";

await serverProgram(openSqliteStore);
