/**
 * Refused attempts are counted together by who, from where, what and why, and written once a minute: whoever is refused, be it a stranger,
 * cannot fill the store. Called by the API at every refusal; bounded in memory.
 */
import type { Timer } from "@sheaf/base";
import type { ProblemCode } from "@sheaf/model";
import type { ServerContext } from "../context.ts";
import type { AuditTrail } from "./audit-trail.ts";

export interface RefusedAttempt {
  readonly actor: string;
  readonly from: string;
  readonly action: string;
  readonly code: ProblemCode;
}

const flushEveryMs = 60_000;
/** Different ones a minute; what comes beyond is counted as one. */
const differentLimit = 200;

export class RefusedAttempts {
  readonly #context: ServerContext;
  readonly #trail: AuditTrail;
  #counts = new Map<string, { attempt: RefusedAttempt; count: number }>();
  #timer: Timer | null = null;

  constructor(context: ServerContext, trail: AuditTrail) {
    this.#context = context;
    this.#trail = trail;
  }

  start(): void {
    this.#timer = this.#context.clock.setTimer(flushEveryMs, () => {
      void this.flush().then(() => {
        if (this.#timer !== null) this.start();
      });
    });
  }

  async stop(): Promise<void> {
    this.#timer?.cancel();
    this.#timer = null;
    await this.flush();
  }

  add(attempt: RefusedAttempt): void {
    const key = `${attempt.actor}\n${attempt.from}\n${attempt.action}\n${attempt.code}`;
    const known = this.#counts.get(key);
    if (known !== undefined) known.count += 1;
    else if (this.#counts.size < differentLimit) this.#counts.set(key, { attempt, count: 1 });
    else this.#addOther(attempt);
  }

  #addOther(attempt: RefusedAttempt): void {
    const other = this.#counts.get("other");
    if (other !== undefined) other.count += 1;
    else this.#counts.set("other", { attempt: { ...attempt, actor: "(many)", from: "(many)", action: "(many)" }, count: 1 });
  }

  /** Writes what was counted. What the store does not take now is counted on. */
  async flush(): Promise<void> {
    const counts = this.#counts;
    this.#counts = new Map();
    for (const [key, { attempt, count }] of counts) {
      try {
        await this.#trail.record({ ...attempt, target: "", result: "refused", count });
        counts.delete(key);
      } catch (error) {
        this.#context.logger.warn({ error: String(error) }, "refused attempts could not be written to the audit trail; tried again in a minute");
        for (const [left, value] of counts) {
          const again = this.#counts.get(left);
          this.#counts.set(left, again === undefined ? value : { ...value, count: value.count + again.count });
        }
        return;
      }
    }
  }
}
