/**
 * Virtual time: a clock that stands still until it is told to go on. Called by the simulator and by tests; never by code that runs
 * in production. Timers fire in order of their time, and those of the same instant in the order in which they were set.
 */
import type { Clock, Timer } from "./clock.ts";

/** One object a timer: a large site has hundreds of thousands. */
class PendingTimer implements Timer {
  readonly at: number;
  readonly sequence: number;
  run: (() => void) | null;
  readonly #cancelled: () => void;

  constructor(at: number, sequence: number, run: () => void, cancelled: () => void) {
    this.at = at;
    this.sequence = sequence;
    this.run = run;
    this.#cancelled = cancelled;
  }

  cancel(): void {
    if (this.run === null) return;
    this.run = null;
    this.#cancelled();
  }
}

/** Not worth sweeping. */
const fewTimers = 256;

export class SimulatedClock implements Clock {
  #elapsedMs = 0;
  #epochMs: number;
  #sequence = 0;
  #live = 0;
  #heap: PendingTimer[] = [];
  readonly #cancelled = (): void => {
    this.#live -= 1;
    // Most timers are deadlines of what ends long before them.
    if (this.#heap.length > 2 * this.#live + fewTimers) this.#sweep();
  };
  /** Turns of the real event loop that are waited for after each instant: more than one while something is used that takes such turns (HTTP). */
  turns = 1;

  /** @param epochMs wall clock at the start; 2026-01-01T00:00:00Z by default */
  constructor(epochMs = 1_767_225_600_000) {
    this.#epochMs = epochMs;
  }

  now(): number {
    return this.#epochMs + this.#elapsedMs;
  }

  monotonic(): number {
    return this.#elapsedMs;
  }

  setTimer(delayMs: number, run: () => void): Timer {
    const timer = new PendingTimer(this.#elapsedMs + Math.max(0, delayMs), this.#sequence++, run, this.#cancelled);
    this.#push(timer);
    this.#live += 1;
    return timer;
  }

  /** Timers that are set and neither fired nor cancelled. */
  get pendingTimers(): number {
    return this.#live;
  }

  /** Sets the wall clock forward or back without time passing: what a person or NTP does. */
  shiftWallClock(byMs: number): void {
    this.#epochMs += byMs;
  }

  /** Lets `ms` pass. After each instant at which timers fired, whatever they started runs until it waits for something else. */
  async advance(ms: number): Promise<void> {
    const end = this.#elapsedMs + ms;
    await this.#settle();
    while (this.#fireNext(end)) await this.#settle();
    this.#elapsedMs = end;
    await this.#settle();
  }

  /**
   * Lets time pass from timer to timer until `condition` holds.
   * @throws Error when it does not hold after `maxMs` of virtual time, or no timer is left that could change anything
   */
  async advanceUntil(condition: () => boolean, maxMs: number): Promise<void> {
    const end = this.#elapsedMs + maxMs;
    await this.#settle();
    while (!condition()) {
      if (!this.#fireNext(end)) throw new Error(`the condition did not come true within ${maxMs} ms of virtual time (${this.#live} timers left)`);
      await this.#settle();
    }
  }

  /** Waits until every promise that can be settled without time or I/O is: setImmediate comes after all microtasks. */
  async #settle(): Promise<void> {
    for (let turn = 0; turn < this.turns; turn += 1) await new Promise<void>((resolve) => setImmediate(resolve));
  }

  /** Fires every timer of the next instant at or before `end`. @returns false when there is none */
  #fireNext(end: number): boolean {
    const first = this.#peek();
    if (first === undefined || first.at > end) return false;
    this.#elapsedMs = Math.max(this.#elapsedMs, first.at);
    // A timer set by one of these for the same instant waits for the next round, after what they started has run.
    const due: PendingTimer[] = [];
    for (let next = this.#peek(); next !== undefined && next.at <= this.#elapsedMs; next = this.#peek()) due.push(this.#pop());
    for (const timer of due) {
      const { run } = timer;
      if (run === null) continue;
      timer.run = null;
      this.#live -= 1;
      run();
    }
    return true;
  }

  #peek(): PendingTimer | undefined {
    while (this.#heap[0]?.run === null) this.#pop();
    return this.#heap[0];
  }

  /** Leaves out those that were cancelled: what is in order is a heap. */
  #sweep(): void {
    this.#heap = this.#heap.filter(({ run }) => run !== null).toSorted((a, b) => a.at - b.at || a.sequence - b.sequence);
  }

  #push(timer: PendingTimer): void {
    const heap = this.#heap;
    let index = heap.push(timer) - 1;
    while (index > 0) {
      const parent = (index - 1) >> 1;
      if (!before(heap, index, parent)) return;
      swap(heap, index, parent);
      index = parent;
    }
  }

  #pop(): PendingTimer {
    const heap = this.#heap;
    swap(heap, 0, heap.length - 1);
    // Callers have seen that the heap is not empty.
    const top = heap.pop() as PendingTimer;
    let index = 0;
    for (;;) {
      const left = index * 2 + 1;
      const smaller = left + 1 < heap.length && before(heap, left + 1, left) ? left + 1 : left;
      if (smaller >= heap.length || !before(heap, smaller, index)) return top;
      swap(heap, smaller, index);
      index = smaller;
    }
  }
}

function before(heap: readonly PendingTimer[], left: number, right: number): boolean {
  const a = heap[left];
  const b = heap[right];
  if (a === undefined || b === undefined) return false;
  return a.at < b.at || (a.at === b.at && a.sequence < b.sequence);
}

function swap(heap: PendingTimer[], left: number, right: number): void {
  const a = heap[left];
  const b = heap[right];
  if (a === undefined || b === undefined) return;
  heap[left] = b;
  heap[right] = a;
}
