/** The trail, its archive and what is to be done for both now and then, as one thing to start and stop. Called by the server's start-up code. */
import type { Timer } from "@sheaf/base";
import type { AuditContext } from "../context.ts";
import { AuditArchive } from "./audit-archive.ts";
import { AuditTrail } from "./audit-trail.ts";
import { verifyAudit, type Verification } from "./audit-verify.ts";

const roundEveryMs = 60_000;
/** Rounds between two looks at other servers' chains. */
const roundsToCheckpoint = 10;

export class AuditKeeper {
  readonly trail: AuditTrail;
  readonly archive: AuditArchive;
  readonly #context: AuditContext;
  #timer: Timer | null = null;
  #open = false;
  #rounds = 0;
  #round: Promise<void> = Promise.resolve();

  constructor(context: AuditContext) {
    this.#context = context;
    this.trail = new AuditTrail(context);
    this.archive = new AuditArchive(context);
  }

  /** Files that the store does not know are taken over before the trail says what it knows. */
  async start(): Promise<void> {
    await this.archive.start();
    await this.trail.start();
    this.#open = true;
    this.#later(0);
  }

  async stop(): Promise<void> {
    this.#open = false;
    this.#timer?.cancel();
    await this.#round;
    await this.trail.stop();
  }

  async verify(): Promise<Verification> {
    const { store, secrets, audit, serverName } = this.#context;
    await this.trail.seal();
    const { chain, head } = this.trail;
    return verifyAudit({ store, secrets, folder: audit, serverName, live: { chain, head }, strangeFiles: await this.archive.strangeFiles() });
  }

  #later(delayMs: number): void {
    this.#timer = this.#context.clock.setTimer(delayMs, () => {
      this.#round = this.#work().finally(() => {
        if (this.#open) this.#later(roundEveryMs);
      });
    });
  }

  async #work(): Promise<void> {
    try {
      this.#rounds += 1;
      if (this.#rounds % roundsToCheckpoint === 0) await this.trail.checkpoint();
      await this.archive.pass(this.trail.chain);
    } catch (error) {
      this.#context.logger.warn({ error: String(error) }, "the audit trail could not be moved into its files now; tried again in a minute");
    }
  }
}
