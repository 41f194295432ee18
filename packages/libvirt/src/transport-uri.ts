/** libvirt's connection URIs: which hypervisor, and by which transport. Source: libvirt's "Connection URIs" and "Remote support" pages. */
import { readFileSync } from "node:fs";
import type { Transport } from "./ports.ts";
import { sshTransport } from "./transport-ssh.ts";
import { tcpTransport } from "./transport-tcp.ts";
import { tlsTransport } from "./transport-tls.ts";
import { SYSTEM_SOCKET, unixTransport } from "./transport-unix.ts";

export interface ParsedUri {
  readonly transport: Transport;
  /** What the daemon is asked to open: the URI without transport and host. */
  readonly uri: string;
}

/**
 * `qemu:///system`, `test:///default`, `qemu+unix:///system?socket=/path`, `qemu+tcp://host/system`, `qemu+tls://host/system?pkipath=/dir`,
 * `qemu+ssh://user@host/system?keyfile=/path`. Throws with the reason when it is none of these.
 */
export function parseUri(text: string): ParsedUri {
  const match = /^([a-z0-9]+)(?:\+([a-z0-9]+))?:\/\/(?:([^@/?#]+)@)?([^/?#:]*|\[[0-9a-fA-F:.]+\])(?::(\d{1,5}))?(\/[^?#]*)?(?:\?([^#]*))?$/.exec(
    text,
  );
  if (match === null)
    throw new Error(`${JSON.stringify(text)} is no connection URI of libvirt; an example: qemu+unix:///system?socket=/run/libvirt/libvirt-sock`);
  const [, driver = "", named, user, rawHost = "", portText, path = "/", query] = match;
  const parameters = new URLSearchParams(query ?? "");
  const host = rawHost.replace(/^\[|\]$/g, "");
  const port = portText === undefined ? undefined : Number(portText);
  const uri = `${driver}://${path}`;
  const kind = named ?? (host === "" ? "unix" : "tls");
  const socketPath = parameters.get("socket") ?? undefined;
  if (kind !== "unix" && host === "") throw new Error(`${JSON.stringify(text)} names no host`);
  switch (kind) {
    case "unix":
      if (host !== "") throw new Error(`${JSON.stringify(text)} names a host, but a unix socket is on this machine; use +ssh, +tls or +tcp`);
      return { transport: unixTransport(socketPath ?? defaultSocket(path)), uri };
    case "tcp":
      return { transport: tcpTransport(host, port), uri };
    case "tls":
      return { transport: tlsTransport({ host, port, ...certificates(parameters.get("pkipath")) }), uri };
    case "ssh": {
      const identityFile = parameters.get("keyfile") ?? undefined;
      return {
        transport: sshTransport({ host, port, user: user === undefined ? undefined : decodeURIComponent(user), identityFile, socketPath, uri }),
        uri,
      };
    }
    default:
      throw new Error(`the transport ${JSON.stringify(kind)} is not known; there are unix, tcp, tls and ssh`);
  }
}

function defaultSocket(path: string): string {
  if (path !== "/session") return SYSTEM_SOCKET;
  const directory = process.env["XDG_RUNTIME_DIR"];
  if (directory === undefined) throw new Error("XDG_RUNTIME_DIR is not set, so the session daemon's socket is not known; give ?socket=PATH");
  return `${directory}/libvirt/libvirt-sock`;
}

/** libvirt's own places, or all three in one directory. */
function certificates(directory: string | null) {
  const read = (path: string) => readFileSync(path, "utf8");
  if (directory !== null) {
    return { ca: read(`${directory}/cacert.pem`), certificate: read(`${directory}/clientcert.pem`), key: read(`${directory}/clientkey.pem`) };
  }
  return {
    ca: read("/etc/pki/CA/cacert.pem"),
    certificate: read("/etc/pki/libvirt/clientcert.pem"),
    key: read("/etc/pki/libvirt/private/clientkey.pem"),
  };
}
