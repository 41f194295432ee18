/**
 * The comparison's other side: machines made and moved with the libvirt client alone, as somebody with a good script would. Same XML, same
 * kind of clone, same flags of migration, TLS included; every call that need not wait for another does not.
 */
import type { ChildProcess } from "node:child_process";
import { createInterface, type Interface } from "node:readline";
import {
  connect,
  JobStatsFlag,
  type LibvirtClient,
  MigrateFlag,
  MigrateParameter,
  type MigrationStep,
  parameter,
  unixTransport,
  UndefineFlag,
  XmlFlag,
} from "@sheaf/libvirt";
import type { LabHost } from "@sheaf/lab";

/** What a raw machine is made from: one of Sheaf's, as libvirt has it. */
export interface Pattern {
  readonly xml: string;
  readonly id: string;
  readonly name: string;
  readonly mac: string;
  readonly tap: string;
  readonly disk: string;
  readonly base: string;
  readonly sizeBytes: number;
  readonly seed: string;
}

export interface RawMachine {
  readonly id: string;
  readonly disk: string;
  readonly seed: string;
}

export class RawHost {
  readonly address: string;
  readonly client: LibvirtClient;
  readonly #shell: ChildProcess;
  readonly #answers: Interface;
  readonly #waiting = new Map<number, (answer: string) => void>();
  #asked = 0;

  private constructor(address: string, client: LibvirtClient, shell: ChildProcess) {
    this.address = address;
    this.client = client;
    this.#shell = shell;
    if (!shell.stdout) throw new Error("the shell has no output");
    this.#answers = createInterface({ input: shell.stdout });
    this.#answers.on("line", (line) => {
      const [, number, answer = ""] = /^(\d+) (.*)$/.exec(line) ?? [];
      this.#waiting.get(Number(number))?.(answer);
      this.#waiting.delete(Number(number));
    });
  }

  static async open(host: LabHost): Promise<RawHost> {
    const client = await connect({ transport: unixTransport(host.socketPath), uri: "qemu:///system" });
    // One shell that stays: what entering a lab host costs is no part of the comparison.
    return new RawHost(host.address, client, await host.spawn(["sh"], { stdio: ["pipe", "pipe", "inherit"] }));
  }

  /** Runs a line of shell on the host; lines given at once run at once. */
  async run(line: string): Promise<void> {
    const code = await this.#ask(`${line}; code=$?`, "$code");
    if (code !== "0") throw new Error(`on the lab host, this ended with ${code}: ${line}`);
  }

  #ask(line: string, answer: string): Promise<string> {
    this.#asked += 1;
    const number = this.#asked;
    this.#shell.stdin?.write(`{ ${line}; echo "${number} ${answer}"; } &\n`);
    return new Promise((resolve) => this.#waiting.set(number, resolve));
  }

  async patternOf(id: string): Promise<Pattern> {
    const xml = await this.client.domains.getXml({ uuid: id }, XmlFlag.inactive | XmlFlag.secure);
    const found = (expression: RegExp): string => {
      const value = expression.exec(xml)?.[1];
      if (value === undefined) throw new Error(`the domain has no ${expression}`);
      return value;
    };
    const disk = found(/<source file='([^']+\.qcow2)'/);
    const stdout = await this.#ask(`info=$(qemu-img info -U --output=json ${disk} | tr -d '\\n')`, "$info");
    const info = JSON.parse(stdout) as { "virtual-size": number; "full-backing-filename"?: string; "backing-filename"?: string }; // qemu-img's own format
    const seed = found(/<source file='([^']+\.iso)'/);
    await this.run(`cp ${seed} ${seedCopy}`);
    return {
      // Without Sheaf's mark it is nobody's domain to the agent.
      xml: xml.replace(/<metadata>[\s\S]*?<\/metadata>/, ""),
      id,
      name: found(/<name>([^<]+)</),
      mac: found(/<mac address='([^']+)'/),
      tap: found(/<target dev='(?!sd|vd|hd)([^']+)'/),
      disk,
      base: info["full-backing-filename"] ?? info["backing-filename"] ?? "",
      sizeBytes: info["virtual-size"],
      seed,
    };
  }

  /** Clone, define, start. @returns when libvirt has said that it runs */
  async create(pattern: Pattern, number: number): Promise<RawMachine> {
    const hexadecimal = number.toString(16).padStart(4, "0");
    const id = `4a770000-0000-4000-8000-00000000${hexadecimal}`;
    const disk = pattern.disk.replace(/[^/]+\.qcow2$/, `raw-${hexadecimal}.qcow2`);
    const seed = pattern.seed.replace(/[^/]+\.iso$/, `raw-${hexadecimal}.iso`);
    const xml = pattern.xml
      .replaceAll(pattern.disk, disk)
      .replaceAll(pattern.seed, seed)
      .replaceAll(pattern.id, id)
      .replaceAll(`>${pattern.name}<`, `>raw-${hexadecimal}<`)
      .replaceAll(pattern.mac, `52:54:00:fe:${hexadecimal.slice(0, 2)}:${hexadecimal.slice(2)}`)
      .replaceAll(`'${pattern.tap}'`, `'raw${hexadecimal}'`);
    await Promise.all([
      this.run(`qemu-img create -q -f qcow2 -b ${pattern.base} -F qcow2 ${disk} ${pattern.sizeBytes} && cp ${seedCopy} ${seed}`),
      this.client.domains.define(xml, 0),
    ]);
    await this.client.domains.create({ uuid: id }, 0);
    return { id, disk, seed };
  }

  async remove({ id, disk, seed }: RawMachine): Promise<void> {
    await this.client.domains.destroy({ uuid: id }, 0);
    await this.client.domains.undefine({ uuid: id }, UndefineFlag.nvram);
    await this.run(`rm -f ${disk} ${seed}`);
  }

  async close(): Promise<void> {
    this.client.close();
    const gone = new Promise((resolve) => this.#shell.once("exit", resolve));
    this.#shell.stdin?.end();
    await gone;
    this.#answers.close();
  }
}

/** A copy of the pattern's seed that all hosts see. */
const seedCopy = "/mnt/shared/raw-seed.iso";

export interface Move {
  readonly tookMs: number;
  readonly downtimeMs: number;
}

/** Live, shared disk, TLS between the QEMUs, the source's definition gone at the end: what Sheaf does, without Sheaf. */
export async function moveRaw(source: RawHost, target: RawHost, { id, seed }: RawMachine): Promise<Move> {
  const from = performance.now();
  const name = `raw-${id.slice(-4)}`;
  const { live, persistDestination, tls, autoConverge, changeProtection, unsafe } = MigrateFlag;
  const flags = live | persistDestination | tls | autoConverge | changeProtection | unsafe;
  const common = [parameter.string(MigrateParameter.destinationName, name), parameter.string(MigrateParameter.tlsDestination, target.address)];
  const step = (...more: MigrationStep["params"]): MigrationStep => ({ params: [...common, ...more], flags });
  const domain = { uuid: id };
  const [here, there] = await Promise.all([source.client.openMigration(), target.client.openMigration(), target.run(`cp ${seedCopy} ${seed}`)]);
  try {
    const begun = await here.begin(domain, step());
    const xml = parameter.string(MigrateParameter.destinationXml, begun.xml);
    const listen = parameter.string(MigrateParameter.listenAddress, target.address);
    const prepared = await there.prepare(step(xml, listen, parameter.string(MigrateParameter.uri, `tcp://${target.address}`)), begun.cookieOut);
    const uri = parameter.string(MigrateParameter.uri, prepared.uriOut ?? "");
    await source.client.domains.setMigrationMaxDowntime(domain, 300).catch(() => {}); // before it began libvirt may not take it
    const performed = await here.perform(domain, step(xml, uri), prepared.cookieOut);
    const finished = await there.finish(step(), performed, false);
    await here.confirm(domain, step(), finished.cookieOut, false);
    const { values } = await source.client.domains.jobStats(domain, JobStatsFlag.completed);
    await source.client.domains.undefine(domain, UndefineFlag.nvram);
    await source.run(`rm -f ${seed}`);
    return { tookMs: performance.now() - from, downtimeMs: Number(values["downtime"] ?? Number.NaN) };
  } finally {
    here.close();
    there.close();
  }
}
