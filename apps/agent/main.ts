/**
 * The host agent. Wiring only: options, the ports' real sides, signals. Ending it leaves every machine running.
 *
 *   main.ts --data DIR [--server URL --join TOKEN --ca-fingerprint sha256:HEX] [--address IP] [--libvirt SOCKET] [--pki DIR]
 *           [--join-only] [--running FILE] [--pulse with-agent|separate] [--programs DIR] [--self-test] [--metrics ADDRESS:PORT]
 *
 * With --join-only it joins, tells people what went wrong in plain words, and ends. The token may come as SHEAF_JOIN_TOKEN: words of a
 * command line can be read by every user of the machine. --running names a file that is there while the agent runs. --programs is given by
 * the start script (packaging/agent/start.sh) alone: versions of the agent lie there, and it goes back to the one before where a new one does
 * not work. --metrics gives figures out to Prometheus there, over plain HTTP at /metrics. With --self-test it tries what a new version must be able to do on this host, changes nothing, and ends.
 */
import { readFileSync, rmSync, writeFileSync } from "node:fs";
import { hostname, networkInterfaces } from "node:os";
import { parseArgs } from "node:util";
import {
  connectUnixSocket,
  createLogger,
  dial,
  listenForText,
  logLevels,
  NodeFiles,
  type ProgramOptions,
  runProgram,
  secureGet,
  sendMagicPacket,
  sinceBoot,
  SystemClock,
  systemRandom,
} from "@sheaf/adapters";
import { type Dialer, libvirtHypervisor, readIdentity, selfTest, startAgent, type Identity } from "@sheaf/agent";
import { agentPaths } from "@sheaf/contract";
import { SYSTEM_SOCKET, unixTransport } from "@sheaf/libvirt";
import { problems, SheafError } from "@sheaf/model";
import { installationOf, readOwnArchive } from "./installation.ts";
import { joinHost } from "./join.ts";
import { endEarlierPulse, keepPulse, sayAlive } from "./pulse-process.ts";

const { values: given } = parseArgs({
  options: {
    data: { type: "string", default: "/var/lib/sheaf/agent" },
    server: { type: "string" },
    "agent-port": { type: "string" },
    join: { type: "string" },
    "join-only": { type: "boolean", default: false },
    "ca-fingerprint": { type: "string" },
    address: { type: "string" },
    name: { type: "string" },
    libvirt: { type: "string", default: SYSTEM_SOCKET },
    pki: { type: "string", default: "/etc/libvirt/pki" },
    running: { type: "string" },
    programs: { type: "string" },
    metrics: { type: "string" },
    "self-test": { type: "boolean", default: false },
    pulse: { type: "string", default: "with-agent" },
    "log-level": { type: "string", default: "info" },
  },
});

/** So the start script knows that the next start is wanted at once (packaging/agent/start.sh). */
const restartCode = 75;
/** Short: the host's agent is away for so long, and for the start of the next. */
const restartWithinMs = 1000;
const dataDirectory = given.data;
const logLevel = logLevels.find((level) => level === given["log-level"]) ?? "info";
const logger = createLogger({ level: logLevel, fields: { program: "agent" } });
const files = new NodeFiles();

/** The first address of this machine that others can reach. */
function ownAddress(): string {
  const found = Object.values(networkInterfaces()).flatMap((all) => all ?? []);
  return (found.find((each) => each.family === "IPv4" && !each.internal) ?? found.find((each) => !each.internal))?.address ?? "127.0.0.1";
}

/** A DNS label, as hosts are named. */
const hostName = (text: string): string =>
  text
    .split(".", 1)
    .join("")
    .toLowerCase()
    .replaceAll(/[^a-z0-9-]/g, "-")
    .replaceAll(/^-+|-+$/g, "")
    .slice(0, 63) || "host";

function machineId(): string {
  try {
    return readFileSync("/etc/machine-id", "utf8").trim();
  } catch {
    return "";
  }
}

async function identify(address: string): Promise<Identity> {
  const known = await readIdentity(files, dataDirectory);
  if (known) return moved(known);
  const { server: serverUrl, join: token = process.env["SHEAF_JOIN_TOKEN"], "ca-fingerprint": caFingerprint } = given;
  if (serverUrl === undefined || token === undefined || caFingerprint === undefined) {
    throw new SheafError("invalid-input", "this host has not joined a site yet", { next: "Run the line that `sheaf host add` prints." });
  }
  if (!given["join-only"]) logger.info({ serverUrl }, "joining");
  return joinHost({
    serverUrl,
    token,
    caFingerprint,
    dataDirectory,
    hostname: given.name ?? hostName(hostname()),
    machineId: machineId(),
    address,
    files,
  });
}

/** `--server` and `--agent-port` win over what was told at joining: servers move. */
function moved(identity: Identity): Identity {
  const url = new URL(identity.serverUrl);
  if (given.server !== undefined) url.hostname = new URL(given.server).hostname;
  if (given["agent-port"] !== undefined) url.port = given["agent-port"];
  return { ...identity, serverUrl: url.origin };
}

const dialer: Dialer = {
  dial: ({ serverUrl, ...identity }, signal) =>
    dial({ url: `${serverUrl.replace(/^http/, "ws")}${agentPaths.socket}`, ...identity, timeoutMs: 15_000, signal }),
  fetchArchive: ({ serverUrl, ...identity }, sha256, signal) =>
    secureGet({ url: `${serverUrl}${agentPaths.archive(sha256)}`, ...identity, offset: 0, idleTimeoutMs: 60_000, signal }),
  fetchImage: ({ serverUrl, ...identity }, imageId, offset, signal) =>
    secureGet({ url: `${serverUrl}${agentPaths.image(imageId)}`, ...identity, offset, idleTimeoutMs: 60_000, signal }),
};

const runInto = (program: string, words: readonly string[], options: ProgramOptions) => runProgram(program, words, options);

async function main(): Promise<void> {
  if (given["self-test"]) {
    const clock = new SystemClock();
    await selfTest(
      { clock, files, logger, hypervisor: libvirtHypervisor({ transport: unixTransport(given.libvirt), clock, logger }) },
      dataDirectory,
    );
    process.exit(0);
  }
  const address = given.address ?? ownAddress();
  const identity = moved(await identify(address));
  if (given["join-only"]) return;
  const clock = new SystemClock();
  const { version, ...lies } = await readOwnArchive(files);
  let restart = (): void => process.exit(restartCode);
  const installation = installationOf(lies, {
    ...{ files, programs: given.programs, words: process.argv.slice(2) },
    processes: { run: runInto },
    restart: () => restart(),
    proved: () => endEarlierPulse(dataDirectory),
  });
  const agent = await startAgent(
    {
      clock,
      sinceBoot,
      random: systemRandom,
      logger,
      files,
      processes: { run: runInto },
      dialer,
      sockets: { connect: connectUnixSocket },
      hypervisor: libvirtHypervisor({ transport: unixTransport(given.libvirt), clock, logger: logger.child({ part: "libvirt" }) }),
      installation,
      sendMagicPacket,
    },
    { version, dataDirectory, migrationCertificateDirectory: given.pki, address, identity, exposesMetrics: given.metrics !== undefined },
  );
  if (given.metrics !== undefined) await exposeMetrics(given.metrics, () => agent.metrics());
  const silent = sayAlive(dataDirectory, () => agent.calm);
  const pulse = given.pulse === "separate" ? null : keepPulse(dataDirectory);
  logger.info({ hostId: identity.hostId, server: identity.serverUrl, address, libvirt: given.libvirt }, "the agent runs");
  const { running } = given;
  if (running !== undefined) {
    writeFileSync(running, `${process.pid}\n`);
    process.on("exit", () => rmSync(running, { force: true }));
  }
  let ending = false;
  const end = (signal: string): void => {
    if (ending) return;
    ending = true;
    logger.info({ signal }, "the agent ends; machines run on");
    // Work that hangs in the hypervisor is not waited for: it is found again at the next start.
    silent();
    // The next agent finds the pulse, which pets the host's watchdog meanwhile.
    if (!agent.guards) pulse?.stop();
    setTimeout(() => process.exit(0), 5000).unref();
    void agent.stop().then(() => process.exit(0));
  };
  // The pulse goes on: it says that the host lives. What does not end at once is found again by the version that follows.
  restart = () => {
    if (ending) return;
    ending = true;
    setTimeout(() => process.exit(restartCode), restartWithinMs);
    void agent.stop().finally(() => process.exit(restartCode));
  };
  process.on("SIGTERM", () => end("SIGTERM"));
  process.on("SIGINT", () => end("SIGINT"));
}

/** An address that cannot be listened at keeps no agent from its work. */
async function exposeMetrics(place: string, text: () => string): Promise<void> {
  const [, address = "", port = ""] = /^\[?([^\]]+?)\]?:(\d{1,5})$/.exec(place) ?? [];
  try {
    if (address === "") throw new Error("it must be an address and a port, such as 10.0.0.5:7445");
    const contentType = "text/plain; version=0.0.4; charset=utf-8";
    await listenForText({ address, port: Number(port), path: "/metrics", contentType, text });
    logger.info({ metrics: place }, "figures are given out at /metrics");
  } catch (error) {
    logger.error({ metrics: place, reason: String(error) }, "figures cannot be given out there");
  }
}

main().catch((error: unknown) => {
  const next = error instanceof SheafError ? error.extra.next : undefined;
  if (given["self-test"]) {
    process.stderr.write(`${error instanceof Error ? error.message : String(error)}\n`);
    process.exit(1);
  }
  if (given["join-only"]) {
    process.stderr.write(`sheaf: ${error instanceof Error ? error.message : String(error)}\n${next === undefined ? "" : `sheaf: ${next}\n`}`);
    process.exit(error instanceof SheafError ? problems[error.code].exit : 1);
  }
  logger.error(
    { reason: error instanceof Error ? error.message : String(error), ...(next === undefined ? {} : { next }) },
    "the agent could not start",
  );
  process.exit(1);
});
