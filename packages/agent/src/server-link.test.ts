import assert from "node:assert/strict";
import { test } from "node:test";
import { seededRandom, SimulatedClock, silentLogger } from "@sheaf/base";
import type { AgentMessage, ServerMessage } from "@sheaf/contract";
import type { Dialer, Identity, ServerSocket, SocketHandlers } from "./ports.ts";
import { ReportQueue } from "./report-queue.ts";
import { type LinkHandlers, ServerLink } from "./server-link.ts";

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
  end(): void {
    this.#handlers?.closed(1006, "gone");
  }
}

const welcome: ServerMessage = {
  type: "welcome",
  wireVersion: 1,
  serverVersion: "test",
  incarnation: "i1",
  heartbeatMs: 5000,
  leaseMs: 15_000,
  now: 0,
};

test("a server that joins while the agent is connected is where it goes when its own is gone", async () => {
  const clock = new SimulatedClock();
  const dialled: string[] = [];
  const connections: Connection[] = [];
  const dialer = {
    dial: async ({ serverUrl }: Identity) => {
      dialled.push(serverUrl);
      const connection = new Connection();
      connections.push(connection);
      return connection;
    },
  } as unknown as Dialer; // images are not fetched here
  let known: readonly string[] = ["https://a"];
  const handlers = {
    hello: async () => ({ agentVersion: "test", hostId: "h", bootId: "b", machines: [] }),
    welcome: async () => {},
    servers: async (servers) => {
      known = servers;
    },
    disconnected: () => {},
    load: async () => ({ cpu: 0, memoryUsedBytes: 0, memoryTotalBytes: 0, vms: [] }),
  } as Partial<LinkHandlers> as LinkHandlers; // nothing else comes here
  const link = new ServerLink({
    ...{ clock, random: seededRandom(1), logger: silentLogger, dialer, handlers, reports: new ReportQueue(() => {}) },
    identity: () => ({ hostId: "h", serverUrl: "https://a" }) as Identity, // nobody looks at the rest
    servers: () => known,
  });
  link.start();
  await clock.advance(1);
  connections[0]?.say({ ...welcome, servers: known });
  await clock.advance(1);
  connections[0]?.say({ type: "servers", servers: ["https://a", "https://b"] });
  await clock.advance(8000);
  assert.equal(connections[0]?.wasCut, false, "one beat may be missed");
  // As one of several it is not waited for so long.
  await clock.advance(5000);
  assert.equal(connections[0]?.wasCut, true);
  await clock.advance(2000);
  assert.deepEqual(dialled, ["https://a", "https://b"]);
  await link.stop();
});

test("the answer to a call of a connection that ended is not given to the next one, which counts its calls anew", async () => {
  const clock = new SimulatedClock();
  const connections: Connection[] = [];
  const dialer = {
    dial: async () => {
      const connection = new Connection();
      connections.push(connection);
      return connection;
    },
  } as unknown as Dialer; // images are not fetched here
  const answers: (() => void)[] = [];
  const handlers = {
    hello: async () => ({ agentVersion: "test", hostId: "h", bootId: "b", machines: [] }),
    welcome: async () => {},
    servers: async () => {},
    disconnected: () => {},
    load: async () => ({ cpu: 0, memoryUsedBytes: 0, memoryTotalBytes: 0, vms: [] }),
    call: (message) =>
      new Promise((resolve) => {
        answers.push(() => resolve({ type: "reply", id: message.id, ok: true, result: {} }));
      }),
  } as Partial<LinkHandlers> as LinkHandlers; // nothing else comes here
  const reports = new ReportQueue(() => {});
  const link = new ServerLink({
    ...{ clock, random: seededRandom(1), logger: silentLogger, dialer, handlers, reports },
    identity: () => ({ hostId: "h" }) as Identity, // nobody looks at the rest
  });
  link.start();
  await clock.advance(1);
  const call: ServerMessage = { type: "call", id: 1, method: "vm.probe", parameters: {}, timeoutMs: 1000 };
  connections[0]?.say(welcome);
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
