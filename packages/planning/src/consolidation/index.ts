export * from "./consolidation-input.ts";
export { planConsolidation } from "./plan-consolidation.ts";
export * from "./power-curve.ts";
