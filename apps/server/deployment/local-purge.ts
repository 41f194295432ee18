/**
 * What `npm start` made of this machine outside its data folder, taken away again: Sheaf's domains, their disks in the pool of this
 * machine, the bridge, certificates, and libvirtd where the start brought it up. What lies in other pools stays.
 */
import { readdir, readFile, rm } from "node:fs/promises";
import { existsSync } from "node:fs";
import { join } from "node:path";
import { runProgram } from "@sheaf/adapters";
import { SheafError } from "@sheaf/model";
import { hasJoined } from "./agent-process.ts";
import { bridge, ensureLibvirtd, libvirtdLog, localPool } from "./local-deployment.ts";
import { until } from "./processes.ts";

/** `render-domain.ts` in packages/domain-xml marks domains by it. */
const metadataNamespace = "urn:sheaf:1";
const certificates = "/etc/libvirt/pki";
const guestFiles = "/var/lib/sheaf/guests";

export const isLocalHost = (dataDirectory: string): boolean => hasJoined(join(dataDirectory, "agent"));

/** @throws SheafError `state-refused`: their disks would be taken from under them */
export async function refuseWhileGuestsRun(dataDirectory: string): Promise<void> {
  await ensureLibvirtd(dataDirectory, () => {});
  const running: string[] = [];
  for (const uuid of await ownDomains()) if ((await virsh("domstate", uuid)) !== "shut off") running.push(await virsh("domname", uuid));
  if (running.length > 0)
    throw new SheafError("state-refused", `machines run here, and a purge would take their disks: ${running.join(", ")}`, {
      next: "Shut them down first: `./sheaf vm stop NAME` while Sheaf runs, or `virsh shutdown NAME`.",
    });
}

/** Only after Sheaf itself has ended. @returns disks that stay, because they lie in other pools */
export async function removeLocalHost(dataDirectory: string): Promise<string[]> {
  await refuseWhileGuestsRun(dataDirectory);
  const kept: string[] = [];
  for (const uuid of await ownDomains()) {
    // Type, device, target, source.
    const disks = (await virsh("domblklist", uuid, "--details")).matchAll(/^\s*\S+\s+disk\s+\S+\s+(.+)$/gm);
    for (const [, path = "-"] of disks) if (path !== "-" && !path.startsWith(`${localPool}/`)) kept.push(path);
    await virsh("undefine", uuid, "--managed-save", "--snapshots-metadata", "--checkpoints-metadata", "--keep-nvram");
  }
  // A host of another site, joined by its line, has the same folders.
  if (!existsSync("/var/lib/sheaf/agent")) for (const path of [localPool, guestFiles]) await rm(path, { recursive: true, force: true });
  await removeCertificates(dataDirectory);
  await runProgram("ip", ["link", "delete", bridge], { deadlineMs: 10_000 });
  await endOwnLibvirtd(dataDirectory);
  return kept;
}

async function ownDomains(): Promise<string[]> {
  const all = (await virsh("list", "--all", "--uuid")).split(/\s+/).filter((uuid) => uuid !== "");
  const marks = await Promise.all(all.map((uuid) => virsh("metadata", uuid, metadataNamespace).catch(() => null)));
  return all.filter((_, index) => marks[index] !== null);
}

async function removeCertificates(dataDirectory: string): Promise<void> {
  const identity = await readFile(join(dataDirectory, "agent/identity.json"), "utf8").catch(() => "{}");
  const { authority } = JSON.parse(identity) as { authority?: string }; // the agent's own file
  if (authority === undefined || authority !== (await readFile(join(certificates, "ca-cert.pem"), "utf8").catch(() => ""))) return;
  for (const name of ["ca-cert", "server-cert", "server-key", "client-cert", "client-key"])
    await rm(join(certificates, `${name}.pem`), { force: true });
}

/** The one that logs into the data folder was started by `npm start`. It stays as long as anybody's guest runs. */
async function endOwnLibvirtd(dataDirectory: string): Promise<void> {
  if ((await virsh("list", "--name")).trim() !== "") return;
  for (const pid of (await readdir("/proc")).filter((name) => /^\d+$/.test(name))) {
    const about = async (file: string): Promise<string> => readFile(`/proc/${pid}/${file}`, "utf8").catch(() => "");
    if ((await about("comm")).trim() !== "libvirtd") continue;
    if (!(await about("environ")).split("\0").includes(libvirtdLog(dataDirectory))) continue;
    process.kill(Number(pid), "SIGTERM");
    await until("libvirtd's end", 20_000, () => !existsSync(`/proc/${pid}`) || undefined);
  }
}

/** @throws Error with virsh's own words */
async function virsh(...words: string[]): Promise<string> {
  const { exitCode, output, errorOutput } = await runProgram("virsh", ["-q", "-c", "qemu:///system", ...words], { deadlineMs: 30_000 });
  if (exitCode !== 0) throw new Error(`virsh ${words.join(" ")}: ${errorOutput.trim()}`);
  return output.trim();
}
