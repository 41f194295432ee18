/** A whole API over real HTTP on loopback: the real cache on a store in memory, the ports to the outside played. For this package's tests alone. */
import { randomBytes } from "node:crypto";
import { Readable } from "node:stream";
import { silentLogger } from "@sheaf/base";
import { apiPrefix } from "@sheaf/contract";
import { followSite } from "@sheaf/controllers";
import { partKey, SheafError, type HostObservation, type Kind } from "@sheaf/model";
import { UseBook } from "@sheaf/planning";
import { RecordCache } from "@sheaf/runtime";
import { openMemoryStore, type Entry, type Store } from "@sheaf/store";
import { defaultAuditFileLimits, type AuditFileLimits } from "../audit/audit-archive.ts";
import type { AuditFiles } from "../audit/audit-source.ts";
import { createApi, type Api } from "../api/create-api.ts";
import { createSecrets } from "../authority/secrets.ts";
import { defaultLimits, type ImageLibrary, type Limits, type ServerContext, type SiteTelemetry } from "../context.ts";
import { bootstrapAdmin } from "../identity/bootstrap.ts";
import { MemoryFiles } from "./memory-files.ts";
import { TestClock } from "./test-clock.ts";

export interface Reply {
  readonly status: number;
  /** Parsed JSON, `undefined` where there was none. Tests know what they asked for. */
  // oxlint-disable-next-line no-explicit-any -- a test looks into answers of every shape, and fails where one is not there
  readonly body: any;
  readonly headers: Headers;
  readonly text: string;
}

export interface RequestOptions {
  readonly token?: string | null;
  readonly headers?: Readonly<Record<string, string>>;
  /** Sent as it is instead of JSON. */
  readonly raw?: string | Uint8Array<ArrayBuffer>;
}

export interface FixtureOptions {
  /** By default this one alone. */
  readonly servers?: Awaited<ReturnType<ServerContext["servers"]["list"]>>;
  readonly store?: Store;
  readonly limits?: Partial<Limits>;
  readonly clock?: TestClock;
  readonly secretKey?: Uint8Array;
  readonly serverName?: string;
  readonly auditFiles?: AuditFiles;
  /** Other servers may join. */
  readonly sharedStore?: boolean;
  /** What hosts and machines use. */
  readonly book?: UseBook;
  readonly auditLimits?: Partial<AuditFileLimits>;
  readonly telemetry?: (context: Pick<ServerContext, "cache" | "clock">) => SiteTelemetry;
}

export const adminPassword = "correct horse battery";
/** Cheapest cost that scrypt takes well: tests sign in often. */
const passwordCost = 2 ** 4;

type ConnectionListener = Parameters<ServerContext["agents"]["subscribe"]>[0];

/** Who is in it has a connected agent; whoever comes and goes is told of. */
class ConnectedHosts extends Set<string> {
  readonly #listeners: ConnectionListener[] = [];

  subscribe(listener: ConnectionListener): () => void {
    this.#listeners.push(listener);
    return () => {};
  }
  override add(hostId: string): this {
    super.add(hostId);
    for (const listener of this.#listeners) listener({ hostId, connected: true });
    return this;
  }
  override delete(hostId: string): boolean {
    const was = super.delete(hostId);
    for (const listener of this.#listeners) listener({ hostId, connected: false });
    return was;
  }
}

export const ownServer = {
  ...{ name: "local", url: "https://sheaf.test:7443", agentUrl: "https://sheaf.test:7444" },
  ...{ version: "0.1.0", present: true, leads: true },
};

export class ApiFixture {
  readonly context: ServerContext;
  readonly api: Api;
  readonly clock: TestClock;
  readonly cache: RecordCache;
  readonly library: PlayedLibrary;
  /** Hosts whose agent counts as connected. */
  readonly connected: Set<string>;
  readonly revoked: string[];
  readonly url: string;
  /** The administrator's. */
  token = "";

  private constructor(parts: Pick<ApiFixture, "context" | "api" | "clock" | "cache" | "library" | "connected" | "revoked" | "url">) {
    this.context = parts.context;
    this.api = parts.api;
    this.clock = parts.clock;
    this.cache = parts.cache;
    this.library = parts.library;
    this.connected = parts.connected;
    this.revoked = parts.revoked;
    this.url = parts.url;
  }

  static async start(options: FixtureOptions = {}): Promise<ApiFixture> {
    const clock = options.clock ?? new TestClock();
    const random = { bytes: (length: number) => new Uint8Array(randomBytes(length)) };
    const store = options.store ?? (await openMemoryStore({ clock, random }));
    await bootstrapAdmin({ store, clock, random }, { password: adminPassword, passwordCost });
    const cache = await RecordCache.open({ store, clock, logger: silentLogger });
    const library = new PlayedLibrary();
    const connected = new ConnectedHosts();
    const revoked: string[] = [];
    const context: ServerContext = {
      store,
      cache,
      snapshot: followSite(cache).snapshot,
      book: options.book ?? new UseBook(),
      clock,
      random,
      logger: silentLogger,
      secrets: createSecrets(options.secretKey ?? new Uint8Array(32).fill(7), random),
      agents: {
        connected: (host) => connected.has(host),
        lastHeardAt: () => null,
        bootId: () => null,
        jitterMs: () => 0,
        pulse: () => null,
        load: () => null,
        call: (hostId, method) =>
          method === "vm.screenshot" && connected.has(hostId)
            ? Promise.resolve({ mime: "image/png", base64: Buffer.from("picture").toString("base64") } as never) // what this method answers
            : Promise.reject(new SheafError("host-unreachable", `host ${hostId} is not connected`)),
        subscribe: (listener) => connected.subscribe(listener),
      },
      ...(options.telemetry ? { telemetry: options.telemetry({ cache, clock }) } : {}),
      tasks: { lines: () => [{ at: 1, text: "a line" }], progress: () => undefined },
      library,
      authority: {
        certificate: "AUTHORITY",
        fingerprint: "sha256:00",
        signAgent: ({ certificateRequest, hostId }) =>
          certificateRequest.startsWith("CSR")
            ? Promise.resolve(`CERTIFICATE of ${hostId}`)
            : Promise.reject(new SheafError("invalid-input", "the request is broken")),
        revoke: async (host) => void revoked.push(host),
      },
      serverName: options.serverName ?? "local",
      audit: {
        files: options.auditFiles ?? new MemoryFiles(),
        directory: "/audit",
        limits: { ...defaultAuditFileLimits, ...options.auditLimits },
      },
      maintenance: {
        backup: () => Promise.resolve({ file: "backup-1.sqlite", bytes: 10, revision: cache.revision }),
        logs: () => ["a line of the log"],
      },
      servers: {
        list: () => Promise.resolve(options.servers ?? [ownServer]),
        material: () => Promise.resolve(options.sharedStore === true ? { store: "etcd://e:2379", files: { "keys/secrets.key": "AAAA" } } : null),
      },
      joinFiles: {
        script: "echo joins\n",
        agents: () => Promise.resolve([{ platform: "linux-x64", sha256: "ab".repeat(32), sizeBytes: 7 }]),
        open: (platform) => Promise.resolve(platform === "linux-x64" ? { sizeBytes: 7, stream: Readable.from([Buffer.from("archive")]) } : undefined),
        openDigest: () => Promise.resolve(undefined),
      },
      settings: {
        version: "0.1.0",
        publicAddress: "https://sheaf.test:7443",
        agentPort: 7444,
        limits: { ...defaultLimits, passwordCost, strangersPerSecond: 10_000, ...options.limits },
      },
    };
    const api = await createApi(context);
    const url = await api.server.listen({ host: "127.0.0.1", port: 0 });
    const fixture = new ApiFixture({ context, api, clock, cache, library, connected, revoked, url });
    fixture.token = await fixture.signIn("admin", adminPassword);
    return fixture;
  }

  async stop(): Promise<void> {
    await this.api.close();
    this.cache.close();
  }

  async signIn(user: string, password: string): Promise<string> {
    const reply = await this.request("POST", "/sessions", { user, password }, { token: null });
    if (reply.status !== 201) throw new Error(`sign-in of ${user} was answered ${reply.status} ${reply.text}`);
    return reply.body.token;
  }

  /** @param path below `/api/v1`; with `//` before it: from the root */
  async request(method: string, path: string, body?: unknown, options: RequestOptions = {}): Promise<Reply> {
    const token = options.token === undefined ? this.token : options.token;
    const content = options.raw ?? (body === undefined ? undefined : JSON.stringify(body));
    const response = await fetch(this.url + (path.startsWith("//") ? path.slice(1) : apiPrefix + path), {
      method,
      headers: {
        ...(token === null ? {} : { authorization: `Bearer ${token}` }),
        ...(content === undefined ? {} : { "content-type": "application/json" }),
        ...options.headers,
      },
      ...(content === undefined ? {} : { body: content }),
    });
    const text = await response.text();
    const isJson = /json/.test(response.headers.get("content-type") ?? "") && !/ndjson/.test(response.headers.get("content-type") ?? "");
    return { status: response.status, body: isJson && text !== "" ? JSON.parse(text) : undefined, headers: response.headers, text };
  }

  get(path: string, options?: RequestOptions): Promise<Reply> {
    return this.request("GET", path, undefined, options);
  }

  /** Creates, and fails the test where that is refused. @returns the record */
  async make(path: string, body: unknown, options?: RequestOptions) {
    const reply = await this.request("POST", path, body, options);
    if (reply.status !== 201) throw new Error(`POST ${path} was answered ${reply.status} ${reply.text}`);
    return reply.body.record;
  }

  /** A user with roles. @returns a session's token */
  async user(name: string, grants: readonly { role: string; project: string }[]): Promise<string> {
    await this.make("/users", { name, spec: { grants, password: "password of a user" } });
    return this.signIn(name, "password of a user");
  }

  /** A site that machines can be made in: a pool, a network with addresses, an image that is ready. */
  async furnish() {
    const pool = await this.make("/pools", { name: "local", spec: { type: "local", path: "/var/lib/sheaf/pool" } });
    const network = await this.make("/networks", {
      name: "default",
      spec: {
        bridge: "br0",
        public: true,
        subnets: [
          { cidr: "10.0.0.0/16", gateway: "10.0.0.1", range: { from: "10.0.0.10", to: "10.0.255.250" } },
          { cidr: "fd00:5::/64", range: { from: "fd00:5::10", to: "fd00:5::ffff" } },
        ],
      },
    });
    const image = await this.make("/images", { name: "mini", spec: { source: { upload: true }, public: true } });
    await this.part("image", image.id, "status/library", {
      state: "ready",
      receivedBytes: 10,
      virtualSizeBytes: 64 * 2 ** 20,
      fileBytes: 10,
      format: "qcow2",
      digest: "sha256:00",
      at: 1,
    });
    return { pool, network, image };
  }

  /** A host as if its agent had joined and reported. */
  async host(name: string, seen: Partial<HostObservation> = {}) {
    const invitation = await this.request("POST", "/host-invitations", { name });
    const joined = await this.request(
      "POST",
      "/host-joins",
      { token: invitation.body.token, certificateRequest: `CSR ${name}`, hostname: name, machineId: name, address: "10.1.0.1" },
      { token: null },
    );
    if (joined.status !== 201) throw new Error(`joining was answered ${joined.text}`);
    const { hostId } = joined.body;
    await this.part("host", hostId, "status/agent", { ...hostReport, ...seen });
    await this.part("host", hostId, "status/liveness", { state: "ready", since: 1, reason: "" });
    return { id: hostId as string, name };
  }

  /** Writes a part as its writer would. */
  async part(kind: Kind, id: string, part: string, value: unknown): Promise<void> {
    const { revision } = await this.context.store.transact({ compare: [], then: [{ put: partKey(kind, id, part), value: JSON.stringify(value) }] });
    await this.cache.waitFor(revision);
  }

  /** Puts a machine on a host, in a state. */
  async place(vm: string, host: string, state: string): Promise<void> {
    await this.part("vm", vm, "placement", { host, epoch: 1, incarnation: this.context.store.incarnation, at: 1 });
    await this.part("vm", vm, "status/agent", {
      state,
      epoch: 1,
      host,
      bootId: "b",
      observedGeneration: 1,
      since: 1,
      startRequestSeen: 0,
      restarts: 0,
      pendingChanges: [],
    });
  }

  /** Everything that is stored, the audit trail and sessions aside: what a refused request must leave as it was. */
  async contents(): Promise<ReadonlyMap<string, string>> {
    const found = new Map<string, string>();
    for (const entry of await entries(this.context.store)) if (!/^(a|af|s)\//.test(entry.key)) found.set(entry.key, entry.value);
    return found;
  }
}

export async function entries(store: Store, prefix = ""): Promise<Entry[]> {
  const found: Entry[] = [];
  for (;;) {
    const after = found.at(-1)?.key;
    const page = await store.range({ prefix, ...(after === undefined ? {} : { after }) });
    found.push(...page.entries);
    if (!page.more) return found;
  }
}

/** Keeps uploads in memory. */
export class PlayedLibrary implements ImageLibrary {
  readonly bytes = new Map<string, Buffer>();

  async offset(imageId: string): Promise<number> {
    return this.bytes.get(imageId)?.length ?? 0;
  }

  async receive(imageId: string, stream: Readable, range: { readonly offset: number }): Promise<number> {
    const there = this.bytes.get(imageId) ?? Buffer.alloc(0);
    if (range.offset !== there.length) throw new SheafError("conflict", `there are ${there.length} bytes, not ${range.offset}`);
    const chunks: Buffer[] = [there];
    for await (const chunk of stream) chunks.push(chunk as Buffer); // a request's body
    this.bytes.set(imageId, Buffer.concat(chunks));
    return this.offset(imageId);
  }
}

const hostReport = {
  hostname: "h",
  agentVersion: "0.1.0",
  bootId: "b",
  bootedAt: 1,
  address: "10.1.0.1",
  architecture: "x86_64",
  cpu: { model: "m", vendor: "v", flags: [], sockets: 1, cores: 4, threads: 1, count: 4, mhz: 2000 },
  numa: [],
  memoryBytes: 8 * 2 ** 30,
  disks: [],
  interfaces: [],
  pciDevices: [],
  gpus: [],
  hypervisor: {
    type: "qemu",
    libvirtVersion: "1",
    qemuVersion: "1",
    accelerated: true,
    machineTypes: ["q35"],
    cpuModels: ["qemu64"],
    uefi: true,
    secureBoot: true,
    tpm: true,
  },
  unmanaged: [{ uuid: "11111111-1111-4111-8111-111111111111", name: "old", state: "running" }],
  problems: [],
};
