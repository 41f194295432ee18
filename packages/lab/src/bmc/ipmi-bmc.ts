/**
 * An IPMI management controller for one lab host: OpenIPMI's simulator `ipmi_sim` (Debian: openipmi), whose chassis control asks this
 * process. It speaks cipher suite 3 at the newest. Listens on loopback only.
 */
import { spawn, type ChildProcess } from "node:child_process";
import { mkdtemp, rm, writeFile } from "node:fs/promises";
import { createServer, type Server, type Socket } from "node:net";
import { createSocket } from "node:dgram";
import { once } from "node:events";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { run } from "../command.ts";
import { signal } from "../process-table.ts";
import { waitFor } from "../wait.ts";
import type { PowerControl } from "./power-control.ts";

export const bmcUser = "admin";
export const bmcPassword = "secret1";

export class IpmiBmc {
  readonly port: number;
  readonly #simulator: ChildProcess;
  readonly #control: Server;
  readonly #folder: string;

  private constructor(port: number, simulator: ChildProcess, control: Server, folder: string) {
    this.port = port;
    this.#simulator = simulator;
    this.#control = control;
    this.#folder = folder;
  }

  static async start(control: PowerControl): Promise<IpmiBmc> {
    const folder = await mkdtemp(join(tmpdir(), "bmc-"));
    const server = createServer((socket) => void answer(socket, control));
    server.listen(0, "127.0.0.1");
    await once(server, "listening");
    const { port: controlPort } = server.address() as { port: number }; // it listens on TCP
    const port = await freeUdpPort();
    const serialPort = await freeTcpPort();
    const program = join(folder, "control");
    // The simulator runs it for each question: the words go to this process, its answer comes back.
    await writeFile(
      program,
      `#!/bin/bash\nexec 3<>/dev/tcp/127.0.0.1/${controlPort} || exit 1\necho "$*" >&3\nread -r line <&3 || exit 1\n[ "$line" = failed ] && exit 1\n[ "$line" = done ] || echo "$line"\n`,
      { mode: 0o755 },
    );
    await writeFile(join(folder, "lan.conf"), configuration(port, serialPort, program));
    await writeFile(
      join(folder, "emu.conf"),
      "mc_setbmc 0x20\nmc_add 0x20 0 no-device-sdrs 0x23 9 8 0x9f 0x1291 0xf02 persist_sdr\nmc_enable 0x20\n",
    );
    const simulator = spawn("ipmi_sim", ["-n", "-c", join(folder, "lan.conf"), "-f", join(folder, "emu.conf"), "-s", folder], { stdio: "ignore" });
    const bmc = new IpmiBmc(port, simulator, server, folder);
    try {
      await once(simulator, "spawn");
      await waitFor(() => bmc.#answers(), { what: "the answer of the simulated management controller", timeoutMs: 20_000 });
    } catch (error) {
      await bmc.stop();
      throw error;
    }
    return bmc;
  }

  async #answers(): Promise<boolean> {
    const login = ["-I", "lanplus", "-C", "3", "-H", "127.0.0.1", "-p", String(this.port), "-U", bmcUser, "-P", bmcPassword];
    return run(["ipmitool", ...login, "-N", "1", "-R", "1", "chassis", "power", "status"], { timeoutMs: 5000 }).then(
      ({ code }) => code === 0,
      () => false,
    );
  }

  /** It takes packets and answers none, as one whose firmware hangs. */
  hang(): void {
    signal(this.#simulator.pid ?? 0, "SIGSTOP");
  }

  goOn(): void {
    signal(this.#simulator.pid ?? 0, "SIGCONT");
  }

  async stop(): Promise<void> {
    if (this.#simulator.exitCode === null && this.#simulator.signalCode === null && this.#simulator.pid !== undefined) {
      this.#simulator.kill("SIGKILL");
      await once(this.#simulator, "exit");
    }
    this.#control.close();
    await rm(this.#folder, { recursive: true, force: true });
  }
}

/** `0x20 get power`, `0x20 set power 0`, `0x20 check power`, … (OpenIPMI, chassis_control in ipmi_sim's manual) */
async function answer(socket: Socket, control: PowerControl): Promise<void> {
  socket.on("error", () => socket.destroy());
  const [line] = (await once(socket, "data")) as [Buffer];
  const [, verb, name, value] = line.toString("latin1").trim().split(/\s+/);
  let text = "done";
  try {
    if (verb === "get" && name === "power") text = `power:${(await control.status()) === "on" ? 1 : 0}`;
    else if (verb === "set" && name === "power") await control.order(value === "1" ? "on" : "off");
    else if (verb === "set" && name === "reset") {
      await control.order("off");
      await control.order("on");
    }
  } catch {
    text = "failed";
  }
  socket.end(`${text}\n`);
}

const configuration = (port: number, serialPort: number, program: string): string => `name "lab"
set_working_mc 0x20
  startlan 1
    addr 127.0.0.1 ${port}
    priv_limit admin
    allowed_auths_callback none md2 md5 straight
    allowed_auths_user none md2 md5 straight
    allowed_auths_operator none md2 md5 straight
    allowed_auths_admin none md2 md5 straight
    guid a123456789abcdefa123456789abcdef
  endlan
  chassis_control "${program} 0x20"
  serial 15 localhost ${serialPort} codec VM
  user 1 true "" "test" user 10 none md2 md5 straight
  user 2 true "${bmcUser}" "${bmcPassword}" admin 10 none md2 md5 straight
`;

async function freeUdpPort(): Promise<number> {
  const socket = createSocket("udp4");
  socket.bind(0, "127.0.0.1");
  await once(socket, "listening");
  const { port } = socket.address();
  socket.close();
  return port;
}

async function freeTcpPort(): Promise<number> {
  const server = createServer().listen(0, "127.0.0.1");
  await once(server, "listening");
  const { port } = server.address() as { port: number }; // it listens on TCP
  server.close();
  return port;
}
