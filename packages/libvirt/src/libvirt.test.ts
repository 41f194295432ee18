import assert from "node:assert/strict";
import { afterEach, test } from "node:test";
import { connect, type LibvirtClient } from "./connect.ts";
import { isLibvirtError, LibvirtAbortError, LibvirtConnectionError, LibvirtError, LibvirtProtocolError, LibvirtTimeoutError } from "./errors.ts";
import { FakeLibvirtError, FakeServer } from "./fake-server.ts";
import type { LibvirtOptions } from "./libvirt.ts";
import { ManualTimers, settled } from "./manual-timers.ts";
import { parameter } from "./typed-params.ts";
import { XdrError } from "./xdr.ts";
import { int, string, struct } from "./codec.ts";
import { REMOTE_PROGRAM } from "./procedures/procedure.ts";

const vm = { name: "web-01", uuid: "c10e0000-0000-4000-8000-000000000001", id: 3 };
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
  return { client, timers };
}

/** The error a promise rejects with. */
async function failure(promise: Promise<unknown>): Promise<unknown> {
  try {
    await promise;
  } catch (error) {
    return error;
  }
  return assert.fail("it did not fail");
}

test("signing in: the authentication list, then the hypervisor, then keepalive", async () => {
  const opened: unknown[] = [];
  const server = new FakeServer({
    handlers: {
      connectOpen: (args) => {
        opened.push(args);
        return {};
      },
    },
  });
  const { client } = await start(server, { uri: "lxc:///system", readOnly: true });
  assert.deepEqual(server.calls, ["AUTH_LIST", "CONNECT_OPEN", "CONNECT_SUPPORTS_FEATURE"]);
  assert.deepEqual(opened, [{ name: "lxc:///system", flags: 1 }]);
  assert.deepEqual(client.state, { kind: "connected" });
});

test("polkit is asked where the daemon wants it; SASL is refused with what to do instead", async () => {
  const polkit = new FakeServer({ handlers: { authList: () => ({ types: [2] }), authPolkit: () => ({ complete: true }) } });
  await start(polkit);
  assert.deepEqual(polkit.calls.slice(0, 3), ["AUTH_LIST", "AUTH_POLKIT", "CONNECT_OPEN"]);

  const sasl = new FakeServer({ handlers: { authList: () => ({ types: [1] }) } });
  const error = await failure(start(sasl));
  assert.ok(error instanceof LibvirtConnectionError && /SASL.*use the unix socket/.test(error.message));
  await settled();
  assert.equal(sasl.openConnections, 0);
});

test("a connection that cannot be made rejects with the reason, and so does one that hangs", async () => {
  const refusing = new FakeServer();
  refusing.refusesConnections = true;
  const refused = await failure(start(refusing));
  assert.ok(refused instanceof LibvirtConnectionError && refused.message === "cannot connect to fake: connection refused" && !refused.outcomeUnknown);

  const denying = new FakeServer({
    handlers: {
      connectOpen: () => {
        throw new FakeLibvirtError("authFailed", "not you");
      },
    },
  });
  assert.ok(isLibvirtError(await failure(start(denying)), "authFailed"));

  const silent = new FakeServer({ handlers: { authList: hung } });
  const timers = new ManualTimers();
  const waiting = failure(connect({ transport: silent.transport, timers, connectTimeoutMs: 700 }));
  await timers.advance(700);
  const error = await waiting;
  assert.ok(error instanceof LibvirtConnectionError && /within 700 ms/.test(error.message), String(error));
  await settled();
  assert.equal(silent.openConnections, 0);
  assert.equal(timers.pending, 0);
});

test("a call carries its arguments there and its reply back", async () => {
  const server = new FakeServer({
    handlers: {
      domainGetState: ({ domain, flags }) => {
        assert.deepEqual([domain, flags], [vm, 0]);
        return { state: 1, reason: 5 };
      },
      connectGetAllDomainStats: () => ({
        records: [
          {
            domain: vm,
            params: [parameter.ullong("cpu.time", 2n ** 60n), parameter.uint("vcpu.current", 2), parameter.string("net.0.name", "vnet0")],
          },
        ],
      }),
    },
  });
  const { client } = await start(server);
  assert.deepEqual(await client.domains.getState(vm), { state: 1, reason: 5 });
  const [record] = await client.domains.statistics();
  assert.deepEqual({ ...record?.values }, { "cpu.time": 2n ** 60n, "vcpu.current": 2, "net.0.name": "vnet0" });
});

test("what the daemon refuses keeps code, source and text", async () => {
  const server = new FakeServer({
    handlers: {
      domainLookupByName: () => {
        throw new FakeLibvirtError("noDomain", "Domain not found: no domain with matching name 'x'");
      },
    },
  });
  const { client } = await start(server);
  const error = await failure(client.domains.lookupByName("x"));
  assert.ok(error instanceof LibvirtError);
  assert.deepEqual(
    [error.code, error.codeName, error.from, error.fromName, error.level, error.libvirtMessage, error.procedure, error.outcomeUnknown],
    [42, "noDomain", 10, "qemu", 2, "Domain not found: no domain with matching name 'x'", "DOMAIN_LOOKUP_BY_NAME", false],
  );
  assert.ok(isLibvirtError(error, "noNetwork", "noDomain"));
  assert.ok(!isLibvirtError(error, "noNetwork"));
});

test("arguments that do not fit are refused before anything is sent", async () => {
  const server = new FakeServer();
  const { client } = await start(server);
  const before = server.calls.length;
  const error = await failure(client.domains.lookupByName("a\0b"));
  assert.ok(error instanceof XdrError && error.message.startsWith("DOMAIN_LOOKUP_BY_NAME.name: "));
  await failure(client.domains.getState({ uuid: "nonsense" }));
  await settled();
  assert.equal(server.calls.length, before);
});

test("every call has a deadline; a late answer is dropped and the place is free again", async () => {
  let answer: (reply: { state: number; reason: number }) => void = () => undefined;
  const server = new FakeServer({ handlers: { domainGetState: () => new Promise((resolve) => (answer = resolve)) } });
  const { client, timers } = await start(server, { callTimeoutMs: 1_000 });
  const failed = failure(client.domains.getState(vm));
  await timers.advance(999);
  assert.equal(client.health().hungCalls, 0);
  await timers.advance(1);
  const error = await failed;
  assert.ok(error instanceof LibvirtTimeoutError && error.outcomeUnknown && error.procedure === "DOMAIN_GET_STATE" && error.timeoutMs === 1_000);
  assert.deepEqual([client.health().hungCalls, client.health().callsInFlight], [1, 1]);
  answer({ state: 1, reason: 1 });
  await settled();
  assert.deepEqual([client.health().hungCalls, client.health().callsInFlight], [0, 0]);

  const brief = failure(client.domains.getState(vm, { timeoutMs: 10 }));
  await timers.advance(10);
  assert.ok((await brief) instanceof LibvirtTimeoutError);
});

test("a caller's signal ends the wait, with its reason as the cause", async () => {
  const server = new FakeServer({ handlers: { domainGetState: hung } });
  const { client } = await start(server);
  const controller = new AbortController();
  const failed = failure(client.domains.getState(vm, { signal: controller.signal }));
  await settled();
  controller.abort(new Error("the user left"));
  const error = await failed;
  assert.ok(error instanceof LibvirtAbortError && error.outcomeUnknown && error.cause instanceof Error && error.cause.message === "the user left");

  const sentBefore = server.calls.length;
  const early = await failure(client.domains.getState(vm, { signal: controller.signal }));
  assert.ok(early instanceof LibvirtAbortError && !early.outcomeUnknown);
  assert.equal(server.calls.length, sentBefore);
});

test("at most four calls are in flight on a connection; the others wait their turn", async () => {
  const answers: (() => void)[] = [];
  const server = new FakeServer({
    handlers: { domainGetState: () => new Promise((resolve) => answers.push(() => resolve({ state: 1, reason: 0 }))) },
  });
  const { client } = await start(server);
  const calls = Promise.all(Array.from({ length: 50 }, () => client.domains.getState(vm)));
  for (let answered = 0; answered < 50;) {
    await settled();
    assert.ok(answers.length <= 4);
    for (const answer of answers.splice(0)) {
      answer();
      answered += 1;
    }
  }
  await calls;
  assert.equal(server.mostInFlight, 4);
  assert.equal(server.connectionsMade, 1);
});

test("hung calls do not block others: these go around them on another connection", async () => {
  const server = new FakeServer({ handlers: { domainGetState: hung, connectGetHostname: () => ({ hostname: "host-a" }) } });
  const { client, timers } = await start(server, { slowAfterMs: 2_000, callTimeoutMs: 60_000 });
  const one = failure(client.domains.getState(vm));
  await settled();
  // One hung call leaves three places.
  assert.equal(await client.host.hostname(), "host-a");
  const three = [1, 2, 3].map(() => failure(client.domains.getState(vm)));
  await settled();
  const blocked = client.host.hostname();
  await timers.advance(1_999);
  assert.equal(server.connectionsMade, 1);
  await timers.advance(1);
  assert.equal(await blocked, "host-a");
  assert.equal(server.connectionsMade, 2);
  assert.equal(await client.host.hostname(), "host-a");
  // The spare one goes when it is not used any more.
  await timers.advance(30_001);
  assert.equal(server.openConnections, 1);
  await timers.advance(30_000);
  for (const error of await Promise.all([one, ...three])) assert.ok(error instanceof LibvirtTimeoutError);
});

test("a daemon in which everything hangs costs a bounded number of connections", async () => {
  const server = new FakeServer({ handlers: { domainGetState: hung } });
  const { client, timers } = await start(server, { slowAfterMs: 100, maxSpareConnections: 3, callTimeoutMs: 5_000 });
  const failures = Array.from({ length: 100 }, () => failure(client.domains.getState(vm)));
  await timers.advance(4_999);
  assert.equal(server.connectionsMade, 4);
  assert.equal(client.health().callsInFlight, 16);
  await timers.advance(1);
  const errors = await Promise.all(failures);
  assert.equal(errors.filter((error) => error instanceof LibvirtTimeoutError && error.outcomeUnknown).length, 16);
  assert.equal(errors.filter((error) => error instanceof LibvirtTimeoutError && !error.outcomeUnknown).length, 84);
});

test("long calls have a connection each, kept for the next one, and no more than allowed", async () => {
  const answers: (() => void)[] = [];
  const connections: number[] = [];
  const server = new FakeServer({
    handlers: {
      domainCreateWithFlags: (args, { connection }) => {
        connections.push(connection);
        return new Promise((resolve) => answers.push(() => resolve({ domain: args.domain })));
      },
      connectGetHostname: () => ({ hostname: "host-a" }),
    },
  });
  const { client, timers } = await start(server, { maxLongCalls: 2 });
  const starts = [1, 2, 3].map(() => client.domains.create(vm, 1));
  await settled();
  assert.deepEqual(connections, [1, 2]);
  assert.equal(await client.host.hostname(), "host-a");
  answers.shift()?.();
  await settled();
  assert.deepEqual(connections, [1, 2, 1]);
  for (const answer of answers) answer();
  await Promise.all(starts);
  await timers.advance(30_001);
  assert.equal(server.openConnections, 1);
});

test("a long call whose connection cannot be opened fails, the rest goes on", async () => {
  const server = new FakeServer({ handlers: { connectGetHostname: () => ({ hostname: "host-a" }) } });
  const { client } = await start(server);
  server.refusesConnections = true;
  const error = await failure(client.domains.create(vm));
  assert.ok(
    error instanceof LibvirtConnectionError && /no connection for a long call.*connection refused/.test(error.message) && !error.outcomeUnknown,
  );
  assert.equal(await client.host.hostname(), "host-a");
});

test("procedures outside the table can be called with codecs given by hand", async () => {
  const server = new FakeServer();
  const { client } = await start(server);
  const procedure = {
    name: "DOMAIN_FUTURE",
    program: REMOTE_PROGRAM,
    number: 999,
    args: struct({ name: string }),
    reply: struct({ count: int }),
    stream: "none",
    long: false,
  } as const;
  const error = await failure(client.callRaw(procedure, { name: "x" }));
  assert.ok(isLibvirtError(error, "rpc") && /unknown procedure: 999/.test(error.message));
  const known = { ...procedure, name: "BY_HAND", number: 37, args: struct({ max: int }), reply: struct({ ids: struct({ count: int, first: int }) }) };
  server.handlers.connectListDomains = () => ({ ids: [41] });
  assert.deepEqual(await client.callRaw(known, { max: 9 }), { ids: { count: 1, first: 41 } });
});

test("an answer that cannot be understood fails its call and leaves the connection", async () => {
  const server = new FakeServer({ handlers: { connectGetHostname: () => ({ hostname: "host-a" }), connectGetType: () => ({ type: "QEMU" }) } });
  const { client } = await start(server);
  const misread = {
    name: "MISREAD",
    program: REMOTE_PROGRAM,
    number: 59,
    args: struct({}),
    reply: struct({ count: int }),
    stream: "none",
    long: false,
  } as const;
  const error = await failure(client.callRaw(misread, {}));
  assert.ok(error instanceof LibvirtProtocolError && error.outcomeUnknown && /MISREAD cannot be understood/.test(error.message));
  assert.equal((await client.call("connectGetType", {})).type, "QEMU");
});

test("closing rejects what is under way, ends every connection, leaves no timer, and nothing can be called any more", async () => {
  const server = new FakeServer({ handlers: { domainGetState: hung, domainCreateWithFlags: hung } });
  const { client, timers } = await start(server);
  const session = await client.openSession();
  const failures = [
    failure(client.domains.getState(vm)),
    failure(client.domains.create(vm)),
    failure(session.call("domainGetState", { domain: vm, flags: 0 })),
  ];
  await settled();
  client.close();
  client.close();
  for (const error of await Promise.all(failures)) assert.ok(error instanceof LibvirtConnectionError && error.outcomeUnknown, String(error));
  await settled();
  assert.equal(server.openConnections, 0);
  assert.equal(timers.pending, 0);
  assert.equal(session.open, false);
  assert.equal(client.state.kind, "closed");
  const late = await failure(client.host.hostname());
  assert.ok(late instanceof LibvirtConnectionError && /closed/.test(late.message) && !late.outcomeUnknown);
  assert.ok((await failure(client.openSession())) instanceof LibvirtConnectionError);
});

test("a session keeps to its own connection until it is closed", async () => {
  const connections: number[] = [];
  const server = new FakeServer({
    handlers: {
      domainMigrateBegin3Params: (_args, { connection }) => {
        connections.push(connection);
        return { cookieOut: Uint8Array.of(1, 2, 3), xml: "<domain/>" };
      },
      domainMigrateConfirm3Params: ({ cookieIn, cancelled }, { connection }) => {
        assert.deepEqual([[...cookieIn], cancelled], [[9], true]);
        connections.push(connection);
        return {};
      },
    },
  });
  const { client, timers } = await start(server);
  const migration = await client.openMigration();
  const step = { params: [parameter.string("migrate_uri", "tcp://10.0.0.2")], flags: 1 };
  assert.deepEqual(await migration.begin(vm, step), { cookieOut: Uint8Array.of(1, 2, 3), xml: "<domain/>" });
  await timers.advance(3_600_000);
  assert.ok(migration.open);
  await migration.confirm(vm, step, Uint8Array.of(9), true);
  assert.deepEqual(connections, [1, 1]);
  migration.close();
  await settled();
  assert.equal(server.openConnections, 1);
});
