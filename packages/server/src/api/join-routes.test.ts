/** What a new host fetches: open to anyone, whole, and nothing else. */
import assert from "node:assert/strict";
import { after, before, test } from "node:test";
import { ApiFixture } from "../testing/api-fixture.ts";

let fixture: ApiFixture;
before(async () => {
  fixture = await ApiFixture.start();
});
after(() => fixture.stop());

const get = (path: string) => fixture.request("GET", `//${path}`, undefined, { token: null });

test("script, authority and archive are sent to whoever asks", async () => {
  const answers = await Promise.all(["join.sh", "authority.pem", "agent-archives/linux-x64"].map(get));
  assert.deepEqual(
    answers.map(({ status, text }) => [status, text]),
    [
      [200, "echo joins\n"],
      [200, "AUTHORITY"],
      [200, "archive"],
    ],
  );
  assert.equal(answers[2]?.headers.get("content-length"), "7");
});

test("a platform of which there is no archive is told with the next step", async () => {
  for (const platform of ["linux-arm64", "..%2f..%2fkeys"]) {
    const { status, text } = await get(`agent-archives/${platform}`);
    assert.equal(status, 404);
    assert.match(text, /npm run package.*in a clone .* agents\/ of the server's data folder/);
  }
});

test("downloads that have ended make room for others", async () => {
  for (let round = 0; round < 20; round += 1) assert.equal((await get("agent-archives/linux-x64")).status, 200);
});

test("without a line nothing is made for it", async () => {
  const { body } = await fixture.request("POST", "/host-invitations", { line: false });
  assert.equal(body.command, undefined);
  assert.match(body.token, /^join_/);
});
