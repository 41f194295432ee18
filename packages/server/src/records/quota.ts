/**
 * Quotas: what a project may use, checked in the transaction that uses it. Changes of one project with limits go one after the other,
 * each seeing the one before in the cache; other servers are kept out by the usage key's revision.
 */
import { addUsage, hasLimits, quotaRefusal, quotaUsageKey, type QuotaUsage, type RecordOf } from "@sheaf/model";
import type { ServerContext } from "../context.ts";
import type { Draft } from "./draft.ts";
import type { SiteIndex } from "./site-index.ts";

export class Quotas {
  readonly #context: Pick<ServerContext, "store" | "cache">;
  readonly #index: SiteIndex;
  readonly #queues = new Map<string, Promise<unknown>>();

  constructor(context: Pick<ServerContext, "store" | "cache">, index: SiteIndex) {
    this.#context = context;
    this.#index = index;
  }

  /** Runs `work` alone among the changes of this project's usage, where the project has limits; at once where it has none. */
  async inTurn<T>(project: RecordOf<"project">, work: () => Promise<T>): Promise<T> {
    if (!hasLimits(project)) return work();
    const before = this.#queues.get(project.id) ?? Promise.resolve();
    const mine = before.then(work, work);
    const quiet = mine.catch(() => {});
    this.#queues.set(project.id, quiet);
    try {
      return await mine;
    } finally {
      if (this.#queues.get(project.id) === quiet) this.#queues.delete(project.id);
    }
  }

  /**
   * Counts a change of usage. `inTurn` must be around it.
   * @param less what is given back by the same change
   * @throws SheafError `quota-exceeded`
   */
  async use(draft: Draft, project: RecordOf<"project">, more: QuotaUsage, less?: QuotaUsage): Promise<void> {
    if (!hasLimits(project)) return;
    const key = quotaUsageKey(project.id);
    const stored = await this.#context.store.get(key);
    // Whoever used the quota before is in the cache then. Uses before the quota was set are, too: they compared the project's older spec.
    await this.#context.cache.waitFor(Math.max(stored?.modRevision ?? 0, project.specRevision));
    const used = this.#index.usage(project.id);
    const after = less === undefined ? addUsage(used, more) : addUsage(addUsage(used, more), less, -1);
    const refusal = quotaRefusal(project, used, after);
    if (refusal !== null) throw refusal;
    draft.require({ compare: { key, modRevision: stored?.modRevision ?? 0 } });
    draft.put(key, after);
  }
}
