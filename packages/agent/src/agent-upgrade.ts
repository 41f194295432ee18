/**
 * Another version of this agent takes its place, by its server's order: fetched, tried, put in place, proved; at each step before the last
 * a failure leaves the present version at work. How far it is goes out with the host's own report. Called by the agent; machines are never
 * touched. The order is remembered on the disk, so that whoever starts afterwards, the new version or this one again, can say what came of it.
 */
import { type Clock, type Logger, sleep } from "@sheaf/base";
import type { UpgradeOrder } from "@sheaf/contract";
import { AgentInstallation, SheafError } from "@sheaf/model";
import type { KeptState } from "./kept-state.ts";
import type { Dialer, Identity, Installation } from "./ports.ts";

type Upgrade = NonNullable<AgentInstallation["upgrade"]>;

export interface AgentUpgradeOptions {
  readonly clock: Clock;
  readonly logger: Logger;
  readonly kept: KeptState;
  readonly installation: Installation;
  readonly dialer: Dialer;
  readonly identity: () => Identity;
  /** Machines are on their way from or to this host: the agent that carries them must not go now. */
  readonly migrating: () => boolean;
  /** What it says of itself has changed. */
  readonly changed: () => void;
  readonly signal: AbortSignal;
}

/** A new version has proved itself when it has been connected for so long, has what its server sent, and has seen the hypervisor. */
const provenAfterMs = 5000;
const lookMs = 500;
const migrationLookMs = 2000;
const noteName = "agent-upgrade";

export class AgentUpgrade {
  readonly #options: AgentUpgradeOptions;
  #upgrade: Upgrade | undefined;
  #onTrial = false;
  #worksSince: number | null = null;
  #busy = false;

  private constructor(options: AgentUpgradeOptions) {
    this.#options = options;
  }

  static async open(options: AgentUpgradeOptions): Promise<AgentUpgrade> {
    const { kept, installation, logger } = options;
    const upgrade = new AgentUpgrade(options);
    upgrade.#onTrial = await installation.onTrial();
    const note = AgentInstallation.shape.upgrade.safeParse(kept.note(noteName)).data;
    upgrade.#upgrade = note;
    if (note?.state !== "restarting" || upgrade.#onTrial) return upgrade;
    // Told with the first report.
    upgrade.#upgrade = await upgrade.#endOf(note);
    await kept.putNote(noteName, upgrade.#upgrade);
    if (upgrade.#upgrade.problem)
      logger.error({ version: note.version, reason: upgrade.#upgrade.problem.detail }, "this version of the agent works on");
    return upgrade;
  }

  /** What came of an order that was about to be carried out when the process before this one ended. */
  async #endOf(note: Upgrade): Promise<Upgrade> {
    const { installation } = this.#options;
    if (installation.archive !== undefined && note["sha256"] === installation.archive) return { ...note, state: "done" };
    const why = await installation.givenUp(note.order);
    const detail = why === null ? `version ${note.version} was never started` : `the host went back from version ${note.version}: ${why}`;
    return {
      ...note,
      state: "failed",
      problem: { code: "upgrade-failed", detail, next: "The version before works on. Look at the agent's log of that time." },
    };
  }

  /** What the host's report says of it. */
  get facts(): AgentInstallation {
    const { platform, archive, fixed } = this.#options.installation;
    return {
      platform,
      ...(archive === undefined ? {} : { archive }),
      ...(fixed === undefined ? {} : { fixed }),
      ...(this.#onTrial ? { trial: true } : {}),
      ...(this.#upgrade === undefined ? {} : { upgrade: this.#upgrade }),
    };
  }

  /** The server's call: the same order may come again. @throws SheafError `state-refused` */
  async order(order: UpgradeOrder): Promise<void> {
    const { installation, clock } = this.#options;
    if (this.#upgrade?.order === order.order) return;
    if (installation.fixed !== undefined) throw new SheafError("state-refused", installation.fixed);
    if (this.#busy) throw new SheafError("state-refused", `this host takes version ${this.#upgrade?.version ?? "another"} just now`);
    if (this.#onTrial)
      throw new SheafError("state-refused", "the present version of this host's agent has yet to prove itself: try again in a minute");
    const begun: Upgrade = { order: order.order, version: order.version, sha256: order.sha256, state: "fetching", begunAt: clock.now() };
    if (installation.archive === order.sha256) return this.#end({ ...begun, state: "done" });
    this.#busy = true;
    this.#tell(begun);
    void this.#work(order, begun).finally(() => (this.#busy = false));
  }

  async #work(order: UpgradeOrder, begun: Upgrade): Promise<void> {
    const { installation, logger, dialer, identity, clock, signal, migrating, kept } = this.#options;
    logger.info({ version: order.version, bytes: order.sizeBytes }, "another version of the agent is being fetched");
    try {
      const { body } = await dialer.fetchArchive(identity(), order.sha256, signal).catch((error: unknown) => {
        throw new SheafError("unavailable", "the new version could not be fetched from the server", { cause: String(error) });
      });
      let told = 0;
      const received = (bytes: number): void => {
        const percent = Math.floor((bytes * 4) / order.sizeBytes) * 25;
        if (percent > told && percent < 100) this.#tell({ ...begun, percent });
        told = Math.max(told, percent);
      };
      await installation.fetch(order, body, received, signal);
      this.#tell({ ...begun, state: "testing" });
      await installation.prepare(order, signal);
      while (migrating()) {
        this.#tell({ ...begun, state: "waiting" });
        await sleep(clock, migrationLookMs, signal);
      }
      // Noted first: whoever starts next finds what was under way.
      const restarting: Upgrade = { ...begun, state: "restarting" };
      await kept.putNote(noteName, restarting);
      await installation.switchTo(order);
      this.#tell(restarting);
      logger.info({ version: order.version }, "the agent ends, and starts again as another version; machines run on");
      installation.restart();
    } catch (error) {
      if (signal.aborted) return;
      const known = error instanceof SheafError ? error : new SheafError("internal", error instanceof Error ? error.message : String(error));
      const { next, cause } = known.extra;
      logger.error({ version: order.version, code: known.code, reason: known.message, cause }, "the agent stays what it is");
      const problem = { code: known.code, detail: known.message, ...(next === undefined ? {} : { next }), ...(cause === undefined ? {} : { cause }) };
      await this.#end({ ...begun, state: "failed", problem }).catch((failure: unknown) =>
        logger.error({ reason: String(failure) }, "that could not be noted"),
      );
    }
  }

  /** While it is on trial: to be called again after what is returned. @returns `undefined`: the trial is over, or there was none */
  async look(works: boolean): Promise<number | undefined> {
    const { clock, installation, logger } = this.#options;
    if (!this.#onTrial) return undefined;
    if (!works) this.#worksSince = null;
    else this.#worksSince ??= clock.monotonic();
    if (this.#worksSince === null || clock.monotonic() - this.#worksSince < provenAfterMs) return lookMs;
    if (this.#upgrade) await this.#end({ ...this.#upgrade, state: "done" });
    await installation.prove();
    this.#onTrial = false;
    logger.info({ version: this.#upgrade?.version }, "this version of the agent has proved itself");
    this.#options.changed();
    return undefined;
  }

  /** The connection is gone: its time begins anew. */
  disconnected(): void {
    this.#worksSince = null;
  }

  #tell(upgrade: Upgrade): void {
    if (JSON.stringify(upgrade) === JSON.stringify(this.#upgrade)) return;
    this.#upgrade = upgrade;
    this.#options.changed();
  }

  async #end(upgrade: Upgrade): Promise<void> {
    this.#tell(upgrade);
    await this.#options.kept.putNote(noteName, upgrade);
  }
}
