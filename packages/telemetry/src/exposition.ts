/**
 * Newest figures in Prometheus' text form (exposition formats, version 0.0.4): names in snake case with their base unit, shares as ratios,
 * one HELP and TYPE for each. All are gauges: rates are of the last ten seconds. Called by the agent's `/metrics`.
 */
import { type Metric, type MetricKind, metrics } from "@sheaf/model";

export interface ExposedMember {
  readonly kind: MetricKind;
  readonly labels: Readonly<Record<string, string>>;
  /** In quanta, in the order of the model's metrics; `null`: not measured. */
  readonly figures: readonly (number | null)[];
}

export function exposition(members: readonly ExposedMember[]): string {
  const lines: string[] = [];
  for (const kind of ["host", "vm"] as const) {
    metrics[kind].forEach((metric, number) => {
      const { name, factor } = exposedName(kind, metric);
      const samples = members.flatMap(({ kind: of, labels, figures }) => {
        const quanta = figures[number];
        return of !== kind || quanta === null || quanta === undefined
          ? []
          : [`${name}${labelsOf(labels)} ${Number((quanta * factor).toPrecision(12))}`];
      });
      if (samples.length > 0) lines.push(`# HELP ${name} ${metric.meaning}`, `# TYPE ${name} gauge`, ...samples);
    });
  }
  return lines.length === 0 ? "" : `${lines.join("\n")}\n`;
}

function exposedName(kind: MetricKind, { name, quantum }: Metric): { readonly name: string; readonly factor: number } {
  const microseconds = name.endsWith("Microseconds");
  const base = microseconds ? name.replace(/Microseconds$/, "Seconds") : name;
  const snake = base.replaceAll(/[A-Z]/g, (letter) => `_${letter.toLowerCase()}`);
  const unit = quantum !== 0.001 ? "" : kind === "host" ? "_ratio" : "_cpus";
  return { name: `sheaf_${kind}_${snake}${unit}`, factor: microseconds ? quantum / 1e6 : quantum };
}

function labelsOf(labels: Readonly<Record<string, string>>): string {
  const escaped = Object.entries(labels).map(
    ([name, value]) => `${name}="${value.replaceAll("\\", "\\\\").replaceAll('"', '\\"').replaceAll("\n", "\\n")}"`,
  );
  return escaped.length === 0 ? "" : `{${escaped.join(",")}}`;
}
