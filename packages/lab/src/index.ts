export { createLab, LEDGER_VARIABLE } from "./lab.ts";
export type { Lab, LabHostSummary, LabOptions } from "./lab.ts";
export { assertVisible, LabHost } from "./lab-host.ts";
export type { LabHostState } from "./lab-host.ts";
export type { CommandOptions, CommandResult } from "./command.ts";
export type { QemuProcess } from "./process-table.ts";
export { LabError } from "./lab-error.ts";
export { waitFor } from "./wait.ts";
export type { WaitOptions } from "./wait.ts";
