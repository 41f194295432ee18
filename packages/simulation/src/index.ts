export { run, type RunOptions, type RunResult } from "./run.ts";
export { SimulatedSite, type SiteOptions } from "./site.ts";
