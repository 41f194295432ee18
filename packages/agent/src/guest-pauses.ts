/**
 * When each guest's agent is asked the next time: soon after news of it, since a guest that starts gets its addresses one by one, and ever
 * more rarely while there is none, since a site has many guests. Called after each answer.
 */
export const soonMs = 5_000;
export const seldomMs = 300_000;

export class GuestPauses {
  readonly #pauses = new Map<string, number>();

  /** @param news the answer differs from the one before. @returns ms */
  after(id: string, news: boolean): number {
    const pauseMs = news ? soonMs : Math.min(seldomMs, 2 * (this.#pauses.get(id) ?? soonMs / 2));
    this.#pauses.set(id, pauseMs);
    return pauseMs;
  }

  /** It answers no more. */
  forget(id: string): void {
    this.#pauses.delete(id);
  }
}
