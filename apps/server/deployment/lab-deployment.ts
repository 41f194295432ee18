/**
 * Sheaf on lab hosts: one server on this machine, N hosts made of namespaces, an agent inside each. What `npm start -- --lab N` runs,
 * and what end-to-end tests and benchmarks take to pieces.
 */
import { readFile, rm, writeFile, mkdir } from "node:fs/promises";
import { createHash } from "node:crypto";
import { join } from "node:path";
import { createLab, type Lab, type LabHost, type LabOptions } from "@sheaf/lab";
import { hasJoined, startAgentProcess, type AgentProcess } from "./agent-process.ts";
import { DeployedServer } from "./deployed-server.ts";
import { ensureFirstRecords } from "./first-records.ts";
import { until } from "./processes.ts";
import type { ServerProgram } from "./server-process.ts";

export interface LabDeploymentOptions {
  readonly dataDirectory: string;
  readonly hosts: number;
  /** At most four characters; `npm start` and each test have their own. */
  readonly labId: string;
  /** The lab's subnet: `10.A.B`; the machine is .1, hosts are from .11, guests from .100. */
  readonly subnet: string;
  readonly port: number;
  readonly agentPort: number;
  readonly progress?: (text: string) => void;
  /** Further words of the server's command line. */
  readonly serverArguments?: readonly string[];
  /** What each host offers of this machine; absent: its share. */
  readonly offeredMemoryBytes?: number;
  /** NUMA cells that each host shows; absent: the machine's. */
  readonly cells?: LabOptions["cells"];
  /** In place of the server's own. */
  readonly serverProgram?: ServerProgram;
}

export class LabDeployment extends DeployedServer {
  readonly options: LabDeploymentOptions;
  readonly lab: Lab;
  readonly hosts = new Map<string, { readonly host: LabHost; agent: AgentProcess }>();

  private constructor(options: LabDeploymentOptions, lab: Lab) {
    super();
    this.options = options;
    this.lab = lab;
  }

  static describe(options: LabDeploymentOptions): LabDeployment {
    return new LabDeployment(
      options,
      createLab({
        root: join(options.dataDirectory, "lab"),
        id: options.labId,
        gateway: `${options.subnet}.1/24`,
        ...(options.cells === undefined ? {} : { cells: options.cells }),
      }),
    );
  }

  /** Everything, in order: hosts, server, agents, until each host is ready. */
  async start(): Promise<void> {
    const { progress = () => {}, hosts } = this.options;
    await mkdir(this.options.dataDirectory, { recursive: true, mode: 0o700 });
    progress(`starting ${hosts} lab hosts`);
    // A shared pool's directory is never made by agents: one that is missing is storage that is not mounted.
    await mkdir(join(this.lab.sharedDirectory, "sheaf"), { recursive: true });
    for (let index = 1; index <= hosts; index += 1) await this.lab.up(`h${index}`, this.addressOf(index));
    progress("starting the server");
    await this.startServer();
    for (let index = 1; index <= hosts; index += 1) await this.startAgent(`h${index}`);
    progress("waiting for the hosts");
    await this.ready();
  }

  addressOf(index: number): string {
    return `${this.options.subnet}.${10 + index}`;
  }

  async startServer(): Promise<void> {
    const { dataDirectory, subnet, port, agentPort, serverProgram } = this.options;
    await this.serve({
      dataDirectory,
      port,
      agentPort,
      names: [`${subnet}.1`, "127.0.0.1", "localhost"],
      arguments: this.options.serverArguments ?? [],
      ...(serverProgram === undefined ? {} : { program: serverProgram }),
    });
    await ensureFirstRecords(this.client, { localPool: "/mnt/local/sheaf", sharedPool: "/mnt/shared/sheaf", bridge: "br0", subnet });
  }

  async startAgent(name: string): Promise<void> {
    const host = await this.lab.host(name);
    if (!host) throw new Error(`There is no lab host ${name}.`);
    const known = await readFile(join(host.directory, "agent-data"), "utf8").catch(() => "");
    // As on hosts that joined by the line: seeds lie below it, and a guest that moves must find its own at the same path.
    const dataDirectory = "/var/lib/sheaf/agent";
    const seen = join(host.directory, "agent/agent");
    const { dataDirectory: serverData, subnet, agentPort } = this.options;
    // A data folder that was emptied has a new authority: what the host kept of the old one is worth nothing.
    if (known !== "" && known !== this.server.caFingerprint) await rm(seen, { recursive: true, force: true });
    await writeFile(join(host.directory, "agent-data"), this.server.caFingerprint);
    const invitation = hasJoined(seen) ? undefined : await this.client.host.invite({ body: { cluster: "default", name, line: false } });
    const agent = await startAgentProcess(
      {
        dataDirectory,
        logFile: join(serverData, "logs", `agent-${name}.log`),
        serverUrl: `https://${subnet}.1:${this.server.port}`,
        address: host.address,
        arguments: ["--agent-port", String(agentPort)],
        ...(invitation === undefined ? {} : { join: { token: invitation.token, caFingerprint: invitation.caFingerprint } }),
      },
      host,
    );
    this.hosts.set(name, { host, agent });
  }

  /** Until every host that has an agent is ready, and offers its share of the machine. */
  async ready(): Promise<void> {
    const share = this.options.offeredMemoryBytes;
    for (const name of this.hosts.keys()) {
      const record = await until(`host ${name}`, 60_000, async () => {
        const found = await this.client.host.get({ params: { id: name } }).catch(() => undefined);
        return (found?.status as { liveness?: { state: string } } | undefined)?.liveness?.state === "ready" ? found : undefined; // a host's record
      });
      const total = (record.status as { agent?: { memoryBytes: number } }).agent?.memoryBytes ?? 0; // as above
      const offered = share ?? Math.floor((total * 0.85) / this.options.hosts / 2 ** 20) * 2 ** 20;
      if (record.spec.offeredMemoryBytes === undefined && offered > 0)
        await this.client.host.change({ params: { id: name }, body: { spec: { offeredMemoryBytes: offered } } });
    }
  }

  /** Power off and on again, with a new agent. */
  async powerOn(name: string): Promise<void> {
    const index = Number(name.slice(1));
    await this.lab.up(name, this.addressOf(index));
    await this.startAgent(name);
  }

  /** Clean: agents, server, hosts. Disks stay. */
  async stop(): Promise<void> {
    await Promise.all([...this.hosts.values()].map(({ agent }) => agent.stop().catch(() => {})));
    this.hosts.clear();
    await this.endServer();
    await this.lab.down();
  }

  async purge(): Promise<void> {
    await this.stop();
    await this.lab.purge();
    await rm(this.options.dataDirectory, { recursive: true, force: true });
  }
}

/** A lab id and subnet of a data folder's own, so that two on one machine keep apart. */
export function labIdentity(dataDirectory: string): { labId: string; subnet: string } {
  const digest = createHash("sha256").update(dataDirectory).digest();
  return { labId: `s${digest.toString("hex").slice(0, 3)}`, subnet: `10.${100 + ((digest[2] ?? 0) % 100)}.${digest[3] ?? 0}` };
}
