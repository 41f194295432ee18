import assert from "node:assert/strict";
import { test } from "node:test";
import { listenForText } from "./text-listener.ts";

test("gives the text as it is now, at its path alone, and ends with its connections", async () => {
  let turn = 0;
  const listener = await listenForText({
    address: "127.0.0.1",
    port: 0,
    path: "/metrics",
    contentType: "text/plain; version=0.0.4",
    text: () => `turn ${(turn += 1)}\n`,
  });
  const url = `http://127.0.0.1:${listener.port}`;
  for (const expected of ["turn 1\n", "turn 2\n"]) {
    const reply = await fetch(`${url}/metrics?x=1`);
    assert.deepEqual([reply.status, reply.headers.get("content-type"), await reply.text()], [200, "text/plain; version=0.0.4", expected]);
  }
  assert.equal((await fetch(`${url}/`)).status, 404);
  assert.equal((await fetch(`${url}/metrics`, { method: "POST", body: "x" })).status, 405);
  await assert.rejects(listenForText({ address: "127.0.0.1", port: listener.port, path: "/", contentType: "", text: () => "" }), /EADDRINUSE/);
  await listener.close();
  await assert.rejects(fetch(`${url}/metrics`));
});
