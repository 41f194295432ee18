/**
 * A real etcd cluster, for tests and benchmarks: on loopback with random free ports, or each member at a place of its own on a lab's
 * network; data in a temporary folder, members that can be killed, frozen, cut off and started again. Its processes end with the process that started them, whatever happens to that.
 */
import { spawn } from "node:child_process";
import type { ChildProcess } from "node:child_process";
import { closeSync, openSync } from "node:fs";
import { mkdtemp, readFile, rm, writeFile } from "node:fs/promises";
import { createServer } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { collect, SYSTEM_PATH } from "./command.ts";
import { LabPlace, type LabPlaceOptions } from "./lab-place.ts";
import { LabError } from "./lab-error.ts";
import { waitFor } from "./wait.ts";

export interface EtcdClusterOptions {
  /** Default 1. */
  readonly members?: number;
  /** Clients must show a certificate; see `tls`. */
  readonly tls?: boolean;
  /** Further words of each member's command line. */
  readonly arguments?: readonly string[];
  /** Where members get places: from `.201` on. Absent: on loopback. */
  readonly network?: EtcdNetwork;
}

export interface EtcdNetwork extends Pick<LabPlaceOptions, "labId"> {
  /** `10.A.B`, as the lab's. */
  readonly subnet: string;
}

/** PEM files. */
export interface EtcdClusterTls {
  readonly authority: string;
  readonly certificate: string;
  readonly key: string;
}

export class EtcdMember {
  readonly name: string;
  /** `address:port`. */
  readonly endpoint: string;
  readonly logFile: string;
  readonly #words: readonly string[];
  readonly #place: LabPlace | null;
  #child: ChildProcess | null = null;
  #gone: Promise<void> = Promise.resolve();

  constructor(name: string, endpoint: string, logFile: string, words: readonly string[], place: LabPlace | null) {
    this.name = name;
    this.endpoint = endpoint;
    this.logFile = logFile;
    this.#words = words;
    this.#place = place;
  }

  /** @throws LabError where it has none: on loopback */
  get place(): LabPlace {
    if (this.#place === null) throw new LabError(`the member ${this.name} of etcd is on loopback: it has no network of its own`);
    return this.#place;
  }

  get pid(): number | null {
    return this.#child?.pid ?? null;
  }

  start(): void {
    if (this.#child !== null) return;
    const log = openSync(this.logFile, "a", 0o600);
    const [command = "", ...words] = [...(this.#place?.enter ?? []), "setpriv", "--pdeathsig", "KILL", "etcd", ...this.#words];
    const child = spawn(command, words, {
      stdio: ["ignore", log, log],
      env: { PATH: SYSTEM_PATH, ETCD_UNSUPPORTED_ARCH: process.arch },
    });
    closeSync(log);
    this.#child = child;
    this.#gone = new Promise((resolve) => {
      const ended = (): void => {
        if (this.#child === child) this.#child = null;
        resolve();
      };
      child.once("exit", ended);
      child.once("error", ended);
    });
  }

  /** kill -9; a frozen member dies too. */
  async kill(): Promise<void> {
    this.#child?.kill("SIGKILL");
    await this.#gone;
  }

  async dispose(): Promise<void> {
    await this.kill();
    await this.#place?.remove();
  }

  freeze(): void {
    this.#child?.kill("SIGSTOP");
  }

  thaw(): void {
    this.#child?.kill("SIGCONT");
  }
}

export class EtcdCluster {
  readonly members: readonly EtcdMember[];
  readonly directory: string;
  readonly tls: EtcdClusterTls | null;

  constructor(members: readonly EtcdMember[], directory: string, tls: EtcdClusterTls | null) {
    this.members = members;
    this.directory = directory;
    this.tls = tls;
  }

  get endpoints(): string[] {
    return this.members.map(({ endpoint }) => endpoint);
  }

  /** Runs `etcdctl` against all members. @throws LabError with what it said */
  async control(...words: readonly string[]): Promise<string> {
    const { tls } = this;
    const secure = tls === null ? [] : ["--cacert", tls.authority, "--cert", tls.certificate, "--key", tls.key];
    const child = spawn("etcdctl", ["--endpoints", this.endpoints.join(","), ...secure, ...words], {
      stdio: ["ignore", "pipe", "pipe"],
      env: { PATH: SYSTEM_PATH, ETCDCTL_API: "3" },
    });
    const { code, stdout, stderr } = await collect(child, `etcdctl ${words.join(" ")}`, { timeoutMs: 20_000 });
    if (code !== 0) throw new LabError(`etcdctl ${words.join(" ")}: ${stderr}`);
    return stdout;
  }

  /** Until a majority has a leader. */
  async ready(): Promise<void> {
    await waitFor(() => this.control("--command-timeout", "2s", "get", "nothing").catch(() => null), {
      what: "an answer of etcd",
      timeoutMs: 30_000,
    });
  }

  /** The member that leads now. */
  async leader(): Promise<EtcdMember> {
    return waitFor(
      async () => {
        const text = await this.control("--command-timeout", "2s", "-w", "json", "endpoint", "status").catch(() => "[]");
        const statuses = JSON.parse(text) as { Endpoint: string; Status: { header: { member_id: number }; leader: number } }[]; // etcdctl's own form
        const leading = statuses.find(({ Status }) => Status.leader === Status.header.member_id);
        return this.members.find(({ endpoint }) => endpoint === leading?.Endpoint);
      },
      { what: "a leader of etcd", timeoutMs: 30_000 },
    );
  }

  /** Ends all members and removes their data. */
  async dispose(): Promise<void> {
    await Promise.all(this.members.map((member) => member.dispose()));
    await rm(this.directory, { recursive: true, force: true });
  }
}

/** @returns once a majority answers. @throws LabError with the end of a log where none does */
export async function startEtcd(options: EtcdClusterOptions = {}): Promise<EtcdCluster> {
  const { members = 1, tls = false, arguments: more = [], network } = options;
  const directory = await mkdtemp(join(tmpdir(), "sheaf-etcd-"));
  const files = tls ? await makeCertificates(directory) : null;
  const places = await placesOn(network, members);
  const ports = places.length > 0 ? places.map(() => 2379).concat(places.map(() => 2380)) : await freePorts(2 * members);
  const scheme = tls ? "https" : "http";
  const names = Array.from({ length: members }, (_, index) => `m${index + 1}`);
  const address = (index: number): string => `${places[index % members]?.address ?? "127.0.0.1"}:${ports[index]}`;
  const initial = names.map((name, index) => `${name}=http://${address(members + index)}`).join(",");
  const cluster = new EtcdCluster(
    names.map((name, index) => {
      const client = `${scheme}://${address(index)}`;
      const peer = `http://${address(members + index)}`;
      const secure =
        files === null ? [] : ["--cert-file", files.certificate, "--key-file", files.key, "--client-cert-auth", "--trusted-ca-file", files.authority];
      const words = [
        ...["--name", name, "--data-dir", join(directory, name), "--initial-cluster", initial, "--initial-cluster-state", "new"],
        ...["--listen-client-urls", client, "--advertise-client-urls", client],
        ...["--listen-peer-urls", peer, "--initial-advertise-peer-urls", peer],
        ...["--initial-cluster-token", `lab-${process.pid}`, "--logger", "zap", "--log-level", "warn"],
        ...secure,
        ...more,
      ];
      return new EtcdMember(name, address(index), join(directory, `${name}.log`), words, places[index] ?? null);
    }),
    directory,
    files,
  );
  for (const member of cluster.members) member.start();
  try {
    await cluster.ready();
    return cluster;
  } catch (error) {
    const log = await readFile(cluster.members[0]?.logFile ?? "", "utf8").catch(() => "");
    await cluster.dispose();
    throw new LabError(`etcd did not start: ${log.slice(-2000)}`, { cause: error });
  }
}

/** One after the other: the first makes the bridge. */
async function placesOn(network: EtcdNetwork | undefined, count: number): Promise<LabPlace[]> {
  const places: LabPlace[] = [];
  if (network === undefined) return places;
  const { labId, subnet } = network;
  for (let index = 0; index < count; index += 1)
    places.push(await LabPlace.make({ labId, gateway: `${subnet}.1/24`, name: `etcd${index + 1}`, address: `${subnet}.${201 + index}` }));
  return places;
}

/** Ports that nobody had a moment ago, all held at once so that none comes twice. */
export async function freePorts(count: number): Promise<number[]> {
  const servers = await Promise.all(
    Array.from(
      { length: count },
      () =>
        new Promise<ReturnType<typeof createServer>>((resolve, reject) => {
          const server = createServer();
          server.once("error", reject);
          server.listen(0, "127.0.0.1", () => resolve(server));
        }),
    ),
  );
  const ports = servers.map((server) => {
    const found = server.address();
    return typeof found === "object" && found !== null ? found.port : 0;
  });
  await Promise.all(servers.map((server) => new Promise((resolve) => server.close(resolve))));
  return ports;
}

/** One authority, and one certificate that serves members and clients alike. */
async function makeCertificates(directory: string): Promise<EtcdClusterTls> {
  const at = (name: string): string => join(directory, name);
  const openssl = async (...words: readonly string[]): Promise<void> => {
    const child = spawn("openssl", words, { stdio: ["ignore", "pipe", "pipe"], env: { PATH: SYSTEM_PATH } });
    const { code, stderr } = await collect(child, `openssl ${words[0]}`);
    if (code !== 0) throw new LabError(`openssl ${words[0]}: ${stderr}`);
  };
  const newKey = ["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes"];
  await openssl("req", "-x509", ...newKey, "-keyout", at("ca.key"), "-out", at("ca.pem"), "-days", "2", "-subj", "/CN=lab-etcd-ca");
  await openssl("req", ...newKey, "-keyout", at("etcd.key"), "-out", at("etcd.csr"), "-subj", "/CN=lab-etcd");
  await writeFile(at("etcd.ext"), "subjectAltName=IP:127.0.0.1,DNS:localhost\nextendedKeyUsage=serverAuth,clientAuth\n");
  const signed = ["-CA", at("ca.pem"), "-CAkey", at("ca.key"), "-CAcreateserial", "-days", "2", "-extfile", at("etcd.ext")];
  await openssl("x509", "-req", "-in", at("etcd.csr"), ...signed, "-out", at("etcd.pem"));
  return { authority: at("ca.pem"), certificate: at("etcd.pem"), key: at("etcd.key") };
}
