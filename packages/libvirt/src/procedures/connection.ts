/** Signing in, the connection itself, and what the daemon and its hypervisor can do. */
import { flag, int, list, nullable, size, string, struct, uint } from "../codec.ts";
import { domain } from "../structures.ts";
import { typedParameters } from "../typed-params.ts";
import { define, MAX_ITEMS } from "./procedure.ts";

const domainStats = struct({ domain, params: typedParameters(MAX_ITEMS) });
const texts = list(string, MAX_ITEMS);
const hypervisorCpu = { emulator: nullable(string), arch: nullable(string), machine: nullable(string), virtType: nullable(string) };

export const connectionProcedures = {
  /** `types`: 0 none, 1 SASL, 2 polkit. The first call on every connection. */
  authList: define(66, {}, { types: list(int, 20) }),
  authPolkit: define(70, {}, { complete: flag }),
  /** `flags`: 1 read-only. The second call on every connection. */
  connectOpen: define(1, { name: nullable(string), flags: uint }, {}),
  connectClose: define(2, {}, {}),
  connectGetType: define(3, {}, { type: string }),
  /** The hypervisor's version: major * 1,000,000 + minor * 1,000 + release. */
  connectGetVersion: define(4, {}, { version: size }),
  connectGetMaxVcpus: define(5, { type: nullable(string) }, { maxVcpus: int }),
  connectGetCapabilities: define(7, {}, { capabilities: string }),
  connectGetHostname: define(59, {}, { hostname: string }),
  connectSupportsFeature: define(60, { feature: int }, { supported: flag }),
  connectGetUri: define(110, {}, { uri: string }),
  connectIsSecure: define(149, {}, { secure: flag }),
  /** The daemon's version: major * 1,000,000 + minor * 1,000 + release. */
  connectGetLibVersion: define(157, {}, { version: size }),
  connectGetSysinfo: define(203, { flags: uint }, { sysinfo: string }),
  /** `result`: -1 error, 0 incompatible, 1 identical, 2 superset. */
  connectCompareCpu: define(158, { xml: string, flags: uint }, { result: int }),
  connectBaselineCpu: define(162, { xmlCpus: list(string, 256), flags: uint }, { cpu: string }),
  connectCompareHypervisorCpu: define(393, { ...hypervisorCpu, xmlCpu: string, flags: uint }, { result: int }),
  connectBaselineHypervisorCpu: define(394, { ...hypervisorCpu, xmlCpus: list(string, 256), flags: uint }, { cpu: string }),
  connectGetCpuModelNames: define(312, { arch: string, needResults: flag, flags: uint }, { models: texts, count: int }),
  connectGetDomainCapabilities: define(342, { ...hypervisorCpu, flags: uint }, { capabilities: string }),
  connectGetStoragePoolCapabilities: define(403, { flags: uint }, { capabilities: string }),
  /** Waits for domains that are busy, unless the flag NOWAIT is given. */
  connectGetAllDomainStats: define(
    344,
    { domains: list(domain, MAX_ITEMS), stats: uint, flags: uint },
    { records: list(domainStats, MAX_ITEMS) },
    { long: true },
  ),
  connectSetIdentity: define(419, { params: typedParameters(64), flags: uint }, {}),
  connectRegisterCloseCallback: define(360, {}, {}),
  connectUnregisterCloseCallback: define(361, {}, {}),
  connectDomainXmlFromNative: define(135, { nativeFormat: string, nativeConfig: string, flags: uint }, { domainXml: string }),
  connectDomainXmlToNative: define(136, { nativeFormat: string, domainXml: string, flags: uint }, { nativeConfig: string }),
} as const;
