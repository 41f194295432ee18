/** A client of `GET /watch`: server-sent events as they come, over a TLS connection of its own. */
import { Agent, request } from "node:https";
import { apiPrefix, rawRoutes, type WatchChange } from "@sheaf/contract";
import type { LocalClient } from "../apps/server/deployment/local-client.ts";

export interface Watcher {
  close(): void;
}

/** Resolves when the server has answered; calls `changed` for each change from then on. @param query `kind=vm` and the like */
export function watch(client: LocalClient, query: string, changed: (change: WatchChange) => void): Promise<Watcher> {
  const { hostname, port } = new URL(client.url);
  // Not the shared pool of connections: a watch holds its connection for good.
  const agent = new Agent({ ca: client.authority });
  return new Promise((resolve, reject) => {
    const sent = request(
      {
        agent,
        host: hostname,
        port,
        path: `${apiPrefix}${rawRoutes.watch.path}?${query}`,
        headers: { authorization: `Bearer ${client.sessionToken}`, accept: "text/event-stream" },
      },
      (response) => {
        if (response.statusCode !== 200) return reject(new Error(`the watch was answered ${response.statusCode}`));
        let text = "";
        response.setEncoding("utf8");
        response.on("error", () => {});
        response.on("data", (chunk: string) => {
          text += chunk;
          for (let end = text.indexOf("\n\n"); end >= 0; end = text.indexOf("\n\n")) {
            const frame = text.slice(0, end);
            text = text.slice(end + 2);
            if (!/^event: change$/m.test(frame)) continue;
            const data = /^data: (.*)$/m.exec(frame)?.[1];
            if (data !== undefined) changed(JSON.parse(data) as WatchChange); // the contract's event
          }
        });
        resolve({ close: () => sent.destroy() });
      },
    );
    sent.on("error", reject);
    sent.end();
  });
}
