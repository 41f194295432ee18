/** The disks, CD drives and NICs part of compareDomains. Disks are known by serial number (else file), NICs by MAC, drives by alias. */
import { DiskSlots } from "./disk-slots.ts";
import { ioTune, sameLimits } from "./disk-limits.ts";
import type { DomainChange } from "./domain-change.ts";
import type { CdromDescription, DiskDescription, DomainDescription, NicDescription } from "./domain-description.ts";
import { cdromAlias, ownAlias } from "./device-names.ts";
import { compareHostDevices } from "./host-device-elements.ts";
import { atNextStart } from "./pending-sentence.ts";
import { renderCdrom, renderDisk, renderNic } from "./render-devices.ts";

interface Difference {
  readonly live: DomainChange[];
  readonly restart: string[];
}

export function compareDevices(now: DomainDescription, then: DomainDescription): Difference {
  const difference: Difference = { live: [], restart: [] };
  compareDisks(now, then, difference);
  compareCdroms(now, then, difference);
  compareNics(now, then, difference);
  difference.restart.push(...compareHostDevices(now, then));
  return difference;
}

/** `ua-disk-root` → `root`. */
const deviceName = (device: { readonly alias?: string }, otherwise: string): string =>
  device.alias?.replace(/^ua-(disk-|cdrom-|nic-)?/, "") ?? otherwise;

function compareDisks(now: DomainDescription, then: DomainDescription, { live, restart }: Difference): void {
  const partner = (disk: DiskDescription, among: readonly DiskDescription[]): DiskDescription | undefined =>
    among.find((other) => (disk.serial !== undefined && other.serial !== undefined ? disk.serial === other.serial : disk.path === other.path));
  const attached: DiskDescription[] = [];
  for (const disk of now.disks) {
    if (partner(disk, then.disks) !== undefined) continue;
    if (disk.bus === "sata") restart.push(`disk ${deviceName(disk, disk.target)} is removed at the next start: SATA disks cannot be unplugged`);
    else live.push({ kind: "detach-disk", alias: disk.alias, xml: renderDisk(disk) });
  }
  for (const disk of then.disks) {
    const before = partner(disk, now.disks);
    const name = `disk ${deviceName(disk, disk.target)}`;
    if (before === undefined) {
      if (disk.bus === "sata") restart.push(`${name} is added at the next start: SATA disks cannot be plugged in`);
      else attached.push(disk);
      continue;
    }
    for (const [what, of] of [
      ["bus", (one: DiskDescription) => one.bus],
      ["cache mode", (one: DiskDescription) => one.cache],
      ["I/O mode", (one: DiskDescription) => one.io],
      ["discard", (one: DiskDescription) => (one.discard ? "on" : "off")],
      ["write protection", (one: DiskDescription) => (one.readOnly ? "on" : "off")],
    ] as const) {
      if (of(disk) !== of(before)) restart.push(atNextStart(`${what} of ${name}`, of(disk), of(before)));
    }
    if (!sameLimits(before.limits, disk.limits)) live.push({ kind: "disk-limits", target: before.target, tune: ioTune(disk.limits) });
  }
  // Names and places are those free in the running domain, those just being unplugged not among them.
  const slots = new DiskSlots(now, "new");
  for (const disk of attached) {
    const { bootOrder: _boot, address: _address, ...rest } = disk;
    live.push({ kind: "attach-disk", xml: renderDisk({ ...rest, ...slots.take(disk.bus, disk.alias ?? disk.target) }) });
  }
}

const driveKey = (cdrom: CdromDescription): string => ownAlias(cdrom) ?? cdromAlias(cdrom.target);

function compareCdroms(now: DomainDescription, then: DomainDescription, { live, restart }: Difference): void {
  const partner = (cdrom: CdromDescription, among: readonly CdromDescription[]): CdromDescription | undefined =>
    among.find((other) => driveKey(cdrom) === driveKey(other));
  for (const cdrom of now.cdroms) {
    if (partner(cdrom, then.cdroms) === undefined) restart.push(`CD drive ${deviceName(cdrom, cdrom.target)} is removed at the next start`);
  }
  for (const cdrom of then.cdroms) {
    const before = partner(cdrom, now.cdroms);
    const name = `CD drive ${deviceName(cdrom, cdrom.target)}`;
    if (before === undefined) {
      restart.push(`${name} is added at the next start`);
      continue;
    }
    if (before.bus !== cdrom.bus) restart.push(atNextStart(`bus of ${name}`, cdrom.bus, before.bus));
    const { path } = cdrom;
    if (before.path !== path) live.push({ kind: "medium", target: before.target, path, xml: renderCdrom({ ...before, path }) });
  }
}

function compareNics(now: DomainDescription, then: DomainDescription, { live, restart }: Difference): void {
  for (const nic of now.nics) {
    if (!then.nics.some(({ mac }) => mac === nic.mac)) live.push({ kind: "detach-nic", alias: nic.alias, xml: renderNic(nic) });
  }
  for (const nic of then.nics) {
    const before = now.nics.find(({ mac }) => mac === nic.mac);
    if (before === undefined) {
      const { bootOrder: _boot, address: _address, ...rest } = nic;
      live.push({ kind: "attach-nic", xml: renderNic(rest) });
      continue;
    }
    const name = `network interface ${deviceName(nic, nic.mac)}`;
    for (const [what, of] of [
      ["model", (one: NicDescription) => one.model],
      ["number of queues", (one: NicDescription) => one.queues],
      ["MTU", (one: NicDescription) => one.mtu ?? 1500],
    ] as const) {
      if (of(nic) !== of(before)) restart.push(atNextStart(`${what} of ${name}`, of(nic), of(before)));
    }
    if (before.connected !== nic.connected || before.bridge !== nic.bridge) {
      live.push({ kind: "update-nic", mac: nic.mac, xml: renderNic({ ...before, connected: nic.connected, bridge: nic.bridge }) });
    }
  }
}
