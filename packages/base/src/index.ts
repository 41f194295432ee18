export * from "./clock.ts";
export * from "./logger.ts";
export * from "./random.ts";
export * from "./units.ts";
