/**
 * What a benchmark found: targets that were met or not, and the figures around them. Every benchmark publishes one outcome, as JSON on its
 * standard output; `main.ts` gathers them, `node bench/NAME.ts` shows it to whoever runs one by hand.
 */
export interface Target {
  readonly name: string;
  readonly figure: number;
  readonly unit: string;
  /** The figure must be `atMost` or `atLeast` this. */
  readonly bound: { readonly atMost: number } | { readonly atLeast: number };
  readonly met: boolean;
}

export interface Outcome {
  readonly targets: readonly Target[];
  /** Figures without a bound: how the targets' came about. */
  readonly details: Readonly<Record<string, unknown>>;
}

export const atMost = (name: string, figure: number, bound: number, unit: string): Target => ({
  name,
  figure: rounded(figure),
  unit,
  bound: { atMost: bound },
  // As measured, not as rounded; what could not be measured is not met.
  met: figure <= bound,
});

export const atLeast = (name: string, figure: number, bound: number, unit: string): Target => ({
  name,
  figure: rounded(figure),
  unit,
  bound: { atLeast: bound },
  met: figure >= bound,
});

export function publish(targets: readonly Target[], details: Outcome["details"]): void {
  const outcome: Outcome = { targets, details };
  process.stdout.write(`${JSON.stringify(outcome, null, 2)}\n`);
  if (targets.some(({ met }) => !met)) process.exitCode = 1;
}

/** Three digits that mean something. */
export const rounded = (figure: number): number => Number(figure.toPrecision(figure >= 1000 ? 6 : 3));
