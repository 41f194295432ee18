/** A client signed in as the first administrator, for the programs of the server's own machine. */
import { readFile } from "node:fs/promises";
import { request } from "node:https";
import { join } from "node:path";
import { createClient, type Client, type Transport } from "@sheaf/client";
import type { ServerFacts } from "./server-process.ts";

export type LocalClient = Client & { readonly sessionToken: string; readonly authority: string; readonly url: string; close(): void };

/** @param as the first administrator by default. @throws SheafError `unauthenticated` where the password was changed since */
export async function localClient(
  dataDirectory: string,
  server: ServerFacts,
  as?: { readonly user: string; readonly password: string },
): Promise<LocalClient> {
  const account = as ?? { user: "admin", password: (await readFile(join(dataDirectory, "admin-password"), "utf8")).trim() };
  const { transport, close, authority } = await reach(dataDirectory, server);
  const { token } = await createClient({ transport }).session.signIn({ body: account });
  return client(transport, close, authority, server, token);
}

export interface ReachOptions {
  /** Where the server is, if not on this machine itself. */
  readonly address?: string;
  /** After this a request is given up: for servers that may hang. */
  readonly answerTimeoutMs?: number;
}

/** With a session that was begun at another server of the site. */
export async function clientWith(dataDirectory: string, server: ServerFacts, sessionToken: string, options: ReachOptions = {}): Promise<LocalClient> {
  const { transport, close, authority } = await reach(dataDirectory, server, options);
  return client(transport, close, authority, server, sessionToken, options.address);
}

const ownAddress = "127.0.0.1";

const client = (
  transport: Transport,
  close: () => void,
  authority: string,
  server: ServerFacts,
  token: string,
  address = ownAddress,
): LocalClient => ({
  ...createClient({ transport, token }),
  sessionToken: token,
  authority,
  url: `https://${address}:${server.port}`,
  close,
});

async function reach(
  dataDirectory: string,
  server: ServerFacts,
  { address = ownAddress, answerTimeoutMs }: ReachOptions = {},
): Promise<{ transport: Transport; close: () => void; authority: string }> {
  const authority = await readFile(join(dataDirectory, "authority.pem"), "utf8");
  const { Agent } = await import("node:https");
  const agent = new Agent({ keepAlive: true, maxSockets: 64, ca: authority });
  const transport: Transport = ({ method, path, headers, body, signal }) =>
    new Promise((resolve, reject) => {
      const sent = request(
        {
          agent,
          host: address,
          port: server.port,
          method,
          path,
          headers: { ...headers, ...(body === undefined ? {} : { "content-length": Buffer.byteLength(body) }) },
          ...(signal === undefined ? {} : { signal }),
        },
        (response) => {
          const chunks: Buffer[] = [];
          response.on("data", (chunk: Buffer) => chunks.push(chunk));
          response.on("error", reject);
          response.on("end", () =>
            resolve({
              status: response.statusCode ?? 0,
              headers: Object.fromEntries(Object.entries(response.headers).map(([name, value]) => [name, String(value)])),
              text: Buffer.concat(chunks).toString("utf8"),
            }),
          );
        },
      );
      sent.on("error", reject);
      if (answerTimeoutMs !== undefined) {
        const timer = setTimeout(() => sent.destroy(new Error(`no answer within ${answerTimeoutMs} ms`)), answerTimeoutMs);
        sent.on("close", () => clearTimeout(timer));
      }
      sent.end(body);
    });
  return { transport, close: () => agent.destroy(), authority };
}
