/** Rules for networks: subnets that make sense, and no address taken from under a machine. */
import { isInside, parseIp, type RecordOf, type SpecOf } from "@sheaf/model";
import type { KindRules } from "./kind-rules.ts";
import { fixed, invalid } from "./refusals.ts";
import { hostIds } from "./site-rules.ts";
import type { Work } from "./record-services.ts";

export const networkRules: KindRules<"network"> = {
  finalizers: [],
  verbs: {},
  referred: true,
  create: (work, spec) => ({ spec: checked(work, spec) }),
  change(work, before, spec) {
    const next = checked(work, spec);
    if (work.services.index.references("network", before.id) > 0) keepUsable(work, before, next);
    return { spec: next };
  },
};

function checked(work: Work, spec: SpecOf<"network">): SpecOf<"network"> {
  for (const field of ["vlan", "uplink"] as const)
    if (spec[field] !== undefined && !spec.managed)
      throw invalid(`/spec/${field}`, "goes with managed: true: what an existing bridge is connected to is set on the host");
  if (spec.vlan !== undefined && spec.uplink === undefined) throw invalid("/spec/uplink", "is needed for a VLAN on a bridge that Sheaf makes");
  for (const [index, subnet] of spec.subnets.entries()) {
    const at = `/spec/subnets/${index}`;
    const base = parseIp(subnet.cidr.split("/")[0] ?? "");
    if (base === null) throw invalid(`${at}/cidr`, "must be an address and a length: 10.0.0.0/24");
    if (spec.subnets.some((other, position) => position < index && (isInside(base, other.cidr) || touches(other.cidr, subnet.cidr))))
      throw invalid(`${at}/cidr`, "overlaps another subnet");
    const inside = (text: string): boolean => {
      const address = parseIp(text);
      return address !== null && isInside(address, subnet.cidr);
    };
    if (subnet.gateway !== undefined && !inside(subnet.gateway)) throw invalid(`${at}/gateway`, `must lie in ${subnet.cidr}`);
    if (subnet.range === undefined) continue;
    if (!inside(subnet.range.from)) throw invalid(`${at}/range/from`, `must lie in ${subnet.cidr}`);
    if (!inside(subnet.range.to)) throw invalid(`${at}/range/to`, `must lie in ${subnet.cidr}`);
    if ((parseIp(subnet.range.from)?.value ?? 0n) > (parseIp(subnet.range.to)?.value ?? 0n))
      throw invalid(`${at}/range/to`, "must not be before from");
  }
  return { ...spec, ...hostIds(work, spec.hosts) };
}

const touches = (left: string, right: string): boolean => {
  const base = parseIp(left.split("/")[0] ?? "");
  return base !== null && isInside(base, right);
};

/** While machines use it: the same bridge, and every address in use still in a subnet. */
function keepUsable(work: Work, before: RecordOf<"network">, next: SpecOf<"network">): void {
  if (next.bridge !== before.spec.bridge)
    throw fixed("/spec/bridge", `The bridge of network ${before.name}, which machines use,`, "Make a new network.");
  for (const address of work.services.index.addressesOf(before.id)) {
    const parsed = parseIp(address);
    if (parsed !== null && !next.subnets.some(({ cidr }) => isInside(parsed, cidr)))
      throw fixed("/spec/subnets", `The subnet of ${address}, which a machine has,`, "Take the address off the machine first.");
  }
}
