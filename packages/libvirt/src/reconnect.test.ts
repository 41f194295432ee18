import assert from "node:assert/strict";
import { afterEach, test } from "node:test";
import { connect, type LibvirtClient } from "./connect.ts";
import { LibvirtClientError, LibvirtConnectionError, LibvirtProtocolError } from "./errors.ts";
import { FakeLibvirtError, FakeServer } from "./fake-server.ts";
import { encodeFrame, KEEPALIVE_PING, KEEPALIVE_PROGRAM, MessageStatus, MessageType } from "./frame.ts";
import type { ConnectionState, LibvirtOptions } from "./libvirt.ts";
import { ManualTimers, settled } from "./manual-timers.ts";
import { seededDraw } from "./generating-reader.ts";
import { eventDefinitions, type LibvirtEvent } from "./procedures/events.ts";
import { procedures } from "./procedures/table.ts";
import { parameter } from "./typed-params.ts";

const vm = { name: "web-01", uuid: "c10e0000-0000-4000-8000-000000000001", id: 3 };
const other = { name: "web-02", uuid: "c10e0000-0000-4000-8000-000000000002", id: 4 };
const identity = (error: unknown) => error;
const hung = () => new Promise<never>(() => undefined);

let open: LibvirtClient[] = [];
afterEach(() => {
  for (const client of open) client.close();
  open = [];
});

async function start(server: FakeServer, options: Partial<LibvirtOptions> = {}) {
  const timers = new ManualTimers();
  const client = await connect({ transport: server.transport, timers, ...options });
  open.push(client);
  const states: ConnectionState["kind"][] = [];
  client.onState(({ kind }) => states.push(kind));
  return { client, timers, states };
}

async function failure(promise: Promise<unknown>): Promise<Error> {
  const outcome = await promise.then(
    () => undefined,
    (error: unknown) => error,
  );
  assert.ok(outcome instanceof Error, "it did not fail");
  return outcome;
}

test("a lost connection rejects all calls under way, and is made again", async () => {
  const server = new FakeServer({ handlers: { domainGetState: hung, connectGetHostname: () => ({ hostname: "host-a" }) } });
  const { client, timers, states } = await start(server);
  const failures = Promise.all([failure(client.domains.getState(vm)), failure(client.domains.getState(vm))]);
  await settled();
  server.dropConnections();
  for (const error of await failures) {
    assert.ok(error instanceof LibvirtConnectionError && error.outcomeUnknown);
    assert.match(error.message, /the connection to fake was lost: the other side ended the connection/);
  }
  assert.deepEqual(states, ["disconnected"]);
  // A call made meanwhile waits for the connection.
  const waiting = client.host.hostname();
  await timers.advance(100);
  assert.equal(await waiting, "host-a");
  assert.deepEqual(states, ["disconnected", "connected"]);
});

test("attempts come at growing distances, and calls are refused once the grace is over", async () => {
  const server = new FakeServer({ handlers: { connectGetHostname: () => ({ hostname: "host-a" }) } });
  const { client, timers, states } = await start(server, { reconnectMinMs: 100, reconnectMaxMs: 1_000, reconnectGraceMs: 5_000 });
  let attempts: number[] = [];
  const { open: openWire } = server.transport;
  Object.assign(server.transport, {
    open: (signal: AbortSignal) => {
      attempts.push(timers.monotonic());
      return openWire(signal);
    },
  });
  server.refusesConnections = true;
  server.dropConnections();
  await settled();
  const waiting = failure(client.host.hostname());
  await timers.advance(4_999);
  assert.deepEqual(attempts.slice(0, 6), [100, 300, 700, 1_500, 2_500, 3_500]);
  await timers.advance(1);
  const refused = await waiting;
  assert.ok(
    refused instanceof LibvirtConnectionError && !refused.outcomeUnknown && /fake is not reachable.*connection refused/.test(refused.message),
    refused.message,
  );
  assert.ok((await failure(client.host.hostname())) instanceof LibvirtConnectionError);
  assert.ok((await failure(client.openSession())) instanceof LibvirtConnectionError);
  attempts = [];
  server.refusesConnections = false;
  await timers.advance(1_000);
  assert.equal(attempts.length, 1);
  assert.equal(await client.host.hostname(), "host-a");
  assert.deepEqual(states, ["disconnected", "connected"]);
});

test("closing while disconnected ends the attempts", async () => {
  const server = new FakeServer();
  const { client, timers } = await start(server);
  server.refusesConnections = true;
  server.dropConnections();
  await timers.advance(1_000);
  client.close();
  assert.equal(timers.pending, 0);
  server.refusesConnections = false;
  await timers.advance(60_000);
  assert.equal(server.openConnections, 0);
});

test("silence is answered with pings; a daemon that does not answer them is given up", async () => {
  const server = new FakeServer({ handlers: { domainGetState: hung } });
  const { client, timers, states } = await start(server, { keepaliveIntervalMs: 5_000, keepaliveCount: 3, callTimeoutMs: 1e9 });
  await timers.advance(60_000);
  assert.deepEqual(states, []);
  const failed = failure(client.domains.getState(vm));
  await settled();
  server.answersPings = false;
  await timers.advance(21_000);
  const error = await failed;
  assert.ok(
    error instanceof LibvirtConnectionError && error.outcomeUnknown && /has not answered 3 pings.*hangs, or the network is cut/.test(error.message),
  );
  assert.equal(states[0], "disconnected");
});

test("the daemon's pings are answered", async () => {
  const server = new FakeServer();
  await start(server);
  server.sendRaw(
    encodeFrame({ program: KEEPALIVE_PROGRAM, procedure: KEEPALIVE_PING, type: MessageType.event, serial: 0, status: MessageStatus.ok }),
  );
  await settled();
  assert.equal(server.pongsReceived, 1);
});

test("bytes that are no frame end the connection with a protocol error", async () => {
  const server = new FakeServer({ handlers: { domainGetState: hung } });
  const { client, timers, states } = await start(server);
  const failed = failure(client.domains.getState(vm));
  await settled();
  server.sendRaw(Buffer.from("HTTP/1.1 400 Bad Request\r\n\r\n"));
  const error = await failed;
  assert.ok(error instanceof LibvirtProtocolError && /does not speak libvirt's protocol/.test(error.message), error.message);
  await timers.advance(100);
  assert.deepEqual(states, ["disconnected", "connected"]);
});

test("a client survives whatever a broken daemon sends: it drops it, or connects again", async () => {
  const seed = Number(process.env["FUZZ_SEED"] ?? Math.floor(Math.random() * 0xffffffff));
  const draw = seededDraw(seed);
  const server = new FakeServer({ handlers: { domainGetState: () => ({ state: 1, reason: 0 }), storageVolDownload: () => ({}) } });
  const { client, timers } = await start(server);
  await client.events.subscribe(["lifecycle", "graphics", "jobCompleted"], () => undefined);
  const programs = [0x20008086, 0x20008087, KEEPALIVE_PROGRAM, 7];
  const procedureNumbers = [...Object.values(procedures), ...Object.values(eventDefinitions).map(({ message }) => ({ number: message }))].map(
    ({ number }) => number,
  );
  for (let round = 0; round < 2_000; round += 1) {
    const streaming = round % 3 === 0 ? client.volumes.download({ pool: "p", name: "n", key: "k" }) : undefined;
    const states = [client.domains.getState(vm), client.domains.getState(vm)];
    const frame = Buffer.from(
      encodeFrame(
        {
          program: programs[draw.int(0, 3)] ?? 0,
          procedure: procedureNumbers[draw.int(0, procedureNumbers.length - 1)] ?? 0,
          type: draw.int(0, 6),
          serial: draw.int(0, 12),
          status: draw.int(0, 2),
        },
        Uint8Array.from({ length: draw.int(0, 12) * 4 }, () => draw.int(0, 3)),
      ),
    );
    // Now and then the frame itself is damaged.
    if (draw.int(0, 9) === 0) frame[draw.int(0, frame.length - 1)] = draw.int(0, 255);
    server.sendRaw(frame);
    const outcomes = Promise.all(states.map((state) => state.then(() => undefined, identity)));
    const download = streaming?.then((stream) => stream.abort(), identity);
    await settled();
    // A frame with a damaged length makes the client wait for the rest of it: its calls end with their deadline, or here with the connection.
    if (round % 10 === 9 || frame.length !== frame.readUInt32BE(0)) server.dropConnections();
    await settled();
    if (client.state.kind === "disconnected") await timers.advance(100);
    await download;
    for (const error of await outcomes) assert.ok(error === undefined || error instanceof LibvirtClientError, `FUZZ_SEED=${seed}: ${String(error)}`);
    assert.equal(client.state.kind, "connected", `FUZZ_SEED=${seed} round ${round}`);
  }
});

test("an answer of another procedure than was called ends the connection", async () => {
  const server = new FakeServer({ handlers: { domainGetState: hung } });
  const { client } = await start(server);
  const failed = failure(client.domains.getState(vm));
  await settled();
  // Sign-in took the serials 1 to 3.
  server.sendRaw(encodeFrame({ program: 0x20008086, procedure: 59, type: MessageType.reply, serial: 4, status: MessageStatus.ok }));
  assert.ok((await failed) instanceof LibvirtProtocolError);
});

test("events come to those who asked, in order, as long as they ask", async () => {
  const server = new FakeServer();
  const { client } = await start(server);
  const seen: LibvirtEvent<"lifecycle" | "jobCompleted">[] = [];
  const subscription = await client.events.subscribe(["lifecycle", "jobCompleted"], (event) => seen.push(event));
  assert.equal(server.emit("reboot", { domain: vm }), 0);
  assert.equal(server.emit("lifecycle", { domain: vm, event: 2, detail: 0 }), 1);
  server.emit("jobCompleted", { domain: vm, params: [parameter.ullong("downtime", 64)] });
  server.emit("lifecycle", { domain: other, event: 5, detail: 1 });
  await settled();
  assert.deepEqual(seen, [
    { name: "lifecycle", domain: vm, event: 2, detail: 0 },
    { name: "jobCompleted", domain: vm, params: [parameter.ullong("downtime", 64n)] },
    { name: "lifecycle", domain: other, event: 5, detail: 1 },
  ]);
  await subscription.close();
  assert.equal(server.emit("lifecycle", { domain: vm, event: 2, detail: 0 }), 0);
});

test("listeners of the same event share a registration, and one that throws harms nobody", async () => {
  const server = new FakeServer();
  const { client } = await start(server);
  const warnings: string[] = [];
  const seen: number[] = [];
  const first = await client.events.subscribe(["reboot"], () => {
    warnings.push("thrown");
    throw new Error("broken listener");
  });
  const second = await client.events.subscribe(["reboot"], () => seen.push(1));
  assert.equal(server.emit("reboot", { domain: vm }), 1);
  await settled();
  assert.deepEqual([warnings.length, seen.length], [1, 1]);
  await first.close();
  assert.equal(server.emit("reboot", { domain: vm }), 1);
  await settled();
  await second.close();
  assert.equal(server.emit("reboot", { domain: vm }), 0);
  await settled();
  assert.deepEqual([warnings.length, seen.length], [1, 2]);
});

test("an event that arrives before the registration's answer is not lost", async () => {
  const server = new FakeServer();
  const { client } = await start(server);
  server.handlers.connectDomainEventCallbackRegisterAny = async () => {
    // lifecycle, callback 77, sent ahead of the answer that names the 77.
    const { eventDefinitions } = await import("./procedures/events.ts");
    const { encodeValue } = await import("./codec.ts");
    const payload = encodeValue(eventDefinitions.lifecycle.codec, { callback: 77, body: { domain: vm, event: 2, detail: 0 } });
    server.sendRaw(encodeFrame({ program: 0x20008086, procedure: 318, type: MessageType.event, serial: 0, status: MessageStatus.ok }, payload));
    return { callback: 77 };
  };
  const seen: number[] = [];
  await client.events.subscribe(["lifecycle"], ({ event }) => seen.push(event));
  await settled();
  assert.deepEqual(seen, [2]);
});

test("after a reconnect the events are registered again before calls go on", async () => {
  const server = new FakeServer({ handlers: { connectGetHostname: () => ({ hostname: "host-a" }) } });
  const { client, timers, states } = await start(server);
  const seen: string[] = [];
  const lifecycle = await client.events.subscribe(["lifecycle"], ({ domain }) => seen.push(domain.name), { domain: vm });
  await client.events.subscribe(["networkLifecycle", "storagePoolRefresh", "secretLifecycle", "nodeDeviceUpdate"], ({ name }) => seen.push(name));
  server.dropConnections();
  await settled();
  // One that is made while there is no connection waits for it, and is registered once.
  const late = client.events.subscribe(["reboot"], ({ name }) => seen.push(name));
  server.calls.length = 0;
  const call = client.host.hostname();
  await timers.advance(100);
  await call;
  await late;
  assert.deepEqual(states, ["disconnected", "connected"]);
  assert.equal(server.calls.indexOf("CONNECT_GET_HOSTNAME"), server.calls.length - 1);
  assert.equal(server.emit("lifecycle", { domain: vm, event: 0, detail: 0 }), 1);
  assert.equal(server.emit("reboot", { domain: vm }), 1);
  assert.equal(server.emit("networkLifecycle", { network: { name: "default", uuid: vm.uuid }, event: 2, detail: 0 }), 1);
  await settled();
  assert.deepEqual(seen, ["web-01", "reboot", "networkLifecycle"]);
  await lifecycle.close();
  assert.equal(server.emit("lifecycle", { domain: vm, event: 0, detail: 0 }), 0);
});

test("an event the daemon does not know is refused, and none of its companions stays registered", async () => {
  const server = new FakeServer();
  const { client } = await start(server);
  server.handlers.connectNetworkEventRegisterAny = () => {
    throw new FakeLibvirtError("noSupport", "no network driver");
  };
  const error = await failure(client.events.subscribe(["reboot", "networkLifecycle"], () => assert.fail("nothing was agreed")));
  assert.match(error.message, /no network driver/);
  assert.equal(server.emit("reboot", { domain: vm }), 0);
});
