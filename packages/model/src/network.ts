/** A network: a bridge on every host that has it, and the addresses Sheaf hands out there. Parts: `spec` operators · `status/hosts/<hostId>` that host's agent. */
import { z } from "zod";
import { InterfaceName, IpAddress, IpPrefix, Reference } from "./fields.ts";

export const Subnet = z.strictObject({
  cidr: IpPrefix,
  gateway: IpAddress.optional(),
  nameServers: z.array(IpAddress).max(8).default([]),
  /** First and last address that Sheaf hands out; absent: none are handed out. */
  range: z.strictObject({ from: IpAddress, to: IpAddress }).optional(),
});
export type Subnet = z.infer<typeof Subnet>;

export const NetworkSpec = z.strictObject({
  bridge: InterfaceName,
  /** True: agents make and remove the bridge; false: it must be there. */
  managed: z.boolean().default(false),
  /** 802.1Q tag on `uplink`. */
  vlan: z.int().min(1).max(4094).optional(),
  uplink: InterfaceName.optional(),
  mtu: z.int().min(576).max(9216).default(1500),
  subnets: z.array(Subnet).max(4).default([]),
  hosts: z.array(Reference).max(5000).optional(),
  /** Usable by every project. */
  public: z.boolean().default(false),
});
export type NetworkSpec = z.infer<typeof NetworkSpec>;

export const NetworkOnHost = z.looseObject({ state: z.enum(["ready", "failed"]), problem: z.string().optional() });
export interface NetworkStatus {
  readonly hosts?: Readonly<Record<string, z.infer<typeof NetworkOnHost>>>;
}
