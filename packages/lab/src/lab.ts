/**
 * Real hosts on one machine: several independent libvirt hosts, made of namespaces. Used alike by `npm start -- --lab N`, by tests
 * (`*.lab.test.ts`) and by benchmarks. Root on Linux. See lab/README.md for what a host can and cannot do.
 */
import { existsSync } from "node:fs";
import { mkdir, readFile, readdir, rm, rmdir } from "node:fs/promises";
import { isAbsolute, join } from "node:path";
import { silentLogger } from "@sheaf/base";
import type { Logger } from "@sheaf/base";
import { HostCgroups } from "./cgroups.ts";
import { withFileLock } from "./file-lock.ts";
import { watchGuestsOf, type GuestWatch } from "./guest-watch.ts";
import { LabError } from "./lab-error.ts";
import { assertVisible, LabHost } from "./lab-host.ts";
import type { LabHostState } from "./lab-host.ts";
import { isAddress, LabNetwork, parseGateway } from "./lab-network.ts";
import { enterInLedger } from "./ledger.ts";
import type { LabCell } from "./numa-cells.ts";

export interface LabOptions {
  /** Absolute path under which everything lies. Not under /mnt or /run; short (up to 60 bytes) when socketPath is to be connected to. */
  readonly root: string;
  /** One to four small letters or digits, a letter first. Prefix of every link, namespace and control group; keeps two labs apart. */
  readonly id: string;
  /** The machine's own address on the lab's bridge, such as `10.99.0.1/24`; two labs need two subnets. */
  readonly gateway: string;
  readonly log?: Logger;
  /** `off` does without control groups, as on a machine that has only version 2; default `auto`. */
  readonly cgroups?: "auto" | "off";
  /** Let the lab make certificates for /etc/libvirt/pki. Default false: Sheaf's agents bring their own. */
  readonly certificates?: boolean;
  /** libvirtd also listens at ADDRESS:16509, without authentication. Default false: agents use the unix socket. */
  readonly listenTcp?: boolean;
  /** libvirtd also listens at ADDRESS:16514 with TLS; needs `certificates`. Default false. */
  readonly listenTls?: boolean;
  /** NUMA cells that each host shows; absent: the machine's. */
  readonly cells?: readonly LabCell[];
}

export interface LabHostSummary {
  readonly name: string;
  readonly address: string;
  readonly state: LabHostState;
}

export interface Lab {
  readonly id: string;
  readonly root: string;
  /** Seen by all hosts as /mnt/shared, and through FUSE as /mnt/cluster. */
  readonly sharedDirectory: string;
  /** Powers a host on, with its definitions and disks of earlier times; no-op when it answers. Idempotent after any crash. */
  up(name: string, address: string): Promise<LabHost>;
  /** A host that was up before, whatever its state; undefined when there is none of that name. */
  host(name: string): Promise<LabHost | undefined>;
  hosts(): Promise<LabHostSummary[]>;
  /** Watches from now on that no machine runs twice on the hosts that are known now. */
  watchGuests(): Promise<GuestWatch>;
  /** Stops every host and removes namespaces, links, control groups; files stay. */
  down(): Promise<void>;
  /** Stops every host and removes every trace, disks included. Leaves the user `libvirt-qemu` and empty mount points on the machine. */
  purge(): Promise<void>;
}

/** Describes a lab; starts nothing. Throws LabError for options that cannot work. */
export function createLab(options: LabOptions): Lab {
  const { id, root } = options;
  if (!/^[a-z][a-z0-9]{0,3}$/.test(id)) throw new LabError(`bad lab id "${id}": one to four small letters or digits, a letter first`);
  if (!isAbsolute(root) || root === "/") throw new LabError(`bad lab root "${root}": give an absolute path of its own`);
  assertVisible(root, "lab root");
  assertVisible(import.meta.dirname, "lab's code");
  if (process.getuid?.() !== 0) throw new LabError("a lab needs root: namespaces, links and mounts are made");
  if (options.listenTls === true && options.certificates !== true) throw new LabError("listenTls needs certificates: true");
  const network = new LabNetwork(id, parseGateway(options.gateway));
  const log = (options.log ?? silentLogger).child({ lab: id });
  enterInLedger(id, root);

  const locked = async <T>(work: () => Promise<T>): Promise<T> => {
    await mkdir(root, { recursive: true });
    return withFileLock(join(root, "lock"), work);
  };
  const useCgroups = options.cgroups !== "off";
  const { certificates = false, listenTcp = false, listenTls = false, cells = [] } = options;
  const context = { id, root, network, useCgroups, certificates, listenTcp, listenTls, cells, locked };
  const sharedDirectory = join(root, "shared");

  async function host(name: string): Promise<LabHost | undefined> {
    const address = await readFile(join(root, "hosts", name, "address"), "utf8").catch(() => undefined);
    return address === undefined ? undefined : new LabHost(context, name, address.trim());
  }

  async function known(): Promise<LabHost[]> {
    const names = await readdir(join(root, "hosts")).catch(() => []);
    const found = await Promise.all(names.toSorted().map(host));
    return found.filter((each) => each !== undefined);
  }

  /** Known hosts, and those of which a crash left only a namespace. */
  async function remains(): Promise<LabHost[]> {
    const hosts = await known();
    const entries = await readdir("/run/netns").catch(() => []);
    const names = entries.filter((entry) => entry.startsWith(`${id}-`)).map((entry) => entry.slice(id.length + 1));
    const lost = names.filter((name) => !hosts.some((each) => each.name === name));
    return [...hosts, ...lost.map((name) => new LabHost(context, name, "0.0.0.0"))];
  }

  async function dismantleAll(): Promise<void> {
    await Promise.all((await remains()).map((each) => each.dismantle()));
    await new HostCgroups(id, useCgroups).remove();
    await network.removeBridge();
  }

  return {
    id,
    root,
    sharedDirectory,
    host,
    async up(name, address) {
      if (!/^[a-z][a-z0-9]{0,9}$/.test(name))
        throw new LabError(`bad lab host name "${name}": a small letter, then small letters and digits, at most 10`);
      if (!isAddress(address)) throw new LabError(`bad lab host address "${address}": give an IPv4 address`);
      const each = new LabHost(context, name, address);
      const started = performance.now();
      await mkdir(sharedDirectory, { recursive: true });
      await locked(() => each.start());
      log.info({ host: name, address, durationMs: Math.round(performance.now() - started) }, "lab host is up");
      return each;
    },
    async hosts() {
      return Promise.all((await known()).map(async (each) => ({ name: each.name, address: each.address, state: await each.state() })));
    },
    async watchGuests() {
      return watchGuestsOf((await known()).map(({ name }) => ({ name, namespace: network.namespace(name) })));
    },
    async down() {
      if (existsSync(root)) await locked(dismantleAll);
      else await dismantleAll();
    },
    async purge() {
      await this.down();
      for (const name of ["hosts", "shared", "pki", "lock"]) await rm(join(root, name), { recursive: true, force: true });
      // Others may keep files of their own in the root; then it stays.
      await rmdir(root).catch(() => {});
      log.info({ root }, "lab is purged");
    },
  };
}
