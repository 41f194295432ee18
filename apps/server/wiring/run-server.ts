/** Puts the server together from its parts and their real ports, in the order they need each other; takes it apart in the reverse. */
import { hostname } from "node:os";
import { join } from "node:path";
import {
  dial,
  download,
  httpsCall,
  listenForAgents,
  NodeFiles,
  runProgram,
  sendMagicPacket,
  streamProgram,
  SystemClock,
  systemRandom,
} from "@sheaf/adapters";
import { toHex, uuidv7, type Logger } from "@sheaf/base";
import { agentPaths, parsePulsePath } from "@sheaf/contract";
import { defaultControllerSettings, type FencingDevices, startControllers } from "@sheaf/controllers";
import { leaderKey } from "@sheaf/model";
import { RecordCache } from "@sheaf/runtime";
import {
  admitServer,
  AgentsGateway,
  AgentSpread,
  bootstrapAdmin,
  createApi,
  createFencingDevices,
  createImageLibrary,
  createSecrets,
  defaultAuditFileLimits,
  defaultGatewaySettings,
  defaultLibraryLimits,
  defaultLimits,
  LeadingLibrary,
  OwnFigures,
  HandOver,
  hourlyUse,
  peerPath,
  PeerService,
  RestoredSite,
  Revocations,
  recordClusters,
  type RunningImageLibrary,
  serveArchive,
  serveConsoles,
  type ServerContext,
  ServerDirectory,
  SiteAgents,
  SiteAuthority,
  SiteFigures,
  TaskLogs,
  TelemetryKeeper,
  type LibraryContext,
} from "@sheaf/server";
import type { Store } from "@sheaf/store";
import { telemetryShapes } from "@sheaf/telemetry";
import { dataFolder, openDataFolder, serverId } from "./data-folder.ts";
import { openJoinFiles } from "./join-files.ts";
import { logRing } from "./log-ring.ts";
import { readMaterial } from "./server-material.ts";
import { rememberStore, storeAddress, type OpenStore } from "./open-store.ts";

export interface RunOptions {
  readonly dataDirectory: string;
  /** Where the store is, where it is not what the data folder remembers. */
  readonly store?: string;
  /** Tells this server from others that share its store; the same after a restart. By default the machine's name. */
  readonly serverName?: string;
  /** Name or address by which agents and other servers reach this one; by default the first of `names` that is not this machine itself. */
  readonly agentName?: string;
  /** Folder of image files; one that all servers on a store share. By default in the data folder. */
  readonly images?: string;
  /** Address to listen at; all by default. */
  readonly listen?: string;
  readonly port: number;
  readonly agentPort: number;
  readonly names: readonly string[];
  readonly importFromLoopback: boolean;
  /** How long figures over time are kept, or that none are. */
  readonly telemetry: TelemetryMode;
  /** Largest image, as it is fetched and after unpacking; absent: the library's own limits. */
  readonly imageBytes?: number;
  readonly logger: Logger;
  readonly openStore: OpenStore;
  /** The store can do no more. */
  readonly failed: (reason: string) => void;
  /** A simulated data centre in place of the real one. */
  readonly simulation?: Simulation;
}

export const telemetryModes = ["full", "short", "off"] as const;
export type TelemetryMode = (typeof telemetryModes)[number];

/** What stands around the server where hosts and machines are simulated. */
export interface Simulation {
  /** Writes what the site has, before anything reads it. */
  readonly furnish: (store: Store) => Promise<void>;
  readonly listen: typeof listenForAgents;
  readonly fencing: FencingDevices;
  readonly createLibrary: (context: Pick<ServerContext, "store" | "cache" | "clock">) => RunningImageLibrary;
}

/** The repository, or an unpacked archive. */
const root = join(import.meta.dirname, "../../..");
const agentMessageBytes = 8 * 2 ** 20;
const leaderLeaseMs = 3000;

export async function runServer(options: RunOptions): Promise<{ stop(): Promise<void> }> {
  const { agentPort, names, port, simulation } = options;
  const clock = new SystemClock();
  const random = systemRandom;
  const files = new NodeFiles();
  const { version } = JSON.parse((await files.readText(join(root, "package.json"))) ?? "{}") as { version: string }; // our own
  const ring = logRing(options.logger, () => clock.now());
  const { logger } = ring;
  const folder = dataFolder(options.dataDirectory);
  const secrets = createSecrets(await openDataFolder(folder, simulation !== undefined), random);

  const place = await storeAddress(folder, options.store);
  const store = await options.openStore(folder, place.address, { clock, random, logger: logger.child({ part: "store" }) }, (error) =>
    options.failed(error.message),
  );
  await rememberStore(folder, place.text);
  const serverName = options.serverName ?? (place.address.kind === "sqlite" ? "local" : hostname());
  const firstPassword = toHex(random.bytes(12));
  const { created } = await bootstrapAdmin({ store, clock, random }, { password: firstPassword });
  if (created) await files.writeAtomic(folder.adminPassword, `${firstPassword}\n`);

  await simulation?.furnish(store);
  const cache = await RecordCache.open({ store, clock, logger: logger.child({ part: "cache" }) });
  const revocations = await Revocations.open(store, clock, logger);
  const authority = await SiteAuthority.open({
    files,
    directory: folder.keys,
    secrets,
    clock,
    random,
    logger: logger.child({ part: "authority" }),
    revocations,
    names,
  });
  authority.start();
  await files.writeAtomic(folder.authority, authority.certificate, { mode: 0o644 });

  const at = (name: string, onPort: number): string => `https://${name.includes(":") ? `[${name}]` : name}:${onPort}`;
  const url = at(names[0] ?? "localhost", port);
  const agentName = options.agentName ?? names.find((name) => !["localhost", "127.0.0.1", "::1"].includes(name)) ?? names[0] ?? "localhost";
  const directory = await ServerDirectory.open({
    store,
    clock,
    logger: logger.child({ part: "servers" }),
    self: { name: serverName, url, agentUrl: at(agentName, agentPort), version },
    id: await serverId(folder, () => uuidv7(clock.now(), random)),
  });

  const servers = async () => {
    const held = await store.get(leaderKey("controllers"));
    const leader = held === null ? null : (JSON.parse(held.value) as { identity: string }).identity; // written by Leadership alone
    return directory.servers().map((server) => {
      const heard = server.name === serverName ? gateway.agents : agents.agentsOf(server.name);
      return { ...server, leads: server.name === leader, ...(heard === undefined ? {} : { agents: heard }) };
    });
  };

  const tasks = new TaskLogs(clock);
  const restored = await RestoredSite.open({ store, cache, clock, logger: logger.child({ part: "restored-site" }) });
  const keeper =
    options.telemetry === "off"
      ? null
      : await TelemetryKeeper.start({
          files,
          clock,
          logger: logger.child({ part: "telemetry" }),
          directory: folder.telemetry,
          shape: telemetryShapes[options.telemetry],
        });
  const figures = keeper && new OwnFigures(keeper.telemetry, cache, clock);
  const gateway = new AgentsGateway({
    ...(keeper ? { telemetry: keeper.telemetry } : {}),
    restored,
    store,
    cache,
    clock,
    logger: logger.child({ part: "gateway" }),
    secrets,
    tasks,
    authority,
    revocations,
    settings: { ...defaultGatewaySettings, version },
    servers: directory,
    refused: (attempt) => api.services.refused.add(attempt),
  });
  const peers = new PeerService({
    agents: gateway,
    ...(figures ? { figures } : {}),
    tasks,
    held: restored,
    storeSilentMs: () => directory.storeSilentMs,
    clock,
    logger: logger.child({ part: "servers" }),
  });
  const agents = new SiteAgents({
    own: gateway,
    directory,
    dial: ({ agentUrl }, signal) => {
      const { certificate, privateKey, authority: ca } = authority.serverIdentity;
      return dial({ url: `${agentUrl.replace(/^http/, "ws")}${peerPath}`, authority: ca, certificate, privateKey, timeoutMs: 4000, signal });
    },
    clock,
    logger: logger.child({ part: "servers" }),
    tasks,
    held: (hostId, machines) =>
      void restored
        .learned(hostId, machines)
        .catch((error: unknown) => logger.warn({ error: String(error) }, "what a host holds could not be recorded; its agent comes again")),
  });
  const handOver = new HandOver({
    own: directory,
    others: agents,
    release: () => gateway.release(),
    clock,
    logger: logger.child({ part: "servers" }),
  });
  const spread = new AgentSpread({
    own: gateway,
    store: directory,
    others: agents,
    clock,
    logger: logger.child({ part: "servers" }),
  });
  const libraryContext: LibraryContext = {
    store,
    cache,
    clock,
    logger: logger.child({ part: "library" }),
    tasks,
    files,
    programs: { run: runProgram, stream: streamProgram },
    downloads: { download: (url, request) => download(url, { ...request, allowLoopback: options.importFromLoopback }) },
    directory: options.images ?? folder.images,
    limits:
      options.imageBytes === undefined
        ? defaultLibraryLimits
        : { ...defaultLibraryLimits, fetchedBytes: options.imageBytes, unpackedBytes: options.imageBytes },
  };
  const library = new LeadingLibrary({
    context: libraryContext,
    random,
    shared: place.address.kind !== "sqlite",
    make: () => simulation?.createLibrary(libraryContext) ?? createImageLibrary(libraryContext),
    leaderUrl: async () => (await servers()).find(({ leads }) => leads)?.url,
  });
  const siteFigures = figures && new SiteFigures(figures, agents);
  const controllers = startControllers({
    store,
    cache,
    clock,
    random,
    logger: logger.child({ part: "controllers" }),
    agents,
    fencing: simulation?.fencing ?? createFencingDevices({ clock, secrets, programs: { run: runProgram }, callHttps: httpsCall, sendMagicPacket }),
    tasks,
    settings: defaultControllerSettings,
    identity: serverName,
    leading: library,
    ...(siteFigures ? { history: hourlyUse(siteFigures, clock) } : {}),
    // Alone there is nobody to take over; among several, control is back within this time and a moment.
    ...(place.address.kind === "sqlite" ? {} : { leaseMs: leaderLeaseMs }),
    heldBack: (record) => restored.heldBack(record),
  });

  const recording =
    keeper && recordClusters({ clock, telemetry: keeper.telemetry, leads: () => controllers.leads, figures: () => controllers.clusterFigures() });

  const { serverIdentity } = authority;
  const joinFiles = await openJoinFiles({ root, directory: folder.agents, logger });
  const api = await createApi(
    {
      store,
      cache,
      snapshot: controllers.snapshot,
      book: controllers.book,
      clock,
      random,
      logger: logger.child({ part: "api" }),
      secrets,
      agents,
      ...(siteFigures ? { telemetry: siteFigures } : {}),
      tasks: tasks.reader,
      library,
      authority,
      serverName,
      audit: { files, directory: folder.audit, limits: defaultAuditFileLimits },
      maintenance: {
        backup: async () => {
          const file = join(folder.backups, `${new Date(clock.now()).toISOString().replaceAll(":", "-")}.sqlite`);
          return { file, ...(await store.backup(file)) };
        },
        logs: (lines) => ring.newest(lines),
      },
      servers: {
        list: servers,
        material: () => readMaterial(folder, place.address),
      },
      joinFiles,
      settings: { version, publicAddress: url, agentPort, limits: defaultLimits, simulated: simulation !== undefined },
    },
    { tls: { key: serverIdentity.privateKey, cert: serverIdentity.certificate } },
  );
  keeper?.expose(api.services.metrics.registry);
  const consoles = serveConsoles(api.server.server, {
    clock,
    logger,
    streams: agents,
    door: {
      authorize: api.authorize,
      record: (fields) => api.services.trail.record(fields),
      refused: (attempt) => api.services.refused.add(attempt),
    },
  });
  const listener = await (simulation?.listen ?? listenForAgents)({
    ...(options.listen === undefined ? {} : { address: options.listen }),
    port: agentPort,
    identity: serverIdentity,
    socketPath: agentPaths.socket,
    maximumMessageBytes: agentMessageBytes,
    admit: (peer) => gateway.admit(peer),
    connected: (socket, peer) => gateway.accept(socket, peer),
    others: {
      socketPath: peerPath,
      admit: admitServer,
      connected: (socket) => peers.accept(socket),
    },
    request: async ({ method, path, range }, { commonName }) => {
      const pulse = parsePulsePath(path);
      if (pulse) {
        const grant = await gateway.receivePulse(commonName, pulse);
        const text = grant === null ? "" : JSON.stringify(grant);
        return { status: 200, headers: { "content-length": String(text.length) }, body: chunk(text) };
      }
      const archivePath = agentPaths.archive("");
      if (path.startsWith(archivePath)) return serveArchive(joinFiles, method, path.slice(archivePath.length));
      const imageId = path.startsWith(agentPaths.image("")) ? path.slice(agentPaths.image("").length) : "";
      return library.serve(imageId, { method, ...(range === undefined ? {} : { range }) });
    },
    rejected: (address, why) => logger.warn({ address, why }, "a connection to the agents' port was refused"),
  });
  authority.onRenewal((identity) => {
    listener.renew(identity);
    secureServer(api.server.server)?.setSecureContext({ cert: identity.certificate, key: identity.privateKey });
  });
  await api.server.listen({ port, host: options.listen ?? "::" });
  const facts = { pid: process.pid, url, port, agentPort: listener.port, caFingerprint: authority.fingerprint.replace(/^sha256:/, "") };
  await files.writeAtomic(folder.facts, `${JSON.stringify(facts)}\n`);
  logger.info(facts, "the server answers");

  return {
    async stop() {
      consoles.close();
      await api.close();
      await controllers.stop();
      handOver.close();
      spread.close();
      await directory.close();
      agents.close();
      peers.close();
      gateway.close();
      await listener.close();
      recording?.cancel();
      await keeper?.stop();
      authority.stop();
      revocations.close();
      restored.close();
      cache.close();
      await store.close();
      await files.remove(folder.facts);
    },
  };
}

async function* chunk(text: string): AsyncGenerator<Uint8Array> {
  yield Buffer.from(text);
}

interface Secure {
  setSecureContext(context: { cert: string; key: string }): void;
}
/** Fastify's type does not say that a server made with TLS options is a TLS server. */
const secureServer = (server: object): Secure | undefined => ("setSecureContext" in server ? (server as Secure) : undefined);
