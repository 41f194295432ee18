import assert from "node:assert/strict";
import { test } from "node:test";
import { SheafError } from "@sheaf/model";
import { createClient, type HttpRequest } from "./client.ts";
import { eventStreamParser, type ServerSentEvent } from "./event-stream.ts";

function recorded(status: number, text: string) {
  const requests: HttpRequest[] = [];
  const client = createClient({
    token: "t0",
    transport: async (request) => (requests.push(request), { status, headers: { "retry-after": "3" }, text }),
  });
  return { client, requests };
}

test("a call becomes the request its route describes", async () => {
  const { client, requests } = recorded(200, '{"items":[],"total":0,"revision":7}');
  const page = await client.vm.list({ query: { project: "shop", limit: 5, cursor: undefined } });
  assert.equal(page.revision, 7);
  assert.deepEqual(requests[0], {
    method: "GET",
    path: "/api/v1/vms?project=shop&limit=5",
    headers: { authorization: "Bearer t0", accept: "application/json, application/problem+json" },
  });

  await client.vm.migrate({ params: { id: "a/b" }, body: { host: "h2" }, idempotencyKey: "k", ifMatch: 9 });
  assert.equal(requests[1]?.path, "/api/v1/vms/a%2Fb/migrate");
  assert.equal(requests[1]?.headers["if-match"], '"9"');
  assert.equal(requests[1]?.body, '{"host":"h2"}');
});

test("a problem of the server is the same error here", async () => {
  const problem = { code: "throttled", detail: "Too many failed sign-ins.", next: "Wait.", status: 429 };
  const { client } = recorded(429, JSON.stringify(problem));
  await assert.rejects(client.session.signIn({ body: { user: "u", password: "p" } }), (error: SheafError) => {
    assert.equal(error.code, "throttled");
    assert.equal(error.extra.retryAfterMs, 3000);
    return error.message === "Too many failed sign-ins.";
  });
});

test("an answer that is none of Sheaf's is told apart", async () => {
  for (const text of ["<html>Bad gateway</html>", '{"code":"toString"}', "null"]) {
    const { client } = recorded(502, text);
    await assert.rejects(client.vm.list(), (error: SheafError) => error.code === "unavailable", text);
  }
});

test("events survive any cutting of the stream", () => {
  const text = ': beat\n\nid: 5\nevent: change\ndata: {"a":\ndata: 1}\n\nid: 6\r\ndata:x\r\n\r\n';
  for (let size = 1; size <= text.length; size += 1) {
    const events: ServerSentEvent[] = [];
    const feed = eventStreamParser((event) => events.push(event));
    for (let at = 0; at < text.length; at += size) feed(text.slice(at, at + size));
    assert.deepEqual(
      events,
      [
        { event: "change", data: '{"a":\n1}', id: "5" },
        { event: "message", data: "x", id: "6" },
      ],
      `chunks of ${size}`,
    );
  }
});
