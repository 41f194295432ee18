/**
 * The NoCloud seed: the small CD that tells a guest its name, addresses, keys and user data (cloud-init's NoCloud source, network
 * configuration version 2). Content is made purely; the image in memory (iso-image.ts).
 * Strings are written as JSON, which is YAML: nothing user-given can leave its place.
 */
import { createHash } from "node:crypto";
import type { RecordOf } from "@sheaf/model";
import { isoImage } from "./iso-image.ts";
import type { Files } from "./ports.ts";

export interface SeedContent {
  readonly "meta-data": string;
  readonly "user-data": string;
  readonly "network-config": string;
}

/** @param networks by id; a NIC whose network is not known gets no addresses */
export function seedContent(vm: RecordOf<"vm">, networks: ReadonlyMap<string, RecordOf<"network">>): SeedContent {
  const hostname = vm.spec.cloudInit.hostname ?? vm.name;
  return {
    // A new instance-id would make the guest set itself up again: it is the machine's own for good.
    "meta-data": `${JSON.stringify({ "instance-id": vm.id, "local-hostname": hostname })}\n`,
    "user-data": userData(vm, hostname),
    "network-config": `${JSON.stringify(networkConfig(vm, networks))}\n`,
  };
}

export function seedDigest(content: SeedContent): string {
  return createHash("sha256").update(JSON.stringify(content)).digest("hex");
}

function userData(vm: RecordOf<"vm">, hostname: string): string {
  const { userData: given, password, sshAuthorizedKeys } = vm.spec.cloudInit;
  if (given !== undefined) return given;
  const config = {
    hostname,
    manage_etc_hosts: true,
    ...(password === undefined ? {} : { password, chpasswd: { expire: false }, ssh_pwauth: true }),
    ...(sshAuthorizedKeys.length > 0 ? { ssh_authorized_keys: sshAuthorizedKeys } : {}),
  };
  return `#cloud-config\n${JSON.stringify(config)}\n`;
}

function networkConfig(vm: RecordOf<"vm">, networks: ReadonlyMap<string, RecordOf<"network">>): object {
  const ethernets: Record<string, object> = {};
  for (const [index, nic] of vm.spec.nics.entries()) {
    if (nic.mac === undefined) continue;
    const subnets = networks.get(nic.network)?.spec.subnets ?? [];
    const placed = (nic.addresses ?? []).map((address) => ({ address, subnet: subnets.find((subnet) => holds(subnet.cidr, address)) }));
    const used = new Set(placed.flatMap(({ subnet }) => (subnet ? [subnet] : [])));
    const addresses = placed.map(({ address, subnet }) => `${address}/${subnet?.cidr.split("/")[1] ?? (address.includes(":") ? "64" : "24")}`);
    // One default route of each family, through the first interface that has one.
    const routes = [...used].flatMap(({ cidr, gateway }) =>
      gateway === undefined ? [] : [{ to: cidr.includes(":") ? "::/0" : "0.0.0.0/0", via: gateway }],
    );
    const nameServers = [...new Set([...used].flatMap((subnet) => subnet.nameServers))];
    ethernets[`nic${index}`] = {
      match: { macaddress: nic.mac },
      ...(addresses.length > 0 ? { addresses, dhcp4: false, dhcp6: false } : { dhcp4: true }),
      ...(routes.length > 0 ? { routes: routes.filter((route) => isFirst(ethernets, route.to)) } : {}),
      ...(nameServers.length > 0 ? { nameservers: { addresses: nameServers } } : {}),
    };
  }
  return { version: 2, ethernets };
}

const isFirst = (ethernets: Record<string, object>, to: string): boolean =>
  !Object.values(ethernets).some(
    (other) => "routes" in other && Array.isArray(other.routes) && other.routes.some((route: { to?: string }) => route.to === to),
  );

/** Whether `address` lies in the prefix `cidr`. Both were checked by the model. */
export function holds(cidr: string, address: string): boolean {
  const [network = "", length = "0"] = cidr.split("/");
  const a = addressBits(network);
  const b = addressBits(address);
  if (a.length !== b.length) return false;
  return a.slice(0, Number(length)) === b.slice(0, Number(length));
}

function addressBits(address: string): string {
  if (!address.includes(":")) {
    return address
      .split(".")
      .map((part) => Number(part).toString(2).padStart(8, "0"))
      .join("");
  }
  // RFC 4291: `::` stands for as many zero groups as are missing; the last 32 bits may be written as IPv4.
  const plain = address.replace(
    /(\d+)\.(\d+)\.(\d+)\.(\d+)$/,
    (_all, a, b, c, d) => `${(Number(a) * 256 + Number(b)).toString(16)}:${(Number(c) * 256 + Number(d)).toString(16)}`,
  );
  const [head = "", tail] = plain.split("::");
  const left = head === "" ? [] : head.split(":");
  const right = tail === undefined || tail === "" ? [] : tail.split(":");
  const zeros = tail === undefined ? 0 : 8 - left.length - right.length;
  return [...left, ...Array.from({ length: zeros }, () => "0"), ...right]
    .map((group) => Number.parseInt(group, 16).toString(2).padStart(16, "0"))
    .join("");
}

/** The image's bytes, 0600: libvirt gives the file to QEMU's user. Appears whole or not at all. */
export async function writeSeed(files: Files, path: string, content: SeedContent): Promise<void> {
  await files.writeAtomic(path, isoImage("cidata", { ...content }), { mode: 0o600 });
}
