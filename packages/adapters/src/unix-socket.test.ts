import assert from "node:assert/strict";
import { mkdtemp, rm } from "node:fs/promises";
import { createServer, type Server } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { after, before, describe, it } from "node:test";
import { connectUnixSocket } from "./unix-socket.ts";

describe("connectUnixSocket", () => {
  let directory = "";
  let server: Server;
  const path = (): string => join(directory, "s");
  const signal = new AbortController().signal;
  before(async () => {
    directory = await mkdtemp(join(tmpdir(), "sheaf-unix-"));
    server = createServer((socket) => {
      socket.on("data", (chunk: Buffer) => (chunk.toString() === "bye" ? socket.end("bye") : socket.write(chunk)));
      socket.on("error", () => {});
    });
    await new Promise<void>((resolve) => server.listen(path(), resolve));
  });
  after(async () => {
    server.close();
    await rm(directory, { recursive: true });
  });

  it("carries bytes both ways, to the end", async () => {
    const socket = await connectUnixSocket(path(), signal);
    await socket.write(Buffer.from("hello"));
    assert.equal(Buffer.from((await socket.read()) ?? []).toString(), "hello");
    await socket.write(Buffer.from("bye"));
    assert.equal(Buffer.from((await socket.read()) ?? []).toString(), "bye");
    assert.equal(await socket.read(), undefined);
  });

  it("ends reading when it is closed, and says when there is nobody", async () => {
    const socket = await connectUnixSocket(path(), signal);
    const reading = socket.read();
    socket.close();
    assert.equal(await reading, undefined);
    await assert.rejects(connectUnixSocket(join(directory, "nobody"), signal), { code: "ENOENT" });
    const controller = new AbortController();
    controller.abort();
    await assert.rejects(connectUnixSocket(path(), controller.signal), { name: "AbortError" });
  });
});
