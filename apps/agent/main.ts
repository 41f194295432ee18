/**
 * The host agent. Wiring only: options, the ports' real sides, signals. Ending it leaves every machine running.
 *
 *   main.ts --data DIR [--server URL --join TOKEN --ca-fingerprint sha256:HEX] [--address IP] [--libvirt SOCKET] [--pki DIR]
 *           [--join-only] [--running FILE] [--pulse with-agent|separate]
 *
 * With --join-only it joins, tells people what went wrong in plain words, and ends. The token may come as SHEAF_JOIN_TOKEN: words of a
 * command line can be read by every user of the machine. --running names a file that is there while the agent runs.
 */
import { readFileSync, rmSync, writeFileSync } from "node:fs";
import { hostname, networkInterfaces } from "node:os";
import { parseArgs } from "node:util";
import {
  connectUnixSocket,
  createLogger,
  dial,
  logLevels,
  NodeFiles,
  runProgram,
  secureGet,
  sinceBoot,
  SystemClock,
  systemRandom,
} from "@sheaf/adapters";
import { type Dialer, libvirtHypervisor, readIdentity, startAgent, type Identity } from "@sheaf/agent";
import { agentPaths } from "@sheaf/contract";
import { SYSTEM_SOCKET, unixTransport } from "@sheaf/libvirt";
import { problems, SheafError } from "@sheaf/model";
import { joinHost } from "./join.ts";
import { keepPulse, sayAlive } from "./pulse-process.ts";

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
    pulse: { type: "string", default: "with-agent" },
    "log-level": { type: "string", default: "info" },
  },
});

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
  fetchImage: ({ serverUrl, ...identity }, imageId, offset, signal) =>
    secureGet({ url: `${serverUrl}${agentPaths.image(imageId)}`, ...identity, offset, idleTimeoutMs: 60_000, signal }),
};

async function main(): Promise<void> {
  const address = given.address ?? ownAddress();
  const identity = moved(await identify(address));
  if (given["join-only"]) return;
  const clock = new SystemClock();
  const agent = await startAgent(
    {
      clock,
      sinceBoot,
      random: systemRandom,
      logger,
      files,
      processes: { run: (program, words, options) => runProgram(program, words, options) },
      dialer,
      sockets: { connect: connectUnixSocket },
      hypervisor: libvirtHypervisor({ transport: unixTransport(given.libvirt), clock, logger: logger.child({ part: "libvirt" }) }),
    },
    { version: "0.1.0", dataDirectory, migrationCertificateDirectory: given.pki, address, identity },
  );
  const silent = sayAlive(dataDirectory, () => agent.hearsServer);
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
  process.on("SIGTERM", () => end("SIGTERM"));
  process.on("SIGINT", () => end("SIGINT"));
}

main().catch((error: unknown) => {
  const next = error instanceof SheafError ? error.extra.next : undefined;
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
