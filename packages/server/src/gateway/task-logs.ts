/**
 * The fleeting side of tasks: log lines and live figures, in bounded memory, lost with the server. Written by controllers and, through
 * the gateway, by agents; read by the API (`reader`).
 */
import type { Clock } from "@sheaf/base";
import type { TaskLog } from "@sheaf/controllers";
import type { TaskLogReader } from "../context.ts";

const linesPerTask = 500;
const lineLength = 2000;
const figuresPerTask = 64;
/** Of all figures of a task, as JSON. */
const figuresLength = 16 * 1024;

interface Kept {
  readonly lines: { at: number; text: string }[];
  figures: Record<string, unknown>;
}

export interface TaskListener {
  line(taskId: string, text: string, at: number): void;
  progress(taskId: string, fields: Record<string, unknown>): void;
}

export class TaskLogs implements TaskLog {
  readonly #clock: Clock;
  readonly #tasksKept: number;
  readonly #listeners = new Set<TaskListener>();
  /** In order of last use: the longest unused go first. */
  readonly #tasks = new Map<string, Kept>();
  readonly reader: TaskLogReader = {
    lines: (taskId) => this.#tasks.get(taskId)?.lines ?? [],
    progress: (taskId) => {
      const figures = this.#tasks.get(taskId)?.figures;
      return figures && Object.keys(figures).length > 0 ? figures : undefined;
    },
  };

  constructor(clock: Clock, tasksKept = 2000) {
    this.#clock = clock;
    this.#tasksKept = tasksKept;
  }

  /** What is said on this server, for those who pass it on. @returns the function that ends it */
  subscribe(listener: TaskListener): () => void {
    this.#listeners.add(listener);
    return () => void this.#listeners.delete(listener);
  }

  /** @param at when it happened, ms; now by default */
  append(taskId: string, text: string, at = this.#clock.now()): void {
    this.takeLine(taskId, text, at);
    for (const listener of this.#listeners) listener.line(taskId, text, at);
  }

  /** Newer figures replace older ones of the same name. */
  progress(taskId: string, fields: Record<string, unknown>): void {
    this.takeProgress(taskId, fields);
    for (const listener of this.#listeners) listener.progress(taskId, fields);
  }

  /** Said on another server. */
  takeLine(taskId: string, text: string, at: number): void {
    const { lines } = this.#of(taskId);
    lines.push({ at, text: text.slice(0, lineLength) });
    if (lines.length > linesPerTask) lines.shift();
  }

  takeProgress(taskId: string, fields: Record<string, unknown>): void {
    const kept = this.#of(taskId);
    const figures = Object.fromEntries(Object.entries({ ...kept.figures, ...fields }).slice(0, figuresPerTask));
    // They come from agents: what is no figure is not kept.
    if (JSON.stringify(figures).length <= figuresLength) kept.figures = figures;
  }

  #of(taskId: string): Kept {
    const kept = this.#tasks.get(taskId) ?? { lines: [], figures: {} };
    this.#tasks.delete(taskId);
    this.#tasks.set(taskId, kept);
    if (this.#tasks.size > this.#tasksKept) {
      const oldest = this.#tasks.keys().next();
      if (!oldest.done) this.#tasks.delete(oldest.value);
    }
    return kept;
  }
}
