/** Networks, their ports and leases, host interfaces and packet filters. */
import { flag, int, list, nullable, signedSize, string, struct, uint } from "../codec.ts";
import { hostInterface, network, networkFilter as filter, networkFilterBinding as binding, networkPort as port, uuid } from "../structures.ts";
import { typedParameters } from "../typed-params.ts";
import { define, MAX_ITEMS } from "./procedure.ts";

const texts = list(string, MAX_ITEMS);
const params = typedParameters(64);
const long = { long: true } as const;
/** `expiryTime` in seconds since 1970; `type`: 0 IPv4, 1 IPv6. */
const lease = struct({
  interface: string,
  expiryTime: signedSize,
  type: int,
  mac: nullable(string),
  iaid: nullable(string),
  address: string,
  prefix: uint,
  hostname: nullable(string),
  clientId: nullable(string),
});

export const networkProcedures = {
  connectListAllNetworks: define(283, { needResults: flag, flags: uint }, { networks: list(network, MAX_ITEMS), count: uint }),
  connectNumOfNetworks: define(52, {}, { count: int }),
  connectListNetworks: define(38, { maxNames: int }, { names: texts }),
  connectNumOfDefinedNetworks: define(50, {}, { count: int }),
  connectListDefinedNetworks: define(36, { maxNames: int }, { names: texts }),
  networkLookupByName: define(46, { name: string }, { network }),
  networkLookupByUuid: define(47, { uuid }, { network }),
  networkCreate: define(39, { network }, {}, long),
  networkCreateXml: define(40, { xml: string }, { network }, long),
  networkCreateXmlFlags: define(437, { xml: string, flags: uint }, { network }, long),
  networkDefineXml: define(41, { xml: string }, { network }),
  networkDefineXmlFlags: define(432, { xml: string, flags: uint }, { network }),
  networkDestroy: define(42, { network }, {}, long),
  networkUndefine: define(49, { network }, {}),
  networkUpdate: define(291, { network, command: uint, section: uint, parentIndex: int, xml: string, flags: uint }, {}, long),
  networkGetXmlDesc: define(43, { network, flags: uint }, { xml: string }),
  networkGetBridgeName: define(45, { network }, { name: string }),
  networkGetAutostart: define(44, { network }, { autostart: flag }),
  networkSetAutostart: define(48, { network, autostart: flag }, {}),
  networkIsActive: define(152, { network }, { active: flag }),
  networkIsPersistent: define(153, { network }, { persistent: flag }),
  networkGetDhcpLeases: define(
    341,
    { network, mac: nullable(string), needResults: flag, flags: uint },
    { leases: list(lease, MAX_ITEMS), count: uint },
  ),
  networkSetMetadata: define(444, { network, type: int, metadata: nullable(string), key: nullable(string), uri: nullable(string), flags: uint }, {}),
  networkGetMetadata: define(445, { network, type: int, uri: nullable(string), flags: uint }, { metadata: string }),
  networkListAllPorts: define(404, { network, needResults: flag, flags: uint }, { ports: list(port, MAX_ITEMS), count: uint }),
  networkPortLookupByUuid: define(405, { network, uuid }, { port }),
  networkPortCreateXml: define(406, { network, xml: string, flags: uint }, { port }),
  networkPortGetParameters: define(407, { port, count: int, flags: uint }, { params, count: int }),
  networkPortSetParameters: define(408, { port, params, flags: uint }, {}),
  networkPortGetXmlDesc: define(409, { port, flags: uint }, { xml: string }),
  networkPortDelete: define(410, { port, flags: uint }, {}),

  connectListAllInterfaces: define(284, { needResults: flag, flags: uint }, { interfaces: list(hostInterface, MAX_ITEMS), count: uint }),
  connectNumOfInterfaces: define(126, {}, { count: int }),
  connectListInterfaces: define(127, { maxNames: int }, { names: texts }),
  connectNumOfDefinedInterfaces: define(137, {}, { count: int }),
  connectListDefinedInterfaces: define(138, { maxNames: int }, { names: texts }),
  interfaceLookupByName: define(128, { name: string }, { interface: hostInterface }),
  interfaceLookupByMacString: define(129, { mac: string }, { interface: hostInterface }),
  interfaceGetXmlDesc: define(130, { interface: hostInterface, flags: uint }, { xml: string }),
  interfaceDefineXml: define(131, { xml: string, flags: uint }, { interface: hostInterface }),
  interfaceUndefine: define(132, { interface: hostInterface }, {}),
  interfaceCreate: define(133, { interface: hostInterface, flags: uint }, {}, long),
  interfaceDestroy: define(134, { interface: hostInterface, flags: uint }, {}, long),
  interfaceIsActive: define(156, { interface: hostInterface }, { active: flag }),
  interfaceChangeBegin: define(220, { flags: uint }, {}),
  interfaceChangeCommit: define(221, { flags: uint }, {}),
  interfaceChangeRollback: define(222, { flags: uint }, {}, long),

  connectListAllNwfilters: define(286, { needResults: flag, flags: uint }, { filters: list(filter, MAX_ITEMS), count: uint }),
  connectNumOfNwfilters: define(178, {}, { count: int }),
  connectListNwfilters: define(179, { maxNames: int }, { names: texts }),
  nwfilterLookupByName: define(175, { name: string }, { filter }),
  nwfilterLookupByUuid: define(176, { uuid }, { filter }),
  nwfilterGetXmlDesc: define(177, { filter, flags: uint }, { xml: string }),
  nwfilterDefineXml: define(180, { xml: string }, { filter }, long),
  nwfilterDefineXmlFlags: define(431, { xml: string, flags: uint }, { filter }, long),
  nwfilterUndefine: define(181, { filter }, {}),
  nwfilterBindingLookupByPortDev: define(397, { name: string }, { binding }),
  nwfilterBindingGetXmlDesc: define(398, { binding, flags: uint }, { xml: string }),
  nwfilterBindingCreateXml: define(399, { xml: string, flags: uint }, { binding }),
  nwfilterBindingDelete: define(400, { binding }, {}),
  connectListAllNwfilterBindings: define(401, { needResults: flag, flags: uint }, { bindings: list(binding, MAX_ITEMS), count: uint }),
} as const;
