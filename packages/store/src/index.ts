export * from "./copy-store.ts";
export * from "./etcd.ts";
export * from "./faulty.ts";
export * from "./memory.ts";
export * from "./sqlite.ts";
export * from "./sqlite-restore.ts";
export * from "./store.ts";
export * from "./store-address.ts";
