/**
 * Keeps a cluster's advice on record while it is not carried out by itself: made when moves have been called for long enough, left as it is while it
 * holds (whoever has read it may act on it), made anew when it does not, withdrawn when it is needless. Writes the clusters' part `status/advice` for
 * the balancing controller, only when the advice is another one.
 */
import { uuidv7 } from "@sheaf/base";
import { partKey, type ClusterAdvice, type RecordOf } from "@sheaf/model";
import { adviceOutdated, asAdvised, keptAdvice } from "./cluster-advice.ts";
import { balanceAdvice } from "./cluster-balance.ts";
import type { BalanceSite, ClusterProblem } from "./cluster-problem.ts";
import { commit, Overtaken } from "./commit.ts";
import type { ControllerContext } from "./context.ts";
import { put } from "./packed-commit.ts";

type Cluster = RecordOf<"cluster">;

/** What has been well for so long is no passing calm, and the use of all hosts is known by then. */
const calmMs = 300_000;

export interface AdviceLook {
  /** As the cluster is now. */
  readonly seen: ClusterProblem;
  /** Since when moves have been called for, monotonic ms; absent: they are not. */
  readonly since?: number;
  /** They have been for long enough. */
  readonly due: boolean;
  /** It is not how hosts are used that calls for them. */
  readonly needfulOnly: boolean;
}

export class AdviceKeeper {
  readonly #context: ControllerContext;
  readonly #site: BalanceSite;
  /** By cluster: since when nothing has been called for. */
  readonly #calm = new Map<string, number>();

  constructor(context: ControllerContext, site: BalanceSite) {
    this.#context = context;
    this.#site = site;
  }

  /** @returns `nothing` when it was looked for moves and none would help: that is dear to find out, and stays so for a while */
  async look(cluster: Cluster, { seen, since, due, needfulOnly }: AdviceLook): Promise<"nothing" | void> {
    const { clock } = this.#context;
    const now = clock.monotonic();
    if (since !== undefined) this.#calm.delete(cluster.id);
    else if (!this.#calm.has(cluster.id)) this.#calm.set(cluster.id, now);
    const calm = since === undefined && now - (this.#calm.get(cluster.id) ?? now) >= calmMs;
    const before = cluster.status.advice;
    if (before && !calm && (since === undefined || this.#holds(cluster, seen))) return;
    // What does not hold is shown to nobody; the next advice goes on from it.
    if (!due) return calm ? this.withdraw(cluster) : undefined;
    const { moves, before: expected, promised, frees, cause } = balanceAdvice(cluster, this.#site, { seen, needfulOnly });
    if (moves.length === 0) {
      await this.withdraw(cluster);
      return "nothing";
    }
    const advised = moves.map(asAdvised);
    if (before && JSON.stringify(before.moves) === JSON.stringify(advised)) return;
    const advice: ClusterAdvice = {
      id: uuidv7(clock.now(), this.#context.random),
      since: before?.since ?? clock.now() - (now - (since ?? now)),
      at: clock.now(),
      before: expected,
      promised,
      moves: advised,
      frees: [...frees],
      ...(cause ? { cause } : {}),
    };
    await this.#write(cluster, put(partKey("cluster", cluster.id, "status/advice"), advice));
    this.#context.logger.info(
      { cluster: cluster.name, moves: moves.length, hottestPercent: expected.hottestPercent },
      "moves are advised in a cluster",
    );
  }

  /** Where there is none nothing is written. */
  async withdraw(cluster: Cluster): Promise<void> {
    if (cluster.status.advice) await this.#write(cluster, { delete: partKey("cluster", cluster.id, "status/advice") });
  }

  forget(clusterId: string): void {
    this.#calm.delete(clusterId);
  }

  #holds(cluster: Cluster, seen: ClusterProblem): boolean {
    const kept = keptAdvice(cluster, this.#site);
    return kept !== undefined && adviceOutdated(cluster, kept, this.#site, seen) === null;
  }

  async #write(cluster: Cluster, operation: Parameters<typeof commit>[1]["then"][number]): Promise<void> {
    const result = await commit(this.#context, {
      compare: [{ key: partKey("cluster", cluster.id, "spec"), modRevision: cluster.specRevision }],
      then: [operation],
    });
    if (!result.succeeded) throw new Overtaken(`cluster ${cluster.name} changed meanwhile`);
  }
}
