/** The host: processors, memory, NUMA cells, pages, security, sleep. libvirt calls it the node. */
import { fixedCharArray, charArray, flag, int, list, opaque, size, string, struct, uhyper, uint } from "../codec.ts";
import { typedParameters } from "../typed-params.ts";
import { define, MAX_ITEMS } from "./procedure.ts";

const statistic = struct({ field: string, value: uhyper });

export const nodeProcedures = {
  /** `memory` in KiB. */
  nodeGetInfo: define(6, {}, { model: fixedCharArray(32), memory: size, cpus: int, mhz: int, nodes: int, sockets: int, cores: int, threads: int }),
  /** `cpu`: -1 for all together. With `count` 0 only the number of values is answered. Values in ns since boot. */
  nodeGetCpuStats: define(227, { cpu: int, count: int, flags: uint }, { stats: list(statistic, MAX_ITEMS), count: int }),
  /** `cell`: -1 for all together. Values in KiB. */
  nodeGetMemoryStats: define(228, { count: int, cell: int, flags: uint }, { stats: list(statistic, MAX_ITEMS), count: int }),
  /** Bytes by cell. */
  nodeGetCellsFreeMemory: define(101, { startCell: int, maxCells: int }, { cells: list(size, MAX_ITEMS) }),
  /** Bytes. */
  nodeGetFreeMemory: define(102, {}, { freeMemory: size }),
  nodeGetSecurityModel: define(122, {}, { model: charArray(4_096), doi: charArray(4_096) }),
  /** `target`: 0 memory, 1 disk, 2 both; `duration` in seconds. */
  nodeSuspendForDuration: define(250, { target: uint, duration: size, flags: uint }, {}, { long: true }),
  nodeSetMemoryParameters: define(288, { params: typedParameters(64), flags: uint }, {}),
  nodeGetMemoryParameters: define(289, { count: int, flags: uint }, { params: typedParameters(64), count: int }),
  nodeGetCpuMap: define(293, { needMap: flag, needOnline: flag, flags: uint }, { cpuMap: opaque(2_048), online: uint, present: int }),
  /** `pages`: page sizes in KiB. */
  nodeGetFreePages: define(340, { pages: list(uint, 128), startCell: int, cellCount: uint, flags: uint }, { counts: list(size, MAX_ITEMS) }),
  nodeAllocPages: define(
    347,
    { pageSizes: list(uint, 128), pageCounts: list(size, 128), startCell: int, cellCount: uint, flags: uint },
    { allocated: int },
    { long: true },
  ),
  nodeGetSevInfo: define(395, { count: int, flags: uint }, { params: typedParameters(64), count: int }),
} as const;
