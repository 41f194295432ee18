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

const welcome = {
  type: "welcome",
  wireVersion: 1,
  serverVersion: "test",
  incarnation: "i1",
  heartbeatMs: 5000,
  leaseMs: 15_000,
  now: 0,
} as const satisfies ServerMessage;

/** A link that has been welcomed, and the connections it makes. */
async function openLink(handlers: Partial<LinkHandlers>, servers: () => readonly string[] = () => ["https://a"]) {
  const clock = new SimulatedClock();
  const connections: Connection[] = [];
  const dialled: string[] = [];
  const dial = async ({ serverUrl }: Identity) => {
    dialled.push(serverUrl);
    const connection = new Connection();
    connections.push(connection);
    return connection;
  };
  const link = new ServerLink({
    ...{ clock, random: seededRandom(1), logger: silentLogger, reports: new ReportQueue(() => {}), servers },
    dialer: { dial } as unknown as Dialer, // images are not fetched here
    handlers: {
      hello: async () => ({ agentVersion: "test", hostId: "h", bootId: "b", machines: [] }),
      welcome: async () => {},
      servers: async () => {},
      disconnected: () => {},
      load: async () => ({ cpu: 0, memoryUsedBytes: 0, memoryTotalBytes: 0, vms: [] }),
      ...handlers,
    } as LinkHandlers, // nothing else comes here
    identity: () => ({ hostId: "h", serverUrl: "https://a" }) as Identity, // nobody looks at the rest
  });
  link.start();
  await clock.advance(1);
  connections[0]?.say({ ...welcome, servers: [...servers()] });
  await clock.advance(1);
  return { link, clock, connections, dialled };
}

test("a server that joins while the agent is connected is where it goes when its own is gone", async () => {
  let known: readonly string[] = ["https://a"];
  const { link, clock, connections, dialled } = await openLink(
    {
      servers: async (servers) => {
        known = servers;
      },
    },
    () => known,
  );
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
