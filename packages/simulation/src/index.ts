export { disagreements, type LabFigures } from "./calibration.ts";
export { DataCentre, hostsPerRack, type AgentsListener, type DataCentreOptions } from "./data-centre.ts";
export { Failures } from "./failures.ts";
export { defaultTimes } from "./hypervisor-model.ts";
export { playedLibrary } from "./played-library.ts";
export { run, type RunOptions, type RunResult } from "./run.ts";
export { SimulatedServer } from "./simulated-server.ts";
export { SimulatedSite, type SiteOptions } from "./site.ts";
export { SiteRecords } from "./site-records.ts";
