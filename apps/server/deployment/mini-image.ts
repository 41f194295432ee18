/** The small test image `mini`: built from Debian's packages at the first start, then imported like any other. */
import { createReadStream } from "node:fs";
import { stat } from "node:fs/promises";
import { request } from "node:https";
import { apiPrefix } from "@sheaf/contract";
import { buildGuestImage } from "@sheaf/lab";
import { SheafError } from "@sheaf/model";
import type { LocalClient } from "./local-client.ts";
import { until } from "./processes.ts";

/** No-op where an image of that name is there. */
export async function importMiniImage(client: LocalClient, imageDirectory: string, name = "mini"): Promise<void> {
  const present = await client.image.get({ params: { id: name } }).catch((error: unknown) => {
    if (error instanceof SheafError && error.code === "not-found") return undefined;
    throw error;
  });
  if (present !== undefined && (present.status as { library?: { state: string } }).library?.state === "ready") return; // an image's record
  const { disk } = await buildGuestImage(imageDirectory);
  const { record } =
    present === undefined ? await client.image.create({ body: { name, spec: { source: { upload: true }, public: true } } }) : { record: present };
  await uploadFile(client, `${apiPrefix}/images/${record.id}/content`, disk);
  await until("the image mini", 120_000, async () => {
    const library = ((await client.image.get({ params: { id: record.id } })).status as { library?: { state: string; problem?: string } }).library; // an image's record
    if (library?.state === "failed") throw new Error(`The image mini cannot be used: ${library.problem}`);
    return library?.state === "ready" ? true : undefined;
  });
}

async function uploadFile(client: LocalClient, path: string, file: string): Promise<void> {
  const { size } = await stat(file);
  const { hostname, port } = new URL(client.url);
  await new Promise<void>((resolve, reject) => {
    const sent = request(
      {
        host: hostname,
        port,
        path,
        method: "PUT",
        ca: client.authority,
        headers: { authorization: `Bearer ${client.sessionToken}`, "content-type": "application/octet-stream", "content-length": size },
      },
      (response) => {
        let text = "";
        response.setEncoding("utf8").on("data", (chunk: string) => (text += chunk));
        response.on("end", () => ((response.statusCode ?? 0) < 300 ? resolve() : reject(new Error(`The upload was refused: ${text}`))));
      },
    );
    sent.on("error", reject);
    createReadStream(file).on("error", reject).pipe(sent);
  });
}
