/**
 * A watch of everything a store has in etcd, from one revision on, over lost connections, members and leaders: none left out, none
 * twice. Called by the etcd store. Revisions are etcd's here.
 */
import type { Clock, Timer } from "@sheaf/base";
import type { EtcdConnection } from "./connection.ts";
import type { Keyspace } from "./keyspace.ts";
import type { WatchResponse } from "./messages.ts";
import { methods } from "./methods.ts";

export interface EtcdWatchHandlers {
  /** All of one revision, in order of revisions. */
  revision(revision: number, events: WatchResponse["events"]): void;
  /** What lay between is forgotten; the last call. */
  compacted(compactRevision: number): void;
}

const reopenMs = 100;

export class EtcdWatch {
  readonly #connection: EtcdConnection;
  readonly #space: Keyspace;
  readonly #clock: Clock;
  readonly #handlers: EtcdWatchHandlers;
  #next: number;
  #closeStream = (): void => {};
  #reopen: Timer | null = null;
  #open = true;

  /** @param from the first revision wanted, 2 or later */
  constructor(connection: EtcdConnection, space: Keyspace, clock: Clock, from: number, handlers: EtcdWatchHandlers) {
    this.#connection = connection;
    this.#space = space;
    this.#clock = clock;
    this.#handlers = handlers;
    this.#next = from;
    this.#start();
  }

  close(): void {
    this.#open = false;
    this.#reopen?.cancel();
    this.#closeStream();
  }

  #start(): void {
    // One revision earlier than wanted: etcd starts at its compaction's revision without a word, although deletions of that revision
    // are gone by then; what is before it, it refuses.
    const create_request = { ...this.#space.all, start_revision: this.#next - 1 };
    this.#closeStream = this.#connection.stream(
      methods.watch,
      { create_request },
      { data: (message) => this.#take(message), ended: () => this.#again() },
    );
  }

  #again(): void {
    if (!this.#open) return;
    this.#closeStream();
    this.#reopen = this.#clock.setTimer(reopenMs, () => this.#start());
  }

  #take(message: WatchResponse): void {
    const compactRevision = Number(message.compact_revision);
    if (message.canceled && compactRevision > 0) {
      this.close();
      return this.#handlers.compacted(compactRevision);
    }
    // etcd never spreads one revision over two messages unless it is asked to.
    for (let start = 0; start < message.events.length;) {
      const revision = message.events[start]?.kv.mod_revision;
      let end = start + 1;
      while (message.events[end]?.kv.mod_revision === revision) end += 1;
      const number = Number(revision);
      if (number >= this.#next) {
        this.#next = number + 1;
        this.#handlers.revision(number, message.events.slice(start, end));
        if (!this.#open) return;
      }
      start = end;
    }
    if (message.canceled) this.#again();
  }
}
