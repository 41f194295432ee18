/**
 * A host's own files under `<root>/hosts/NAME`, written anew at every start: identity, libvirt's configuration, an empty /run.
 * What survives a power-off: uuid, etc/libvirt's definitions, var, cache, log, local storage, the agent's data. Called by lab-host.ts.
 */
import { randomUUID } from "node:crypto";
import { existsSync } from "node:fs";
import { mkdir, readFile, rm, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { must, run } from "./command.ts";

export interface HostFilesOptions {
  readonly directory: string;
  readonly name: string;
  readonly address: string;
  readonly withCgroups: boolean;
  readonly listenTcp: boolean;
  readonly listenTls: boolean;
}

/** Folders of the machine over which each host mounts its own. The packages make most of them. */
const MOUNT_POINTS = ["/etc/libvirt", "/var/lib/libvirt", "/var/cache/libvirt", "/var/log/libvirt", "/var/lib/sheaf"];

export async function writeHostFiles(options: HostFilesOptions): Promise<void> {
  const { directory } = options;
  await ensureMachine();
  const write = (name: string, text: string, mode = 0o644): Promise<void> => writeFile(join(directory, name), text, { mode });
  // /run of a real machine is empty after a power-off: stale guest state in it must not survive, or libvirtd looks for guests that are gone.
  await rm(join(directory, "run"), { recursive: true, force: true });
  for (const name of ["etc/pki", "var", "cache", "log/qemu", "run", "local", "agent"]) await mkdir(join(directory, name), { recursive: true });
  const uuid = await ensureUuid(join(directory, "uuid"));
  await write("machine-id", `${uuid.replaceAll("-", "")}\n`);
  await write("boot_id", `${randomUUID()}\n`);
  await write("hostname", `${options.name}\n`);
  await write("hosts", `127.0.0.1 localhost\n::1 localhost\n${options.address} ${options.name}\n`);
  await write("etc/libvirtd.conf", libvirtdConf(options, uuid));
  await write("etc/qemu.conf", qemuConf(options));
  const listen = options.listenTcp || options.listenTls ? " --listen" : "";
  await rm(join(directory, "start-libvirtd"), { force: true });
  await write("start-libvirtd", `#!/bin/sh\nexec libvirtd${listen} --daemon --pid-file /run/libvirtd.pid\n`, 0o755);
  // Last: a directory with an address is a host that `hosts()` lists.
  await write("address", `${options.address}\n`);
}

async function ensureUuid(path: string): Promise<string> {
  const known = (await readFile(path, "utf8").catch(() => "")).trim();
  if (known !== "") return known;
  const uuid: string = randomUUID();
  await writeFile(path, `${uuid}\n`);
  return uuid;
}

/** What the machine itself must have: mount points, and the user without which libvirtd refuses to start, whatever qemu.conf says. */
async function ensureMachine(): Promise<void> {
  for (const path of MOUNT_POINTS) await mkdir(path, { recursive: true });
  for (const path of ["/etc/machine-id", "/etc/hostname", "/etc/hosts"]) if (!existsSync(path)) await writeFile(path, "");
  if ((await run(["getent", "passwd", "libvirt-qemu"])).code === 0) return;
  await must(["useradd", "--system", "--user-group", "--no-create-home", "--shell", "/usr/sbin/nologin", "libvirt-qemu"]);
}

function libvirtdConf(options: HostFilesOptions, uuid: string): string {
  return `host_uuid = "${uuid}"
listen_tls = ${Number(options.listenTls)}
listen_tcp = ${Number(options.listenTcp)}
listen_addr = "${options.address}"
auth_tcp = "none"
auth_tls = "none"
key_file = "/etc/libvirt/pki/server-key.pem"
cert_file = "/etc/libvirt/pki/server-cert.pem"
ca_file = "/etc/libvirt/pki/ca-cert.pem"
auth_unix_ro = "none"
auth_unix_rw = "none"
unix_sock_rw_perms = "0700"
log_outputs = "2:file:/var/log/libvirt/libvirtd.log"
keepalive_interval = 2
keepalive_count = 3
# Room for a busy host: the defaults are 20 workers and 5 calls at a time for each client.
min_workers = 5
max_workers = 64
prio_workers = 8
max_clients = 1000
max_queued_clients = 1000
max_anonymous_clients = 100
max_client_requests = 32
`;
}

/** stdio_handler: with the default, libvirtd wants a running virtlogd. migration_host: the address a peer is told to send a guest to. */
function qemuConf(options: HostFilesOptions): string {
  return `user = "root"
group = "root"
dynamic_ownership = 0
remember_owner = 0
security_driver = "none"
namespaces = [ ]
stdio_handler = "file"
vnc_listen = "127.0.0.1"
migration_address = "0.0.0.0"
migration_host = "${options.address}"
default_tls_x509_cert_dir = "/etc/libvirt/pki"
default_tls_x509_verify = 1
keepalive_interval = 2
keepalive_count = 3
${options.withCgroups ? "" : "cgroup_controllers = [ ]\n"}`;
}
