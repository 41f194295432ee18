/** The structures that many of libvirt's procedures share: how a domain, pool, volume or network is named on the wire. */
import { type Carried, type Codec, int, nullable, string, struct } from "./codec.ts";
import { XdrError, type XdrReader, type XdrWriter } from "./xdr.ts";

const uuidPattern = /^[0-9a-f]{8}-?[0-9a-f]{4}-?[0-9a-f]{4}-?[0-9a-f]{4}-?[0-9a-f]{12}$/i;

/** 16 bytes on the wire, lower-case text with hyphens here. */
export const uuid: Codec<string> = {
  minBytes: 16,
  encode: (writer: XdrWriter, value: string) => {
    if (!uuidPattern.test(value)) throw new XdrError(`${JSON.stringify(value)} is not a UUID`);
    writer.fixedOpaque(Buffer.from(value.replaceAll("-", ""), "hex"), 16);
  },
  decode: (reader: XdrReader) => {
    const hex = Buffer.from(reader.fixedOpaque(16)).toString("hex");
    return `${hex.slice(0, 8)}-${hex.slice(8, 12)}-${hex.slice(12, 16)}-${hex.slice(16, 20)}-${hex.slice(20)}`;
  },
};

/** `id` is the running instance's number, -1 when the domain does not run. libvirt finds a domain by its UUID; name and id are for messages. */
export const domain = struct({ name: string, uuid, id: int });
export type DomainReference = Carried<typeof domain>;

export const network = struct({ name: string, uuid });
export type NetworkReference = Carried<typeof network>;

export const networkPort = struct({ network, uuid });
export type NetworkPortReference = Carried<typeof networkPort>;

export const networkFilter = struct({ name: string, uuid });
export type NetworkFilterReference = Carried<typeof networkFilter>;

export const networkFilterBinding = struct({ portDevice: string, filterName: string });
export type NetworkFilterBindingReference = Carried<typeof networkFilterBinding>;

export const hostInterface = struct({ name: string, mac: string });
export type HostInterfaceReference = Carried<typeof hostInterface>;

export const storagePool = struct({ name: string, uuid });
export type StoragePoolReference = Carried<typeof storagePool>;

/** `pool` is the pool's name; `key` is unique on the host, mostly the path. */
export const storageVolume = struct({ pool: string, name: string, key: string });
export type StorageVolumeReference = Carried<typeof storageVolume>;

export const nodeDevice = struct({ name: string });
export type NodeDeviceReference = Carried<typeof nodeDevice>;

/** `usageType` is one of `SecretUsageType`. */
export const secret = struct({ uuid, usageType: int, usageId: string });
export type SecretReference = Carried<typeof secret>;

export const snapshot = struct({ name: string, domain });
export type SnapshotReference = Carried<typeof snapshot>;

export const checkpoint = struct({ name: string, domain });
export type CheckpointReference = Carried<typeof checkpoint>;

/** The error a daemon answers with; `code`, `from` and `level` are virErrorNumber, virErrorDomain and virErrorLevel. */
export const remoteError = struct({
  code: int,
  from: int,
  message: nullable(string),
  level: int,
  domain: nullable(domain),
  text1: nullable(string),
  text2: nullable(string),
  text3: nullable(string),
  number1: int,
  number2: int,
  network: nullable(network),
});
export type RemoteError = Carried<typeof remoteError>;
