/**
 * Gathers small independent decisions that come while a commit is under way into the next one: under load one transaction carries many, and
 * a single one does not wait. Called by controllers that look at each key by itself.
 */
import { StoreError, type StoreErrorCode } from "@sheaf/store";
import { operationsPerTransaction, type CommitContext, type Transaction } from "./commit.ts";
import { commitAll, type Decision } from "./packed-commit.ts";

/** Together they may be more than a transaction takes, or one of them is what none takes: it must not cost the others their place. */
const splittable: ReadonlySet<StoreErrorCode> = new Set(["too-large", "invalid", "duplicate-key", "too-many-operations"]);

interface Asker {
  readonly resolve: (committed: boolean) => void;
  readonly reject: (error: unknown) => void;
}

export class GatheredCommit {
  readonly #context: CommitContext;
  #waiting: Decision<Asker>[] = [];
  #running = false;

  constructor(context: CommitContext) {
    this.#context = context;
  }

  /**
   * @returns whether it is committed and seen by the cache; if not, somebody was quicker
   * @throws as `commitAll`
   */
  commit(transaction: Transaction): Promise<boolean> {
    return new Promise((resolve, reject) => {
      this.#waiting.push({ ...transaction, about: { resolve, reject } });
      if (!this.#running) void this.#run();
    });
  }

  async #run(): Promise<void> {
    this.#running = true;
    // What is decided in the same turn goes along.
    await Promise.resolve();
    while (this.#waiting.length > 0) await this.#write(this.#waiting.splice(0, operationsPerTransaction));
    this.#running = false;
  }

  async #write(decisions: readonly Decision<Asker>[]): Promise<void> {
    try {
      const overtaken = new Set(await commitAll(this.#context, decisions));
      for (const decision of decisions) decision.about.resolve(!overtaken.has(decision));
    } catch (error) {
      if (decisions.length > 1 && error instanceof StoreError && splittable.has(error.code))
        for (const decision of decisions) await this.#write([decision]);
      else for (const { about } of decisions) about.reject(error);
    }
  }
}
