export * from "./power-curve.ts";
