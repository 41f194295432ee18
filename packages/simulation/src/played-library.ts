/** The image library played: every image is ready as soon as it is asked for, and gone as soon as it is deleted. Its bytes are the same for all. */
import { createHash } from "node:crypto";
import type { Clock } from "@sheaf/base";
import { partKey } from "@sheaf/model";
import type { ImageLibrary, RecordCache } from "@sheaf/server";
import type { Store } from "@sheaf/store";

const imageBytes = new TextEncoder().encode("a small image's bytes");
const image = { digest: `sha256:${createHash("sha256").update(imageBytes).digest("hex")}`, bytes: imageBytes.length };

export interface PlayedLibrary {
  readonly port: ImageLibrary;
  stop(): void;
}

export function playedLibrary({ store, cache, clock }: { readonly store: Store; readonly cache: RecordCache; readonly clock: Clock }): PlayedLibrary {
  /** A record that waits for its files to go. */
  const release = (id: string): void => {
    const key = partKey("image", id, "spec");
    void store.get(key).then(
      (entry) => {
        const part = entry && (JSON.parse(entry.value) as { finalizers: string[] }); // a record's own part
        if (!entry || !part?.finalizers.includes("library")) return undefined;
        const value = JSON.stringify({ ...part, finalizers: part.finalizers.filter((each) => each !== "library") });
        return store.transact({ compare: [{ key, modRevision: entry.modRevision }], then: [{ put: key, value }] });
      },
      () => clock.setTimer(1000, () => look(id)),
    );
  };
  const look = (id: string): void => {
    const record = cache.get("image", id);
    if (!record) return;
    if (record.deletedAt !== undefined) return release(id);
    if (record.status.library?.state === "ready") return;
    const value = {
      state: "ready",
      receivedBytes: image.bytes,
      format: "qcow2",
      virtualSizeBytes: 2 ** 30,
      fileBytes: image.bytes,
      digest: image.digest,
    };
    store
      .transact({
        compare: [{ key: partKey("image", id, "spec"), modRevision: record.specRevision }],
        then: [{ put: partKey("image", id, "status/library"), value: JSON.stringify({ ...value, at: clock.now() }) }],
      })
      .catch(() => clock.setTimer(1000, () => look(id)));
  };
  for (const { id } of cache.all("image")) look(id);
  const stop = cache.subscribe((_revision, changes) => {
    for (const { kind, id } of changes) if (kind === "image") look(id);
  });
  return { port: { offset: async () => 0, receive: async () => 0 }, stop };
}

/** What a host gets that fetches an image. */
export function imageFrom(offset: number): { readonly offset: number; readonly totalBytes: number; readonly body: AsyncIterable<Uint8Array> } {
  return { offset, totalBytes: imageBytes.length, body: bytes(imageBytes.subarray(offset)) };
}

async function* bytes(content: Uint8Array): AsyncGenerator<Uint8Array> {
  yield content;
}
