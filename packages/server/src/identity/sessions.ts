/**
 * Sessions and API tokens: from the bearer token of a request to its caller, without I/O. Sessions lie in the store under the hash of
 * their token and are held in memory, fed by a watch, so that several servers and a restart know them. A token itself is never kept.
 */
import { hash as digest, timingSafeEqual } from "node:crypto";
import type { Timer } from "@sheaf/base";
import { SheafError, sessionKey } from "@sheaf/model";
import type { Operation, Watch } from "@sheaf/store";
import type { ServerContext } from "../context.ts";
import { RightsBook, type Caller } from "./rights.ts";

export interface Session {
  readonly userId: string;
  readonly createdAt: number;
  readonly expiresAt: number;
}

export const hashOf = (text: string): string => digest("sha256", text, "hex");
const sessionsPrefix = sessionKey("");
const sweepMs = 10 * 60_000;
/** Longer bearer tokens than this are not looked at. */
const tokenLengthLimit = 300;

export class Sessions {
  readonly #context: ServerContext;
  readonly #rights: RightsBook;
  readonly #sessions = new Map<string, Session>();
  #watch: Watch | null = null;
  #timer: Timer | null = null;
  #open = true;

  constructor(context: ServerContext) {
    this.#context = context;
    this.#rights = new RightsBook(context.cache);
  }

  /** Reads every session and follows changes from there. */
  async start(): Promise<void> {
    await this.#load();
    this.#sweepLater();
  }

  stop(): void {
    this.#open = false;
    this.#watch?.close();
    this.#timer?.cancel();
  }

  get size(): number {
    return this.#sessions.size;
  }

  /**
   * Who a bearer token belongs to.
   * @throws SheafError `unauthenticated`
   */
  authenticate(bearer: string): Caller {
    if (bearer.length > tokenLengthLimit) throw unauthenticated();
    return bearer.startsWith("sheaf_") ? this.#byToken(bearer) : this.#bySession(bearer);
  }

  /** A new session's bearer token, and what to write so that it counts. */
  create(userId: string): { token: string; session: Session; operation: Operation } {
    const token = Buffer.from(this.#context.random.bytes(32)).toString("base64url");
    const now = this.#context.clock.now();
    const session = { userId, createdAt: now, expiresAt: now + this.#context.settings.limits.sessionIdleMs };
    return { token, session, operation: { put: sessionKey(hashOf(token)), value: JSON.stringify(session) } };
  }

  /** Makes a session that was just written known here at once, before the watch tells of it. */
  remember(token: string, session: Session): void {
    this.#sessions.set(hashOf(token), session);
  }

  forget(hash: string): void {
    this.#sessions.delete(hash);
  }

  /** Store keys of a user's sessions, but for one. */
  keysOf(userId: string, except?: string): string[] {
    return [...this.#sessions].filter(([hash, session]) => session.userId === userId && hash !== except).map(([hash]) => sessionKey(hash));
  }

  #bySession(bearer: string): Caller {
    const hash = hashOf(bearer);
    const session = this.#sessions.get(hash);
    const now = this.#context.clock.now();
    if (session === undefined || session.expiresAt <= now) throw unauthenticated();
    const user = this.#context.cache.get("user", session.userId);
    if (user === undefined || user.spec.disabled || user.deletedAt !== undefined) throw unauthenticated();
    this.#slide(hash, session, now);
    return { actor: user.name, userId: user.id, userName: user.name, rights: this.#rights.of(user), expiresAt: session.expiresAt, session: hash };
  }

  #byToken(bearer: string): Caller {
    const [, id = "", secret = ""] = bearer.split("_");
    const token = this.#context.cache.get("token", id);
    if (token === undefined) throw unauthenticated();
    const wanted = Buffer.from(token.spec.secretHash, "hex");
    const found = Buffer.from(hashOf(secret), "hex");
    if (wanted.length !== found.length || !timingSafeEqual(wanted, found)) throw unauthenticated();
    const { expiresAt } = token.spec;
    if (expiresAt !== undefined && expiresAt <= this.#context.clock.now()) throw unauthenticated("The API token has expired.");
    const user = this.#context.cache.get("user", token.spec.user);
    if (user === undefined || user.spec.disabled || user.deletedAt !== undefined) throw unauthenticated();
    return {
      actor: `token:${token.name} of ${user.name}`,
      userId: user.id,
      userName: user.name,
      rights: this.#rights.of(user).narrowed(token.spec.privileges, token.spec.project),
      token: token.id,
      ...(expiresAt === undefined ? {} : { expiresAt }),
    };
  }

  /** Use prolongs a session; written once in a twentieth of its life, so that reading costs the store nothing. */
  #slide(hash: string, session: Session, now: number): void {
    const idleMs = this.#context.settings.limits.sessionIdleMs;
    if (session.expiresAt - now > idleMs * 0.95) return;
    const longer = { ...session, expiresAt: now + idleMs };
    this.#sessions.set(hash, longer);
    const key = sessionKey(hash);
    // Only where it still is: a session that was ended elsewhere must not come back.
    this.#context.store
      .transact({ compare: [{ key, value: JSON.stringify(session) }], then: [{ put: key, value: JSON.stringify(longer) }] })
      .catch((error: unknown) => this.#context.logger.warn({ error: String(error) }, "a session could not be prolonged in the store"));
  }

  async #load(): Promise<void> {
    const { store } = this.#context;
    const found = new Map<string, Session>();
    let after: string | undefined;
    let revision: number | undefined;
    for (;;) {
      const page = await store.range({
        prefix: sessionsPrefix,
        ...(after === undefined ? {} : { after }),
        ...(revision === undefined ? {} : { revision }),
      });
      revision = page.revision;
      for (const entry of page.entries) found.set(entry.key.slice(sessionsPrefix.length), JSON.parse(entry.value) as Session); // written by `create` alone
      after = page.entries.at(-1)?.key;
      if (!page.more) break;
    }
    this.#sessions.clear();
    for (const [hash, session] of found) this.#sessions.set(hash, session);
    if (!this.#open) return;
    this.#watch = store.watch(
      { prefix: sessionsPrefix, fromRevision: revision + 1 },
      {
        events: ({ events }) => {
          for (const { type, entry } of events) {
            const hash = entry.key.slice(sessionsPrefix.length);
            if (type === "put") this.#sessions.set(hash, JSON.parse(entry.value) as Session); // as above
            else this.#sessions.delete(hash);
          }
        },
        ended: (error) => {
          if (this.#open && error.code !== "closed") this.#reloadLater(error);
        },
      },
    );
  }

  #reloadLater(error: Error): void {
    this.#context.logger.warn({ error: String(error) }, "the watch on sessions ended; reading them again");
    this.#context.clock.setTimer(1000, () => {
      if (this.#open) this.#load().catch((again: Error) => this.#reloadLater(again));
    });
  }

  #sweepLater(): void {
    this.#timer = this.#context.clock.setTimer(sweepMs, () => {
      const now = this.#context.clock.now();
      const ended = [...this.#sessions].filter(([, session]) => session.expiresAt <= now).slice(0, 100);
      for (const [hash] of ended) this.#sessions.delete(hash);
      if (ended.length > 0)
        this.#context.store
          .transact({ compare: [], then: ended.map(([hash]) => ({ delete: sessionKey(hash) })) })
          .catch((error: unknown) => this.#context.logger.warn({ error: String(error) }, "ended sessions could not be removed; tried again later"));
      this.#sweepLater();
    });
  }
}

export function unauthenticated(message = "No valid session or API token came with the request."): SheafError {
  return new SheafError("unauthenticated", message, { next: "Sign in (`sheaf login`), or send an API token as `Authorization: Bearer …`." });
}
