/**
 * What a new host fetches before it has joined: the script of its line, the site's authority, the agent for its platform. Nothing here is
 * secret, and nothing is trusted for where it came from: the line pins all three. Mounted by the raw routes.
 */
import { SheafError } from "@sheaf/model";
import type { FastifyInstance } from "fastify";
import { addressOf, type Door } from "./door.ts";

export const joinPaths = ["/join.sh", "/authority.pem", "/agent-archives/:platform"] as const;
/** Archives sent at once: each is some 50 MB to somebody unknown. */
const maximumDownloads = 16;

export function mountJoinRoutes(server: FastifyInstance, door: Door): void {
  const { authority, joinFiles } = door.services.context;
  const [scriptPath, authorityPath, archivePath] = joinPaths;
  let downloads = 0;

  server.get(scriptPath, { config: { name: "join.script" } }, (request, reply) => {
    door.strangers.pass(addressOf(request));
    return reply.type("text/x-shellscript; charset=utf-8").send(joinFiles.script);
  });
  server.get(authorityPath, { config: { name: "join.authority" } }, (request, reply) => {
    door.strangers.pass(addressOf(request));
    return reply.type("application/x-pem-file").send(authority.certificate);
  });
  server.get(archivePath, { config: { name: "join.archive" }, exposeHeadRoute: false }, async (request, reply) => {
    door.strangers.pass(addressOf(request));
    const { platform } = request.params as { platform: string }; // the path has it
    if (downloads >= maximumDownloads)
      throw new SheafError("throttled", `${downloads} hosts fetch their agent just now.`, {
        next: "Run the line again in a minute.",
        retryAfterMs: 60_000,
      });
    downloads += 1;
    reply.raw.once("close", () => (downloads -= 1));
    const archive = await joinFiles.open(platform);
    if (archive === undefined)
      throw new SheafError("not-found", `This server has no agent for ${platform.slice(0, 40)}.`, {
        next: "Run `npm run package` in a clone of the same version, copy the agent's archive and its .sha256 from dist/ into agents/ of the server's data folder, then run `sheaf host add` again.",
      });
    return reply.type("application/gzip").header("content-length", String(archive.sizeBytes)).send(archive.stream);
  });
}
