/** The list of what was put on this machine by name: who started the tests looks there for what they could have left behind. */
import { appendFileSync } from "node:fs";

/** Environment variable with the list's file. */
export const LEDGER_VARIABLE = "SHEAF_LAB_LEDGER";

/** `id` names links, namespaces and control groups, or begins their names with a `-` behind it; `directory` is to be gone in the end. */
export function enterInLedger(id: string, directory: string): void {
  const ledger = process.env[LEDGER_VARIABLE];
  if (ledger !== undefined && ledger !== "") appendFileSync(ledger, `${id} ${directory}\n`);
}
