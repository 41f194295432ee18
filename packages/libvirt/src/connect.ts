/** The front door: a client for a URI, with the calls grouped by noun. */
import type { CallOptions } from "./calls.ts";
import { domainCalls } from "./domains.ts";
import { hostCalls, networkCalls, nodeDeviceCalls, secretCalls } from "./host.ts";
import { Libvirt, type LibvirtOptions } from "./libvirt.ts";
import { MigrationSession } from "./migration-session.ts";
import { silentLogger } from "./ports.ts";
import { screenCalls } from "./screens.ts";
import { checkpointCalls, snapshotCalls } from "./snapshots.ts";
import { storagePoolCalls, volumeCalls } from "./storage-pools.ts";
import { nodeTimers } from "./transport-node.ts";
import { parseUri } from "./transport-uri.ts";

export type ConnectOptions = Partial<LibvirtOptions>;

/**
 * Connects. `uri` chooses hypervisor and transport (`qemu:///system` by default); with a `transport` given, `uri` names the hypervisor
 * only. Rejects with a `LibvirtConnectionError` or the daemon's `LibvirtError`. Close the result, or its connections keep Node alive.
 */
export async function connect(options: ConnectOptions = {}, signal?: AbortSignal): Promise<LibvirtClient> {
  const text = options.uri ?? "qemu:///system";
  const { transport, uri } = options.transport === undefined ? parseUri(text) : { transport: options.transport, uri: text };
  const libvirt = await Libvirt.connect(
    { ...options, transport, uri, timers: options.timers ?? nodeTimers, logger: options.logger ?? silentLogger },
    signal,
  );
  return withNouns(libvirt);
}

function withNouns(libvirt: Libvirt) {
  const caller = {
    call: libvirt.call.bind(libvirt),
    openStream: libvirt.openStream.bind(libvirt),
  };
  return {
    /** Typed by the procedure's name; see `procedures`. */
    call: caller.call,
    callRaw: libvirt.callRaw.bind(libvirt),
    openStream: caller.openStream,
    openSession: libvirt.openSession.bind(libvirt),
    /** For one side of a managed migration; see `MigrationSession`. */
    openMigration: async (options?: CallOptions) => new MigrationSession(await libvirt.openSession(options)),
    events: libvirt.events,
    get state() {
      return libvirt.state;
    },
    onState: libvirt.onState.bind(libvirt),
    health: libvirt.health.bind(libvirt),
    close: libvirt.close.bind(libvirt),
    host: hostCalls(caller),
    domains: { ...domainCalls(caller), ...screenCalls(caller) },
    snapshots: snapshotCalls(caller),
    checkpoints: checkpointCalls(caller),
    pools: storagePoolCalls(caller),
    volumes: volumeCalls(caller),
    networks: networkCalls(caller),
    secrets: secretCalls(caller),
    nodeDevices: nodeDeviceCalls(caller),
  };
}

export type LibvirtClient = ReturnType<typeof withNouns>;
