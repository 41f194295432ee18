/** What a server looks at again and again, whatever happens. Called by `hand-over.ts` and `agent-spread.ts`. */
import type { Clock, Timer } from "@sheaf/base";

/** @returns what ends it */
export function lookEvery(clock: Clock, everyMs: number, look: () => void): Pick<Timer, "cancel"> {
  let timer: Timer;
  const later = (): void => {
    timer = clock.setTimer(everyMs, () => {
      look();
      later();
    });
  };
  later();
  return { cancel: () => timer.cancel() };
}
