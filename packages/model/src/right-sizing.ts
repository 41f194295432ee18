/** Advice on a machine's size: what it may say, and the label by which people say that they do not want it. */

/** `unknown`: there are too few figures to say anything. */
export const sizeVerdicts = ["idle", "too-large", "too-small", "right", "unknown"] as const;
export type SizeVerdict = (typeof sizeVerdicts)[number];

/** On a machine: `off`, or the day until which nothing is advised (`2027-03-01`, UTC). Anything else says nothing. */
export const rightSizingLabel = "right-sizing";

/** @param now wall clock, ms */
export function adviceDismissed(labels: Readonly<Record<string, string>>, now: number): boolean {
  const wish = labels[rightSizingLabel];
  if (wish === "off") return true;
  return wish !== undefined && /^\d{4}-\d{2}-\d{2}$/.test(wish) && now < Date.parse(wish);
}
