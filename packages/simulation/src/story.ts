/**
 * What happened, in the order in which it did: lines for people, and a digest over every event, told or not, by which two runs of one
 * seed are compared. Written to by every part of the simulation; decides nothing.
 */
import { digest } from "./chance.ts";

export type Voice = "operator" | "fault" | "site" | "log" | "check";

export interface StoryLine {
  readonly atMs: number;
  readonly voice: Voice;
  readonly text: string;
}

export class Story {
  readonly lines: StoryLine[] = [];
  readonly #now: () => number;
  readonly #listener: ((line: StoryLine) => void) | undefined;
  readonly #keep: number;
  #digest = 0;
  #events = 0;

  /** @param now virtual ms since the begin @param keep lines that stay in memory; older ones go */
  constructor(now: () => number, options: { readonly listener?: ((line: StoryLine) => void) | undefined; readonly keep?: number } = {}) {
    this.#now = now;
    this.#listener = options.listener;
    this.#keep = options.keep ?? 100_000;
  }

  tell(voice: Voice, text: string): void {
    const line = { atMs: this.#now(), voice, text };
    // Whether the product's log is told must not make two runs different.
    if (voice !== "log") this.note(text);
    this.lines.push(line);
    if (this.lines.length > this.#keep * 1.1) this.lines.splice(0, this.lines.length - this.#keep);
    this.#listener?.(line);
  }

  /** Counts into the digest, is not told. */
  note(what: string): void {
    this.#events += 1;
    this.#digest = (Math.imul(this.#digest, 31) + digest(`${this.#now()} ${what}`)) >>> 0;
  }

  get events(): number {
    return this.#events;
  }

  get digest(): string {
    return `${this.#events}-${this.#digest.toString(16).padStart(8, "0")}`;
  }
}

/** `01:02:03.004` since the begin. */
export function timeText(ms: number): string {
  const two = (value: number): string => String(Math.floor(value)).padStart(2, "0");
  return `${two(ms / 3_600_000)}:${two((ms / 60_000) % 60)}:${two((ms / 1000) % 60)}.${String(Math.floor(ms % 1000)).padStart(3, "0")}`;
}

export const lineText = ({ atMs, voice, text }: StoryLine): string => `${timeText(atMs)} ${voice.padEnd(8)} ${text}`;
