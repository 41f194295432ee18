/** Names that devices get: stable, so that they are found again on any host and in libvirt's events. */

/** `sheaf-<number>-<name>`. Kept while the domain is defined, also when the machine is renamed. */
export function domainName(vm: { readonly name: string; readonly number?: number | undefined; readonly id: string }): string {
  return `sheaf-${vm.number ?? vm.id}-${vm.name}`;
}

/** Tap device of a NIC, at most 15 characters. MACs are unique in the site, so the name is on every host. */
export function tapDeviceName(mac: string): string {
  return `tap-${mac.replaceAll(":", "").slice(-11)}`;
}

/** What the guest reads as the disk's serial number (at most 20 characters, virtio's limit): the random end of the volume's id. */
export function diskSerial(volumeId: string): string {
  return volumeId.replaceAll("-", "").slice(-20);
}

export const diskAlias = (name: string): string => `ua-disk-${name}`;
export const cdromAlias = (name: string): string => `ua-cdrom-${name}`;
export const nicAlias = (name: string): string => `ua-nic-${name}`;
/** The alias where Sheaf gave it; libvirt names other devices `virtio-disk0`. An adopted device is called by its target instead. */
export const ownAlias = (device: { readonly alias?: string }): string | undefined =>
  device.alias?.startsWith("ua-") === true ? device.alias : undefined;
export const seedAlias = "ua-seed";

/** `vda` … `vdz`, `vdaa` …: the name with that index. */
export function targetName(prefix: "vd" | "sd", index: number): string {
  let name = "";
  for (let rest = index; rest >= 0; rest = Math.floor(rest / 26) - 1) name = String.fromCharCode(97 + (rest % 26)) + name;
  return prefix + name;
}
