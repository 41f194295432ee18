/**
 * All that bad input could spoil, as text to compare: the whole store (from a backup of it), libvirt's definitions, bridges and QEMUs of
 * every host, and the disk files with their digests.
 */
import { createHash } from "node:crypto";
import { readFile, rm, stat } from "node:fs/promises";
import { glob } from "node:fs/promises";
import { join } from "node:path";
import { DatabaseSync } from "node:sqlite";
import type { Site } from "../site.ts";

export interface SiteState {
  readonly store: Readonly<Record<string, string>>;
  readonly hosts: Readonly<Record<string, string>>;
  readonly files: Readonly<Record<string, string>>;
}

/**
 * Not compared: the audit trail and sessions, who leads, and what agents observe of host and pools (free space changes with everything else
 * on this machine).
 */
const aside = [/^af?\//, /^s\//, /^leader\//, /^r\/host\/[^/]+\/status\//, /^r\/pool\/[^/]+\/status\//];
/** Left by work that was accepted and failed afterwards, as imports of broken images do: tasks, and the number given last. */
const receipts = [/^r\/task\//, /^u\/name\/task\//, /^u\/last-number\//];

const definitions = `
virsh "$(virsh list --all --uuid | sed '/./s/^/dumpxml --security-info /;/./s/$/;/' | tr -d '\\n') pool-list --all --details; net-list --all; secret-list"
ls /sys/class/net
find /etc/libvirt -type f | sort | xargs md5sum`;

export class SiteObserver {
  readonly #site: Site;
  /** Digests by what changes whenever the content does. */
  readonly #digests = new Map<string, string>();

  constructor(site: Site) {
    this.#site = site;
  }

  async look(options: { readonly withoutReceipts?: boolean } = {}): Promise<SiteState> {
    const { deployment } = this.#site;
    const without = options.withoutReceipts ? [...aside, ...receipts] : aside;
    const store = await this.#store((key) => !without.some((pattern) => pattern.test(key)));
    const hosts: Record<string, string> = {};
    for (const { host } of deployment.hosts.values()) {
      const { stdout, code, stderr } = await host.exec(["sh", "-c", definitions]);
      if (code !== 0) throw new Error(`${host.name} cannot be looked at: ${stderr}`);
      hosts[host.name] = `${stdout}\n${(await host.qemuProcesses()).map(({ uuid }) => uuid).join(" ")}`;
    }
    return { store, hosts, files: await this.#files() };
  }

  async #store(wanted: (key: string) => boolean): Promise<Record<string, string>> {
    const { file } = await this.#site.deployment.client.system.backup();
    const database = new DatabaseSync(file, { readOnly: true });
    try {
      const rows = database.prepare("SELECT key, value FROM entries ORDER BY key").all();
      return Object.fromEntries(rows.map(({ key, value }) => [String(key), String(value)]).filter(([key = ""]) => wanted(key)));
    } finally {
      database.close();
      await rm(file);
    }
  }

  async #files(): Promise<Record<string, string>> {
    const { lab, options } = this.#site.deployment;
    const folders = [
      join(options.dataDirectory, "images"),
      lab.sharedDirectory,
      ...[...this.#site.deployment.hosts.values()].map(({ host }) => join(host.directory, "local")),
    ];
    const found: Record<string, string> = {};
    for (const folder of folders)
      for await (const entry of glob("**", { cwd: folder, withFileTypes: true })) {
        const path = join(entry.parentPath, entry.name);
        // Each host says there once a second that it lives.
        if (path.startsWith(lab.sharedDirectory) && /\/pulse(\/|$)/.test(path)) continue;
        const facts = entry.isFile() ? await stat(path, { bigint: true }) : undefined;
        if (facts === undefined) {
          found[path] = "no file";
          continue;
        }
        const seen = `${path} ${facts.ino} ${facts.size} ${facts.ctimeNs}`;
        let digest = this.#digests.get(seen);
        if (digest === undefined) {
          digest = createHash("sha256")
            .update(await readFile(path))
            .digest("hex");
          this.#digests.set(seen, digest);
        }
        found[path] = `${facts.size} ${digest}`;
      }
    return found;
  }
}
