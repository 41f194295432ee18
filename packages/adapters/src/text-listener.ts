/** One text at one path over plain HTTP, for programs that fetch figures (Prometheus). Only where somebody has asked for it by an address and a port. */
import { createServer } from "node:http";
import type { AddressInfo } from "node:net";

export interface TextListenerOptions {
  readonly address: string;
  /** 0: any free one. */
  readonly port: number;
  readonly path: string;
  readonly contentType: string;
  text(): string;
}

/** @throws where the address cannot be listened at */
export async function listenForText(options: TextListenerOptions): Promise<{ readonly port: number; close(): Promise<void> }> {
  const { address, path, contentType } = options;
  const server = createServer((request, response) => {
    request.resume();
    const known = request.url?.split("?", 1)[0] === path;
    const allowed = request.method === "GET" || request.method === "HEAD";
    if (!known || !allowed) return response.writeHead(known ? 405 : 404).end();
    response.writeHead(200, { "content-type": contentType });
    return response.end(request.method === "HEAD" ? undefined : options.text());
  });
  server.headersTimeout = 10_000;
  server.requestTimeout = 10_000;
  server.maxConnections = 64;
  await new Promise<void>((resolve, reject) => {
    server.once("error", reject);
    server.listen(options.port, address, () => resolve());
  });
  return {
    port: (server.address() as AddressInfo).port, // of a server that listens at a port
    close: () =>
      new Promise((resolve) => {
        server.close(() => resolve());
        server.closeAllConnections();
      }),
  };
}
