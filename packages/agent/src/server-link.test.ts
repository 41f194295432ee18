import assert from "node:assert/strict";
import { test } from "node:test";
import { seededRandom, SimulatedClock, silentLogger } from "@sheaf/base";
import type { AgentDocument, AgentMessage, ServerMessage } from "@sheaf/contract";
import type { Dialer, Identity, ServerSocket, SocketHandlers } from "./ports.ts";
import { ReportQueue } from "./report-queue.ts";
import { type LinkHandlers, ServerLink } from "./server-link.ts";
import { network, vm, volume } from "./simulated/sample-site.ts";

class Connection implements ServerSocket {
  readonly sent: AgentMessage[] = [];
  readonly unsentBytes = 0;
  #handlers: SocketHandlers | null = null;
  send(data: string | Uint8Array): void {
    if (typeof data === "string") this.sent.push(JSON.parse(data) as AgentMessage); // of this version's link
  }
  close(): void {
    this.end();
  }
  pings = 0;
  ping(): void {
    this.pings += 1;
  }
  /** The answer to a ping. */
  alive(): void {
    this.#handlers?.alive();
  }
  wasCut = false;
  cut(): void {
    this.wasCut = true;
    this.end();
  }
  listen(handlers: SocketHandlers): void {
    this.#handlers = handlers;
  }
  say(message: ServerMessage): void {
    this.#handlers?.text(JSON.stringify(message));
  }
  ended = false;
  end(): void {
    this.ended = true;
    this.#handlers?.closed(1006, "gone");
  }
}

const welcome = {
  type: "welcome",
  wireVersion: 1,
  serverVersion: "test",
  incarnation: "i1",
  heartbeatMs: 5000,
  leaseMs: 15_000,
  now: 0,
} as const satisfies ServerMessage;

/** An agent that knows of several servers, each of which answers while it is among `answering`. */
class Linked {
  readonly clock = new SimulatedClock();
  readonly dialled: string[] = [];
  readonly connections: Connection[] = [];
  readonly answering: Set<string>;
  readonly link: ServerLink;
  /** Else a connection comes about although nobody wants it any more. */
  hearsAborts = true;
  readonly #waiting: (() => void)[] = [];
  known: readonly string[];

  constructor(servers: readonly string[], more: Partial<LinkHandlers> = {}) {
    this.known = servers;
    this.answering = new Set(servers);
    const dialer = {
      dial: async ({ serverUrl }: Identity, signal: AbortSignal) => {
        this.dialled.push(serverUrl);
        if (!this.answering.has(serverUrl))
          await new Promise<void>((resolve, reject) => {
            this.#waiting.push(resolve);
            if (this.hearsAborts) signal.addEventListener("abort", () => reject(new Error("silent")));
          });
        const connection = new Connection();
        this.connections.push(connection);
        return connection;
      },
    } as unknown as Dialer; // images are not fetched here
    const handlers = {
      hello: async () => ({ agentVersion: "test", hostId: "h", bootId: "b", machines: [] }),
      welcome: async () => {},
      servers: async (told) => {
        this.known = told;
      },
      disconnected: () => {},
      load: async () => ({ cpu: 0, memoryUsedBytes: 0, memoryTotalBytes: 0, vms: [] }),
      promise: async () => undefined,
      welcomed: () => {},
      granted: async () => {},
      ...more,
    } as Partial<LinkHandlers> as LinkHandlers; // nothing else comes here
    this.link = new ServerLink({
      sinceBoot: () => this.clock.monotonic(),
      ...{ clock: this.clock, random: seededRandom(1), logger: silentLogger, dialer, handlers, reports: new ReportQueue(() => {}) },
      identity: () => ({ hostId: "h", serverUrl: "https://a" }) as Identity, // nobody looks at the rest
      servers: () => this.known,
    });
    this.link.start();
  }

  /** Whoever is dialled now answers. */
  async answer(): Promise<void> {
    for (const resolve of this.#waiting.splice(0)) resolve();
    await this.clock.advance(1);
  }

  /** The newest connection's server welcomes it. */
  async welcomed(): Promise<Connection> {
    await this.clock.advance(1);
    const newest = this.connections.at(-1);
    assert.ok(newest);
    newest.say({ ...welcome, servers: [...this.known] });
    await this.clock.advance(1);
    return newest;
  }
}

/** A link with one server that has welcomed it. */
async function openLink(handlers: Partial<LinkHandlers>): Promise<Linked> {
  const linked = new Linked(["https://a"], handlers);
  await linked.welcomed();
  return linked;
}

test("it is calm while its heartbeats are answered, whatever else is heard, and never where they come quickly", async () => {
  const linked = new Linked(["https://a"]);
  const { clock, link } = linked;
  assert.equal(link.calm, false);
  const server = await linked.welcomed();
  for (let sequence = 1; sequence <= 4; sequence += 1) {
    server.say({ type: "beat", sequence, now: 0 });
    await clock.advance(5000);
    assert.equal(link.calm, true);
  }
  // The server is heard, and may not hear.
  server.alive();
  await clock.advance(1001);
  server.alive();
  assert.equal(link.calm, false);
  server.say({ type: "beat", sequence: 5, now: 0 });
  await clock.advance(1);
  assert.equal(link.calm, true);
  server.end();
  await clock.advance(1);
  assert.equal(link.calm, false);
  await link.stop();
  const quick = new Linked(["https://a"]);
  await clock.advance(1);
  await quick.clock.advance(1);
  quick.connections.at(-1)?.say({ ...welcome, heartbeatMs: 1000 });
  await quick.clock.advance(1);
  assert.equal(quick.link.connected, true);
  assert.equal(quick.link.calm, false);
  await quick.link.stop();
});

test("a server that joins while the agent is connected is where it goes when its own is gone", async () => {
  const linked = new Linked(["https://a"]);
  const { clock, link, dialled, answering } = linked;
  const first = await linked.welcomed();
  answering.add("https://b");
  await clock.advance(8000);
  assert.deepEqual([first.pings, first.wasCut], [0, false], "as the only one it is waited for");
  first.say({ type: "servers", servers: ["https://a", "https://b"] });
  await clock.advance(5000);
  assert.equal(first.wasCut, true, "as one of several it is not waited for so long");
  assert.deepEqual(dialled, ["https://a", "https://b"]);
  await link.stop();
});

test("one of several servers is asked for a sign when it is quiet; one that answers none is left within 4 s", async () => {
  const linked = new Linked(["https://a", "https://b"]);
  const { clock, link, dialled, connections } = linked;
  const first = await linked.welcomed();
  for (let time = 0; time < 20; time += 1) {
    await clock.advance(1500);
    first.alive();
  }
  assert.ok(first.pings >= 20, `${first.pings} pings`);
  assert.deepEqual([dialled, first.wasCut], [["https://a"], false], "it answers: all is well");
  await clock.advance(2000);
  assert.equal(first.wasCut, false);
  await clock.advance(2100);
  assert.equal(first.wasCut, true, "another one answers, and it does not");
  assert.deepEqual(dialled, ["https://a", "https://b"]);
  assert.deepEqual(connections[1]?.sent[0]?.type, "hello");
  assert.equal(link.serverUrl, "https://b");
  await link.stop();
});

test("a server that speaks again while another one is dialled is kept", async () => {
  const linked = new Linked(["https://a", "https://b"]);
  const { clock, link, dialled, connections, answering } = linked;
  const first = await linked.welcomed();
  answering.delete("https://b");
  await clock.advance(4500);
  assert.deepEqual(dialled, ["https://a", "https://b"]);
  first.alive();
  await clock.advance(1);
  await linked.answer();
  assert.deepEqual([first.wasCut, connections.length, link.serverUrl], [false, 1, "https://a"]);
  await link.stop();
});

test("where no other server answers the silent one is kept for 10 s, and each other one is tried", async () => {
  const linked = new Linked(["https://a", "https://b", "https://c"]);
  const { clock, link, dialled, answering } = linked;
  const first = await linked.welcomed();
  answering.clear();
  await clock.advance(9500);
  assert.equal(first.wasCut, false);
  assert.deepEqual(dialled.slice(1, 3).toSorted(), ["https://b", "https://c"]);
  await clock.advance(1000);
  assert.equal(first.wasCut, true);
  await link.stop();
});

test("an agent that is asked to goes to another server when that one answers, and not before", async () => {
  const linked = new Linked(["https://a", "https://b"]);
  const { clock, link, dialled, connections, answering } = linked;
  const first = await linked.welcomed();
  first.say({ type: "go-to", server: "https://elsewhere" });
  await clock.advance(100);
  assert.deepEqual(dialled, ["https://a"], "it is none of the site's servers");
  answering.delete("https://b");
  first.say({ type: "go-to", server: "https://b" });
  for (let second = 0; second < 6; second += 1) {
    await clock.advance(1000);
    first.alive();
  }
  assert.deepEqual([dialled, link.serverUrl, link.connected], [["https://a", "https://b"], "https://a", true], "it does not answer: the agent stays");
  answering.add("https://b");
  first.say({ type: "go-to", server: "https://b" });
  await clock.advance(1);
  assert.equal(link.serverUrl, "https://b");
  await linked.welcomed();
  assert.deepEqual([connections.length, link.connected], [2, true]);
  await link.stop();
});

test("an agent that cannot say hello to the server it goes to leaves that connection, and waits before the next", async () => {
  let fails = false;
  const linked = new Linked(["https://a", "https://b"], {
    hello: async () => {
      if (fails) throw new Error("the disk does not answer");
      return { agentVersion: "test", hostId: "h", bootId: "b", machines: [] };
    },
  });
  const first = await linked.welcomed();
  fails = true;
  first.say({ type: "go-to", server: "https://b" });
  await linked.clock.advance(1);
  assert.equal(linked.connections[1]?.ended, true);
  fails = false;
  await linked.clock.advance(2000);
  assert.equal(linked.connections.length, 3);
  await linked.link.stop();
});

test("an agent that stops while it changes servers leaves no connection behind", { timeout: 10_000 }, async () => {
  const linked = new Linked(["https://a", "https://b"]);
  const first = await linked.welcomed();
  linked.answering.delete("https://b");
  linked.hearsAborts = false;
  first.say({ type: "go-to", server: "https://b" });
  await linked.clock.advance(100);
  assert.equal(linked.dialled.length, 2);
  await linked.link.stop();
  await linked.answer();
  assert.equal(linked.connections.length, 2);
  assert.equal(
    linked.connections.slice(1).every(({ ended }) => ended),
    true,
  );
});

test("the answer to a call of a connection that ended is not given to the next one, which counts its calls anew", async () => {
  const answers: (() => void)[] = [];
  const { link, clock, connections } = await openLink({
    call: (message) =>
      new Promise((resolve) => {
        answers.push(() => resolve({ type: "reply", id: message.id, ok: true, result: {} }));
      }),
  });
  const call: ServerMessage = { type: "call", id: 1, method: "vm.probe", parameters: {}, timeoutMs: 1000 };
  connections[0]?.say(call);
  await clock.advance(1);
  connections[0]?.end();
  await clock.advance(2000);
  connections[1]?.say(welcome);
  connections[1]?.say(call);
  await clock.advance(1);
  const replies = (): number => connections[1]?.sent.filter(({ type }) => type === "reply").length ?? -1;
  assert.equal(answers.length, 2);
  answers[0]?.();
  await clock.advance(1);
  assert.equal(replies(), 0, "it was another call's number");
  answers[1]?.();
  await clock.advance(1);
  assert.equal(replies(), 1);
  await link.stop();
});

test("machines and volumes are kept side by side; a guest that stands still does not wait for them, all else does", async () => {
  const begun: string[] = [];
  const kept: (() => void)[] = [];
  const { link, clock, connections } = await openLink({
    upsert: ({ document }) => {
      begun.push(document.kind);
      return new Promise((resolve) => kept.push(resolve));
    },
    call: async ({ id, method }) => {
      begun.push(method);
      return { type: "reply", id, ok: true, result: {} };
    },
  });
  const upsert = (document: AgentDocument): void => connections[0]?.say({ type: "upsert", revision: document.revision, document });
  const call = (id: number, method: "vm.probe" | "migrate.finish"): void =>
    connections[0]?.say({ type: "call", id, method, parameters: {}, timeoutMs: 1000 });
  upsert(vm());
  upsert(volume());
  call(1, "migrate.finish");
  call(2, "vm.probe");
  upsert(network());
  await clock.advance(1);
  assert.deepEqual(begun, ["vm", "volume", "migrate.finish"]);
  for (const resolve of kept) resolve();
  await clock.advance(1);
  assert.deepEqual(begun, ["vm", "volume", "migrate.finish", "vm.probe", "network"]);
  kept.at(-1)?.();
  await link.stop();
});
