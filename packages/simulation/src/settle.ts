/** Lets a site come to rest after its last fault: until nothing is unmet for a while, or the time is over; the final checks say what is left then. */
import type { SimulatedSite } from "./site.ts";

/** Every desire is reached within this time, or says why not. */
const settleMs = 20 * 60_000;
const quietMs = 30_000;

export async function settle(site: SimulatedSite): Promise<void> {
  let calmSince: number | null = null;
  const end = site.clock.monotonic() + settleMs;
  while (site.clock.monotonic() < end) {
    await site.advance(5000);
    const calm = site.operator.waiting === 0 && site.leads && site.unmet().length === 0;
    calmSince = calm ? (calmSince ?? site.clock.monotonic()) : null;
    if (calmSince !== null && site.clock.monotonic() - calmSince >= quietMs) return;
  }
}
