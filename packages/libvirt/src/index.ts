/** A client of libvirt's RPC protocol, in TypeScript alone. Start with `connect`. */
export { connect } from "./connect.ts";
export type { ConnectOptions, LibvirtClient } from "./connect.ts";
export { Libvirt } from "./libvirt.ts";
export type { ConnectionState, LibvirtHealth, LibvirtOptions } from "./libvirt.ts";
export type { Caller, CallOptions } from "./calls.ts";
export type { Session } from "./session.ts";
export { MigrationSession } from "./migration-session.ts";
export type { MigrationStep } from "./migration-session.ts";
export { LibvirtStream } from "./stream.ts";
export type { StreamPiece } from "./stream.ts";
export type { EventRegistry, EventTarget, MonitorEvent, Subscription } from "./event-registry.ts";
export { cpuMap, domainReference } from "./domains.ts";
export type { DomainHandle, Domains, DomainStatistics } from "./domains.ts";
export { versionText } from "./host.ts";
export type { HypervisorCpuTarget } from "./host.ts";

export {
  isLibvirtError,
  LibvirtAbortError,
  LibvirtClientError,
  LibvirtConnectionError,
  LibvirtError,
  LibvirtProtocolError,
  LibvirtTimeoutError,
} from "./errors.ts";
export { ErrorCode, ErrorSource } from "./error-codes.ts";
export type { ErrorCodeName, ErrorSourceName } from "./error-codes.ts";
export * from "./flags.ts";

export { procedures } from "./procedures/table.ts";
export type { Arguments, ProcedureName, Reply } from "./procedures/table.ts";
export { QEMU_PROGRAM, REMOTE_PROGRAM } from "./procedures/procedure.ts";
export type { Procedure, StreamDirection } from "./procedures/procedure.ts";
export { eventDefinitions } from "./procedures/events.ts";
export type { EventBodies, EventFamily, EventName, EventNameOf, LibvirtEvent } from "./procedures/events.ts";
export type {
  CheckpointReference,
  DomainReference,
  HostInterfaceReference,
  NetworkFilterBindingReference,
  NetworkFilterReference,
  NetworkPortReference,
  NetworkReference,
  NodeDeviceReference,
  RemoteError,
  SecretReference,
  SnapshotReference,
  StoragePoolReference,
  StorageVolumeReference,
} from "./structures.ts";
export { numberParameter, parameter, parametersToRecord, stringParameter } from "./typed-params.ts";
export type { ParameterValue, TypedParameter, TypedValue } from "./typed-params.ts";
export * as codec from "./codec.ts";
export type { Codec } from "./codec.ts";
export { XdrError, XdrReader, XdrWriter } from "./xdr.ts";

export { silentLogger } from "./ports.ts";
export type { Logger, Timer, Timers, Transport, Wire, WireHandlers } from "./ports.ts";
export { nodeTimers, streamWire } from "./transport-node.ts";
export { SYSTEM_SOCKET, unixTransport } from "./transport-unix.ts";
export { tcpTransport } from "./transport-tcp.ts";
export { tlsTransport } from "./transport-tls.ts";
export type { TlsOptions } from "./transport-tls.ts";
export { sshTransport } from "./transport-ssh.ts";
export type { SshOptions } from "./transport-ssh.ts";
export { parseUri } from "./transport-uri.ts";

export { FakeLibvirtError, FakeServer } from "./fake-server.ts";
export type { FakeCall, FakeHandlers, FakeServerOptions, FakeStream } from "./fake-server.ts";
export { memoryWirePair } from "./memory-wire.ts";
