/** Several works at a time that end together. Called by stories whose kills go on beside what they hit. */

/** The first that fails, or `stop`, stops the others by their signal; it is thrown when all have ended, so that none goes on unseen. */
export async function allAtOnce(works: readonly ((stop: AbortSignal) => Promise<void>)[], stop: AbortSignal): Promise<void> {
  const failed = new AbortController();
  const signal = AbortSignal.any([stop, failed.signal]);
  await Promise.all(works.map((work) => work(signal).catch((error: unknown) => failed.abort(error))));
  signal.throwIfAborted();
}
