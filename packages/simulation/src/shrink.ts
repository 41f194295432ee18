/** Makes the plan of a failing run smaller while it goes on failing: halves first, then pieces, then one by one. */
import type { PlannedEvent } from "./fault-plan.ts";

/**
 * @param fails whether a run with this plan still breaks the promise
 * @param budget runs at most
 */
export async function shrink(
  plan: readonly PlannedEvent[],
  fails: (plan: readonly PlannedEvent[]) => Promise<boolean>,
  budget: number,
): Promise<readonly PlannedEvent[]> {
  let smallest = plan;
  let left = budget;
  // What came after the break did not cause it.
  for (let size = Math.ceil(smallest.length / 2); size >= 1; size = size === 1 ? 0 : Math.ceil(size / 2)) {
    for (let start = smallest.length - size; start > -size; start -= size) {
      if (left <= 0) return smallest;
      const from = Math.max(0, start);
      const without = [...smallest.slice(0, from), ...smallest.slice(start + size)];
      if (without.length === smallest.length) continue;
      left -= 1;
      if (await fails(without)) smallest = without;
    }
  }
  return smallest;
}
