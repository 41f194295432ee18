/** Real hosts with real agents as processes on them, and the server's end of the wire in the test. */
import type { ChildProcess } from "node:child_process";
import { createHash } from "node:crypto";
import { closeSync, openSync } from "node:fs";
import { copyFile, mkdir, readFile, rm, stat, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { type AgentListener, listenForAgents, NodeFiles, SystemClock } from "@sheaf/adapters";
import { agentPaths } from "@sheaf/contract";
import { buildGuestImage, createLab, GUEST_IMAGE_CACHE, type Lab, type LabHost } from "@sheaf/lab";
import { makeCertificateRequest } from "./certificates.ts";
import { sampleDocument, sampleId } from "./simulated/sample-documents.ts";
import { sampleAuthority, type SampleAuthority } from "./simulated/simulated-host.ts";
import { SimulatedServer } from "./simulated/simulated-server.ts";

export const gateway = "10.93.0.1";
export const imageId = sampleId(40);
const program = join(import.meta.dirname, "../../../apps/agent/main.ts");
const agentDirectory = "/var/lib/sheaf/agent";

export class LabAgent {
  readonly id: string;
  readonly host: LabHost;
  /** What this agent is told, and what it reports. */
  readonly server = new SimulatedServer();
  #child: ChildProcess | null = null;

  constructor(id: string, host: LabHost) {
    this.id = id;
    this.host = host;
  }

  async start(): Promise<void> {
    const log = openSync(join(this.host.directory, "log/agent.log"), "a");
    const words = ["--disable-warning=ExperimentalWarning", program, "--data", agentDirectory, "--address", this.host.address];
    this.#child = await this.host.spawn([process.execPath, ...words], { stdio: ["ignore", log, log], detached: true });
    closeSync(log);
  }

  async end(signal: "SIGTERM" | "SIGKILL"): Promise<void> {
    const child = this.#child;
    if (!child || child.exitCode !== null || child.signalCode !== null) return;
    const gone = new Promise((resolve) => child.once("exit", resolve));
    child.kill(signal);
    await gone;
    this.#child = null;
  }

  log(): Promise<string> {
    return readFile(join(this.host.directory, "log/agent.log"), "utf8").catch(() => "");
  }
}

export interface LabSite {
  readonly lab: Lab;
  readonly agents: readonly LabAgent[];
  /** Documents of the image, as every host gets it. */
  readonly image: ReturnType<typeof sampleDocument<"image">>;
  close(): Promise<void>;
}

/** @param hosts how many, 10.93.0.11 and on */
export async function labSite(hosts: number): Promise<LabSite> {
  const lab = createLab({ root: "/var/lib/ag-lab", id: "ag", gateway: `${gateway}/24` });
  await lab.purge();
  const [built, ...up] = await Promise.all([
    buildGuestImage(GUEST_IMAGE_CACHE),
    ...Array.from({ length: hosts }, (_each, index) => lab.up(`h${index + 1}`, `10.93.0.${11 + index}`)),
  ]);
  const authority = await sampleAuthority(Date.now());
  // A copy of this test's own: others may build it anew meanwhile.
  const disk = join(lab.root, "mini.qcow2");
  await copyFile(built.disk, disk);
  const agents = up.map((host, index) => new LabAgent(sampleId(10 + index), host));
  const listener = await serve(authority, agents, disk);
  for (const agent of agents) await writeIdentityOf(agent, authority, listener.port);
  const content = await readFile(disk);
  const image = sampleDocument(
    "image",
    { source: { upload: true } },
    {
      id: imageId,
      name: "mini",
      status: {
        library: {
          state: "ready",
          receivedBytes: content.length,
          format: "qcow2",
          virtualSizeBytes: 76 * 2 ** 20,
          fileBytes: content.length,
          digest: `sha256:${createHash("sha256").update(content).digest("hex")}`,
          at: 1,
        },
      },
    },
  );
  for (const agent of agents) await agent.start();
  return {
    lab,
    agents,
    image,
    close: async () => {
      for (const agent of agents) await agent.end("SIGTERM");
      await listener.close();
      await rm(disk, { force: true });
      await lab.purge();
    },
  };
}

async function writeIdentityOf(agent: LabAgent, authority: SampleAuthority, port: number): Promise<void> {
  const { request, privateKey } = await makeCertificateRequest(agent.id);
  const certificate = await authority.sign(request, 90, Date.now() - 3_600_000, [agent.host.address]);
  const identity = { hostId: agent.id, serverUrl: `https://${gateway}:${port}`, certificate, privateKey, authority: authority.pem };
  // The lab shows `agent` as /var/lib/sheaf on the host.
  const directory = join(agent.host.directory, "agent/agent");
  await mkdir(directory, { recursive: true });
  await writeFile(join(directory, "identity.json"), JSON.stringify(identity), { mode: 0o600 });
}

async function serve(authority: SampleAuthority, agents: readonly LabAgent[], imageFile: string): Promise<AgentListener> {
  const { request, privateKey } = await makeCertificateRequest("server");
  const certificate = await authority.sign(request, 90, Date.now() - 3_600_000, [gateway]);
  const files = new NodeFiles();
  return listenForAgents({
    address: gateway,
    port: 0,
    identity: { certificate, privateKey, authority: authority.pem },
    socketPath: agentPaths.socket,
    maximumMessageBytes: 2 ** 24,
    admit: (peer) => (agents.some(({ id }) => id === peer.commonName) ? null : "unknown host"),
    connected: (socket, peer) => {
      const agent = agents.find(({ id }) => id === peer.commonName);
      if (!agent) return socket.cut();
      const identity = { hostId: agent.id, serverUrl: "", certificate: "", privateKey: "", authority: "" };
      void agent.server.dial(identity, new AbortController().signal).then(
        (end) => {
          end.listen({
            text: (text) => socket.send(text),
            bytes: (bytes) => socket.send(bytes),
            alive: () => {},
            drained: () => {},
            closed: (_code, reason) => socket.close(1000, reason),
          });
          socket.listen({
            text: (text) => end.send(text),
            bytes: (bytes) => end.send(bytes),
            alive: () => {},
            drained: () => {},
            closed: () => end.cut(),
          });
        },
        () => socket.cut(),
      );
    },
    request: async ({ path, range }) => {
      if (path !== agentPaths.image(imageId)) return { status: 404, headers: {} };
      const { size } = await stat(imageFile);
      const start = Number(/^bytes=(\d+)-$/.exec(range ?? "")?.[1] ?? 0);
      const headers: Record<string, string> = { "content-length": String(size - start) };
      if (range === undefined) return { status: 200, headers, body: files.stream(imageFile) };
      return {
        status: 206,
        headers: { ...headers, "content-range": `bytes ${start}-${size - 1}/${size}` },
        body: files.stream(imageFile, { start }),
      };
    },
    rejected: () => {},
  });
}

const clock = new SystemClock();

/** Waits for `condition`; its message says what was missing. */
export async function until<T>(what: string | (() => string), condition: () => T | Promise<T>, timeoutMs = 120_000): Promise<NonNullable<T>> {
  const end = clock.monotonic() + timeoutMs;
  for (;;) {
    const value = await condition();
    if (value !== undefined && value !== null && value !== false) return value as NonNullable<T>; // narrowed above
    if (clock.monotonic() > end) throw new Error(`${typeof what === "string" ? what : what()} did not come about within ${timeoutMs} ms`);
    await new Promise((resolve) => clock.setTimer(50, () => resolve(undefined)));
  }
}

export interface GuestStatus {
  readonly hostname: string;
  readonly uptimeSeconds: number;
  readonly bootId: string;
  readonly counter: number;
}

/** What the guest says of itself on its web page; `null` when it does not answer. */
export async function guestStatus(address: string): Promise<GuestStatus | null> {
  try {
    const response = await fetch(`http://${address}/status`, { signal: AbortSignal.timeout(2000) });
    return response.status === 200 ? ((await response.json()) as GuestStatus) : null; // the guest's own format
  } catch {
    return null;
  }
}
