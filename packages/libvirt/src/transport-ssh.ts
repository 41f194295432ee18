/**
 * A daemon on another machine, its unix socket carried by the system's `ssh`. Keys, known hosts and jump hosts are ssh's own business
 * (`~/.ssh/config`); it never asks for a password here. The far side needs `virt-ssh-helper` (libvirt 6.8 and later) or `nc` with `-U`.
 */
import { type ChildProcessWithoutNullStreams, spawn } from "node:child_process";
import type { Transport, Wire, WireHandlers } from "./ports.ts";
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
    // ssh does not say when it is through: the daemon's first answer, or ssh's end, shows it.
    open: async (signal) => {
      signal.throwIfAborted();
      return processWire(spawn(program, args, { stdio: ["pipe", "pipe", "pipe"] }), program);
    },
  };
}

/** A process's input and output as a wire; it is gone when the process has ended, and why is in its last words. */
function processWire(child: ChildProcessWithoutNullStreams, program: string): Wire {
  let complaint = "";
  let failure: Error | undefined;
  child.stderr.on("data", (chunk: Buffer) => {
    complaint = (complaint + chunk.toString("utf8")).slice(-2_000);
  });
  child.on("error", (error) => {
    failure = new Error(`${program} cannot be started: ${error.message}`);
  });
  // Its end is told by the process itself.
  for (const stream of [child.stdin, child.stdout, child.stderr]) stream.on("error", () => undefined);
  let ended = false;
  return {
    attach: (handlers: WireHandlers) => {
      child.stdin.on("drain", () => handlers.drain());
      child.stdout.on("data", (chunk: Buffer) => handlers.data(chunk));
      child.stdout.on("end", () => child.stdin.end());
      child.on("close", (code, signal) => {
        if (ended) return;
        ended = true;
        const how = code === null ? `was ended by ${signal ?? "a signal"}` : `ended with ${code}`;
        handlers.closed(failure ?? new Error(`${program} ${how}${complaint === "" ? "" : `: ${complaint.trim()}`}`));
      });
    },
    write: (bytes) => child.stdin.destroyed || !child.stdin.writable || child.stdin.write(bytes),
    pause: () => void child.stdout.pause(),
    resume: () => void child.stdout.resume(),
    destroy: () => {
      child.stdin.destroy();
      child.stdout.destroy();
      child.kill();
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
