/** A domain's resources: memory, vCPUs and their pinning, I/O threads, scheduler and tuning, statistics. */
import { int, list, opaque, signedSize, size, string, struct, uhyper, uint } from "../codec.ts";
import { domain } from "../structures.ts";
import { typedParameters } from "../typed-params.ts";
import { define, MAX_ITEMS } from "./procedure.ts";

/** One bit a processor, processor 0 in the lowest bit of the first byte. */
const cpuMap = opaque(2_048);
const cpuMaps = opaque(8_388_608);
const params = typedParameters(1_024);
const vcpuInfo = struct({ number: uint, state: int, cpuTime: uhyper, cpu: int });
const ioThread = struct({ id: uint, cpuMap });
const memoryStatistic = struct({ tag: int, value: size });
const long = { long: true } as const;

export const domainResourceProcedures = {
  /** All memory sizes in KiB. */
  domainGetMaxMemory: define(17, { domain }, { memory: size }),
  domainSetMaxMemory: define(30, { domain, memory: size }, {}),
  domainSetMemory: define(31, { domain, memory: size }, {}),
  domainSetMemoryFlags: define(204, { domain, memory: size, flags: uint }, {}),
  /** `period` in seconds. */
  domainSetMemoryStatsPeriod: define(308, { domain, period: int, flags: uint }, {}),
  domainMemoryStats: define(159, { domain, maxStats: uint, flags: uint }, { stats: list(memoryStatistic, 1_024) }),
  domainSetMemoryParameters: define(197, { domain, params, flags: uint }, {}),
  domainGetMemoryParameters: define(198, { domain, count: int, flags: uint }, { params, count: int }),
  domainSetNumaParameters: define(254, { domain, params, flags: uint }, {}),
  domainGetNumaParameters: define(255, { domain, count: int, flags: uint }, { params, count: int }),

  domainGetMaxVcpus: define(18, { domain }, { count: int }),
  domainSetVcpus: define(32, { domain, count: uint }, {}, long),
  domainSetVcpusFlags: define(199, { domain, count: uint, flags: uint }, {}, long),
  domainGetVcpusFlags: define(200, { domain, flags: uint }, { count: int }),
  domainGetVcpus: define(20, { domain, maxInfo: int, mapLength: int }, { info: list(vcpuInfo, 16_384), cpuMaps }),
  domainSetVcpu: define(384, { domain, cpuMap: string, state: int, flags: uint }, {}, long),
  domainGetGuestVcpus: define(371, { domain, flags: uint }, { params }, long),
  domainSetGuestVcpus: define(372, { domain, cpuMap: string, state: int, flags: uint }, {}, long),
  domainPinVcpu: define(26, { domain, vcpu: uint, cpuMap }, {}),
  domainPinVcpuFlags: define(225, { domain, vcpu: uint, cpuMap, flags: uint }, {}),
  domainGetVcpuPinInfo: define(230, { domain, mapCount: int, mapLength: int, flags: uint }, { cpuMaps, count: int }),
  domainPinEmulator: define(279, { domain, cpuMap, flags: uint }, {}),
  domainGetEmulatorPinInfo: define(280, { domain, mapLength: int, flags: uint }, { cpuMaps, result: int }),
  domainGetIothreadInfo: define(351, { domain, flags: uint }, { threads: list(ioThread, 16_384), count: uint }),
  domainPinIothread: define(352, { domain, thread: uint, cpuMap, flags: uint }, {}),
  domainAddIothread: define(355, { domain, thread: uint, flags: uint }, {}),
  domainDelIothread: define(356, { domain, thread: uint, flags: uint }, {}),
  domainSetIothreadParams: define(402, { domain, thread: uint, params, flags: uint }, {}),

  domainGetSchedulerType: define(56, { domain }, { type: string, count: int }),
  domainGetSchedulerParameters: define(57, { domain, count: int }, { params }),
  domainSetSchedulerParameters: define(58, { domain, params }, {}),
  domainSetSchedulerParametersFlags: define(219, { domain, params, flags: uint }, {}),
  domainGetSchedulerParametersFlags: define(223, { domain, count: int, flags: uint }, { params }),
  domainSetBlkioParameters: define(205, { domain, params, flags: uint }, {}),
  domainGetBlkioParameters: define(206, { domain, count: int, flags: uint }, { params, count: int }),
  domainSetInterfaceParameters: define(256, { domain, device: string, params, flags: uint }, {}),
  domainGetInterfaceParameters: define(257, { domain, device: string, count: int, flags: uint }, { params, count: int }),
  domainInterfaceStats: define(
    65,
    { domain, device: string },
    {
      rxBytes: signedSize,
      rxPackets: signedSize,
      rxErrors: signedSize,
      rxDropped: signedSize,
      txBytes: signedSize,
      txPackets: signedSize,
      txErrors: signedSize,
      txDropped: signedSize,
    },
  ),
  domainGetCpuStats: define(
    262,
    { domain, count: uint, startCpu: int, cpuCount: uint, flags: uint },
    { params: typedParameters(MAX_ITEMS), count: int },
  ),
  domainGetPerfEvents: define(365, { domain, flags: uint }, { params }),
  domainSetPerfEvents: define(366, { domain, params, flags: uint }, {}),
  domainStartDirtyRateCalc: define(427, { domain, seconds: int, flags: uint }, {}),
  domainMemoryPeek: define(104, { domain, offset: size, size: uint, flags: uint }, { buffer: opaque(4_194_304) }),
} as const;
