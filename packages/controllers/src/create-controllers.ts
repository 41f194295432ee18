/** All controllers of the main flow, with what they share: the index of back references and the scheduler's snapshot, both fed by the cache's changes. */
import type { UseBook } from "@sheaf/planning";
import type { SnapshotIndex } from "@sheaf/scheduling";
import { adoptionController } from "./adoption-controller.ts";
import { availabilityController } from "./availability-controller.ts";
import { clusterFigures, type ClusterFigures } from "./balance-figures.ts";
import { balancingController } from "./balancing-controller.ts";
import { baselineController } from "./baseline-controller.ts";
import type { ControllerContext } from "./context.ts";
import type { Controller } from "./controller.ts";
import { deletionController } from "./deletion-controller.ts";
import { drainController } from "./drain-controller.ts";
import { failOverController } from "./fail-over-controller.ts";
import { fencingController } from "./fencing-controller.ts";
import { guestShutdownController } from "./guest-shutdown-controller.ts";
import { Listening } from "./listening.ts";
import { hostPowerController } from "./host-power-controller.ts";
import { livenessController } from "./liveness-controller.ts";
import { MachineMoves } from "./machine-moves.ts";
import { maintenanceController } from "./maintenance-controller.ts";
import { migrationController } from "./migration-controller.ts";
import { numaController } from "./numa-controller.ts";
import { placementController } from "./placement-controller.ts";
import { powerDemandController } from "./power-demand-controller.ts";
import { preemptionController } from "./preemption-controller.ts";
import { receiptsController } from "./receipts-controller.ts";
import { rollingMaintenanceController } from "./rolling-maintenance-controller.ts";
import { rollingUpgradeController } from "./rolling-upgrade-controller.ts";
import { SiteIndex } from "./site-index.ts";
import { followSite } from "./site-snapshot.ts";
import { startOrderController } from "./start-order-controller.ts";
import { taskSweepController } from "./task-sweep-controller.ts";
import { UseSampler } from "./use-sampler.ts";

export interface ControllerSet {
  readonly controllers: readonly Controller[];
  /** The scheduler's picture, kept up to date: for the API, too. */
  readonly snapshot: SnapshotIndex;
  /** What hosts and machines use, smoothed. */
  readonly book: UseBook;
  /** How evenly each cluster's hosts are used now, by its id. */
  readonly clusterFigures: () => ReadonlyMap<string, ClusterFigures>;
  /** Ends the feeding of what they share. */
  close(): void;
}

/** Must be called before anything that wakes the controllers subscribes to the cache: what they share is up to date first. */
export function createControllers(context: ControllerContext): ControllerSet {
  const { cache } = context;
  const index = new SiteIndex(cache);
  const listening = new Listening(context.clock, context.logger);
  const { snapshot, close: closeSnapshot } = followSite(cache);
  const moves = new MachineMoves(context, index, snapshot);
  const sampler = new UseSampler({ ...context, snapshot });
  const { book } = sampler;
  const closeIndex = cache.subscribe((_revision, changes) => {
    for (const change of changes) {
      index.update(change);
      moves.update(change);
    }
  });
  const controllers = [
    placementController(context, index, snapshot),
    preemptionController(context, { index, snapshot, moves }),
    numaController(context, index, snapshot),
    receiptsController(context, index),
    deletionController(context, index),
    livenessController(context, listening),
    fencingController(context, index, listening),
    failOverController(context, index, snapshot),
    startOrderController(context, index),
    migrationController(context, index, snapshot),
    drainController(context, index, moves),
    maintenanceController(context, index, moves),
    rollingMaintenanceController(context, index, snapshot),
    rollingUpgradeController(context, index),
    balancingController(context, { index, snapshot, moves, book }),
    powerDemandController(context, { index, snapshot, book }),
    hostPowerController(context, index, snapshot),
    baselineController(context),
    guestShutdownController(context),
    taskSweepController(context),
    adoptionController(context),
    availabilityController(context, index),
  ];
  const close = (): void => {
    closeSnapshot();
    closeIndex();
    sampler.close();
  };
  return { controllers, snapshot, book, clusterFigures: () => clusterFigures(sampler.uses, cache), close };
}
