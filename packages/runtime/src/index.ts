export * from "./keyed-queue.ts";
export * from "./leader.ts";
export * from "./record-cache.ts";
