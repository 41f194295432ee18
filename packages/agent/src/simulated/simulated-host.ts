/** A whole host in memory: agent, hypervisor, files, programs, and the server's end; agents can be killed and started again on it. */
import "reflect-metadata"; // @peculiar/x509 looks for it when it is loaded
import * as x509 from "@peculiar/x509";
import { seededRandom, SimulatedClock, silentLogger } from "@sheaf/base";
import { type Agent, startAgent } from "../agent.ts";
import { makeCertificateRequest } from "../certificates.ts";
import { fixedInstallation } from "../fixed-installation.ts";
import type { Identity, Installation } from "../ports.ts";
import { sampleId } from "./sample-documents.ts";
import { SimulatedFiles } from "./simulated-files.ts";
import { SimulatedHypervisor } from "./simulated-hypervisor.ts";
import { SimulatedProcesses } from "./simulated-processes.ts";
import { SimulatedServer } from "./simulated-server.ts";

export const dataDirectory = "/var/lib/sheaf/agent";

export class SimulatedHost {
  readonly clock: SimulatedClock;
  readonly files = new SimulatedFiles({
    "/proc/sys/kernel/random/boot_id": "boot-1\n",
    "/proc/sys/kernel/hostname": "h1\n",
    "/proc/cpuinfo": "processor\t: 0\nvendor_id\t: AuthenticAMD\nmodel name\t: Test\ncpu MHz\t\t: 2000\nflags\t\t: fpu sse\n\nprocessor\t: 1\n",
    "/proc/meminfo": "MemTotal: 8388608 kB\nMemAvailable: 4194304 kB\n",
    "/proc/stat": "cpu  10 0 10 80 0 0 0 0\nbtime 1767225600\n",
    "/sys/class/net/br0/bridge/stp_state": "0",
    "/mnt/shared/sheaf/here": "",
  });
  readonly processes = new SimulatedProcesses(this.files);
  readonly hypervisor = new SimulatedHypervisor();
  installation: Installation = fixedInstallation("it is played", { platform: "linux-x64" });
  readonly server: SimulatedServer;
  readonly id: string;
  identity: Identity | null = null;
  agent: Agent | null = null;

  constructor(options: { readonly id?: string; readonly clock?: SimulatedClock; readonly server?: SimulatedServer } = {}) {
    this.id = options.id ?? sampleId(10);
    this.clock = options.clock ?? new SimulatedClock();
    this.server = options.server ?? new SimulatedServer();
  }

  async start(): Promise<void> {
    this.identity ??= await sampleIdentity(this.id, this.clock.now());
    this.agent = await startAgent(
      {
        clock: this.clock,
        sinceBoot: () => this.clock.monotonic(),
        random: seededRandom(7),
        logger: silentLogger,
        files: this.files,
        processes: this.processes,
        dialer: this.server,
        sockets: { connect: async () => this.hypervisor.serial() },
        hypervisor: this.hypervisor,
        installation: this.installation,
        sendMagicPacket: async ({ mac }) => [`played for ${mac}`],
      },
      { version: "test", dataDirectory, migrationCertificateDirectory: "/etc/libvirt/pki", address: "10.0.0.1", identity: this.identity },
    );
    await this.settle();
  }

  /** Ends the agent; guests and disk stay. */
  async stop(): Promise<void> {
    const agent = this.agent;
    this.agent = null;
    const stopped = agent?.stop();
    await this.clock.advance(0);
    await stopped;
  }

  async restart(): Promise<void> {
    await this.stop();
    await this.start();
  }

  /** Power off and on: nothing runs, the boot has another id. */
  async reboot(bootId: string): Promise<void> {
    await this.stop();
    this.hypervisor.powerCycle();
    this.files.put("/proc/sys/kernel/random/boot_id", `${bootId}\n`);
    await this.start();
  }

  /** Lets everything that is due happen, without time passing but for moments. */
  async settle(): Promise<void> {
    for (let round = 0; round < 5; round += 1) await this.clock.advance(20);
  }
}

export interface SampleAuthority {
  readonly pem: string;
  /** @param addresses that stand in the certificate; both purposes, as QEMU wants for a migration's two ends */
  sign(request: string, days: number, now: number, addresses?: readonly string[]): Promise<string>;
}

const algorithm = { name: "ECDSA", namedCurve: "P-256", hash: "SHA-256" };
const dayMs = 86_400_000;

export async function sampleAuthority(now: number): Promise<SampleAuthority> {
  const keys = await crypto.subtle.generateKey(algorithm, true, ["sign", "verify"]);
  const root = await x509.X509CertificateGenerator.createSelfSigned({
    name: "CN=test",
    keys,
    signingAlgorithm: algorithm,
    notBefore: new Date(now - dayMs),
    notAfter: new Date(now + 3650 * dayMs),
    extensions: [new x509.BasicConstraintsExtension(true, 0, true)],
  });
  return {
    pem: root.toString("pem"),
    sign: async (request, days, at, addresses = []) => {
      const parsed = new x509.Pkcs10CertificateRequest(request);
      const certificate = await x509.X509CertificateGenerator.create({
        subject: parsed.subject,
        issuer: root.subject,
        publicKey: parsed.publicKey,
        signingKey: keys.privateKey,
        signingAlgorithm: algorithm,
        notBefore: new Date(at),
        notAfter: new Date(at + days * dayMs),
        extensions: [
          new x509.ExtendedKeyUsageExtension([x509.ExtendedKeyUsage.serverAuth, x509.ExtendedKeyUsage.clientAuth]),
          ...(addresses.length === 0 ? [] : [new x509.SubjectAlternativeNameExtension(addresses.map((value) => ({ type: "ip" as const, value })))]),
        ],
      });
      return certificate.toString("pem");
    },
  };
}

async function sampleIdentity(hostId: string, now: number): Promise<Identity> {
  const authority = await sampleAuthority(now);
  const { request, privateKey } = await makeCertificateRequest(hostId);
  // The address that tests of migrations use.
  const certificate = await authority.sign(request, 90, now, ["10.0.0.2"]);
  return { hostId, serverUrl: "https://server:7444", certificate, privateKey, authority: authority.pem };
}
