/** IP addresses as numbers and in one spelling: two spellings of one address must not be two keys. Pure. */
export type IpFamily = 4 | 6;
export interface ParsedIp {
  readonly family: IpFamily;
  readonly value: bigint;
}

/** @param text checked by the schema already. @returns `null` where it is no address after all */
export function parseIp(text: string): ParsedIp | null {
  return text.includes(":") ? parse6(text) : parse4(text);
}

function parse4(text: string): ParsedIp | null {
  const parts = text.split(".").map(Number);
  if (parts.length !== 4 || parts.some((part) => !(Number.isInteger(part) && part >= 0 && part <= 255))) return null;
  return { family: 4, value: parts.reduce((sum, part) => sum * 256n + BigInt(part), 0n) };
}

function parse6(text: string): ParsedIp | null {
  let rest = text;
  const dotted = /^(.*:)(\d+\.\d+\.\d+\.\d+)$/.exec(text);
  if (dotted) {
    const low = parse4(dotted[2] ?? "");
    if (low === null) return null;
    rest = `${dotted[1] ?? ""}${(low.value >> 16n).toString(16)}:${(low.value & 0xffffn).toString(16)}`;
  }
  const halves = rest.split("::");
  if (halves.length > 2) return null;
  const [left = "", right] = halves;
  const groups = (half: string): string[] => (half === "" ? [] : half.split(":"));
  const first = groups(left);
  const last = right === undefined ? [] : groups(right);
  const missing = 8 - first.length - last.length;
  if (right === undefined ? missing !== 0 : missing < 1) return null;
  const all = [...first, ...Array.from({ length: right === undefined ? 0 : missing }, () => "0"), ...last];
  if (!all.every((group) => /^[0-9a-fA-F]{1,4}$/.test(group))) return null;
  return { family: 6, value: all.reduce((sum, group) => sum * 65_536n + BigInt(Number.parseInt(group, 16)), 0n) };
}

/** The one spelling: dotted for IPv4; RFC 5952 for IPv6 (small letters, the longest run of zeros shortened). */
export function formatIp({ family, value }: ParsedIp): string {
  if (family === 4) return [24n, 16n, 8n, 0n].map((shift) => ((value >> shift) & 255n).toString()).join(".");
  const groups = Array.from({ length: 8 }, (_, index) => Number((value >> BigInt((7 - index) * 16)) & 0xffffn));
  let best = { start: -1, length: 1 };
  for (let start = 0; start < 8; start += 1) {
    let length = 0;
    while (start + length < 8 && groups[start + length] === 0) length += 1;
    if (length > best.length) best = { start, length };
  }
  const text = (part: readonly number[]): string => part.map((group) => group.toString(16)).join(":");
  if (best.start === -1) return text(groups);
  return `${text(groups.slice(0, best.start))}::${text(groups.slice(best.start + best.length))}`;
}

/** In the one spelling; unchanged where it is no address. */
export function normalIp(text: string): string {
  const parsed = parseIp(text);
  return parsed === null ? text : formatIp(parsed);
}

/** @param cidr `10.0.0.0/24` */
export function isInside(address: ParsedIp, cidr: string): boolean {
  const [network = "", length = ""] = cidr.split("/");
  const base = parseIp(network);
  if (base === null || base.family !== address.family) return false;
  const bits = BigInt(address.family === 4 ? 32 : 128) - BigInt(length);
  return base.value >> bits === address.value >> bits;
}

/** Network and broadcast address of an IPv4 subnet; the subnet-router anycast address of an IPv6 one: none is a machine's. */
export function isReserved(address: ParsedIp, cidr: string): boolean {
  const [, length = ""] = cidr.split("/");
  const bits = BigInt(address.family === 4 ? 32 : 128) - BigInt(length);
  if (bits < 2n) return false;
  const host = address.value & ((1n << bits) - 1n);
  return host === 0n || (address.family === 4 && host === (1n << bits) - 1n);
}
