/**
 * Which servers share this store, and which of them are there: each writes what it is, and holds a key by a lease while it runs. Called
 * by the start-up code; read by the gateway (agents are told where else to go), by the links between servers, and by the API.
 */
import type { Clock, Logger, Timer } from "@sheaf/base";
import { serverMemberKey, serverMembersPrefix, serverPresenceKey, serverPresencePrefix, SheafError } from "@sheaf/model";
import { StoreError, type Entry, type Store, type Watch } from "@sheaf/store";
import { z } from "zod";

const Member = z.looseObject({
  name: z.string(),
  /** Where people reach it: `https://name:7443`. */
  url: z.string(),
  /** Where agents and other servers reach it: `https://name:7444`. */
  agentUrl: z.string(),
  version: z.string(),
});
type Member = z.infer<typeof Member>;

export interface SiteServer extends Member {
  readonly present: boolean;
}

export interface ServerDirectoryOptions {
  readonly store: Store;
  readonly clock: Clock;
  readonly logger: Logger;
  readonly self: { readonly name: string; readonly url: string; readonly agentUrl: string; readonly version: string };
  /** This server's own, and the same after a restart: what an earlier life of it left is taken over at once. */
  readonly id: string;
  readonly leaseMs?: number;
}

const retryMs = 500;
/** A server of this name on another machine that was killed is still there by its lease; it is waited for, and not for longer. */
const claimForMs = 15_000;

export class ServerDirectory {
  readonly #options: ServerDirectoryOptions;
  readonly #leaseMs: number;
  readonly #members = new Map<string, Member>();
  readonly #present = new Set<string>();
  readonly #listeners = new Set<() => void>();
  readonly #watches = new Set<Watch>();
  #lease: string | undefined;
  /** Monotonic ms of the last question that the store answered. */
  #confirmedAt = Number.NEGATIVE_INFINITY;
  #timer: Timer | undefined;
  #turn: Promise<void> = Promise.resolve();
  #closed = false;

  private constructor(options: ServerDirectoryOptions) {
    this.#options = options;
    this.#leaseMs = options.leaseMs ?? 5000;
  }

  /** @throws SheafError `conflict` where another server of this name runs; StoreError */
  static async open(options: ServerDirectoryOptions): Promise<ServerDirectory> {
    const directory = new ServerDirectory(options);
    const { clock, self, store } = options;
    const until = clock.monotonic() + claimForMs;
    while (!(await directory.#claim())) {
      if (clock.monotonic() > until)
        throw new SheafError("conflict", `Another server called ${self.name} runs on this store.`, {
          next: "Give each server a name of its own: --server-name.",
        });
      await new Promise<void>((resolve) => void clock.setTimer(retryMs, resolve));
    }
    await store.transact({ compare: [], then: [{ put: serverMemberKey(self.name), value: JSON.stringify(self) }] });
    await directory.#follow(
      serverMembersPrefix,
      (key) => directory.#members.delete(key),
      (key, entry) => {
        const member = memberOf(entry);
        if (member !== null) directory.#members.set(key, member);
      },
    );
    await directory.#follow(
      serverPresencePrefix,
      (key) => directory.#present.delete(key),
      (key) => directory.#present.add(key),
    );
    directory.#confirmedAt = clock.monotonic();
    directory.#renewLater();
    return directory;
  }

  /** In order of names; this one among them. */
  servers(): SiteServer[] {
    return [...this.#members.values()]
      .map((member) => ({ ...member, present: this.#present.has(member.name) }))
      .toSorted((left, right) => (left.name < right.name ? -1 : 1));
  }

  get others(): SiteServer[] {
    return this.servers().filter(({ name }) => name !== this.#options.self.name);
  }

  /** Agents' ports, those of servers that are there first. */
  agentUrls(): string[] {
    return this.servers()
      .toSorted((left, right) => Number(right.present) - Number(left.present))
      .map(({ agentUrl }) => agentUrl);
  }

  /** For how long the store has not answered this server. */
  get storeSilentMs(): number {
    return this.#options.clock.monotonic() - this.#confirmedAt;
  }

  /** @returns the function that ends the subscription */
  subscribe(listener: () => void): () => void {
    this.#listeners.add(listener);
    return () => void this.#listeners.delete(listener);
  }

  async close(): Promise<void> {
    this.#closed = true;
    this.#timer?.cancel();
    for (const watch of this.#watches) watch.close();
    await this.#turn;
    if (this.#lease !== undefined) await this.#options.store.revokeLease(this.#lease).catch(() => {});
  }

  async #claim(): Promise<boolean> {
    const { store, self, id } = this.#options;
    this.#lease ??= (await store.grantLease(this.#leaseMs)).id;
    const key = serverPresenceKey(self.name);
    const put = { put: key, value: id, lease: this.#lease };
    const { succeeded, current } = await store.transact({ compare: [{ key, createRevision: 0 }], then: [put] });
    const holder = current.get(key);
    if (succeeded || holder?.lease === this.#lease) return true;
    // Ours, under a lease that was lost, or of an earlier life.
    if (holder?.value !== id) return false;
    return (await store.transact({ compare: [{ key, modRevision: holder.modRevision }], then: [put] })).succeeded;
  }

  #renewLater(): void {
    if (this.#closed) return;
    this.#timer = this.#options.clock.setTimer(this.#leaseMs / 5, () => {
      this.#turn = this.#renew().finally(() => this.#renewLater());
    });
  }

  async #renew(): Promise<void> {
    const asked = this.#options.clock.monotonic();
    try {
      if (this.#lease === undefined) await this.#claim();
      else await this.#options.store.keepAlive(this.#lease);
      this.#confirmedAt = asked;
    } catch (error) {
      if (error instanceof StoreError && error.code === "lease-expired") this.#lease = undefined;
      this.#options.logger.debug({ error: String(error) }, "this server's presence was not renewed; trying again");
    }
  }

  /** Lists, then watches; lists again whenever the watch ends. */
  async #follow(prefix: string, remove: (name: string) => void, add: (name: string, entry: Entry) => void): Promise<void> {
    const { store, clock } = this.#options;
    const known = new Set<string>();
    const list = async (): Promise<void> => {
      const { entries, revision } = await store.range({ prefix });
      if (this.#closed) return;
      for (const name of known) remove(name);
      known.clear();
      for (const entry of entries) take(entry);
      this.#tell();
      const watch = store.watch(
        { prefix, fromRevision: revision + 1 },
        {
          events: ({ events }) => {
            for (const { type, entry } of events) {
              if (type === "put") take(entry);
              else remove(entry.key.slice(prefix.length));
            }
            this.#tell();
          },
          ended: (error) => {
            this.#watches.delete(watch);
            if (!this.#closed && error.code !== "closed") again();
          },
        },
      );
      this.#watches.add(watch);
    };
    const take = (entry: Entry): void => {
      const name = entry.key.slice(prefix.length);
      known.add(name);
      add(name, entry);
    };
    const again = (): void => void clock.setTimer(retryMs, () => void list().catch(again));
    await list();
  }

  #tell(): void {
    for (const listener of this.#listeners) listener();
  }
}

function memberOf({ value }: Entry): Member | null {
  try {
    return Member.parse(JSON.parse(value));
  } catch {
    return null;
  }
}
