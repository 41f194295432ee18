/**
 * The phases of a managed migration on one side, each side with a session of its own at its own daemon:
 * source begin → target prepare → source perform → target finish → source confirm. The caller carries the cookies.
 *
 * libvirt ties the phases to the connection that made them. When it closes before `perform` is through, both daemons undo their side:
 * the source runs on, the target's half-made copy is destroyed. When it closes after `perform` and before `confirm`, the target's copy is
 * destroyed unless `finish` was called, and the source stays *paused*: libvirt cannot know whether the target runs. Resume the source
 * only when it is certain that the target does not. So keep both sessions open to the end; to give up after `perform`, call `finish` and
 * `confirm` with `cancelled`.
 */
import type { CallOptions } from "./calls.ts";
import { type DomainHandle, domainReference as ref } from "./domains.ts";
import type { Session } from "./session.ts";
import type { TypedParameter } from "./typed-params.ts";

export interface MigrationStep {
  readonly params: readonly TypedParameter[];
  /** `MigrateFlag`; the same on all phases. */
  readonly flags: number;
}

const NO_COOKIE = new Uint8Array(0);

export class MigrationSession {
  readonly #session: Session;

  constructor(session: Session) {
    this.#session = session;
  }

  /** False once the connection is gone: then libvirt has undone, or is undoing, its side. */
  get open(): boolean {
    return this.#session.open;
  }

  /** Source, 1st: the XML for the target, and a cookie. */
  begin(domain: DomainHandle, step: MigrationStep, options?: CallOptions) {
    return this.#session.call("domainMigrateBegin3Params", { domain: ref(domain), ...step }, options);
  }

  /** Target, 2nd: a QEMU waits for the stream at `uriOut` (null: the URI that was given). `destination_xml` must be among the parameters. */
  prepare(step: MigrationStep, cookieIn: Uint8Array, options?: CallOptions) {
    return this.#session.call("domainMigratePrepare3Params", { ...step, cookieIn }, options);
  }

  /** Target, 2nd, tunnelled: the stream takes QEMU's data. */
  async prepareTunnel(step: MigrationStep, cookieIn: Uint8Array, options?: CallOptions) {
    const { reply, stream } = await this.#session.openStream("domainMigratePrepareTunnel3Params", { ...step, cookieIn }, options);
    return { cookieOut: reply.cookieOut, stream };
  }

  /** Source, 3rd: moves memory (and disks); returns when the source has stopped, or fails with the source running on. */
  async perform(domain: DomainHandle, step: MigrationStep, cookieIn: Uint8Array, options?: CallOptions): Promise<Uint8Array> {
    const args = { domain: ref(domain), destinationUri: null, ...step, cookieIn };
    return (await this.#session.call("domainMigratePerform3Params", args, options)).cookieOut;
  }

  /** Source, peer-to-peer: everything in one call; the source's daemon talks to the target's by itself. */
  async performPeerToPeer(domain: DomainHandle, destinationUri: string, step: MigrationStep, options?: CallOptions): Promise<void> {
    await this.#session.call("domainMigratePerform3Params", { domain: ref(domain), destinationUri, ...step, cookieIn: NO_COOKIE }, options);
  }

  /** Target, 4th: starts the copy, or with `cancelled` destroys it. Answers with the domain that now runs. */
  finish(step: MigrationStep, cookieIn: Uint8Array, cancelled: boolean, options?: CallOptions) {
    return this.#session.call("domainMigrateFinish3Params", { ...step, cookieIn, cancelled }, options);
  }

  /** Source, 5th: removes the source, or with `cancelled` lets it run on. */
  async confirm(domain: DomainHandle, step: MigrationStep, cookieIn: Uint8Array, cancelled: boolean, options?: CallOptions): Promise<void> {
    await this.#session.call("domainMigrateConfirm3Params", { domain: ref(domain), ...step, cookieIn, cancelled }, options);
  }

  close(): void {
    this.#session.close();
  }
}
