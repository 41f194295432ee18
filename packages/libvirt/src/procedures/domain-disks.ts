/** A domain's disks: statistics, limits, resizing, block jobs, backup, and its snapshots and checkpoints. */
import { flag, int, list, nullable, opaque, signedSize, size, string, struct, uint } from "../codec.ts";
import { checkpoint, domain, snapshot } from "../structures.ts";
import { typedParameters } from "../typed-params.ts";
import { define, MAX_ITEMS } from "./procedure.ts";

const params = typedParameters(1_024);
const texts = list(string, MAX_ITEMS);
const diskError = struct({ disk: string, error: int });
const long = { long: true } as const;

export const domainDiskProcedures = {
  domainBlockStats: define(
    64,
    { domain, path: string },
    { readRequests: signedSize, readBytes: signedSize, writeRequests: signedSize, writeBytes: signedSize, errors: signedSize },
  ),
  domainBlockStatsFlags: define(243, { domain, path: string, count: int, flags: uint }, { params, count: int }),
  /** Bytes. */
  domainGetBlockInfo: define(194, { domain, path: string, flags: uint }, { allocation: size, capacity: size, physical: size }),
  domainBlockPeek: define(103, { domain, path: string, offset: size, size: uint, flags: uint }, { buffer: opaque(4_194_304) }, long),
  /** KiB, or bytes with the flag BYTES. */
  domainBlockResize: define(251, { domain, disk: string, size, flags: uint }, {}, long),
  domainSetBlockIoTune: define(252, { domain, disk: string, params, flags: uint }, {}),
  domainGetBlockIoTune: define(253, { domain, disk: nullable(string), count: int, flags: uint }, { params, count: int }),
  domainGetDiskErrors: define(263, { domain, maxErrors: uint, flags: uint }, { errors: list(diskError, 256), count: int }),
  /** Bytes written after which the event comes once. */
  domainSetBlockThreshold: define(386, { domain, device: string, threshold: size, flags: uint }, {}),

  domainBlockJobAbort: define(237, { domain, path: string, flags: uint }, {}, long),
  domainGetBlockJobInfo: define(238, { domain, path: string, flags: uint }, { found: flag, type: int, bandwidth: size, current: size, end: size }),
  domainBlockJobSetSpeed: define(239, { domain, path: string, bandwidth: size, flags: uint }, {}),
  domainBlockPull: define(240, { domain, path: string, bandwidth: size, flags: uint }, {}, long),
  domainBlockRebase: define(266, { domain, path: string, base: nullable(string), bandwidth: size, flags: uint }, {}, long),
  domainBlockCommit: define(290, { domain, disk: string, base: nullable(string), top: nullable(string), bandwidth: size, flags: uint }, {}, long),
  domainBlockCopy: define(345, { domain, path: string, destinationXml: string, params, flags: uint }, {}, long),
  domainBackupBegin: define(421, { domain, backupXml: string, checkpointXml: nullable(string), flags: uint }, {}, long),
  domainBackupGetXmlDesc: define(422, { domain, flags: uint }, { xml: string }),

  domainSnapshotCreateXml: define(185, { domain, xml: string, flags: uint }, { snapshot }, long),
  domainSnapshotGetXmlDesc: define(186, { snapshot, flags: uint }, { xml: string }),
  domainSnapshotNum: define(187, { domain, flags: uint }, { count: int }),
  domainSnapshotListNames: define(188, { domain, maxNames: int, flags: uint }, { names: texts }),
  domainSnapshotLookupByName: define(189, { domain, name: string, flags: uint }, { snapshot }),
  domainHasCurrentSnapshot: define(190, { domain, flags: uint }, { exists: flag }),
  domainSnapshotCurrent: define(191, { domain, flags: uint }, { snapshot }),
  domainRevertToSnapshot: define(192, { snapshot, flags: uint }, {}, long),
  domainSnapshotDelete: define(193, { snapshot, flags: uint }, {}, long),
  domainSnapshotGetParent: define(244, { snapshot, flags: uint }, { snapshot }),
  domainSnapshotNumChildren: define(246, { snapshot, flags: uint }, { count: int }),
  domainSnapshotListChildrenNames: define(247, { snapshot, maxNames: int, flags: uint }, { names: texts }),
  domainSnapshotIsCurrent: define(271, { snapshot, flags: uint }, { current: flag }),
  domainSnapshotHasMetadata: define(272, { snapshot, flags: uint }, { metadata: flag }),
  domainListAllSnapshots: define(274, { domain, needResults: flag, flags: uint }, { snapshots: list(snapshot, MAX_ITEMS), count: int }),
  domainSnapshotListAllChildren: define(275, { snapshot, needResults: flag, flags: uint }, { snapshots: list(snapshot, MAX_ITEMS), count: int }),

  domainCheckpointCreateXml: define(411, { domain, xml: string, flags: uint }, { checkpoint }, long),
  domainCheckpointGetXmlDesc: define(412, { checkpoint, flags: uint }, { xml: string }),
  domainListAllCheckpoints: define(413, { domain, needResults: flag, flags: uint }, { checkpoints: list(checkpoint, MAX_ITEMS), count: int }),
  domainCheckpointListAllChildren: define(
    414,
    { checkpoint, needResults: flag, flags: uint },
    { checkpoints: list(checkpoint, MAX_ITEMS), count: int },
  ),
  domainCheckpointLookupByName: define(415, { domain, name: string, flags: uint }, { checkpoint }),
  domainCheckpointGetParent: define(416, { checkpoint, flags: uint }, { parent: checkpoint }),
  domainCheckpointDelete: define(417, { checkpoint, flags: uint }, {}, long),
} as const;
