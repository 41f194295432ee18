/**
 * The site's own certificate authority: opened at start, signs the server's certificate (and renews it) and those of agents.
 * The root's key lies sealed in the data directory, outside the store. Called by the start-up code, the API (joining, removal of
 * hosts) and the gateway (renewal).
 */
import type { Clock, Logger, Random, Timer } from "@sheaf/base";
import { SheafError } from "@sheaf/model";
import type { Authority, Secrets } from "../context.ts";
import {
  dayMs,
  fingerprintOf,
  isCertificateName,
  isForClients,
  isSignedBy,
  loadSigner,
  makeRoot,
  makeServerCertificate,
  namesOf,
  periodOf,
  signAgentRequest,
  type KeyAndCertificate,
  type Signer,
} from "./certificates.ts";
import type { Revocations } from "./revocations.ts";

/** What the authority needs of the disk; `adapters`' NodeFiles is one. */
export interface KeyFiles {
  readText(path: string): Promise<string | null>;
  /** Atomic and durable; mode 0600 unless given. */
  writeAtomic(path: string, content: string, options?: { mode?: number }): Promise<void>;
}

/** PEM: what a TLS server of this site needs. */
export interface ServerIdentity {
  /** Own certificate, then the authority's: who pins the authority by its fingerprint must be shown it. */
  readonly certificate: string;
  readonly privateKey: string;
  readonly authority: string;
}

export interface SiteAuthorityOptions {
  readonly files: KeyFiles;
  /** Directory of the keys, there already. */
  readonly directory: string;
  readonly secrets: Secrets;
  readonly clock: Clock;
  readonly random: Random;
  readonly logger: Logger;
  readonly revocations: Revocations;
  /** Names and addresses under which the server is reached, besides localhost. */
  readonly names: readonly string[];
}

const rootDays = 3650;
export const leafDays = 90;
const lookEveryMs = 3_600_000;

export class SiteAuthority implements Authority {
  readonly certificate: string;
  readonly fingerprint: string;
  readonly #options: SiteAuthorityOptions;
  readonly #signer: Signer;
  readonly #names: readonly string[];
  readonly #listeners = new Set<(identity: ServerIdentity) => void>();
  #server: KeyAndCertificate;
  #timer: Timer | null = null;

  private constructor(options: SiteAuthorityOptions, root: KeyAndCertificate, signer: Signer, names: readonly string[], server: KeyAndCertificate) {
    this.#options = options;
    this.#signer = signer;
    this.#names = names;
    this.#server = server;
    this.certificate = root.certificate;
    this.fingerprint = fingerprintOf(root.certificate);
  }

  /** Makes what is not there yet. @throws SheafError where the key of the secrets is another one, or a name can stand in no certificate */
  static async open(options: SiteAuthorityOptions): Promise<SiteAuthority> {
    for (const name of options.names) {
      if (!isCertificateName(name))
        throw new SheafError("invalid-input", `“${name}” is neither an address nor a DNS name: the server cannot be reached under it.`);
    }
    const root = await openRoot(options);
    const signer = await loadSigner(root);
    const names = [...new Set([...options.names, "localhost", "127.0.0.1", "::1"])];
    const kept = await readSealed(options, "server.json");
    const server = kept && (await isUsable(kept, signer, names, options.clock)) ? kept : await renewServer(options, signer, names);
    return new SiteAuthority(options, root, signer, names, server);
  }

  get serverIdentity(): ServerIdentity {
    const { certificate, privateKey } = this.#server;
    return { certificate: `${certificate.trimEnd()}\n${this.certificate.trimEnd()}\n`, privateKey, authority: this.certificate };
  }

  /** Called with the new certificate after each renewal. @returns the function that ends it */
  onRenewal(listener: (identity: ServerIdentity) => void): () => void {
    this.#listeners.add(listener);
    return () => this.#listeners.delete(listener);
  }

  /** From now on the server's certificate is renewed before it ends. */
  start(): void {
    this.#timer = this.#options.clock.setTimer(lookEveryMs, () => {
      void this.#renewWhenDue().finally(() => {
        if (this.#timer) this.start();
      });
    });
  }

  stop(): void {
    this.#timer?.cancel();
    this.#timer = null;
  }

  async signAgent(request: {
    readonly certificateRequest: string;
    readonly hostId: string;
    readonly hostname: string;
    readonly addresses: readonly string[];
  }): Promise<string> {
    const { clock, random } = this.#options;
    const names = [request.hostname, ...request.addresses].filter(isCertificateName);
    return signAgentRequest(
      this.#signer,
      { pem: request.certificateRequest, hostId: request.hostId, names },
      { now: clock.now(), days: leafDays },
      random,
    );
  }

  /**
   * A new certificate for a host that shows a valid one. The names are those of the old one and what the server itself knows: an
   * agent cannot ask for another host's name.
   */
  async renewAgent(request: { certificateRequest: string; hostId: string; present: string; addresses: readonly string[] }): Promise<string> {
    const [hostname = request.hostId, ...others] = namesOf(request.present);
    return this.signAgent({ ...request, hostname, addresses: [...others, ...request.addresses] });
  }

  async revoke(hostId: string): Promise<void> {
    await this.#options.revocations.revokeHost(hostId, "the host was removed");
  }

  async #renewWhenDue(): Promise<void> {
    const { logger, clock } = this.#options;
    try {
      if (await isUsable(this.#server, this.#signer, this.#names, clock)) return;
      this.#server = await renewServer(this.#options, this.#signer, this.#names);
      logger.info({ notAfter: periodOf(this.#server.certificate).notAfter }, "the server's certificate was renewed");
      for (const listener of this.#listeners) listener(this.serverIdentity);
    } catch (error) {
      logger.error({ error: String(error) }, "the server's certificate could not be renewed; tried again in an hour");
    }
  }
}

async function openRoot(options: SiteAuthorityOptions): Promise<KeyAndCertificate> {
  const kept = await readSealed(options, "authority.json");
  if (kept) return kept;
  const { clock, random, logger } = options;
  const root = await makeRoot("Sheaf site authority", { now: clock.now(), days: rootDays }, random);
  await writeSealed(options, "authority.json", root);
  logger.info({ fingerprint: fingerprintOf(root.certificate) }, "this site's certificate authority was made");
  return root;
}

async function renewServer(options: SiteAuthorityOptions, signer: Signer, names: readonly string[]): Promise<KeyAndCertificate> {
  const server = await makeServerCertificate(signer, names, { now: options.clock.now(), days: leafDays }, options.random);
  await writeSealed(options, "server.json", server);
  return server;
}

/** From this authority, for all these names, and with more than a third of its life left. */
async function isUsable(server: KeyAndCertificate, signer: Signer, names: readonly string[], clock: Clock): Promise<boolean> {
  const has = new Set(namesOf(server.certificate).map(plain));
  if (!names.every((name) => has.has(plain(name)))) return false;
  if (!isForClients(server.certificate) || !(await isSignedBy(server.certificate, signer))) return false;
  return periodOf(server.certificate).notAfter - clock.now() > (leafDays * dayMs) / 3;
}

/** IPv6 addresses come back from a certificate unshortened. */
function plain(name: string): string {
  return name.includes(":") ? new URL(`http://[${name}]/`).hostname : name.toLowerCase();
}

interface SealedFile {
  readonly certificate: string;
  readonly sealedKey: string;
}

async function readSealed({ files, directory, secrets }: SiteAuthorityOptions, name: string): Promise<KeyAndCertificate | null> {
  const text = await files.readText(`${directory}/${name}`);
  if (text === null) return null;
  const kept = JSON.parse(text) as SealedFile; // written by this file alone
  return { certificate: kept.certificate, privateKey: secrets.open(kept.sealedKey) };
}

async function writeSealed({ files, directory, secrets }: SiteAuthorityOptions, name: string, made: KeyAndCertificate): Promise<void> {
  const kept: SealedFile = { certificate: made.certificate, sealedKey: secrets.seal(made.privateKey) };
  await files.writeAtomic(`${directory}/${name}`, `${JSON.stringify(kept, null, 2)}\n`);
}
