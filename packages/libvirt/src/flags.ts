/** libvirt's flags and numbers by name, from its public headers (libvirt-domain.h and its like, 9.0). Combine flags with `|`. */

export const DomainState = { noState: 0, running: 1, blocked: 2, paused: 3, shutdown: 4, shutoff: 5, crashed: 6, pmSuspended: 7 } as const;

/** Why a domain is in its state: one table a state. */
export const RunningReason = {
  unknown: 0,
  booted: 1,
  migrated: 2,
  restored: 3,
  fromSnapshot: 4,
  unpaused: 5,
  migrationCancelled: 6,
  saveCancelled: 7,
  wakeup: 8,
  crashed: 9,
  postCopy: 10,
  postCopyFailed: 11,
} as const;
export const PausedReason = {
  unknown: 0,
  user: 1,
  migration: 2,
  save: 3,
  dump: 4,
  ioError: 5,
  watchdog: 6,
  fromSnapshot: 7,
  shuttingDown: 8,
  snapshot: 9,
  crashed: 10,
  startingUp: 11,
  postCopy: 12,
  postCopyFailed: 13,
} as const;
export const ShutoffReason = {
  unknown: 0,
  shutdown: 1,
  destroyed: 2,
  crashed: 3,
  migrated: 4,
  saved: 5,
  failed: 6,
  fromSnapshot: 7,
  daemon: 8,
} as const;

/** Whether a change is for the running domain, its definition, or (0) whichever there is. */
export const Affect = { current: 0, live: 1, config: 2 } as const;
export const DeviceModify = { current: 0, live: 1, config: 2, force: 4 } as const;
export const CreateFlag = { paused: 1, autoDestroy: 2, bypassCache: 4, forceBoot: 8, validate: 16, resetNvram: 32 } as const;
export const DefineFlag = { validate: 1 } as const;
export const DestroyFlag = { graceful: 1, removeLogs: 2 } as const;
/** For shutdown and reboot. */
export const ShutdownFlag = { acpiPowerButton: 1, guestAgent: 2, initctl: 4, signal: 8, paravirt: 16 } as const;
export const UndefineFlag = {
  managedSave: 1,
  snapshotsMetadata: 2,
  nvram: 4,
  keepNvram: 8,
  checkpointsMetadata: 16,
  tpm: 32,
  keepTpm: 64,
} as const;
export const XmlFlag = { secure: 1, inactive: 2, updateCpu: 4, migratable: 8 } as const;
export const MemoryFlag = { current: 0, live: 1, config: 2, maximum: 4 } as const;
export const VcpuFlag = { current: 0, live: 1, config: 2, maximum: 4, guest: 8, hotpluggable: 16 } as const;
export const SaveFlag = { bypassCache: 1, running: 2, paused: 4, resetNvram: 8 } as const;
export const MetadataType = { description: 0, title: 1, element: 2 } as const;
export const ListDomainsFlag = {
  active: 1,
  inactive: 2,
  persistent: 4,
  transient: 8,
  running: 16,
  paused: 32,
  shutoff: 64,
  other: 128,
  managedSave: 256,
  noManagedSave: 512,
  autostart: 1_024,
  noAutostart: 2_048,
  hasSnapshot: 4_096,
  noSnapshot: 8_192,
  hasCheckpoint: 16_384,
  noCheckpoint: 32_768,
} as const;

export const DomainStats = {
  state: 1,
  cpuTotal: 2,
  balloon: 4,
  vcpu: 8,
  interface: 16,
  block: 32,
  perf: 64,
  ioThread: 128,
  memory: 256,
  dirtyRate: 512,
  vm: 1_024,
} as const;
/** `noWait`: a domain whose job or monitor hangs is answered with what is known instead of waiting for it. */
export const DomainStatsFlag = {
  active: 1,
  inactive: 2,
  persistent: 4,
  transient: 8,
  running: 16,
  paused: 32,
  shutoff: 64,
  other: 128,
  noWait: 0x2000_0000,
  backing: 0x4000_0000,
} as const;
export const MemoryStatTag = {
  swapIn: 0,
  swapOut: 1,
  majorFault: 2,
  minorFault: 3,
  unused: 4,
  available: 5,
  actualBalloon: 6,
  rss: 7,
  usable: 8,
  lastUpdate: 9,
  diskCaches: 10,
  hugetlbPageAllocations: 11,
  hugetlbPageFailures: 12,
} as const;

export const MigrateFlag = {
  live: 1,
  peerToPeer: 2,
  tunnelled: 4,
  persistDestination: 8,
  undefineSource: 16,
  paused: 32,
  nonSharedDisk: 64,
  nonSharedIncremental: 128,
  changeProtection: 256,
  unsafe: 512,
  offline: 1_024,
  compressed: 2_048,
  abortOnError: 4_096,
  autoConverge: 8_192,
  rdmaPinAll: 16_384,
  postCopy: 32_768,
  tls: 65_536,
  parallel: 131_072,
  nonSharedSynchronousWrites: 262_144,
  postCopyResume: 524_288,
  zeroCopy: 1_048_576,
} as const;
/** Names of the typed parameters of a migration. */
export const MigrateParameter = {
  uri: "migrate_uri",
  destinationName: "destination_name",
  destinationXml: "destination_xml",
  persistentXml: "persistent_xml",
  bandwidth: "bandwidth",
  bandwidthPostCopy: "bandwidth.postcopy",
  graphicsUri: "graphics_uri",
  listenAddress: "listen_address",
  disks: "migrate_disks",
  disksPort: "disks_port",
  disksUri: "disks_uri",
  compression: "compression",
  compressionLevel: "compression.mt.level",
  compressionThreads: "compression.mt.threads",
  decompressionThreads: "compression.mt.dthreads",
  xbzrleCache: "compression.xbzrle.cache",
  autoConvergeInitial: "auto_converge.initial",
  autoConvergeIncrement: "auto_converge.increment",
  parallelConnections: "parallel.connections",
  tlsDestination: "tls.destination",
} as const;
export const JobType = { none: 0, bounded: 1, unbounded: 2, completed: 3, failed: 4, cancelled: 5 } as const;
export const JobStatsFlag = { completed: 1, keepCompleted: 2 } as const;
export const AbortJobFlag = { postCopy: 1 } as const;
export const MaxSpeedFlag = { postCopy: 1 } as const;

export const BlockJobType = { unknown: 0, pull: 1, copy: 2, commit: 3, activeCommit: 4, backup: 5 } as const;
/** What `blockJob2` reports. */
export const BlockJobStatus = { completed: 0, failed: 1, cancelled: 2, ready: 3 } as const;
export const BlockJobAbortFlag = { async: 1, pivot: 2 } as const;
export const BlockJobInfoFlag = { bandwidthBytes: 1 } as const;
export const BlockPullFlag = { bandwidthBytes: 64 } as const;
export const BlockCopyFlag = { shallow: 1, reuseExternal: 2, transientJob: 4, synchronousWrites: 8 } as const;
export const BlockCommitFlag = { shallow: 1, delete: 2, active: 4, relative: 8, bandwidthBytes: 16 } as const;
export const BlockRebaseFlag = { shallow: 1, reuseExternal: 2, copyRaw: 4, copy: 8, relative: 16, copyDevice: 32, bandwidthBytes: 64 } as const;
export const BlockResizeFlag = { bytes: 1 } as const;
export const BackupFlag = { reuseExternal: 1 } as const;

export const SnapshotCreateFlag = {
  redefine: 1,
  current: 2,
  noMetadata: 4,
  halt: 8,
  diskOnly: 16,
  reuseExternal: 32,
  quiesce: 64,
  atomic: 128,
  live: 256,
  validate: 512,
} as const;
export const SnapshotListFlag = {
  roots: 1,
  descendants: 1,
  metadata: 2,
  leaves: 4,
  noLeaves: 8,
  noMetadata: 16,
  inactive: 32,
  active: 64,
  diskOnly: 128,
  internal: 256,
  external: 512,
  topological: 1_024,
} as const;
export const SnapshotRevertFlag = { running: 1, paused: 2, force: 4, resetNvram: 8 } as const;
/** For snapshots and checkpoints. */
export const SnapshotDeleteFlag = { children: 1, metadataOnly: 2, childrenOnly: 4 } as const;
export const CheckpointCreateFlag = { redefine: 1, quiesce: 2, redefineValidate: 4 } as const;

export const ConsoleFlag = { force: 1, safe: 2 } as const;
export const KeyCodeSet = { linux: 0, xt: 1, atSet1: 2, atSet2: 3, atSet3: 4, osx: 5, xtKeyboard: 6, usb: 7, win32: 8, qnum: 9 } as const;
export const AddressSource = { lease: 0, agent: 1, arp: 2 } as const;
export const GuestInfoType = { users: 1, os: 2, timeZone: 4, hostname: 8, fileSystem: 16, disks: 32, interfaces: 64 } as const;
export const MonitorCommandFlag = { qmp: 0, human: 1 } as const;
/** Seconds, or one of these. */
export const AgentTimeout = { block: -2, default: -1, noWait: 0 } as const;

/** What `lifecycle` reports in `event`, and the details of those that have any. */
export const LifecycleEvent = {
  defined: 0,
  undefined: 1,
  started: 2,
  suspended: 3,
  resumed: 4,
  stopped: 5,
  shutdown: 6,
  pmSuspended: 7,
  crashed: 8,
} as const;
export const DefinedDetail = { added: 0, updated: 1, renamed: 2, fromSnapshot: 3 } as const;
export const UndefinedDetail = { removed: 0, renamed: 1 } as const;
export const StartedDetail = { booted: 0, migrated: 1, restored: 2, fromSnapshot: 3, wakeup: 4 } as const;
export const SuspendedDetail = {
  paused: 0,
  migrated: 1,
  ioError: 2,
  watchdog: 3,
  restored: 4,
  fromSnapshot: 5,
  apiError: 6,
  postCopy: 7,
  postCopyFailed: 8,
} as const;
export const ResumedDetail = { unpaused: 0, migrated: 1, fromSnapshot: 2, postCopy: 3, postCopyFailed: 4 } as const;
export const StoppedDetail = { shutdown: 0, destroyed: 1, crashed: 2, migrated: 3, saved: 4, failed: 5, fromSnapshot: 6 } as const;
/** `guest`: the guest shut itself down; `host`: it was told to. */
export const ShutdownDetail = { finished: 0, guest: 1, host: 2 } as const;
export const CrashedDetail = { panicked: 0, crashLoaded: 1 } as const;
export const WatchdogAction = { none: 0, pause: 1, reset: 2, powerOff: 3, shutdown: 4, debug: 5, injectNmi: 6 } as const;
export const IoErrorAction = { none: 0, pause: 1, report: 2 } as const;
export const GraphicsPhase = { connect: 0, initialize: 1, disconnect: 2 } as const;
export const TrayChange = { open: 0, close: 1 } as const;
export const AgentState = { connected: 1, disconnected: 2 } as const;
export const MemoryFailureRecipient = { hypervisor: 0, guest: 1 } as const;
export const MemoryFailureAction = { ignore: 0, inject: 1, fatal: 2, reset: 3 } as const;

export const CpuComparison = { error: -1, incompatible: 0, identical: 1, superset: 2 } as const;
export const BaselineCpuFlag = { expandFeatures: 1, migratable: 2 } as const;
/** "All together" for node statistics. */
export const ALL_CPUS = -1;
export const ALL_CELLS = -1;

export const StoragePoolState = { inactive: 0, building: 1, running: 2, degraded: 3, inaccessible: 4 } as const;
export const StoragePoolBuildFlag = { new: 0, repair: 1, resize: 2, noOverwrite: 4, overwrite: 8 } as const;
export const StoragePoolCreateFlag = { normal: 0, build: 1, buildOverwrite: 2, buildNoOverwrite: 4 } as const;
export const VolumeType = { file: 0, block: 1, directory: 2, network: 3, networkDirectory: 4, ploop: 5 } as const;
export const VolumeCreateFlag = { preallocateMetadata: 1, reflink: 2, validate: 4 } as const;
export const VolumeDeleteFlag = { normal: 0, zeroed: 1, withSnapshots: 2 } as const;
export const VolumeResizeFlag = { allocate: 1, delta: 2, shrink: 4 } as const;
/** For upload and download: holes are passed as their length. */
export const VolumeStreamFlag = { sparse: 1 } as const;
export const WipeAlgorithm = {
  zero: 0,
  nnsa: 1,
  dod: 2,
  bsi: 3,
  gutmann: 4,
  schneier: 5,
  pfitzner7: 6,
  pfitzner33: 7,
  random: 8,
  trim: 9,
} as const;

export const NetworkUpdateCommand = { modify: 1, delete: 2, addLast: 3, addFirst: 4 } as const;
export const NetworkUpdateSection = {
  bridge: 1,
  domain: 2,
  ip: 3,
  ipDhcpHost: 4,
  ipDhcpRange: 5,
  forward: 6,
  forwardInterface: 7,
  forwardPf: 8,
  portGroup: 9,
  dnsHost: 10,
  dnsTxt: 11,
  dnsSrv: 12,
} as const;
export const NetworkEvent = { defined: 0, undefined: 1, started: 2, stopped: 3 } as const;
export const StoragePoolEvent = { defined: 0, undefined: 1, started: 2, stopped: 3, created: 4, deleted: 5 } as const;
export const NodeDeviceEvent = { created: 0, deleted: 1, defined: 2, undefined: 3 } as const;
export const SecretEvent = { defined: 0, undefined: 1 } as const;
export const SecretUsageType = { none: 0, volume: 1, ceph: 2, iscsi: 3, tls: 4, vtpm: 5 } as const;
export const NodeDeviceListFlag = {
  system: 1,
  pciDevice: 2,
  usbDevice: 4,
  usbInterface: 8,
  net: 16,
  scsiHost: 32,
  scsiTarget: 64,
  scsi: 128,
  storage: 256,
  fcHost: 512,
  vports: 1_024,
  scsiGeneric: 2_048,
  drm: 4_096,
  mdevTypes: 8_192,
  mdev: 16_384,
  ccwDevice: 32_768,
  cssDevice: 65_536,
  vdpa: 131_072,
  apCard: 262_144,
  apQueue: 524_288,
  apMatrix: 1_048_576,
  vpd: 2_097_152,
  inactive: 0x4000_0000,
} as const;
/** Asks for text among typed parameters; the wrappers of this library set it where libvirt needs it. */
export const TYPED_PARAM_STRING_OKAY = 4;
