/** Which revision may be forgotten, and when: history by age and by number. Pure but for what it remembers. Called at each beat. */
const sampleMs = 60_000;

export class CompactionSchedule {
  readonly #ageMs: number;
  readonly #revisions: number;
  readonly #samples: { readonly at: number; readonly revision: number }[] = [];
  #forgotten = 0;

  constructor(ageMs: number, revisions: number) {
    this.#ageMs = ageMs;
    this.#revisions = revisions;
  }

  /** @returns the revision to compact to, at most once a minute; `null`: nothing now */
  due(now: number, newest: number): number | null {
    const last = this.#samples.at(-1);
    if (last !== undefined && now - last.at < sampleMs) return null;
    this.#samples.push({ at: now, revision: newest });
    let old = newest - this.#revisions;
    while (this.#samples[0] !== undefined && now - this.#samples[0].at >= this.#ageMs) old = Math.max(old, this.#samples.shift()?.revision ?? 0);
    if (old <= this.#forgotten) return null;
    this.#forgotten = old;
    return old;
  }
}
