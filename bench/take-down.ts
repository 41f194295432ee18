/**
 * Takes down what a benchmark has started, in the end and where it is interrupted: by Ctrl-C, or by main.ts when its time is over. Called by
 * benchmarks that start servers and labs, which would go on without them.
 */

const signals = ["SIGINT", "SIGTERM"] as const;

/** @returns `work`, done once at most: to be called in the benchmark's `finally`. A signal does it too, then ends the process as it would have. */
export function takeDown(work: () => Promise<void>): () => Promise<void> {
  let under: Promise<void> | undefined;
  const once = (): Promise<void> => (under ??= work());
  const interrupted = (by: NodeJS.Signals): void => {
    // A second signal must not cut it short, nor may what fails because its server goes.
    for (const signal of signals) process.off(signal, interrupted).on(signal, () => {});
    for (const event of ["unhandledRejection", "uncaughtException"] as const) process.on(event, () => {});
    process.stderr.write(`${by}: taking down what was started …\n`);
    once()
      .catch((error: unknown) => process.stderr.write(`It could not be taken down: ${String(error)}\n`))
      .finally(() => {
        process.removeAllListeners(by);
        process.kill(process.pid, by);
      });
  };
  for (const signal of signals) process.on(signal, interrupted);
  return once;
}
