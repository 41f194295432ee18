export * from "./faulty.ts";
export * from "./memory.ts";
export * from "./store.ts";
