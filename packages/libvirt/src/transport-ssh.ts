/**
 * A daemon on another machine, its unix socket carried by the system's `ssh`. Keys, known hosts and jump hosts are ssh's own business
 * (`~/.ssh/config`); it never asks for a password here. The far side needs `virt-ssh-helper` (libvirt 6.8 and later) or `nc` with `-U`.
 */
import { spawn } from "node:child_process";
import { Duplex } from "node:stream";
import type { Transport } from "./ports.ts";
import { streamWire } from "./transport-node.ts";
import { SYSTEM_SOCKET } from "./transport-unix.ts";

export interface SshOptions {
  readonly host: string;
  readonly port?: number | undefined;
  readonly user?: string | undefined;
  readonly identityFile?: string | undefined;
  /** The daemon's socket on the far side; with one given, `nc` is used. */
  readonly socketPath?: string | undefined;
  /** The hypervisor, for `virt-ssh-helper`. */
  readonly uri?: string | undefined;
  /** Default `ssh`, found by PATH. */
  readonly program?: string | undefined;
}

export function sshTransport(options: SshOptions): Transport {
  const { host, user, port, identityFile, program = "ssh" } = options;
  if (host.startsWith("-") || user?.startsWith("-") === true) throw new Error("an SSH host or user must not start with '-'");
  const destination = user === undefined ? host : `${user}@${host}`;
  const description = `ssh:${destination}`;
  const args = ["-T", "-e", "none", "-o", "BatchMode=yes", "-o", "ConnectTimeout=10"];
  if (port !== undefined) args.push("-p", String(port));
  if (identityFile !== undefined) args.push("-i", identityFile);
  args.push("--", destination, remoteCommand(options));
  return {
    description,
    open: async () => {
      const child = spawn(program, args, { stdio: ["pipe", "pipe", "pipe"] });
      let complaint = "";
      child.stderr.on("data", (chunk: Buffer) => {
        // The last words are the ones that say why.
        complaint = (complaint + chunk.toString("utf8")).slice(-2_000);
      });
      const stream = Duplex.from({ readable: child.stdout, writable: child.stdin });
      child.on("error", (error) => stream.destroy(new Error(`${program} cannot be started: ${error.message}`)));
      child.on("exit", (code) => {
        if (code !== 0 && code !== null) stream.destroy(new Error(`${program} ended with ${code}: ${complaint.trim() || "it gave no reason"}`));
      });
      stream.on("close", () => child.kill());
      // ssh does not say when it is through: the daemon's first answer, or ssh's end, shows it.
      return streamWire(stream);
    },
  };
}

/** Run by the far side's shell. Nothing in it comes from outside unquoted. */
function remoteCommand({ socketPath, uri = "qemu:///system" }: SshOptions): string {
  const netcat = `exec nc -U ${quoted(socketPath ?? SYSTEM_SOCKET)}`;
  if (socketPath !== undefined) return netcat;
  return `if command -v virt-ssh-helper >/dev/null 2>&1; then exec virt-ssh-helper ${quoted(uri)}; else ${netcat}; fi`;
}

function quoted(text: string): string {
  return `'${text.replaceAll("'", `'\\''`)}'`;
}
