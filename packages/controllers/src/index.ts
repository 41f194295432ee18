export * from "./context.ts";
export * from "./controller.ts";
export * from "./create-controllers.ts";
export * from "./ports.ts";
export * from "./settings.ts";
export * from "./start-controllers.ts";
export { balanceAdvice, balancingOf, type BalanceAdvice } from "./cluster-balance.ts";
export { evacuationOf } from "./evacuation.ts";
export * from "./site-snapshot.ts";
