/**
 * Hands out addresses of networks' ranges. Each range has a pointer that only moves up and a list of what was released below it, so that a
 * choice costs the same in a full range as in an empty one. In memory: what is really taken is said by the store's keys; a clash costs a retry.
 */
import { SheafError, addressKey, formatIp, isInside, isReserved, normalIp, parseIp, type IpFamily, type RecordOf } from "@sheaf/model";
import type { Draft } from "./draft.ts";
import type { SiteIndex } from "./site-index.ts";

type Network = RecordOf<"network">;
type Subnet = Network["spec"]["subnets"][number];

interface Range {
  readonly family: IpFamily;
  readonly from: bigint;
  readonly to: bigint;
  readonly cidr: string;
  next: bigint;
  /** Below `next`, oldest first: an address rests as long as possible before it is another machine's. */
  readonly released: bigint[];
  /** Chosen for a machine that was not made after all: the first to be chosen again. */
  readonly unused: bigint[];
}

export class Addresses {
  readonly #index: SiteIndex;
  /** By network and range. */
  readonly #ranges = new Map<string, Map<string, Range>>();

  constructor(index: SiteIndex) {
    this.#index = index;
    index.onReleased((networkId, address) => {
      const parsed = parseIp(address);
      if (parsed === null) return;
      for (const range of this.#ranges.get(networkId)?.values() ?? [])
        if (range.family === parsed.family && parsed.value >= range.from && parsed.value < range.next) range.released.push(parsed.value);
    });
  }

  /**
   * Takes the addresses of one network card.
   * @param wanted absent: one free address of each subnet with a range
   * @throws SheafError `no-capacity`, `invalid-input`; `name-taken` when the draft is committed
   */
  claim(draft: Draft, network: Network, vmId: string, wanted: readonly string[] | undefined, at: string): string[] {
    if (wanted === undefined)
      return network.spec.subnets.flatMap((subnet) => (subnet.range === undefined ? [] : [this.#choose(draft, network, subnet, vmId)]));
    const addresses = wanted.map(normalIp);
    for (const [index, address] of addresses.entries()) {
      checkWanted(network, address, `${at}/addresses/${index}`, addresses.indexOf(address) !== index);
      draft.claim(addressKey(network.id, address), vmId, { refusal: () => taken(network, address) });
    }
    return addresses;
  }

  /** Takes addresses off a machine. */
  release(draft: Draft, networkId: string, addresses: readonly string[]): void {
    for (const address of addresses) draft.delete(addressKey(networkId, address));
  }

  #choose(draft: Draft, network: Network, subnet: Subnet, vmId: string): string {
    const range = this.#range(network, subnet);
    const used = this.#index.addressesOf(network.id);
    const value = range === null ? null : next(range, used, subnet);
    if (range === null || value === null)
      throw new SheafError("no-capacity", `Network ${network.name} has no free address in ${subnet.cidr}: every one of its range is taken.`, {
        next: "Remove machines, widen the range of the subnet, or say addresses: [] for a network card without one.",
      });
    const address = formatIp({ family: range.family, value });
    // A clash is not given back: somebody has it, and its release will be told.
    let clash = false;
    draft.claim(addressKey(network.id, address), vmId, {
      lost: () => {
        clash = true;
      },
    });
    draft.whenAbandoned(() => {
      if (!clash) range.unused.push(value);
    });
    return address;
  }

  #range(network: Network, subnet: Subnet): Range | null {
    const key = `${subnet.cidr} ${subnet.range?.from ?? ""} ${subnet.range?.to ?? ""}`;
    let ranges = this.#ranges.get(network.id);
    if (ranges === undefined) this.#ranges.set(network.id, (ranges = new Map()));
    const known = ranges.get(key);
    if (known !== undefined) return known;
    const from = parseIp(subnet.range?.from ?? "");
    const to = parseIp(subnet.range?.to ?? "");
    if (from === null || to === null) return null;
    const range: Range = { family: from.family, from: from.value, to: to.value, cidr: subnet.cidr, next: from.value, released: [], unused: [] };
    ranges.set(key, range);
    return range;
  }
}

function next(range: Range, used: ReadonlySet<string>, subnet: Subnet): bigint | null {
  const gateway = subnet.gateway === undefined ? "" : normalIp(subnet.gateway);
  const free = (value: bigint): boolean => {
    const parsed = { family: range.family, value };
    const text = formatIp(parsed);
    return text !== gateway && !isReserved(parsed, range.cidr) && !used.has(text);
  };
  for (let value = range.unused.pop(); value !== undefined; value = range.unused.pop()) if (free(value)) return value;
  while (range.next <= range.to) {
    const value = range.next;
    range.next += 1n;
    if (free(value)) return value;
  }
  for (let value = range.released.shift(); value !== undefined; value = range.released.shift()) if (free(value)) return value;
  return null;
}

function checkWanted(network: Network, address: string, at: string, twice: boolean): void {
  const parsed = parseIp(address);
  const refuse = (message: string): never => {
    throw new SheafError("invalid-input", `The address ${address} cannot be used on network ${network.name}: it ${message}.`, {
      errors: [{ at, message }],
    });
  };
  if (parsed === null) return refuse("is no address");
  if (twice) return refuse("is there twice");
  const subnet = network.spec.subnets.find(({ cidr }) => isInside(parsed, cidr));
  if (subnet === undefined)
    return refuse(`lies in none of its subnets (${network.spec.subnets.map(({ cidr }) => cidr).join(", ") || "it has none"})`);
  if (isReserved(parsed, subnet.cidr)) return refuse("is the network's own or its broadcast address");
  if (subnet.gateway !== undefined && normalIp(subnet.gateway) === address) return refuse("is the gateway's");
}

const taken = (network: Network, address: string): SheafError =>
  new SheafError("name-taken", `The address ${address} on network ${network.name} belongs to another machine.`, {
    next: "Leave it out: Sheaf chooses a free one.",
  });
