/**
 * Taking over a domain that Sheaf did not make: (what the agent says of it, what the site has) → the records that make it a machine, with every
 * key that is to be theirs, or why it cannot be. The machine's id is the domain's UUID: by it libvirt, the agent and every later verb know it.
 * Called by the adoption controller, which writes all of it in one transaction or nothing. Pure.
 */
import {
  addUsage,
  type AdoptableDomain,
  addressKey,
  fileKey,
  isInside,
  isReserved,
  macKey,
  nameKey,
  normalIp,
  numberKey,
  parseIp,
  partKey,
  type Placement,
  quotaUsageOf,
  type QuotaUsage,
  type RecordOf,
  SheafError,
  vmFinalizers,
  VolumeSpec,
  volumeFinalizers,
} from "@sheaf/model";

type Network = RecordOf<"network">;
type Pool = RecordOf<"pool">;

export interface AdoptionInput {
  readonly now: number;
  readonly incarnation: string;
  readonly task: { readonly id: string; readonly requestedBy: string };
  readonly uuid: string;
  readonly name: string;
  readonly number: number;
  readonly host: { readonly id: string; readonly name: string };
  readonly project: { readonly id: string; readonly name: string };
  readonly domain: AdoptableDomain;
  /** Those that the agent was told of. */
  readonly networks: readonly Network[];
  readonly pools: readonly Pool[];
  /** Whether the project has a volume of that name. */
  readonly volumeNamed: (name: string) => boolean;
  /** New ids, one for each disk. */
  readonly volumeIds: readonly string[];
}

export interface Adoption {
  readonly parts: readonly { readonly key: string; readonly value: unknown }[];
  /** Keys that must be free, and are `id`'s from then on. */
  readonly claims: readonly Claim[];
  /** Records that must stay what they are. */
  readonly uses: readonly (Network | Pool)[];
  readonly usage: QuotaUsage;
}
export interface Claim {
  readonly key: string;
  readonly id: string;
  readonly refusal: SheafError;
}

/** @throws SheafError why it is not adopted */
export function planAdoption(input: AdoptionInput): Adoption {
  const { domain, uuid, name, number, project, host, now } = input;
  const claims: Claim[] = [
    claim(nameKey("vm", project.id, name), uuid, `Project ${project.name} has a machine ${name} already.`, "Adopt it under another name."),
    claim(numberKey("vm", number), uuid, `The number ${number} was taken meanwhile.`, "Adopt it again: another number is drawn."),
  ];
  const placement: Placement = {
    host: host.id,
    epoch: 1,
    incarnation: input.incarnation,
    adoption: input.task.id,
    reason: `adopted on ${host.name}`,
    at: now,
  };
  const head = {
    project: project.id,
    labels: {},
    generation: 1,
    createdAt: now,
    createdBy: input.task.requestedBy,
  };
  const parts: { key: string; value: unknown }[] = [];
  const pools = new Set<Pool>();
  const taken = new Set<string>();
  const disks = domain.spec.disks.map((disk, index) => {
    const found = domain.disks[index];
    const id = input.volumeIds[index];
    if (found?.name !== disk.name || id === undefined) throw new SheafError("internal", `The agent did not say where disk ${disk.name} lies.`);
    const { pool, file } = placeOf(input, found.path);
    pools.add(pool);
    const spec = volumeSpec(pool, file, found);
    const volumeName = freeName(input, `${name}-${disk.name}`, id, taken);
    const key = fileKey(pool.id, file);
    claims.push(
      claim(nameKey("volume", project.id, volumeName), id, `Project ${project.name} has a volume ${volumeName} already.`, "Adopt it again."),
      claim(key, id, `The file ${found.path} in pool ${pool.name} is a volume already.`, "Give the domain a disk of its own, then adopt it."),
    );
    const { adoption: _adoption, ...there } = placement;
    parts.push(
      { key: partKey("volume", id, "spec"), value: { kind: "volume", id, name: volumeName, ...head, finalizers: [...volumeFinalizers], spec } },
      { key: partKey("volume", id, "placement"), value: there },
    );
    return { ...disk, volume: id, pool: pool.id, sizeBytes: spec.sizeBytes };
  });
  const addresses = addressesByNic(input);
  const nics = domain.spec.nics.map((nic, index) => ({ ...nic, addresses: addresses[index] ?? [] }));
  for (const nic of nics) {
    if (nic.mac === undefined) throw new SheafError("internal", `The agent did not say the MAC address of ${nic.name}.`);
    claims.push(
      claim(macKey(nic.mac), uuid, `The MAC address ${nic.mac} belongs to another machine.`, "Give the domain another one, then adopt it."),
    );
    for (const address of nic.addresses)
      claims.push(
        claim(
          addressKey(nic.network, address),
          uuid,
          `The guest has the address ${address}, which is another machine's.`,
          "Give one of them another.",
        ),
      );
  }
  const spec = { ...domain.spec, disks, nics };
  parts.unshift(
    {
      key: partKey("vm", uuid, "spec"),
      value: { kind: "vm", id: uuid, name, number, ...displayName(input), ...head, finalizers: [...vmFinalizers], spec },
    },
    { key: partKey("vm", uuid, "placement"), value: placement },
  );
  const usage = disks.reduce((sum, { sizeBytes }) => addUsage(sum, quotaUsageOf("volume", { sizeBytes })), quotaUsageOf("vm", spec));
  const networks = input.networks.filter((network) => nics.some((nic) => nic.network === network.id));
  return { parts, claims, uses: [...networks, ...pools], usage };
}

/** What the networks are called by on the host. Of several with one bridge the project's own comes before the public ones, then the first by name. */
export function networksByBridge(networks: Iterable<Network>, hostId: string, projectId: string): Map<string, Network> {
  const usable = [...networks].filter(
    ({ spec, project, deletedAt }) => deletedAt === undefined && (spec.hosts?.includes(hostId) ?? true) && (project === projectId || spec.public),
  );
  const rank = (network: Network): string => `${network.project === projectId ? 0 : 1} ${network.name}`;
  const found = new Map<string, Network>();
  for (const network of usable.toSorted((a, b) => (rank(a) < rank(b) ? -1 : 1)))
    if (!found.has(network.spec.bridge)) found.set(network.spec.bridge, network);
  return found;
}

const claim = (key: string, id: string, message: string, next: string): Claim => ({
  key,
  id,
  refusal: new SheafError("name-taken", message, { next }),
});

const filePattern = /^[A-Za-z0-9._@+-]+(\/[A-Za-z0-9._@+-]+)*$/;
/** What Sheaf itself puts into a pool. */
const ownFile = /^(volumes\/[0-9a-f-]{36}|images\/[0-9a-f]{64})\./;

/** The pool in which the file lies, the innermost where several do. */
function placeOf({ pools, host, domain }: AdoptionInput, path: string): { pool: Pool; file: string } {
  const [pool] = pools
    .filter(({ spec, deletedAt }) => deletedAt === undefined && (spec.hosts?.includes(host.id) ?? true) && path.startsWith(`${spec.path}/`))
    .toSorted((a, b) => b.spec.path.length - a.spec.path.length || (a.name < b.name ? -1 : 1));
  const refuse = (why: string, next: string) =>
    new SheafError("state-refused", `The domain ${domain.domainName} has the disk ${path}, ${why}.`, { next });
  const directory = path.slice(0, path.lastIndexOf("/")) || "/";
  if (pool === undefined) throw refuse(`which lies in no storage pool of host ${host.name}`, `Create a pool with path ${directory}, then adopt it.`);
  const file = path.slice(pool.spec.path.length + 1);
  if (!filePattern.test(file) || file.split("/").includes(".."))
    throw refuse("whose path has other than letters, digits and . _ @ + -", "Rename it first.");
  if (ownFile.test(file)) throw refuse("which is a file of Sheaf's own", "Give the domain a disk of its own, then adopt it.");
  return { pool, file };
}

function volumeSpec(pool: Pool, file: string, disk: AdoptableDomain["disks"][number]): VolumeSpec {
  const result = VolumeSpec.safeParse({ pool: pool.id, sizeBytes: disk.sizeBytes, format: disk.format, file });
  if (result.success) return result.data;
  const why = result.error.issues.map(({ path, message }) => `${path.join(".")} ${message}`).join("; ");
  throw new SheafError("state-refused", `The disk ${disk.path} does not fit Sheaf's limits: ${why}.`, {
    next: "Grow or convert it, then adopt the domain.",
  });
}

function freeName({ volumeNamed }: AdoptionInput, wanted: string, id: string, taken: Set<string>): string {
  const cut = (length: number): string => wanted.slice(0, length).replace(/-+$/, "");
  const plain = cut(63);
  const name = taken.has(plain) || volumeNamed(plain) ? `${cut(50)}-${id.slice(-12)}` : plain;
  taken.add(name);
  return name;
}

/** What the guest has of its networks' subnets is its from now on: Sheaf must not hand it out again. */
function addressesByNic({ domain, networks }: AdoptionInput): string[][] {
  const found: string[][] = domain.spec.nics.map(() => []);
  for (const text of new Set(domain.addresses.map(normalIp))) {
    const address = parseIp(text);
    if (address === null) continue;
    const index = domain.spec.nics.findIndex((nic) =>
      networks.find(({ id }) => id === nic.network)?.spec.subnets.some(({ cidr }) => isInside(address, cidr) && !isReserved(address, cidr)),
    );
    if (index !== -1 && (found[index]?.length ?? 0) < 8) found[index]?.push(text);
  }
  return found;
}

/** The name it had is still said where it is another. */
function displayName({ domain, name }: AdoptionInput): { displayName?: string } {
  const { domainName } = domain;
  return domainName === name || domainName.length > 200 || /\p{Cc}/u.test(domainName) ? {} : { displayName: domainName };
}
