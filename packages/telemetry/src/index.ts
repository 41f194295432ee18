export type { Aggregation } from "./aggregate.ts";
export { exposition } from "./exposition.ts";
export type { TelemetryFiles, TelemetryFileWriter } from "./ports.ts";
export * from "./ring.ts";
export type { MemberFigures } from "./source.ts";
export * from "./telemetry.ts";
