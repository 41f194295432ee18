/** Domains: finding, defining, life cycle, descriptions, devices, save and restore, streams, guest agent. */
import { charArray, flag, int, list, nullable, signedSize, size, string, struct, uint, uhyper } from "../codec.ts";
import { domain, uuid } from "../structures.ts";
import { typedParameters } from "../typed-params.ts";
import { define, MAX_ITEMS } from "./procedure.ts";

const texts = list(string, MAX_ITEMS);
const securityLabel = { label: charArray(4_097), enforcing: flag } as const;
const fileSystem = struct({ mountPoint: string, name: string, type: string, deviceAliases: texts });
const address = struct({ type: int, address: string, prefix: uint });
const guestInterface = struct({ name: string, hardwareAddress: nullable(string), addresses: list(address, 2_048) });
const long = { long: true } as const;

export const domainProcedures = {
  connectListAllDomains: define(273, { needResults: flag, flags: uint }, { domains: list(domain, MAX_ITEMS), count: uint }),
  connectListDomains: define(37, { maxIds: int }, { ids: list(int, MAX_ITEMS) }),
  connectNumOfDomains: define(51, {}, { count: int }),
  connectListDefinedDomains: define(21, { maxNames: int }, { names: texts }),
  connectNumOfDefinedDomains: define(25, {}, { count: int }),
  domainLookupById: define(22, { id: int }, { domain }),
  domainLookupByName: define(23, { name: string }, { domain }),
  domainLookupByUuid: define(24, { uuid }, { domain }),

  domainDefineXml: define(11, { xml: string }, { domain }),
  domainDefineXmlFlags: define(350, { xml: string, flags: uint }, { domain }),
  domainUndefine: define(35, { domain }, {}),
  domainUndefineFlags: define(231, { domain, flags: uint }, {}, long),
  domainCreateXml: define(10, { xml: string, flags: uint }, { domain }, long),
  domainCreate: define(9, { domain }, {}, long),
  domainCreateWithFlags: define(196, { domain, flags: uint }, { domain }, long),
  domainDestroy: define(12, { domain }, {}, long),
  domainDestroyFlags: define(234, { domain, flags: uint }, {}, long),
  domainShutdown: define(33, { domain }, {}),
  domainShutdownFlags: define(258, { domain, flags: uint }, {}),
  domainReboot: define(27, { domain, flags: uint }, {}),
  domainReset: define(245, { domain, flags: uint }, {}),
  domainSuspend: define(34, { domain }, {}),
  domainResume: define(28, { domain }, {}),
  domainRename: define(358, { domain, newName: nullable(string), flags: uint }, { result: int }),
  domainGetAutostart: define(15, { domain }, { autostart: flag }),
  domainSetAutostart: define(29, { domain, autostart: flag }, {}),
  domainSetLifecycleAction: define(390, { domain, type: uint, action: uint, flags: uint }, {}),
  domainInjectNmi: define(210, { domain, flags: uint }, {}),
  /** `holdTime` in ms. */
  domainSendKey: define(226, { domain, codeSet: uint, holdTime: uint, keyCodes: list(uint, 16), flags: uint }, {}),
  domainSendProcessSignal: define(295, { domain, pid: signedSize, signal: uint, flags: uint }, {}),
  domainPmSuspendForDuration: define(261, { domain, target: uint, duration: size, flags: uint }, {}, long),
  domainPmWakeup: define(267, { domain, flags: uint }, {}),

  domainIsActive: define(150, { domain }, { active: flag }),
  domainIsPersistent: define(151, { domain }, { persistent: flag }),
  domainIsUpdated: define(202, { domain }, { updated: flag }),
  domainGetXmlDesc: define(14, { domain, flags: uint }, { xml: string }),
  domainGetState: define(212, { domain, flags: uint }, { state: int, reason: int }),
  /** Memory in KiB, `cpuTime` in ns. */
  domainGetInfo: define(16, { domain }, { state: int, maxMemory: size, memory: size, vcpus: int, cpuTime: uhyper }),
  domainGetControlInfo: define(229, { domain, flags: uint }, { state: uint, details: uint, stateTime: size }),
  domainGetOsType: define(19, { domain }, { type: string }),
  domainGetHostname: define(277, { domain, flags: uint }, { hostname: string }, long),
  domainGetSecurityLabel: define(121, { domain }, securityLabel),
  domainGetSecurityLabelList: define(278, { domain }, { labels: list(struct(securityLabel), 64), count: int }),
  domainGetMessages: define(426, { domain, flags: uint }, { messages: texts }),
  domainSetMetadata: define(264, { domain, type: int, metadata: nullable(string), key: nullable(string), uri: nullable(string), flags: uint }, {}),
  domainGetMetadata: define(265, { domain, type: int, uri: nullable(string), flags: uint }, { metadata: string }),

  domainAttachDevice: define(8, { domain, xml: string }, {}, long),
  domainAttachDeviceFlags: define(160, { domain, xml: string, flags: uint }, {}, long),
  domainDetachDevice: define(13, { domain, xml: string }, {}, long),
  domainDetachDeviceFlags: define(161, { domain, xml: string, flags: uint }, {}, long),
  domainDetachDeviceAlias: define(392, { domain, alias: string, flags: uint }, {}, long),
  domainUpdateDeviceFlags: define(174, { domain, xml: string, flags: uint }, {}, long),

  domainSave: define(55, { domain, to: string }, {}, long),
  domainSaveFlags: define(232, { domain, to: string, xml: nullable(string), flags: uint }, {}, long),
  domainSaveParams: define(440, { domain, params: typedParameters(64), flags: uint }, {}, long),
  domainRestore: define(54, { from: string }, {}, long),
  domainRestoreFlags: define(233, { from: string, xml: nullable(string), flags: uint }, {}, long),
  domainRestoreParams: define(441, { params: typedParameters(64), flags: uint }, {}, long),
  domainSaveImageGetXmlDesc: define(235, { file: string, flags: uint }, { xml: string }, long),
  domainSaveImageDefineXml: define(236, { file: string, xml: string, flags: uint }, {}, long),
  domainManagedSave: define(182, { domain, flags: uint }, {}, long),
  domainHasManagedSaveImage: define(183, { domain, flags: uint }, { exists: flag }),
  domainManagedSaveRemove: define(184, { domain, flags: uint }, {}),
  domainManagedSaveGetXmlDesc: define(388, { domain, flags: uint }, { xml: string }, long),
  domainManagedSaveDefineXml: define(389, { domain, xml: nullable(string), flags: uint }, {}, long),
  domainCoreDump: define(53, { domain, to: string, flags: uint }, {}, long),
  domainCoreDumpWithFormat: define(334, { domain, to: string, format: uint, flags: uint }, {}, long),

  domainScreenshot: define(211, { domain, screen: uint, flags: uint }, { mime: nullable(string) }, { stream: "download" }),
  domainOpenConsole: define(201, { domain, device: nullable(string), flags: uint }, {}, { stream: "both" }),
  domainOpenChannel: define(296, { domain, name: nullable(string), flags: uint }, {}, { stream: "both" }),

  domainFsfreeze: define(335, { domain, mountPoints: list(string, 256), flags: uint }, { fileSystems: int }, long),
  domainFsthaw: define(336, { domain, mountPoints: list(string, 256), flags: uint }, { fileSystems: int }, long),
  domainFstrim: define(294, { domain, mountPoint: nullable(string), minimum: size, flags: uint }, {}, long),
  domainGetFsinfo: define(349, { domain, flags: uint }, { fileSystems: list(fileSystem, 256), count: uint }, long),
  domainGetTime: define(337, { domain, flags: uint }, { seconds: signedSize, nanoseconds: uint }, long),
  domainSetTime: define(338, { domain, seconds: signedSize, nanoseconds: uint, flags: uint }, {}, long),
  domainInterfaceAddresses: define(353, { domain, source: uint, flags: uint }, { interfaces: list(guestInterface, 2_048) }, long),
  domainSetUserPassword: define(357, { domain, user: nullable(string), password: nullable(string), flags: uint }, {}, long),
  domainGetGuestInfo: define(418, { domain, types: uint, flags: uint }, { params: typedParameters(MAX_ITEMS) }, long),
  domainAgentSetResponseTimeout: define(420, { domain, timeout: int, flags: uint }, { result: int }),
  domainAuthorizedSshKeysGet: define(424, { domain, user: string, flags: uint }, { keys: list(string, 2_048) }, long),
  domainAuthorizedSshKeysSet: define(425, { domain, user: string, keys: list(string, 2_048), flags: uint }, {}, long),
  domainGetLaunchSecurityInfo: define(396, { domain, flags: uint }, { params: typedParameters(64) }),
  domainSetLaunchSecurityState: define(439, { domain, params: typedParameters(64), flags: uint }, {}),
} as const;
