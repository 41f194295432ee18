import assert from "node:assert/strict";
import type { IncomingMessage } from "node:http";
import { Duplex } from "node:stream";
import { test } from "node:test";
import { setImmediate as turn } from "node:timers/promises";
import { WebSocketServer, type WebSocket } from "ws";
import { messageSocket } from "./message-socket.ts";

/** A connection that keeps what was written, one item a write. */
class Written extends Duplex {
  readonly writes: Buffer[] = [];
  override _read(): void {}
  override _write(chunk: Buffer, _encoding: string, done: () => void): void {
    this.writes.push(chunk);
    done();
  }
  override _writev(chunks: { chunk: Buffer }[], done: () => void): void {
    this.writes.push(Buffer.concat(chunks.map(({ chunk }) => chunk)));
    done();
  }
}

const overOneConnection = async (connection: Duplex): Promise<WebSocket> => {
  const request = {
    method: "GET",
    headers: { upgrade: "websocket", "sec-websocket-key": "dGhlIHNhbXBsZSBub25jZQ==", "sec-websocket-version": "13" },
  } as unknown as IncomingMessage; // all that the handshake looks at
  return new Promise<WebSocket>((resolve) =>
    new WebSocketServer({ noServer: true }).handleUpgrade(request, connection as never, Buffer.alloc(0), resolve),
  ); // any duplex stream will do
};

test("the end of a socket is told to whoever listens after it, too", { timeout: 10_000 }, async () => {
  const connection = new Written();
  const webSocket = await overOneConnection(connection);
  const socket = messageSocket(webSocket, connection);
  const gone = new Promise((resolve) => webSocket.once("close", resolve));
  webSocket.terminate();
  await gone;
  const code = await new Promise((resolve) => socket.listen({ text() {}, bytes() {}, alive() {}, drained() {}, closed: resolve }));
  assert.equal(code, 1006);
});

test("what is sent in one turn leaves in one write, in order; what is sent later in another", { timeout: 10_000 }, async () => {
  const connection = new Written();
  const webSocket = await overOneConnection(connection);
  const socket = messageSocket(webSocket, connection);
  connection.writes.length = 0;
  for (const text of ["one", "two", "three"]) socket.send(text);
  assert.ok(socket.unsentBytes > 0, "what is gathered counts as unsent");
  await turn();
  assert.deepEqual(
    connection.writes.map((bytes) =>
      bytes
        .toString("latin1")
        .replaceAll(/[^a-z]+/g, " ")
        .trim(),
    ),
    ["one two three"],
  );
  assert.equal(socket.unsentBytes, 0);
  socket.send("four");
  await turn();
  assert.equal(connection.writes.length, 2);
  socket.send("five");
  socket.cut();
  await turn();
});
