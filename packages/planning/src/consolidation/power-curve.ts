/** What a host draws at a load. Called by the consolidation planner and by whoever measures it. Pure. */

/** Watts at evenly spaced loads from 0 to 100 %; at least two. */
export type PowerCurve = readonly number[];

/** Straight lines between the points of the curve; a load outside 0 to 1 counts as the nearer end. @param load share of the host's CPU */
export function wattsAt(curve: PowerCurve, load: number): number {
  const position = Math.min(Math.max(load, 0), 1) * (curve.length - 1);
  const below = Math.min(Math.floor(position), curve.length - 2);
  const from = curve[below] ?? 0;
  return from + ((curve[below + 1] ?? from) - from) * (position - below);
}
