export * from "./baseline.ts";
export * from "./deletion.ts";
export * from "./drain.ts";
export * from "./liveness.ts";
export * from "./migrate.ts";
export * from "./migration-target.ts";
export * from "./receipts.ts";
export * from "./volume-home.ts";
