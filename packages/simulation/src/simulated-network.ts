/**
 * The network between hosts and the server, as TCP gives it to programs: connections that deliver in order or not at all. What goes
 * wrong below shows as it does there: lost packets as delay (they are sent again), a cut wire as silence, a process's end as a reset
 * that may itself never arrive, so that one side goes on talking to nobody. Directions are cut one by one.
 */
import type { Clock } from "@sheaf/base";
import type { Chance } from "./chance.ts";
import type { Life } from "./life.ts";
import type { Story } from "./story.ts";

export interface SocketHandlers {
  text(text: string): void;
  bytes(bytes: Uint8Array): void;
  alive(): void;
  drained(): void;
  closed(code: number, reason: string): void;
}

/** What both the agent's and the server's end look like to their program. */
export interface SimulatedSocket {
  send(data: string | Uint8Array): void;
  readonly unsentBytes: number;
  ping(): void;
  close(code: number, reason: string): void;
  cut(): void;
  listen(handlers: SocketHandlers): void;
}

export interface NetworkQuality {
  /** Of each message, ms. */
  readonly delayMs: readonly [least: number, most: number];
  /** Share of packets that must be sent again, after 200 ms doubled each time. */
  readonly loss: number;
}

export const goodNetwork: NetworkQuality = { delayMs: [1, 2], loss: 0 };

type Packet =
  | { readonly type: "data"; readonly data: string | Uint8Array }
  | { readonly type: "ping" }
  | { readonly type: "pong" }
  | { readonly type: "end"; readonly code: number; readonly reason: string };

const retransmitMs = 200;
/** What the kernel of the sender takes before a program is told that nobody reads. */
const windowBytes = 64 * 1024;

class End implements SimulatedSocket {
  readonly node: string;
  readonly life: Life;
  peer: End | null = null;
  open = true;
  readonly #network: SimulatedNetwork;
  #handlers: SocketHandlers | null = null;
  #waiting: Packet[] = [];
  /** On their way from here, in order; `lastAt` is when the last of them arrives. */
  #lastAt = 0;
  #underWay = 0;
  #blocked: Packet[] = [];

  constructor(network: SimulatedNetwork, node: string, life: Life) {
    this.#network = network;
    this.node = node;
    this.life = life;
  }

  get unsentBytes(): number {
    return Math.max(0, this.#underWay - windowBytes);
  }

  send(data: string | Uint8Array): void {
    if (this.open) this.transmit({ type: "data", data });
  }

  ping(): void {
    if (this.open) this.transmit({ type: "ping" });
  }

  close(code: number, reason: string): void {
    if (!this.open) return;
    this.transmit({ type: "end", code, reason });
    this.#ended(code, reason);
  }

  cut(): void {
    if (!this.open) return;
    this.transmit({ type: "end", code: 1006, reason: "reset" });
    this.#ended(1006, "cut");
  }

  listen(handlers: SocketHandlers): void {
    this.#handlers = handlers;
    for (const packet of this.#waiting.splice(0)) this.arrive(packet);
  }

  /** The process is gone; its kernel resets the connection. */
  reset(): void {
    if (!this.open) return;
    this.transmit({ type: "end", code: 1006, reason: "reset" });
    this.vanish();
  }

  /** The machine is gone: nobody says anything. */
  vanish(): void {
    this.open = false;
    this.#handlers = null;
    this.#network.forget(this);
  }

  transmit(packet: Packet): void {
    const { peer } = this;
    if (!peer) return;
    if (packet.type === "data") this.#underWay += packet.data.length;
    if (this.#network.blocked(this.node, peer.node)) {
      this.#blocked.push(packet);
      return;
    }
    this.#deliver(packet, this.#network.delay(this.node, peer.node));
  }

  /** The way is free again: what waited is sent anew, in order. */
  unblock(): void {
    for (const packet of this.#blocked.splice(0)) this.#deliver(packet, this.#network.delay(this.node, this.peer?.node ?? "") + retransmitMs);
  }

  get isBlocked(): boolean {
    return this.#blocked.length > 0;
  }

  arrive(packet: Packet): void {
    if (!this.open) {
      // Nobody is there any more: a kernel that runs says so.
      if (packet.type !== "end" && this.#network.isUp(this.node)) this.transmit({ type: "end", code: 1006, reason: "reset by peer" });
      return;
    }
    if (!this.#handlers && packet.type !== "ping" && packet.type !== "pong") {
      this.#waiting.push(packet);
      return;
    }
    this.life.run(() => this.#take(packet));
  }

  #take(packet: Packet): void {
    const handlers = this.#handlers;
    if (!this.open) return;
    switch (packet.type) {
      case "data":
        if (typeof packet.data === "string") handlers?.text(packet.data);
        else handlers?.bytes(packet.data);
        return;
      case "ping":
        handlers?.alive();
        return this.transmit({ type: "pong" });
      case "pong":
        return handlers?.alive();
      case "end":
        return this.#ended(packet.code, packet.reason);
    }
  }

  #deliver(packet: Packet, delayMs: number): void {
    const { peer } = this;
    if (!peer) return;
    const now = this.#network.clock.monotonic();
    this.#lastAt = Math.max(this.#lastAt, now + delayMs);
    this.#network.clock.setTimer(this.#lastAt - now, () => {
      // Cut while it was on its way: it is sent again when the way is free.
      if (this.#network.blocked(this.node, peer.node)) {
        this.#blocked.push(packet);
        return;
      }
      this.#network.story.note(`${this.node}>${peer.node} ${packet.type} ${packet.type === "data" ? packet.data.length : ""}`);
      if (packet.type === "data") this.#arrived(packet.data.length);
      peer.arrive(packet);
    });
  }

  #arrived(bytes: number): void {
    const before = this.unsentBytes;
    this.#underWay -= bytes;
    if (before > 0 && this.unsentBytes === 0 && this.open) this.life.run(() => this.#handlers?.drained());
  }

  #ended(code: number, reason: string): void {
    if (!this.open) return;
    this.open = false;
    this.#network.forget(this);
    const handlers = this.#handlers;
    this.#handlers = null;
    // Later, as a real socket: whoever closes is not called back from within.
    queueMicrotask(() => this.life.run(() => handlers?.closed(code, reason)));
  }
}

export interface Listener {
  readonly life: Life;
  /** @returns why this peer is refused, or `null` */
  admit(peer: string): string | null;
  connected(socket: SimulatedSocket, peer: string): void;
}

export class SimulatedNetwork {
  readonly clock: Clock;
  readonly story: Pick<Story, "note">;
  readonly #chance: Chance;
  readonly #ends = new Map<string, Set<End>>();
  readonly #cut = new Set<string>();
  readonly #quality = new Map<string, NetworkQuality>();
  readonly #down = new Set<string>();
  readonly #listeners = new Map<string, Listener>();
  quality: NetworkQuality = goodNetwork;

  constructor(clock: Clock, chance: Chance, story: Pick<Story, "note">) {
    this.clock = clock;
    this.#chance = chance;
    this.story = story;
  }

  /** A server's listener; `null`: connections are refused. */
  listen(node: string, listener: Listener | null): void {
    if (listener) this.#listeners.set(node, listener);
    else this.#listeners.delete(node);
  }

  /** @throws Error when it is refused, or `signal` aborts first */
  dial(from: string, to: string, life: Life, signal: AbortSignal): Promise<SimulatedSocket> {
    return new Promise((resolve, reject) => {
      const onAbort = (): void => reject(signal.reason);
      if (signal.aborted) return onAbort();
      signal.addEventListener("abort", onAbort, { once: true });
      const roundTripMs = this.delay(from, to) + this.delay(to, from);
      this.clock.setTimer(roundTripMs, () => {
        // Packets that are lost are no answer: only the dialler's own patience ends it.
        if (signal.aborted || !life.alive || !this.isUp(to) || this.blocked(from, to) || this.blocked(to, from)) return;
        const listener = this.#listeners.get(to);
        if (!listener?.life.alive) {
          signal.removeEventListener("abort", onAbort);
          return reject(new Error("connection refused"));
        }
        // The kernel of a server that hangs takes the connection; nobody accepts it until it goes on.
        listener.life.run(() => {
          if (signal.aborted || !life.alive) return;
          signal.removeEventListener("abort", onAbort);
          const refusal = listener.admit(from);
          if (refusal !== null) return reject(new Error(refusal));
          const [near, far] = [new End(this, from, life), new End(this, to, listener.life)];
          near.peer = far;
          far.peer = near;
          for (const end of [near, far]) this.#of(end.node).add(end);
          listener.connected(far, from);
          resolve(near);
        });
      });
    });
  }

  /** Whether `from` can reach `to` now: for what is no connection of ours (QEMU to QEMU). */
  reaches(from: string, to: string): boolean {
    return this.isUp(from) && this.isUp(to) && !this.blocked(from, to) && !this.blocked(to, from);
  }

  delay(from: string, to: string): number {
    const { delayMs, loss } = this.#quality.get(from) ?? this.#quality.get(to) ?? this.quality;
    let total = this.#chance.between(delayMs[0], delayMs[1]);
    for (let againMs = retransmitMs; againMs < 60_000 && this.#chance.happens(loss); againMs *= 2) total += againMs;
    return total;
  }

  /** Of one node's links; `null`: as the rest. */
  setQuality(node: string, quality: NetworkQuality | null): void {
    if (quality) this.#quality.set(node, quality);
    else this.#quality.delete(node);
  }

  blocked(from: string, to: string): boolean {
    return this.#cut.has(`${from}>${to}`);
  }

  block(from: string, to: string): void {
    this.#cut.add(`${from}>${to}`);
  }

  unblock(from: string, to: string): void {
    if (!this.#cut.delete(`${from}>${to}`)) return;
    for (const end of [...this.#of(from)]) if (end.isBlocked && end.peer?.node === to) end.unblock();
  }

  isUp(node: string): boolean {
    return !this.#down.has(node);
  }

  /** The machine lost its power. */
  down(node: string): void {
    this.#down.add(node);
    for (const end of [...this.#of(node)]) end.vanish();
  }

  up(node: string): void {
    this.#down.delete(node);
  }

  /** A process ended, its machine goes on. */
  resetOf(life: Life, node: string): void {
    for (const end of [...this.#of(node)]) if (end.life === life) end.reset();
  }

  forget(end: End): void {
    this.#of(end.node).delete(end);
  }

  #of(node: string): Set<End> {
    let ends = this.#ends.get(node);
    if (!ends) this.#ends.set(node, (ends = new Set()));
    return ends;
  }
}
