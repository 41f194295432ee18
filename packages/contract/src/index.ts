export * from "./documents.ts";
export type { HandedOut } from "./host-device-routes.ts";
export * from "./host-routes.ts";
export * from "./other-routes.ts";
export * from "./record-routes.ts";
export * from "./route.ts";
export * from "./routes.ts";
export * from "./vm-routes.ts";
export * from "./wire.ts";
