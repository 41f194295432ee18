/** Consoles over real WebSockets on loopback; the agent's side is played. */
import assert from "node:assert/strict";
import { createServer, type Server } from "node:http";
import type { AddressInfo } from "node:net";
import { afterEach, beforeEach, describe, it } from "node:test";
import { silentLogger, SimulatedClock } from "@sheaf/base";
import { SheafError, VmSpec, type RecordOf } from "@sheaf/model";
import { WebSocket } from "ws";
import type { AuditFields } from "../audit/audit-entry.ts";
import type { StreamHandlers } from "../gateway/agent-streams.ts";
import { serveConsoles, type Consoles } from "./console-upgrades.ts";

async function until(what: string, condition: () => boolean): Promise<void> {
  const deadline = performance.now() + 5000;
  while (!condition()) {
    assert.ok(performance.now() < deadline, `${what} did not happen`);
    await new Promise((resolve) => setTimeout(resolve, 2));
  }
}

describe("consoles", () => {
  const clock = new SimulatedClock();
  let server: Server;
  let consoles: Consoles;
  let base = "";
  let handlers: StreamHandlers;
  let toAgent: string[];
  let closedToAgent: number;
  let audit: AuditFields[];
  let refusedAttempts: { code: string; actor: string }[];
  let tokens: Set<string>;
  let agentAnswers: () => Promise<void>;
  let vm: RecordOf<"vm">;

  beforeEach(async () => {
    [toAgent, closedToAgent, audit, refusedAttempts] = [[], 0, [], []];
    tokens = new Set(["good"]);
    agentAnswers = () => Promise.resolve();
    vm = {
      kind: "vm",
      id: "0192f0c1-2345-7abc-8def-0123456789ab",
      name: "web",
      project: "p",
      labels: {},
      generation: 1,
      createdAt: 0,
      createdBy: "u",
      finalizers: [],
      revision: 1,
      specRevision: 1,
      spec: VmSpec.parse({}),
      placement: { host: "h", epoch: 1, incarnation: "i", at: 0 },
      status: {
        agent: {
          state: "running",
          epoch: 1,
          host: "h",
          bootId: "b",
          observedGeneration: 1,
          since: 0,
          startRequestSeen: 0,
          restarts: 0,
          pendingChanges: [],
        },
      },
    };
    server = createServer((_request, response) => response.end());
    consoles = serveConsoles(server, {
      clock,
      logger: silentLogger,
      limits: { consoles: 2, unreadBytes: { serial: 64 * 1024, vnc: 2 ** 24 } },
      door: {
        authorize: ({ authorization }, privilege, _kind, reference, project) => {
          assert.equal(privilege, "vm.console");
          if (!tokens.has(authorization?.replace("Bearer ", "") ?? "")) throw new SheafError("unauthenticated", "sign in");
          if (reference !== "web" || (project !== undefined && project !== "p")) throw new SheafError("not-found", "there is no such machine");
          return { caller: { actor: "ann" }, record: vm };
        },
        record: async (fields) => void audit.push(fields),
        refused: (attempt) => refusedAttempts.push(attempt),
      },
      streams: {
        connected: () => true,
        openConsole: async (_host, _console, given) => {
          handlers = given;
          given.bytes(Buffer.from("early "));
          await agentAnswers();
          return { number: 1, send: (bytes) => toAgent.push(Buffer.from(bytes).toString()), close: () => (closedToAgent += 1) };
        },
      },
    });
    await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
    base = `ws://127.0.0.1:${(server.address() as AddressInfo).port}/api/v1`;
  });
  afterEach(async () => {
    consoles.close();
    server.closeAllConnections();
    await new Promise((resolve) => server.close(resolve));
  });

  interface Viewer {
    readonly socket: WebSocket;
    text: string;
    closed: { code: number; reason: string } | null;
  }
  const view = (
    path = "/vms/web/console/serial",
    headers: Record<string, string> = { authorization: "Bearer good" },
    protocols: string[] = [],
  ): Promise<Viewer> =>
    new Promise((resolve, reject) => {
      const viewer: Viewer = { socket: new WebSocket(base + path, protocols, { headers }), text: "", closed: null };
      const { socket } = viewer;
      socket.on("message", (data: Buffer) => (viewer.text += data.toString()));
      socket.on("close", (code, reason) => (viewer.closed = { code, reason: reason.toString() }));
      socket.on("open", () => resolve(viewer));
      socket.on("error", () => {});
      socket.on("unexpected-response", (_request, response) => {
        let text = "";
        response.on("data", (chunk: Buffer) => (text += chunk.toString()));
        response.on("end", () =>
          reject(Object.assign(new Error("refused"), { status: response.statusCode, problem: JSON.parse(text) as { code: string } })),
        );
      });
    });
  const refusedWith = (status: number, code: string) => (error: unknown) => {
    assert.deepEqual([(error as { status: number }).status, (error as { problem: { code: string } }).problem.code], [status, code]);
    return true;
  };

  it("carries bytes both ways, those that came early too, and writes who looked", async () => {
    const viewer = await view();
    await until("the early bytes", () => viewer.text === "early ");
    handlers.bytes(Buffer.from("login:"));
    viewer.socket.send(Buffer.from("root"));
    viewer.socket.send("\n");
    await until("bytes both ways", () => viewer.text === "early login:" && toAgent.join("") === "root\n");
    assert.deepEqual(audit, [{ actor: "ann", from: "127.0.0.1", action: "vm.console.serial", target: `vm/${vm.id}`, result: "done", project: "p" }]);
    viewer.socket.close(1000);
    await until("the end at the agent", () => closedToAgent === 1);
    assert.equal(consoles.count, 0);
  });

  it("takes the token of a browser as a protocol, and does not say it back", async () => {
    const viewer = await view("/vms/web/console/vnc?project=p", {}, ["sheaf.console", "sheaf.bearer.good"]);
    assert.equal(viewer.socket.protocol, "sheaf.console");
    assert.equal(audit[0]?.action, "vm.console.vnc");
  });

  it("refuses with a problem: strangers, unknown machines and paths, machines without a console", async () => {
    await assert.rejects(view(undefined, {}), refusedWith(401, "unauthenticated"));
    await assert.rejects(view(undefined, { authorization: "Bearer bad" }), refusedWith(401, "unauthenticated"));
    assert.deepEqual(
      refusedAttempts.map(({ code, actor }) => [code, actor]),
      [
        ["unauthenticated", "(nobody)"],
        ["unauthenticated", "(nobody)"],
      ],
    );
    await assert.rejects(view("/vms/other/console/serial"), refusedWith(404, "not-found"));
    for (const path of ["/vms/web/console/spice", "/vms/web/console/serial/", "/vms/../console/serial", "/watch"]) {
      await assert.rejects(view(path), refusedWith(404, "not-found"), path);
    }
    vm = { ...vm, status: { agent: { ...vm.status.agent!, state: "stopped" } } }; // set in beforeEach
    await assert.rejects(view(), refusedWith(409, "state-refused"));
    vm = { ...vm, status: {} };
    agentAnswers = () => Promise.reject(new SheafError("host-unreachable", "gone"));
    await assert.rejects(view(), refusedWith(409, "state-refused"));
    assert.deepEqual([toAgent, audit, consoles.count], [[], [], 0]);
  });

  it("says what the agent says when it cannot open it", async () => {
    agentAnswers = () => Promise.reject(new SheafError("host-unreachable", "gone"));
    await assert.rejects(view(), refusedWith(503, "host-unreachable"));
  });

  it("ends with the stream, and says why", async () => {
    const first = await view();
    handlers.ended("the machine was stopped");
    await until("the end", () => first.closed !== null);
    assert.deepEqual(first.closed, { code: 1011, reason: "the machine was stopped" });
    const second = await view();
    handlers.ended(undefined);
    await until("the end", () => second.closed !== null);
    assert.equal(second.closed?.code, 1000);
  });

  it("ends when the right to it ends, and when the viewer has vanished", async () => {
    const viewer = await view();
    await clock.advance(30_000);
    await until("the answer to the ping", () => viewer.closed === null && consoles.count === 1);
    viewer.socket.send("x");
    await until("a sign of life", () => toAgent.length === 1);
    tokens.clear();
    await clock.advance(30_000);
    await until("the end", () => viewer.closed !== null);
    assert.deepEqual(viewer.closed, { code: 1008, reason: "sign in" });
    tokens.add("good");
    const gone = await view();
    gone.socket.pause();
    await clock.advance(60_000);
    await until("the end of one who does not answer", () => consoles.count === 0);
    gone.socket.terminate();
  });

  it("closes on a viewer that does not read, and keeps a number of them", async () => {
    const slow = await view();
    slow.socket.pause();
    const chunk = Buffer.alloc(64 * 1024);
    for (let sent = 0; sent < 2000 && consoles.count === 1; sent += 1) {
      handlers.bytes(chunk);
      await new Promise((resolve) => setImmediate(resolve));
    }
    assert.equal(consoles.count, 0);
    slow.socket.terminate();
    await view();
    await view();
    await assert.rejects(view(), refusedWith(429, "throttled"));
    consoles.close();
    assert.equal(consoles.count, 0);
  });
});
