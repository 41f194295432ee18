/** Two ends of a byte stream in memory: for tests and simulations, where no socket is wanted. */
import type { Wire, WireHandlers } from "./ports.ts";

/** Unread bytes at which `write` says false. */
const HIGH_WATER_BYTES = 1_048_576;

class MemoryEnd implements Wire {
  #handlers: WireHandlers | undefined;
  #peer: MemoryEnd | undefined;
  #unread: Uint8Array[] = [];
  #unreadBytes = 0;
  #paused = false;
  #scheduled = false;
  #over = false;
  #failure: Error | undefined;
  #peerWaits = false;

  join(peer: MemoryEnd): void {
    this.#peer = peer;
  }

  attach(handlers: WireHandlers): void {
    this.#handlers = handlers;
    this.#schedule();
  }

  write(bytes: Uint8Array): boolean {
    if (this.#over || this.#peer === undefined) return true;
    return this.#peer.#take(new Uint8Array(bytes));
  }

  pause(): void {
    this.#paused = true;
  }

  resume(): void {
    this.#paused = false;
    this.#schedule();
  }

  destroy(): void {
    if (this.#over) return;
    this.#finish(undefined);
    const peer = this.#peer;
    if (peer !== undefined) peer.#finish(new Error("the other side ended the connection"));
  }

  #take(bytes: Uint8Array): boolean {
    if (this.#over) return true;
    this.#unread.push(bytes);
    this.#unreadBytes += bytes.byteLength;
    this.#schedule();
    if (this.#unreadBytes < HIGH_WATER_BYTES) return true;
    this.#peerWaits = true;
    return false;
  }

  #finish(failure: Error | undefined): void {
    if (this.#over) return;
    this.#over = true;
    this.#failure = failure;
    this.#schedule();
  }

  /** Delivery is always later, never inside the writer's call. */
  #schedule(): void {
    if (this.#scheduled || this.#handlers === undefined) return;
    this.#scheduled = true;
    queueMicrotask(() => this.#deliver());
  }

  #deliver(): void {
    this.#scheduled = false;
    const handlers = this.#handlers;
    if (handlers === undefined) return;
    while (!this.#paused) {
      const bytes = this.#unread.shift();
      if (bytes === undefined) break;
      this.#unreadBytes -= bytes.byteLength;
      handlers.data(bytes);
    }
    if (this.#peerWaits && this.#unreadBytes < HIGH_WATER_BYTES) {
      this.#peerWaits = false;
      const waiting = this.#peer === undefined ? undefined : this.#peer.#handlers;
      waiting?.drain();
    }
    if (!this.#over || (this.#unread.length > 0 && this.#paused)) return;
    this.#handlers = undefined;
    handlers.closed(this.#failure);
  }
}

export function memoryWirePair(): readonly [Wire, Wire] {
  const [left, right] = [new MemoryEnd(), new MemoryEnd()];
  left.join(right);
  right.join(left);
  return [left, right];
}
