/** Which disks, interfaces and sensors the host's figures are of. Called by the host's meter now and then. */
import type { Files } from "./ports.ts";

export interface HostDevices {
  readonly disks: ReadonlySet<string>;
  readonly interfaces: ReadonlySet<string>;
  /** Files in thousandths of a degree. */
  readonly temperatures: readonly string[];
  /** Files in millionths of a watt. */
  readonly power: readonly string[];
  /** Files in millionths of a joule, since some time. */
  readonly energyCounters: readonly string[];
}

/** Made of others, or in memory: what goes through them is counted where it ends. */
const madeOfOthers = /^(loop|ram|zram|dm-|md|sr|nbd|fd)/;
const notTheHosts = /^(lo$|vnet|tap|virbr|br|veth|docker|ovs|tun)/;

export async function hostDevices(files: Files): Promise<HostDevices> {
  const list = (path: string): Promise<string[]> => files.list(path).catch(() => []);
  const disks = (await list("/sys/block")).filter((name) => !madeOfOthers.test(name));
  const all = await list("/sys/class/net");
  const physical: string[] = [];
  for (const name of all) if ((await files.facts(`/sys/class/net/${name}/device`).catch(() => null)) !== null) physical.push(name);
  const temperatures: string[] = [];
  const power: string[] = [];
  for (const chip of await list("/sys/class/hwmon")) {
    for (const name of await list(`/sys/class/hwmon/${chip}`)) {
      if (/^temp\d+_input$/.test(name)) temperatures.push(`/sys/class/hwmon/${chip}/${name}`);
      else if (/^power\d+_(average|input)$/.test(name)) power.push(`/sys/class/hwmon/${chip}/${name}`);
    }
  }
  const packages = (await list("/sys/class/powercap")).filter((name) => /^intel-rapl:\d+$/.test(name));
  return {
    disks: new Set(disks),
    // In a virtual machine or a name space there may be none.
    interfaces: new Set(physical.length > 0 ? physical : all.filter((name) => !notTheHosts.test(name))),
    temperatures,
    power,
    energyCounters: packages.map((name) => `/sys/class/powercap/${name}/energy_uj`),
  };
}
