/**
 * Keeps this host's certificate fresh: asks for a new one at two thirds of its life and when the host gets another address for migrations,
 * with a new key; takes it when it fits, for the server link and for QEMU's migrations. Called under the key `certificate` and when the server sends one.
 */
import type { Clock, Logger } from "@sheaf/base";
import {
  fits,
  makeCertificateRequest,
  namesAddress,
  renewalTime,
  writeIdentity,
  writeMigrationCertificates,
  type CertificateRequest,
} from "./certificates.ts";
import type { Files, Identity } from "./ports.ts";

export interface CertificateKeeperOptions {
  readonly clock: Clock;
  readonly logger: Logger;
  readonly files: Files;
  readonly dataDirectory: string;
  readonly migrationDirectory: string;
  readonly identity: Identity;
  /** Where other hosts are to reach this one for migrations, if an operator has said so. */
  readonly migrationAddress: () => string | undefined;
  /** Sends the request; the answer comes to `received`. */
  readonly request: (pem: string) => void;
  readonly renewed: () => void;
}

/** An answer that has not come by then is asked for again. */
const askAgainMs = 600_000;
const lookAtMostMs = 6 * 3_600_000;

export class CertificateKeeper {
  readonly #options: CertificateKeeperOptions;
  #identity: Identity;
  /** When the certificate is to be renewed: read from it once. */
  #renewAt: number | null = null;
  #asked: CertificateRequest | null = null;
  /** Asked for once: a server that does not put it in is not asked for ever. */
  #askedFor: string | undefined;

  constructor(options: CertificateKeeperOptions) {
    this.#options = options;
    this.#identity = options.identity;
  }

  get identity(): Identity {
    return this.#identity;
  }

  async look(connected: boolean): Promise<{ againAfterMs: number }> {
    const { clock, request, logger, migrationAddress } = this.#options;
    const address = migrationAddress();
    const unnamed = address !== undefined && address !== this.#askedFor && !this.names(address);
    this.#renewAt ??= renewalTime(this.#identity.certificate);
    const dueInMs = this.#renewAt - clock.now();
    if (dueInMs > 0 && !unnamed && this.#asked === null) return { againAfterMs: Math.min(dueInMs, lookAtMostMs) };
    if (!connected) return { againAfterMs: 60_000 };
    this.#asked ??= await makeCertificateRequest(this.#identity.hostId);
    this.#askedFor = address;
    logger.info({ ...(unnamed ? { address } : {}) }, "the host's certificate is to be renewed");
    request(this.#asked.request);
    return { againAfterMs: askAgainMs };
  }

  /** Whether other hosts take this one for whom it is under that address. */
  names(address: string): boolean {
    return namesAddress(this.#identity.certificate, address);
  }

  /** The key is kept only together with its certificate: a crash before leaves the old pair, which still works. */
  async received(certificate: string): Promise<void> {
    const { files, dataDirectory, migrationDirectory, renewed, logger } = this.#options;
    const asked = this.#asked;
    if (!asked || !(await fits(certificate, asked.privateKey))) {
      return logger.warn({}, "the server sent a certificate that was not asked for, or for another key; it is not used");
    }
    this.#identity = { ...this.#identity, certificate, privateKey: asked.privateKey };
    this.#asked = null;
    this.#renewAt = null;
    await writeIdentity(files, dataDirectory, this.#identity);
    await writeMigrationCertificates(files, migrationDirectory, this.#identity);
    renewed();
  }
}
