/** `GET /watch`: order, resumption, rights, and clients that do not read. */
import assert from "node:assert/strict";
import { connect } from "node:net";
import { after, before, test } from "node:test";
import { apiPrefix } from "@sheaf/contract";
import { ApiFixture } from "../testing/api-fixture.ts";

interface Event {
  readonly event: string;
  readonly id: string;
  readonly data: {
    readonly type?: string;
    readonly kind?: string;
    readonly id?: string;
    readonly revision: number;
    readonly record?: { readonly name: string; readonly state?: string };
    readonly reason?: string;
  };
}

/** Reads a watch until it is told to stop. */
class Watching {
  readonly events: Event[] = [];
  readonly #abort = new AbortController();
  #ended = false;
  status = 0;
  problem: { code?: string } = {};

  async open(fixture: ApiFixture, query: string, options: { token?: string; headers?: Record<string, string> } = {}): Promise<this> {
    const response = await fetch(`${fixture.url}${apiPrefix}/watch${query}`, {
      headers: { authorization: `Bearer ${options.token ?? fixture.token}`, ...options.headers },
      signal: this.#abort.signal,
    });
    this.status = response.status;
    if (response.status !== 200) this.problem = (await response.json()) as { code?: string };
    else void this.#read(response);
    return this;
  }

  async #read(response: Response): Promise<void> {
    let rest = "";
    const decoder = new TextDecoder();
    try {
      for await (const chunk of response.body ?? []) {
        rest += decoder.decode(chunk as Uint8Array, { stream: true });
        const frames = rest.split("\n\n");
        rest = frames.pop() ?? "";
        for (const frame of frames) this.#frame(frame);
      }
    } catch {
      // stopped
    }
    this.#ended = true;
  }

  #frame(frame: string): void {
    const fields = Object.fromEntries(frame.split("\n").map((line) => [line.slice(0, line.indexOf(":")), line.slice(line.indexOf(":") + 2)]));
    if (fields["data"] !== undefined) this.events.push({ event: fields["event"] ?? "", id: fields["id"] ?? "", data: JSON.parse(fields["data"]) });
  }

  get changes(): Event[] {
    return this.events.filter(({ event }) => event === "change");
  }
  get ended(): boolean {
    return this.#ended;
  }

  async until(condition: () => boolean, what: string): Promise<void> {
    for (const deadline = performance.now() + 5000; !condition(); await new Promise((resolve) => setTimeout(resolve, 2)))
      assert.ok(performance.now() < deadline, `${what}: ${JSON.stringify(this.events).slice(0, 2000)}`);
  }

  stop(): void {
    this.#abort.abort();
  }
}

let fixture: ApiFixture;
const open: Watching[] = [];
const watch = async (query = "", options = {}): Promise<Watching> => {
  const watching = await new Watching().open(fixture, query, options);
  open.push(watching);
  return watching;
};
const machine = (name: string, project?: string) => fixture.make("/vms", { name, ...(project === undefined ? {} : { project }), spec: { nics: [] } });

before(async () => {
  fixture = await ApiFixture.start({ limits: { watcherBufferBytes: 256 * 1024 } });
  await fixture.make("/projects", { name: "red", spec: {} });
  await fixture.make("/projects", { name: "blue", spec: {} });
});
after(async () => {
  for (const watching of open) watching.stop();
  await fixture.stop();
});

test("a watcher hears of every change in order, with the state people see", async () => {
  const watching = await watch("?kind=vm");
  await watching.until(() => watching.events.length === 1, "synced");
  assert.equal(watching.events[0]?.event, "synced");
  const made = await machine("one");
  await fixture.request("PATCH", "/vms/one", { labels: { a: "b" } });
  await fixture.request("PATCH", "/vms/one", { labels: { a: "c" } });
  await watching.until(() => watching.changes.length === 3, "three changes");
  const revisions = watching.changes.map(({ data }) => data.revision);
  assert.deepEqual(
    revisions,
    [...revisions].sort((left, right) => left - right),
  );
  assert.deepEqual(
    watching.changes.map(({ id }) => id),
    revisions.map((revision) => `${revision}.${fixture.context.store.incarnation}`),
  );
  assert.equal(watching.changes[0]?.data.id, made.id);
  assert.equal(watching.changes[0]?.data.record?.state, "pending");
});

test("an id of before a restore is told to list again", async () => {
  const past = "7.01000000-0000-7000-8000-000000000000";
  const reply = await fixture.get("/watch?kind=vm", { headers: { "last-event-id": past } });
  assert.deepEqual([reply.status, reply.body.code], [410, "compacted"]);
});

test("whoever comes back with the last id he saw misses nothing and hears nothing twice", async () => {
  const first = await watch("?kind=vm");
  await first.until(() => first.events.length === 1, "synced");
  await machine("resume-a");
  await first.until(() => first.changes.length === 1, "a");
  first.stop();
  await machine("resume-b");
  await machine("resume-c");
  const second = await watch("?kind=vm", { headers: { "last-event-id": first.changes[0]?.id ?? "" } });
  await second.until(() => second.changes.length === 2, "b and c");
  assert.deepEqual(
    second.changes.map(({ data }) => data.record?.name),
    ["resume-b", "resume-c"],
  );
  const third = await watch(`?kind=vm&revision=${first.changes[0]?.data.revision}`);
  await third.until(() => third.events.some(({ event }) => event === "synced"), "synced");
  assert.equal(third.changes.length, 2);
});

test("a revision's changes have one id, at their last: whoever is cut off in between hears all of them again", async () => {
  const watching = await watch();
  await watching.until(() => watching.events.length === 1, "synced");
  await fixture.make("/pools", { name: "p", spec: { type: "local", path: "/p" } });
  await fixture.make("/vms", { name: "with-disk", spec: { nics: [], disks: [{ name: "d", sizeBytes: 2 ** 30, pool: "p" }] } });
  await watching.until(() => watching.changes.length === 4, "pool; volume, machine and task");
  const together = watching.changes.slice(1);
  assert.equal(new Set(together.map(({ data }) => data.revision)).size, 1);
  assert.deepEqual(
    together.map(({ id }) => id !== ""),
    [false, false, true],
  );
});

test("a watcher hears only what he may see", async () => {
  const token = await fixture.user("vera", [{ role: "viewer", project: "red" }]);
  const watching = await watch("", { token });
  await watching.until(() => watching.events.length === 1, "synced");
  await machine("hidden", "blue");
  await machine("shown", "red");
  await fixture.user("someone", []);
  await machine("shown-too", "red");
  await watching.until(() => watching.changes.filter(({ data }) => data.kind === "vm").length === 2, "two machines");
  assert.deepEqual(
    watching.changes.filter(({ data }) => data.kind === "vm").map(({ data }) => data.record?.name),
    ["shown", "shown-too"],
  );
  assert.ok(watching.changes.every(({ data }) => data.kind === "vm" || data.kind === "task"));
  assert.ok(!JSON.stringify(watching.events).includes("hidden"));
});

test("kind, project and id narrow it", async () => {
  const made = await machine("narrowed", "red");
  const one = await watch(`?kind=vm&id=${made.id}`);
  const red = await watch("?project=red&kind=vm");
  await one.until(() => one.events.length === 1 && red.events.length === 1, "synced");
  await machine("other", "red");
  await machine("outside");
  await fixture.request("PATCH", `/vms/${made.id}`, { labels: { x: "y" } });
  await one.until(() => one.changes.length === 1 && red.changes.length === 2, "both");
  assert.equal(one.changes[0]?.data.record?.name, "narrowed");
  assert.equal((await watch("?id=abc")).problem.code, "invalid-input");
  assert.equal((await watch("?kind=vm&id=nothing")).problem.code, "not-found");
});

test("what is gone is told as deleted", async () => {
  const watching = await watch("?kind=network");
  await fixture.make("/networks", { name: "brief", spec: { bridge: "br0" } });
  await fixture.request("DELETE", "/networks/brief");
  await watching.until(() => watching.changes.at(-1)?.data.type === "deleted", "deleted");
});

test("a revision that is not kept any more is refused, so that nobody misses something", async () => {
  assert.equal((await watch("?revision=0")).problem.code, "compacted");
  const first = await watch();
  assert.equal(first.status, 200);
});

test("a watch ends with its session, and a heartbeat moves the revision on", async () => {
  const token = await fixture.user("vic", [{ role: "viewer", project: "red" }]);
  const watching = await watch("", { token });
  await watching.until(() => watching.events.length === 1, "synced");
  await machine("unseen", "blue");
  const { revision } = fixture.cache;
  fixture.clock.advance(16_000);
  await watching.until(() => watching.events.filter(({ event }) => event === "synced").length === 2, "heartbeat");
  assert.ok((watching.events.at(-1)?.data.revision ?? 0) >= revision);
  await fixture.request("PATCH", "/users/vic", { spec: { disabled: true } });
  fixture.clock.advance(16_000);
  await watching.until(() => watching.ended, "the end");
  assert.match(watching.events.at(-1)?.data.reason ?? "", /sign in again/);
});

test("a client that does not read is let go, and others do not feel it", async () => {
  const socket = connect(Number(new URL(fixture.url).port), "127.0.0.1");
  socket.pause();
  socket.write(`GET ${apiPrefix}/watch?kind=role HTTP/1.1\r\nhost: x\r\nauthorization: Bearer ${fixture.token}\r\n\r\n`);
  const reader = await watch("?kind=role");
  await reader.until(() => reader.events.length === 1, "synced");
  for (let tries = 0; fixture.api.services.hub.size < 2; tries += 1) {
    assert.ok(tries < 500, "the socket is not watched");
    await new Promise((resolve) => setTimeout(resolve, 2));
  }
  const watchers = fixture.api.services.hub.size;
  const big = Object.fromEntries(Array.from({ length: 60 }, (_, index) => [`label-${index}`, "x".repeat(60)]));
  let changes = 0;
  await fixture.make("/roles", { name: "big", spec: { privileges: [] } });
  // Until the buffers of both ends' kernels are full too.
  for (; changes < 4000 && fixture.api.services.hub.size === watchers; changes += 1)
    await fixture.request("PATCH", "/roles/big", { labels: { ...big, turn: String(changes) } });
  assert.equal(fixture.api.services.hub.size, watchers - 1, `still there after ${changes} changes`);
  await reader.until(() => reader.changes.length >= changes, "the reader has all");
  socket.destroy();
});

test("a hundred watchers of one user share what is written", async () => {
  const many = await Promise.all(Array.from({ length: 100 }, () => watch("?kind=cluster")));
  for (const watching of many) await watching.until(() => watching.events.length > 0, "synced");
  await fixture.make("/clusters", { name: "told", spec: {} });
  for (const watching of many) await watching.until(() => watching.changes.length === 1, "told");
});
