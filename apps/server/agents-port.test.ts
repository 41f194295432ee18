/** The agents' port as it is put together: real TLS and WebSockets on loopback, the real authority, gateway and cache. */
import assert from "node:assert/strict";
import { execFileSync } from "node:child_process";
import { mkdtemp, readFile, rm } from "node:fs/promises";
import { request as httpsRequest } from "node:https";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterEach, beforeEach, describe, it } from "node:test";
import { connect, type ConnectionOptions } from "node:tls";
import { silentLogger, sleep, uuidv7 } from "@sheaf/base";
import {
  dial,
  DialError,
  listenForAgents,
  NodeFiles,
  secureGet,
  SystemClock,
  systemRandom,
  type AgentListener,
  type MessageSocket,
} from "@sheaf/adapters";
import { agentPaths, type AgentMessage, type ReportedPart, type ServerMessage } from "@sheaf/contract";
import { HostSpec, partKey, VmSpec, type VmObservation } from "@sheaf/model";
import { RecordCache } from "@sheaf/runtime";
import { admitServer, AgentsGateway, createSecrets, defaultGatewaySettings, peerPath, Revocations, SiteAuthority, TaskLogs } from "@sheaf/server";
import { openMemoryStore, type Store } from "@sheaf/store";

const clock = new SystemClock();

async function until(what: string, condition: () => boolean | Promise<boolean>): Promise<void> {
  const deadline = performance.now() + 10_000;
  while (!(await condition())) {
    assert.ok(performance.now() < deadline, `${what} did not happen`);
    await sleep(clock, 3);
  }
}

interface Identity {
  readonly hostId: string;
  readonly certificate: string;
  readonly privateKey: string;
}

/** An agent that keeps what it is told. */
class Talker {
  readonly messages: ServerMessage[] = [];
  closed: { code: number; reason: string } | null = null;
  readonly socket: MessageSocket;

  constructor(socket: MessageSocket, identity: Identity) {
    this.socket = socket;
    socket.listen({
      text: (text) => this.messages.push(JSON.parse(text) as ServerMessage),
      bytes() {},
      alive() {},
      drained() {},
      closed: (code, reason) => (this.closed = { code, reason }),
    });
    this.say({ type: "hello", wireVersion: 1, agentVersion: "1", hostId: identity.hostId, bootId: "b", now: clock.now(), machines: [] });
  }
  say(message: AgentMessage): void {
    this.socket.send(JSON.stringify(message));
  }
  of<T extends ServerMessage["type"]>(type: T): Extract<ServerMessage, { type: T }>[] {
    return this.messages.filter((message): message is Extract<ServerMessage, { type: T }> => message.type === type);
  }
  async report(...parts: ReportedPart[]) {
    const sequence = this.of("reported").length + 1;
    this.say({ type: "report", sequence, parts });
    await until("the answer to a report", () => this.of("reported").length === sequence);
    return this.of("reported").at(-1)?.refused ?? [];
  }
}

describe("the agents' port", () => {
  let directory = "";
  let store: Store;
  let cache: RecordCache;
  let revocations: Revocations;
  let authority: SiteAuthority;
  let gateway: AgentsGateway;
  let listener: AgentListener;
  let url = "";
  const rejected: string[] = [];
  const servers: MessageSocket[] = [];

  beforeEach(async () => {
    directory = await mkdtemp(join(tmpdir(), "sheaf-agents-port-"));
    store = await openMemoryStore({ clock, random: systemRandom });
    cache = await RecordCache.open({ store, clock, logger: silentLogger });
    revocations = await Revocations.open(store, clock, silentLogger);
    const secrets = createSecrets(systemRandom.bytes(32), systemRandom);
    const common = { clock, random: systemRandom, logger: silentLogger, secrets, revocations };
    authority = await SiteAuthority.open({ ...common, files: new NodeFiles(), directory, names: ["127.0.0.1"] });
    gateway = new AgentsGateway({
      ...common,
      store,
      cache,
      tasks: new TaskLogs(clock),
      settings: { ...defaultGatewaySettings, version: "1", heartbeatMs: { default: 200, fast: 200 } },
      authority,
      refused: () => {},
    });
    listener = await listenForAgents({
      address: "127.0.0.1",
      port: 0,
      identity: authority.serverIdentity,
      socketPath: agentPaths.socket,
      maximumMessageBytes: 2 ** 20,
      admit: (peer) => gateway.admit(peer),
      connected: (socket, peer) => gateway.accept(socket, peer),
      others: { socketPath: peerPath, admit: admitServer, connected: (socket) => servers.push(socket) },
      request: async ({ path, range }, peer) =>
        path === agentPaths.image("i")
          ? {
              status: range ? 206 : 200,
              headers: range ? { "content-range": "bytes 3-7/8" } : {},
              body: [Buffer.from(range ? "lo ho" : peer.commonName)] as unknown as AsyncIterable<Uint8Array>,
            }
          : { status: 404, headers: {} },
      rejected: (_address, why) => rejected.push(why),
    });
    url = `wss://127.0.0.1:${listener.port}${agentPaths.socket}`;
  });
  afterEach(async () => {
    gateway.close();
    await listener.close();
    revocations.close();
    cache.close();
    await store.close();
    await rm(directory, { recursive: true });
  });

  async function put(kind: "host" | "vm", spec: unknown, parts: Record<string, unknown> = {}): Promise<string> {
    const id = uuidv7(clock.now(), systemRandom);
    const head = { kind, id, name: `n${id.slice(-8)}`, labels: {}, generation: 1, createdAt: 0, createdBy: "t", finalizers: [], spec };
    const { revision } = await store.transact({
      compare: [],
      then: Object.entries({ spec: head, ...parts }).map(([part, value]) => ({ put: partKey(kind, id, part), value: JSON.stringify(value) })),
    });
    await cache.waitFor(revision);
    return id;
  }

  /** What joining does: a record of the host, a key made there, a certificate for it. */
  async function joinHost(): Promise<Identity> {
    const hostId = await put("host", HostSpec.parse({}));
    const key = join(directory, "agent.key");
    execFileSync("openssl", ["ecparam", "-genkey", "-name", "prime256v1", "-noout", "-out", key]);
    const certificateRequest = execFileSync("openssl", ["req", "-new", "-key", key, "-subj", "/CN=x"]).toString();
    const certificate = await authority.signAgent({ certificateRequest, hostId, hostname: "node", addresses: ["127.0.0.1"] });
    return { hostId, certificate, privateKey: await readFile(key, "utf8") };
  }
  const open = (identity: Identity, to = url): Promise<MessageSocket> =>
    dial({ url: to, authority: authority.certificate, certificate: identity.certificate, privateKey: identity.privateKey, timeoutMs: 5000 });
  const talk = async (identity: Identity): Promise<Talker> => {
    const talker = new Talker(await open(identity), identity);
    await until("the sync", () => talker.of("sync").length === 1);
    return talker;
  };
  const seen = (host: string): VmObservation => ({
    state: "running",
    epoch: 1,
    host,
    bootId: "b",
    observedGeneration: 1,
    since: 1,
    startRequestSeen: 0,
    restarts: 0,
    pendingChanges: [],
  });

  it("takes an agent from joining to reporting; what it steals with its certificate is nothing", async () => {
    const mine = await joinHost();
    const theirs = await joinHost();
    const placed = (host: string) => put("vm", VmSpec.parse({}), { placement: { host, epoch: 1, incarnation: store.incarnation, at: 1 } });
    const vm = await placed(mine.hostId);
    const foreign = await placed(theirs.hostId);
    const agent = await talk(mine);
    assert.deepEqual(
      agent
        .of("sync")[0]
        ?.documents.map(({ id }) => id)
        .toSorted(),
      [mine.hostId, vm].toSorted(),
    );
    assert.deepEqual(await agent.report({ kind: "vm", id: vm, part: "status/agent", value: seen(mine.hostId) }), []);
    assert.deepEqual(JSON.parse((await store.get(partKey("vm", vm, "status/agent")))?.value ?? ""), seen(mine.hostId));
    assert.equal((await agent.report({ kind: "vm", id: foreign, part: "status/agent", value: seen(mine.hostId) })).length, 1);
    assert.equal(await store.get(partKey("vm", foreign, "status/agent")), null);
    // Of the other's machine it was told nothing but its own words.
    assert.ok(!JSON.stringify(agent.messages.filter(({ type }) => type !== "reported")).includes(foreign));
    // The other's name in the hello does not help.
    const liar = new Talker(await open(mine), theirs);
    await until("the end of the liar", () => liar.closed !== null);
    assert.deepEqual(liar.messages, []);
  });

  it("speaks TLS 1.3 to certificates of its own authority only", async () => {
    const mine = await joinHost();
    const { privateKey, certificate } = mine;
    const attempt = (options: ConnectionOptions): Promise<string> =>
      new Promise((resolve) => {
        const socket = connect({ port: listener.port, host: "127.0.0.1", ca: authority.certificate, ...options }, () => {
          // With TLS 1.3 the server's refusal of a certificate comes after the client's handshake.
          socket.write(`GET ${agentPaths.image("i")} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n`);
        });
        let text = "";
        socket.on("data", (chunk: Buffer) => (text += chunk.toString()));
        socket.on("error", (error) => resolve(`refused: ${error.message}`));
        socket.on("close", () => resolve(text === "" ? "refused" : text));
      });
    assert.match(await attempt({ key: privateKey, cert: certificate }), /^HTTP\/1.1 200/);
    assert.match(await attempt({}), /refused/);
    assert.match(await attempt({ key: privateKey, cert: certificate, maxVersion: "TLSv1.2" }), /refused/);
    const key = join(directory, "foreign.key");
    execFileSync(
      "openssl",
      [
        "req",
        "-x509",
        "-newkey",
        "ec",
        "-pkeyopt",
        "ec_paramgen_curve:prime256v1",
        "-nodes",
        "-keyout",
        key,
        "-out",
        `${key}.pem`,
        "-subj",
        `/CN=${mine.hostId}`,
      ],
      { stdio: "ignore" },
    );
    assert.match(await attempt({ key: await readFile(key), cert: await readFile(`${key}.pem`) }), /refused/);
    // The server's own certificate is no agent's.
    const own = authority.serverIdentity;
    assert.match(await attempt({ key: own.privateKey, cert: own.certificate }), /^HTTP\/1.1 403/);
    assert.ok(rejected.length > 0);
  });

  it("refuses revoked certificates and cuts connections that stand", async () => {
    const mine = await joinHost();
    const agent = await talk(mine);
    await authority.revoke(mine.hostId);
    await until("the end", () => agent.closed !== null);
    assert.equal(agent.closed?.code, 4003);
    await assert.rejects(open(mine), (error) => error instanceof DialError && error.status === 403);
    await assert.rejects(
      secureGet({
        url: url.replace("wss", "https").replace(agentPaths.socket, agentPaths.image("i")),
        authority: authority.certificate,
        ...mine,
        offset: 0,
        idleTimeoutMs: 1000,
        signal: AbortSignal.timeout(5000),
      }),
      /403/,
    );
  });

  it("lets servers of the site in by their own door, and nobody else; they are no agents", async () => {
    const server = { hostId: "", ...authority.serverIdentity };
    const there = url.replace(agentPaths.socket, peerPath);
    const socket = await open(server, there);
    await until("the connection", () => servers.length === 1);
    socket.close(1000, "");
    await assert.rejects(open(await joinHost(), there), (error) => error instanceof DialError && error.status === 403);
    await assert.rejects(open(server), (error) => error instanceof DialError && error.status === 403);
    assert.equal(servers.length, 1);
  });

  it("lets the newer of two connections stay", async () => {
    const mine = await joinHost();
    const first = await talk(mine);
    const second = await talk(mine);
    await until("the end of the first", () => first.closed !== null);
    assert.deepEqual([first.closed?.code, second.closed], [4001, null]);
    assert.ok(gateway.connected(mine.hostId));
  });

  it("notices a dead peer, and keeps one that only answers pings", async () => {
    const quiet = await joinHost();
    const dead = await joinHost();
    const keeps = await talk(quiet);
    // By hand, so that nothing is read and no pong leaves once the hello is said.
    const socket = connect({ port: listener.port, host: "127.0.0.1", ca: authority.certificate, key: dead.privateKey, cert: dead.certificate });
    socket.on("error", () => {});
    socket.write(
      `GET ${agentPaths.socket} HTTP/1.1\r\nHost: x\r\nConnection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\r\n\r\n`,
    );
    await new Promise((resolve) => socket.once("data", resolve));
    const hello = Buffer.from(
      JSON.stringify({ type: "hello", wireVersion: 1, agentVersion: "1", hostId: dead.hostId, bootId: "b", now: clock.now(), machines: [] }),
    );
    socket.pause();
    // RFC 6455, 5.2: one text frame, masked with zeros.
    socket.write(Buffer.concat([Buffer.from([0x81, 0xfe, hello.length >> 8, hello.length & 0xff, 0, 0, 0, 0]), hello]));
    await until("the welcome of the one that dies", () => gateway.connected(dead.hostId));
    await until("its end", () => !gateway.connected(dead.hostId));
    socket.destroy();
    assert.ok(gateway.connected(quiet.hostId));
    assert.equal(keeps.closed, null);
  });

  it("serves files with ranges, and nothing else", async () => {
    const mine = await joinHost();
    const get = (path: string, offset: number) =>
      secureGet({
        url: `https://127.0.0.1:${listener.port}${path}`,
        authority: authority.certificate,
        ...mine,
        offset,
        idleTimeoutMs: 1000,
        signal: AbortSignal.timeout(5000),
      });
    const text = async (body: AsyncIterable<Uint8Array>): Promise<string> => {
      let all = "";
      for await (const chunk of body) all += Buffer.from(chunk).toString();
      return all;
    };
    assert.equal(await text((await get(agentPaths.image("i"), 0)).body), mine.hostId);
    const rest = await get(agentPaths.image("i"), 3);
    assert.deepEqual([rest.offset, rest.totalBytes, await text(rest.body)], [3, 8, "lo ho"]);
    await assert.rejects(get("/etc/passwd", 0), /404/);
    const posted = await new Promise<number>((resolve, reject) => {
      const sent = httpsRequest(
        {
          host: "127.0.0.1",
          port: listener.port,
          method: "POST",
          path: agentPaths.image("i"),
          ca: authority.certificate,
          cert: mine.certificate,
          key: mine.privateKey,
        },
        (response) => {
          response.resume();
          resolve(response.statusCode ?? 0);
        },
      );
      sent.on("error", reject);
      sent.end("x");
    });
    assert.equal(posted, 405);
  });

  it("ends a connection whose message is too large", async () => {
    const mine = await joinHost();
    const agent = await talk(mine);
    agent.socket.send("x".repeat(2 ** 20 + 1));
    await until("the end", () => agent.closed !== null);
    assert.equal(agent.closed?.code, 1009);
  });
});
