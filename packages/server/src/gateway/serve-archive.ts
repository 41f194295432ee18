/** Answers a host's `GET` of the agent's archive that its server told it to take: whole, by its digest. Each host may have it: it is no secret. */
import type { JoinFiles } from "../context.ts";
import type { ImageAnswer } from "../library/serve-image.ts";

export async function serveArchive(joinFiles: JoinFiles, method: "GET" | "HEAD", sha256: string): Promise<ImageAnswer> {
  const archive = /^[0-9a-f]{64}$/.test(sha256) ? await joinFiles.openDigest(sha256) : undefined;
  if (!archive) return { status: 404, headers: { "content-length": "0" } };
  if (method === "HEAD") archive.stream.destroy();
  return {
    status: 200,
    headers: { "content-type": "application/gzip", "content-length": String(archive.sizeBytes) },
    ...(method === "GET" ? { body: archive.stream } : {}),
  };
}
