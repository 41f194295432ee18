/**
 * After a backup was restored the store remembers an older site: machines that had no host then may run on one now, others may have been
 * moved since. So nothing that existed before is given a host until every host of the record has been heard once (or is removed: a person
 * says that it is gone), and what the hosts say they hold sets the placements right. Whether all were heard is kept in the store, so that
 * later starts wait for nobody. Called by the gateway with each hello, and by the placement controller.
 */
import type { Clock, Logger } from "@sheaf/base";
import { partKey, placedDevices, restoredSiteKey, type Placement, type RecordOf } from "@sheaf/model";
import type { Operation, Store } from "@sheaf/store";
import type { RecordCache } from "../context.ts";

/** What an agent says of a machine that it holds. */
interface HeldMachine {
  readonly id: string;
  readonly epoch: number;
  readonly incarnation: string;
}

interface Claim {
  readonly host: string;
  readonly epoch: number;
  readonly incarnation: string;
}

export interface RestoredSiteContext {
  readonly store: Store;
  readonly cache: RecordCache;
  readonly clock: Clock;
  readonly logger: Logger;
}

export class RestoredSite {
  readonly #context: RestoredSiteContext;
  /** When the store's present life began: what is older comes from the backup. */
  readonly #beganAt: number;
  #settled: boolean;
  readonly #heard = new Set<string>();
  readonly #hellos = new Map<string, readonly HeldMachine[]>();
  readonly #listeners = new Set<(hostId: string, machines: readonly HeldMachine[]) => void>();
  readonly #settledListeners = new Set<() => void>();
  /** Of machines that the store gives no host: decided when all hosts were heard, because an old memory may claim what moved on. */
  readonly #claims = new Map<string, Claim>();
  #turn: Promise<void> = Promise.resolve();
  readonly #unsubscribe: () => void;

  private constructor(context: RestoredSiteContext, settled: boolean) {
    this.#context = context;
    // A UUID of version 7 begins with the time in ms.
    this.#beganAt = Number.parseInt(context.store.incarnation.replaceAll("-", "").slice(0, 12), 16);
    this.#settled = settled;
    this.#unsubscribe = context.cache.subscribe((_revision, changes) => {
      if (!this.#settled && changes.some(({ kind }) => kind === "host"))
        void this.#inTurn(() => this.#settleIfAllHeard()).catch((error: unknown) =>
          this.#context.logger.warn({ error: String(error) }, "whether all hosts were heard could not be recorded; tried again with the next one"),
        );
    });
  }

  /** The context's cache must be loaded. */
  static async open(context: RestoredSiteContext): Promise<RestoredSite> {
    const site = new RestoredSite(context, (await context.store.get(restoredSiteKey))?.value === context.store.incarnation);
    await site.#inTurn(() => site.#settleIfAllHeard());
    if (!site.settled())
      context.logger.warn(
        { waitingFor: site.#missing().map(({ name }) => name) },
        "a backup was restored: what had no host then gets none until every host has been heard, or is removed",
      );
    return site;
  }

  settled(): boolean {
    return this.#settled;
  }

  /** Whether a machine or volume without a host must wait: it may have one that the store does not know of. */
  heldBack({ createdAt }: { readonly createdAt: number }): boolean {
    return !this.#settled && createdAt < this.#beganAt;
  }

  /**
   * A host's agent says what it holds. Resolves when the cache has seen what follows from it.
   * @throws StoreError where the store does not answer: the agent comes again
   */
  heard(hostId: string, told: readonly (HeldMachine & { readonly incoming?: boolean })[]): Promise<void> {
    // What a migration prepared there is held by its source.
    const machines = told.filter(({ incoming }) => incoming !== true);
    if (!this.#settled) {
      this.#hellos.set(hostId, machines);
      for (const listener of this.#listeners) listener(hostId, machines);
    }
    return this.learned(hostId, machines);
  }

  /** @returns the function that ends it */
  onSettled(listener: () => void): () => void {
    this.#settledListeners.add(listener);
    return () => void this.#settledListeners.delete(listener);
  }

  /** What agents said here since this server began, while it matters: for the other servers, which hear other hosts. */
  all(): Iterable<readonly [string, readonly HeldMachine[]]> {
    return this.#settled ? [] : this.#hellos;
  }

  /** @returns the function that ends it */
  onHeld(listener: (hostId: string, machines: readonly HeldMachine[]) => void): () => void {
    this.#listeners.add(listener);
    return () => void this.#listeners.delete(listener);
  }

  /** As `heard`, from a host that another server has heard. */
  learned(hostId: string, machines: readonly HeldMachine[]): Promise<void> {
    return this.#inTurn(async () => {
      if (this.#settled) return;
      for (const { id, epoch, incarnation } of machines) {
        if (incarnation === this.#context.store.incarnation) continue;
        const vm = this.#context.cache.get("vm", id);
        if (vm === undefined || vm.deletedAt !== undefined) continue;
        const claim: Claim = { host: hostId, epoch, incarnation };
        const before = this.#claims.get(id);
        if (vm.placement === undefined) {
          if (before === undefined || later(claim, before)) this.#claims.set(id, claim);
          // Also of the same host: it may have left and come back since.
        } else if (vm.placement.incarnation === incarnation && epoch > vm.placement.epoch) await this.#place(vm, claim);
      }
      this.#heard.add(hostId);
      await this.#settleIfAllHeard();
    });
  }

  close(): void {
    this.#unsubscribe();
  }

  #missing(): RecordOf<"host">[] {
    return [...this.#context.cache.all("host")].filter(
      // One that was cut off in the store's present life holds nothing any more.
      ({ id, createdAt, deletedAt, status: { fencing } }) =>
        createdAt < this.#beganAt &&
        deletedAt === undefined &&
        !this.#heard.has(id) &&
        !(fencing?.state === "fenced" && fencing.since >= this.#beganAt),
    );
  }

  async #settleIfAllHeard(): Promise<void> {
    if (this.#settled || this.#missing().length > 0) return;
    const { store, cache, logger } = this.#context;
    for (const [id, claim] of this.#claims) {
      const vm = cache.get("vm", id);
      if (vm !== undefined && vm.deletedAt === undefined && vm.placement === undefined) await this.#place(vm, claim);
    }
    await store.transact({ compare: [], then: [{ put: restoredSiteKey, value: store.incarnation }] });
    this.#settled = true;
    for (const listener of this.#settledListeners) listener();
    if (this.#heard.size > 0) logger.info({ hosts: this.#heard.size }, "every host of the restored site has been heard");
  }

  /** The placement as its host holds it, disks along. Whoever changes it meanwhile decides anew, and wins. */
  async #place(vm: RecordOf<"vm">, { host, epoch, incarnation }: Claim): Promise<void> {
    const { store, cache, clock, logger } = this.#context;
    const key = partKey("vm", vm.id, "placement");
    const entry = await store.get(key);
    // Its spec may change meanwhile, it must not be gone.
    const spec = await store.get(partKey("vm", vm.id, "spec"));
    if (spec === null) return;
    const reason = "its host holds it since before the store was restored";
    // What it had there by the last word that was kept; its host has the last word when it starts.
    const devices = vm.placement?.host === host ? placedDevices(vm.placement) : {};
    const placement: Placement = { host, epoch, incarnation, ...devices, reason, at: clock.now() };
    const then: Operation[] = [{ put: key, value: JSON.stringify(placement) }];
    for (const { volume: id } of vm.spec.disks) {
      const volume = id === undefined ? undefined : cache.get("volume", id);
      // One without any host was in the backup before its machine was first placed.
      if (volume === undefined || volume.placement?.host === host) continue;
      const moved: Placement = { host, epoch: (volume.placement?.epoch ?? 0) + 1, incarnation: store.incarnation, reason, at: clock.now() };
      then.push({ put: partKey("volume", volume.id, "placement"), value: JSON.stringify(moved) });
    }
    const compare = [
      { key, modRevision: entry?.modRevision ?? 0 },
      { key: spec.key, createRevision: spec.createRevision },
    ];
    const { succeeded, revision } = await store.transact({ compare, then });
    await cache.waitFor(revision);
    if (succeeded)
      logger.warn({ vm: vm.id, from: vm.placement?.host, to: host, epoch }, "a machine is where its host says, not where the backup had it");
  }

  #inTurn(work: () => Promise<void>): Promise<void> {
    const run = this.#turn.then(work);
    this.#turn = run.catch(() => undefined);
    return run;
  }
}

/** Lives of the store are UUIDs that sort by time. */
const later = (left: Claim, right: Claim): boolean =>
  left.incarnation === right.incarnation ? left.epoch > right.epoch : left.incarnation > right.incarnation;
