/**
 * Sheaf with this machine as its first host: server and agent here, libvirtd of the system (started where nobody else does).
 * Guests go on running when it stops.
 */
import { spawn, spawnSync } from "node:child_process";
import { existsSync } from "node:fs";
import { mkdir } from "node:fs/promises";
import { networkInterfaces } from "node:os";
import { connect } from "node:net";
import { join } from "node:path";
import { DeployedServer } from "./deployed-server.ts";
import { hasJoined, startAgentProcess, type AgentProcess } from "./agent-process.ts";
import { ensureFirstRecords } from "./first-records.ts";
import { until } from "./processes.ts";

export interface LocalDeploymentOptions {
  readonly dataDirectory: string;
  readonly port: number;
  readonly agentPort: number;
  /** Further words of the server's command line. */
  readonly serverArguments?: readonly string[];
  readonly progress?: (text: string) => void;
}

/** Guests of the first network live here; the bridge is this machine's own, without an uplink. */
export const bridge = "sheaf0";
export const localPool = "/var/lib/sheaf/pool";
const subnet = "10.66.0";
const socket = "/run/libvirt/libvirt-sock";

export class LocalDeployment extends DeployedServer {
  readonly #options: LocalDeploymentOptions;
  #agent: AgentProcess | undefined;

  constructor(options: LocalDeploymentOptions) {
    super();
    this.#options = options;
  }

  async start(): Promise<void> {
    const { dataDirectory, port, agentPort, progress = () => {} } = this.#options;
    if (process.getuid?.() !== 0) throw new Error("root is needed to make this machine a host: run it as root.");
    await mkdir(dataDirectory, { recursive: true, mode: 0o700 });
    await ensureLibvirtd(dataDirectory, progress);
    ensureBridge();
    const address = ownAddress();
    progress("starting the server");
    await this.serve({
      dataDirectory,
      port,
      agentPort,
      names: [address, "127.0.0.1", "localhost"],
      arguments: this.#options.serverArguments ?? [],
    });
    await ensureFirstRecords(this.client, { localPool, bridge, subnet });
    progress("starting the agent");
    const agentData = join(dataDirectory, "agent");
    const invitation = hasJoined(agentData) ? undefined : await this.client.host.invite({ body: { cluster: "default", line: false } });
    this.#agent = await startAgentProcess({
      dataDirectory: agentData,
      logFile: join(dataDirectory, "logs/agent.log"),
      serverUrl: `https://127.0.0.1:${port}`,
      address,
      arguments: ["--agent-port", String(agentPort)],
      ...(invitation === undefined ? {} : { join: { token: invitation.token, caFingerprint: invitation.caFingerprint } }),
    });
    progress("waiting for the host");
    await until("this machine as a host", 60_000, async () => {
      const { items } = await this.client.host.list({ query: { limit: 10 } });
      return items.some((host) => (host.status as { liveness?: { state: string } }).liveness?.state === "ready") || undefined; // a host's record
    });
  }

  /** Guests go on running. */
  async stop(): Promise<void> {
    await this.#agent?.stop().catch(() => {});
    await this.endServer();
  }
}

/** By this variable a libvirtd that was started here is known again. */
export const libvirtdLog = (dataDirectory: string): string => `LIBVIRT_LOG_OUTPUTS=2:file:${join(dataDirectory, "logs/libvirtd.log")}`;

/** Where an init system runs libvirtd it is left to it; else it is started here and left running for the guests' sake. */
export async function ensureLibvirtd(dataDirectory: string, progress: (text: string) => void): Promise<void> {
  if (await answers(socket)) return;
  if (existsSync("/run/systemd/system")) {
    progress("starting libvirtd by systemd");
    if (spawnSync("systemctl", ["start", "libvirtd"]).status === 0 && (await answers(socket))) return;
  }
  progress("starting libvirtd");
  if (spawnSync("getent", ["passwd", "libvirt-qemu"]).status !== 0)
    spawnSync("useradd", ["--system", "--user-group", "--no-create-home", "--shell", "/usr/sbin/nologin", "libvirt-qemu"]);
  for (const folder of ["/run/libvirt", "/run/lock", "/var/log/libvirt/qemu", "/var/lib/libvirt/qemu", "/var/cache/libvirt"])
    await mkdir(folder, { recursive: true });
  await mkdir(join(dataDirectory, "logs"), { recursive: true });
  spawn("env", [libvirtdLog(dataDirectory), "libvirtd", "--daemon"], { stdio: "ignore", detached: true }).unref();
  await until("libvirtd", 20_000, async () => (await answers(socket)) || undefined);
}

const answers = (path: string): Promise<boolean> =>
  new Promise((resolve) => {
    const probe = connect(path);
    probe.once("connect", () => {
      probe.destroy();
      resolve(true);
    });
    probe.once("error", () => resolve(false));
  });

function ensureBridge(): void {
  if (spawnSync("ip", ["link", "show", bridge]).status !== 0) spawnSync("ip", ["link", "add", bridge, "type", "bridge", "forward_delay", "0"]);
  spawnSync("ip", ["addr", "replace", `${subnet}.1/24`, "dev", bridge]);
  spawnSync("ip", ["link", "set", bridge, "up"]);
}

function ownAddress(): string {
  for (const [name, addresses] of Object.entries(networkInterfaces())) {
    if (name === bridge || name === "lo") continue;
    const found = addresses?.find((address) => address.family === "IPv4" && !address.internal);
    if (found) return found.address;
  }
  return "127.0.0.1";
}
