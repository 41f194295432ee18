/** The host's devices: PCI, USB, network, SCSI, mediated devices. Named by libvirt's own names (`pci_0000_01_00_0`). */
import { flag, int, list, nullable, string, uint } from "../codec.ts";
import { nodeDevice as device } from "../structures.ts";
import { define, MAX_ITEMS } from "./procedure.ts";

const texts = list(string, MAX_ITEMS);
const long = { long: true } as const;

export const nodeDeviceProcedures = {
  connectListAllNodeDevices: define(285, { needResults: flag, flags: uint }, { devices: list(device, MAX_ITEMS), count: uint }),
  nodeNumOfDevices: define(111, { capability: nullable(string), flags: uint }, { count: int }),
  nodeListDevices: define(112, { capability: nullable(string), maxNames: int, flags: uint }, { names: texts }),
  nodeDeviceLookupByName: define(113, { name: string }, { device }),
  nodeDeviceLookupScsiHostByWwn: define(297, { wwnn: string, wwpn: string, flags: uint }, { device }),
  nodeDeviceGetXmlDesc: define(114, { name: string, flags: uint }, { xml: string }),
  nodeDeviceGetParent: define(115, { name: string }, { parentName: nullable(string) }),
  nodeDeviceNumOfCaps: define(116, { name: string }, { count: int }),
  nodeDeviceListCaps: define(117, { name: string, maxNames: int }, { names: texts }),
  /** The protocol's own spelling. */
  nodeDeviceDettach: define(118, { name: string }, {}, long),
  nodeDeviceDetachFlags: define(301, { name: string, driverName: nullable(string), flags: uint }, {}, long),
  nodeDeviceReAttach: define(119, { name: string }, {}, long),
  nodeDeviceReset: define(120, { name: string }, {}, long),
  nodeDeviceCreateXml: define(123, { xml: string, flags: uint }, { device }, long),
  nodeDeviceDestroy: define(124, { name: string }, {}, long),
  nodeDeviceDefineXml: define(428, { xml: string, flags: uint }, { device }, long),
  nodeDeviceUndefine: define(429, { name: string, flags: uint }, {}, long),
  nodeDeviceCreate: define(430, { name: string, flags: uint }, {}, long),
  nodeDeviceGetAutostart: define(433, { name: string }, { autostart: flag }),
  nodeDeviceSetAutostart: define(434, { name: string, autostart: flag }, {}),
  nodeDeviceIsPersistent: define(435, { name: string }, { persistent: flag }),
  nodeDeviceIsActive: define(436, { name: string }, { active: flag }),
} as const;
