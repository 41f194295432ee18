/**
 * One lab host: a pid, mount, network, UTS, IPC and cgroup namespace with its own libvirtd and its own QEMUs. Made by lab.ts.
 * It ends only processes that live in the network namespace it made, and touches only its own directory, links and groups.
 */
import { spawn } from "node:child_process";
import type { ChildProcess, SpawnOptions } from "node:child_process";
import { existsSync, openSync, closeSync, readFileSync, realpathSync } from "node:fs";
import { readFile, realpath, rm, stat } from "node:fs/promises";
import { join } from "node:path";
import { HostCgroups } from "./cgroups.ts";
import { collect, run, SYSTEM_PATH } from "./command.ts";
import type { CommandOptions, CommandResult } from "./command.ts";
import { ensureCertificates } from "./host-certificates.ts";
import { writeHostFiles } from "./host-files.ts";
import { LabError } from "./lab-error.ts";
import type { LabNetwork } from "./lab-network.ts";
import { childrenOf, initPid, pidsInNamespace, qemuProcesses, signal } from "./process-table.ts";
import type { QemuProcess } from "./process-table.ts";
import { type LabCell, writeNumaCells } from "./numa-cells.ts";
import { waitFor } from "./wait.ts";

export type LabHostState = "off" | "hung" | "frozen" | "up";

/** What a host needs to know of its lab. */
export interface LabHostContext {
  readonly id: string;
  readonly root: string;
  readonly network: LabNetwork;
  readonly useCgroups: boolean;
  readonly certificates: boolean;
  readonly listenTcp: boolean;
  readonly listenTls: boolean;
  readonly cells: readonly LabCell[];
  /** Runs a change of the lab while no other process changes it. */
  locked<T>(work: () => Promise<T>): Promise<T>;
}

/** How long a starting host may take until libvirtd answers; 0.4 s on an idle machine, far more on a busy one. */
const START_TIMEOUT_MS = 60_000;
const BOOT_SCRIPT = join(import.meta.dirname, "host-boot.sh");

export class LabHost {
  readonly name: string;
  readonly address: string;
  /** The host's files on the machine: `local`, `agent`, `log`, `etc`, `var`, `run`. */
  readonly directory: string;
  /** libvirtd's socket as seen from outside. A path over 107 bytes cannot be connected to: keep the lab's root short. */
  readonly socketPath: string;
  readonly #context: LabHostContext;
  readonly #namespace: string;
  readonly #cgroups: HostCgroups;

  constructor(context: LabHostContext, name: string, address: string) {
    this.#context = context;
    this.name = name;
    this.address = address;
    this.directory = join(context.root, "hosts", name);
    this.socketPath = join(this.directory, "run/libvirt/libvirt-sock");
    this.#namespace = context.network.namespace(name);
    this.#cgroups = new HostCgroups(`${context.id}/${name}`, context.useCgroups);
  }

  /** Every process of the host, as the machine numbers them. */
  pids(): Promise<number[]> {
    return pidsInNamespace(this.#namespace);
  }

  /** The guests that run now, from QEMU's own command lines: also those that libvirtd does not know. */
  async qemuProcesses(): Promise<QemuProcess[]> {
    return qemuProcesses(await this.pids());
  }

  async state(): Promise<LabHostState> {
    const pids = await this.pids();
    const init = await initPid(pids);
    if (init === undefined) return "off";
    if (await this.#isFrozen(init)) return "frozen";
    return (await this.answers()) ? "up" : "hung";
  }

  /** Whether libvirtd answers within five seconds. */
  async answers(): Promise<boolean> {
    const init = await initPid(await this.pids());
    // Through the host's own root the path is short, wherever the lab's directory is.
    const socket = `/proc/${init}/root/run/libvirt/libvirt-sock`;
    if (init === undefined || !existsSync(socket) || (await this.#isFrozen(init))) return false;
    const argv = ["virsh", "-q", "-c", `qemu+unix:///system?socket=${socket}`, "uri"];
    return run(argv, { timeoutMs: 5_000 }).then(
      (result) => result.code === 0,
      () => false,
    );
  }

  /** Powers the host on; no-op when it answers already. Called through Lab.up, which holds the lab's lock. */
  async start(): Promise<void> {
    const running = await initPid(await this.pids());
    if (running !== undefined && !(await this.#isFrozen(running)) && (await this.answers())) {
      const known = (await readFile(join(this.directory, "address"), "utf8")).trim();
      if (known !== this.address) throw new LabError(`lab host ${this.name} runs with the address ${known}, not ${this.address}: take it down first`);
      return;
    }
    // What a crash left over.
    await this.#stopProcesses();
    await this.#cgroups.remove();
    const { certificates, listenTcp, listenTls, network, root } = this.#context;
    const { address, directory, name } = this;
    await writeHostFiles({ directory, name, address, withCgroups: this.#cgroups.controllers.length > 0, listenTcp, listenTls });
    await writeNumaCells(directory, this.#context.cells);
    if (certificates) await ensureCertificates(join(root, "pki"), join(directory, "etc/pki"), name, address);
    await network.ensure(name, address);
    await this.#cgroups.ensure();
    this.#boot();
    const started = performance.now();
    await waitFor(
      async () => {
        if (await this.answers()) return true;
        if (performance.now() - started > 2_000 && (await initPid(await this.pids())) === undefined)
          throw new LabError(`lab host ${name} ended while it started: ${this.#bootLog()}`);
        return false;
      },
      { timeoutMs: START_TIMEOUT_MS, what: () => `the answer of libvirtd on lab host ${name} (${this.#bootLog()})` },
    );
  }

  #boot(): void {
    const { controllers } = this.#cgroups;
    const namespaces = ["--pid", "--fork", "--kill-child=KILL", "--mount", "--mount-proc", "--uts", "--ipc", "--cgroup"];
    const script = [BOOT_SCRIPT, this.directory, join(this.#context.root, "shared"), this.name, this.#context.id, ...controllers];
    // Not `ip netns exec`: that remounts /sys and hides the control groups.
    const argv = ["nsenter", `--net=/run/netns/${this.#namespace}`, "unshare", ...namespaces, "bash", ...script];
    const log = openSync(join(this.directory, "log/boot.log"), "w");
    try {
      const env = { PATH: SYSTEM_PATH, HOME: "/root", LANG: "C.UTF-8" };
      // Untied from the caller: the host outlives it.
      spawn("sh", this.#cgroups.enterArguments(argv), { detached: true, stdio: ["ignore", log, log], env, cwd: "/" }).unref();
    } finally {
      closeSync(log);
    }
  }

  #bootLog(): string {
    const path = join(this.directory, "log/boot.log");
    const text = existsSync(path) ? readFileSync(path, "utf8").trim().slice(-1000) : "";
    return text === "" ? `nothing in ${path}; libvirt's own log lies beside it` : text;
  }

  /**
   * Runs a command inside the host and waits for its end; whatever its code, it is returned. Default deadline 60 s. The working
   * directory is `/` unless given. Throws LabError when the host is off or frozen, or at the deadline.
   */
  async exec(argv: readonly string[], options: CommandOptions = {}): Promise<CommandResult> {
    const child = await this.spawn(argv, {
      stdio: "pipe",
      cwd: options.cwd ?? "/",
      env: { ...process.env, PATH: SYSTEM_PATH, LC_ALL: "C", ...options.env },
    });
    return collect(child, `"${argv.join(" ").slice(0, 200)}" on lab host ${this.name}`, options);
  }

  /**
   * Starts a program inside all the host's namespaces and control groups. It dies with the host, and when the returned child is killed
   * from outside by SIGKILL. `child.kill(signal)` reaches the program itself; `child.pid` is the machine's number of its parent, whose
   * exit code or signal is the program's. The host hides the machine's /mnt and /run: program and working directory must lie elsewhere.
   */
  async spawn(argv: readonly string[], options: SpawnOptions = {}): Promise<ChildProcess> {
    const pids = await this.pids();
    const init = await initPid(pids);
    if (init === undefined) throw new LabError(`lab host ${this.name} is off: start it with up()`);
    if (await this.#isFrozen(init)) throw new LabError(`lab host ${this.name} is frozen: thaw it first`);
    const cwd = String(options.cwd ?? process.cwd());
    assertVisible(cwd, "working directory");
    for (const argument of argv) if (argument === argv[0] || /\.[cm]?[jt]s$/.test(argument)) assertVisible(argument, "program");
    // The inner program loses its parent only when that was killed: then it must not live on unseen.
    const inner = ["env", `--chdir=${cwd}`, "setpriv", "--pdeathsig", "KILL", ...argv];
    const env = { ...(options.env ?? process.env) };
    env["PATH"] = `${env["PATH"] ?? ""}:${SYSTEM_PATH}`.replace(/^:/, "");
    const child = spawn("sh", this.#cgroups.enterArguments(["nsenter", "--target", String(init), "--all", "--", ...inner]), {
      ...options,
      cwd: "/",
      env,
    });
    const direct = child.kill.bind(child);
    child.kill = (name = "SIGTERM") => {
      const { pid } = child;
      if (pid === undefined || child.exitCode !== null || child.signalCode !== null) return false;
      const programs = typeof name === "string" ? childrenOf(pid) : [];
      if (programs.length === 0 || typeof name !== "string") return direct(name);
      for (const program of programs) signal(program, name);
      return true;
    };
    return child;
  }

  /** Power off: libvirtd, the agent and every guest die at once. The network namespace and all files stay. */
  async kill(): Promise<void> {
    await this.#stopProcesses();
  }

  /** Power off, and removal of namespaces, links and control groups. The files stay: `up` finds all definitions again. */
  async down(): Promise<void> {
    await this.#context.locked(() => this.dismantle());
  }

  /** As down(), for a caller that holds the lab's lock. */
  async dismantle(): Promise<void> {
    await this.#stopProcesses();
    await this.#context.network.removeHost(this.name);
    await this.#cgroups.remove();
    await rm(join(this.directory, "run"), { recursive: true, force: true });
  }

  async #stopProcesses(): Promise<void> {
    let looks = 0;
    await waitFor(
      async () => {
        // A frozen process does not die.
        await this.#cgroups.thaw();
        const pids = await this.pids();
        if (pids.length === 0) return true;
        // The namespace's pid 1 takes everything with it; the rest is for what an earlier crash cut loose.
        const init = await initPid(pids);
        if (init !== undefined) signal(init, "SIGKILL");
        else if (looks > 2) for (const pid of pids) signal(pid, "SIGKILL");
        looks += 1;
        return false;
      },
      { intervalMs: 15, what: async () => `the end of all processes of lab host ${this.name} (${(await this.pids()).join(", ")})` },
    );
  }

  /** The whole host hangs: its sockets accept, nobody answers. */
  async freeze(): Promise<void> {
    if (this.#cgroups.canFreeze) return this.#cgroups.freeze();
    // Without a freezer: stop one after the other until no new one appears. Pid 1 first, so that it sees no child stopping.
    const stopped = new Set<number>();
    await waitFor(
      async () => {
        const fresh = (await this.pids()).filter((pid) => !stopped.has(pid));
        for (const pid of fresh) {
          signal(pid, "SIGSTOP");
          stopped.add(pid);
        }
        return fresh.length === 0;
      },
      { what: `stopping of all processes of lab host ${this.name}`, intervalMs: 5 },
    );
  }

  async thaw(): Promise<void> {
    await this.#cgroups.thaw();
    const pids = await this.pids();
    const init = await initPid(pids);
    if (init !== undefined && (await isStopped(init))) for (const pid of pids) signal(pid, "SIGCONT");
  }

  async #isFrozen(init: number): Promise<boolean> {
    return (await this.#cgroups.isFrozen()) || (await isStopped(init));
  }

  /** Takes the host's network link down; libvirtd's unix socket still works from outside. */
  async cut(): Promise<void> {
    await this.#context.network.cut(this.name);
  }

  async join(): Promise<void> {
    await this.#context.network.join(this.name);
  }

  /** Ends libvirtd with a signal (default SIGTERM), waits for its end, starts it again and waits for its answer. Guests go on running. */
  async restartLibvirtd(name: NodeJS.Signals = "SIGTERM"): Promise<void> {
    await this.stopLibvirtd(name);
    await this.startLibvirtd();
  }

  async stopLibvirtd(name: NodeJS.Signals = "SIGTERM"): Promise<void> {
    const find = async (): Promise<number | undefined> => {
      for (const pid of await this.pids()) {
        const status = await readFile(`/proc/${pid}/status`, "utf8").catch(() => "");
        const inner = /^NSpid:.*\s(\d+)$/m.exec(status)?.[1];
        const known = await readFile(join(this.directory, "run/libvirtd.pid"), "utf8").catch(() => "");
        if (inner === known.trim() && /^Name:\s+libvirtd$/m.test(status) && !/^State:\s+Z/m.test(status)) return pid;
      }
      return undefined;
    };
    const pid = await find();
    if (pid === undefined) return;
    signal(pid, name);
    await waitFor(async () => (await find()) === undefined, { what: `the end of libvirtd on lab host ${this.name}`, intervalMs: 10 });
  }

  async startLibvirtd(): Promise<void> {
    if (await this.answers()) return;
    const result = await this.exec([join(this.directory, "start-libvirtd")]);
    if (result.code !== 0) throw new LabError(`libvirtd on lab host ${this.name} does not start: ${result.stderr.trim()}`);
    await waitFor(() => this.answers(), { what: `the answer of libvirtd on lab host ${this.name}` });
  }

  /**
   * Holds this host's direct reads and writes (cache mode `none`, as Sheaf's disks have) to so many bytes a second each; `undefined`
   * lifts the limit. Writes through the page cache are not held. Needs a cgroup v1 blkio throttle and a lab root on a real block device.
   */
  async slowDisk(bytesPerSecond: number | undefined): Promise<void> {
    const { dev } = await stat(this.directory, { bigint: true });
    const number = `${((dev >> 8n) & 0xfffn) | ((dev >> 32n) & ~0xfffn)}:${(dev & 0xffn) | ((dev >> 12n) & 0xfff00n)}`;
    const entry = `/sys/dev/block/${number}`;
    if (!existsSync(entry)) throw new LabError(`${this.directory} lies on no block device (${number}), so its disk cannot be slowed`);
    // A partition cannot be throttled, its disk can.
    const disk = existsSync(`${entry}/partition`) ? (await readFile(join(await realpath(entry), "../dev"), "utf8")).trim() : number;
    await this.#cgroups.limitDisk(disk, bytesPerSecond);
  }
}

async function isStopped(pid: number): Promise<boolean> {
  return /^State:\s+T/m.test(await readFile(`/proc/${pid}/status`, "utf8").catch(() => ""));
}

/** Inside a host the machine's /mnt and /run are hidden. A path that begins there on the machine would not be found, or be another one. */
export function assertVisible(path: string, role: string): void {
  if (!path.startsWith("/")) return;
  const real = existsSync(path) ? realpathSync(path) : path;
  if (!/^\/(mnt|run)(\/|$)/.test(real) || /^\/mnt\/(local|shared|cluster)(\/|$)/.test(real)) return;
  throw new LabError(
    `the ${role} ${real} cannot be used on a lab host: there /mnt and /run are the host's own. Keep it anywhere else, such as /home, /opt or /srv`,
  );
}
