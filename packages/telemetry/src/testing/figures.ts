/** Hosts with machines whose figures follow from their number and the time. For tests alone. */
import { type MetricKind, metrics } from "@sheaf/model";
import type { MemberFigures } from "../source.ts";

export const idOf = (kind: MetricKind, number: number): string =>
  `0199${kind === "vm" ? "aaaa" : "bbbb"}-0000-7000-8000-${number.toString(16).padStart(12, "0")}`;

const numbers: { readonly [Kind in MetricKind]: Int16Array } = {
  vm: Int16Array.from(metrics.vm, (_, number) => number),
  host: Int16Array.from(metrics.host, (_, number) => number),
  cluster: Int16Array.from(metrics.cluster, (_, number) => number),
};

/** Below 256, so that it comes back exactly. */
export const figureOf = (id: string, slot: number, metric: number): number => {
  const seed = Number.parseInt(id.slice(-6), 16) * 31 + metric * 7;
  return (seed + Math.floor(slot / 5) * 13 + (slot % 3)) % 200;
};

export const figuresOf = (kind: MetricKind, id: string, slot: number): MemberFigures => ({
  id,
  kind,
  figures: metrics[kind].map((_, metric) => figureOf(id, slot, metric)),
  numbers: numbers[kind],
});
