export * from "./clock.ts";
export * from "./logger.ts";
export * from "./number-list.ts";
export * from "./random.ts";
export * from "./seeded-random.ts";
export * from "./simulated-clock.ts";
export * from "./sorted-list.ts";
export * from "./units.ts";
