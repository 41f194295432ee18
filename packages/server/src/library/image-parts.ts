/**
 * What the library writes into the store: `status/library` of images, at changes of state alone, and the release of its finaliser.
 * Both under the condition that the record is as it was looked at; a change by somebody else means looking again.
 */
import { sleep } from "@sheaf/base";
import { partKey, type ImageLibraryStatus } from "@sheaf/model";
import { StoreError, type Entry, type Operation } from "@sheaf/store";
import type { LibraryContext } from "./library-ports.ts";

type Context = Pick<LibraryContext, "store" | "clock" | "logger">;

const retryMs = 1000;
/** Named by the image's rules in the API. */
const finalizer = "library";

/** @returns whether it is written; `false`: the image is gone or being deleted */
export async function writeStatus(context: Context, imageId: string, status: ImageLibraryStatus, signal: AbortSignal): Promise<boolean> {
  const value = JSON.stringify(status);
  return change(context, imageId, signal, (head) =>
    head["deletedAt"] === undefined ? { put: partKey("image", imageId, "status/library"), value } : null,
  );
}

/** Takes the finaliser off; the deletion goes on then. @returns `false`: there was nothing to do */
export async function releaseImage(context: Context, imageId: string, signal: AbortSignal): Promise<boolean> {
  return change(context, imageId, signal, (head, entry) => {
    const held = Array.isArray(head["finalizers"]) ? head["finalizers"] : [];
    if (head["deletedAt"] === undefined || !held.includes(finalizer)) return null;
    return { put: entry.key, value: JSON.stringify({ ...head, finalizers: held.filter((name) => name !== finalizer) }) };
  });
}

/** Repeats until the store has taken it: what is written is the same each time, so an uncertain commit does no harm. */
async function change(
  { store, clock, logger }: Context,
  imageId: string,
  signal: AbortSignal,
  plan: (head: Readonly<Record<string, unknown>>, spec: Entry) => Operation | null,
): Promise<boolean> {
  const specKey = partKey("image", imageId, "spec");
  for (;;) {
    signal.throwIfAborted();
    try {
      const spec = await store.get(specKey);
      if (!spec) return false;
      const operation = plan(JSON.parse(spec.value) as Record<string, unknown>, spec); // a spec part is an object
      if (!operation) return false;
      const result = await store.transact({ compare: [{ key: specKey, modRevision: spec.modRevision }], then: [operation] });
      if (result.succeeded) return true;
    } catch (error) {
      if (!(error instanceof StoreError) || !["uncertain", "unavailable", "full"].includes(error.code)) throw error;
      logger.warn({ image: imageId, code: error.code }, "the store did not take an image's state; it is tried again");
      await sleep(clock, retryMs, signal);
    }
  }
}
