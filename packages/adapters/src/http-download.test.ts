import assert from "node:assert/strict";
import { createServer, type IncomingMessage, type Server, type ServerResponse } from "node:http";
import type { AddressInfo } from "node:net";
import { after, before, describe, it } from "node:test";
import { download, DownloadError, type Download } from "./http-download.ts";

const content = "0123456789";
const fails = (code: DownloadError["code"], temporary: boolean) => (error: unknown) =>
  error instanceof DownloadError && error.code === code && error.temporary === temporary;

describe("download", () => {
  let server: Server;
  let base = "";
  let tag = '"v1"';
  before(async () => {
    server = createServer(answer);
    await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
    base = `http://127.0.0.1:${(server.address() as AddressInfo).port}`; // it listens at a port
  });
  after(() => void server.close());

  function answer(request: IncomingMessage, response: ServerResponse): void {
    const status = /^\/status\/(\d+)$/.exec(request.url ?? "")?.[1];
    if (status) return void response.writeHead(Number(status)).end();
    if (request.url === "/loop") return void response.writeHead(302, { location: "/loop" }).end();
    if (request.url === "/moved") return void response.writeHead(301, { location: "/file" }).end();
    if (request.url === "/to-file") return void response.writeHead(302, { location: "file:///etc/passwd" }).end();
    if (request.url === "/to-metadata") return void response.writeHead(302, { location: "http://169.254.169.254/" }).end();
    if (request.url === "/silent") return;
    const range = /^bytes=(\d+)-$/.exec(request.headers.range ?? "")?.[1];
    const same = request.headers["if-range"] === undefined || request.headers["if-range"] === tag;
    if (range === undefined || !same) return void response.writeHead(200, { etag: tag, "content-length": content.length }).end(content);
    if (Number(range) >= content.length) return void response.writeHead(416).end();
    response.writeHead(206, { etag: tag, "content-range": `bytes ${range}-9/10` }).end(content.slice(Number(range)));
  }

  const get = (path: string, more: { offset?: number; validator?: string; idleTimeoutMs?: number } = {}): Promise<Download> =>
    download(path.startsWith("http") || path.startsWith("f") ? path : base + path, {
      offset: 0,
      idleTimeoutMs: 5000,
      allowLoopback: true,
      signal: new AbortController().signal,
      ...more,
    });
  const text = async (found: Download): Promise<string> => {
    let all = "";
    for await (const chunk of found.body) all += Buffer.from(chunk).toString();
    return all;
  };

  it("fetches, follows, and resumes what has not changed", async () => {
    const whole = await get("/moved");
    assert.deepEqual([whole.offset, whole.totalBytes, whole.validator, await text(whole)], [0, 10, '"v1"', content]);
    const rest = await get("/file", { offset: 6, validator: '"v1"' });
    assert.deepEqual([rest.offset, rest.totalBytes, await text(rest)], [6, 10, "6789"]);
    tag = '"v2"';
    const again = await get("/file", { offset: 6, validator: '"v1"' });
    assert.deepEqual([again.offset, await text(again)], [0, content]);
  });

  it("says which failures may pass", async () => {
    await assert.rejects(get("/status/404"), fails("not-found", false));
    await assert.rejects(get("/status/403"), fails("refused", false));
    await assert.rejects(get("/status/503"), fails("refused", true));
    await assert.rejects(get("/loop"), fails("refused", false));
    await assert.rejects(get("/file", { offset: 10 }), fails("range-not-satisfiable", true));
    await assert.rejects(get("/silent", { idleTimeoutMs: 50 }), fails("unreachable", true));
    await assert.rejects(get("http://127.0.0.1:1/"), fails("unreachable", true));
  });

  it("reaches no other scheme, no link-local address, and this machine only when told", async () => {
    await assert.rejects(get("file:///etc/passwd"), fails("refused", false));
    await assert.rejects(get("/to-file"), fails("refused", false));
    await assert.rejects(get("/to-metadata"), fails("refused-address", false));
    await assert.rejects(get("http://[fe80::1]/"), fails("refused-address", false));
    const strict = { offset: 0, idleTimeoutMs: 5000, signal: new AbortController().signal };
    for (const host of ["127.0.0.1", "localhost", "[::1]", "[::ffff:127.0.0.1]", "0.0.0.0", "2130706433", "0x7f.1"]) {
      await assert.rejects(download(`http://${host}:1/`, strict), fails("refused-address", false), host);
    }
  });
});
