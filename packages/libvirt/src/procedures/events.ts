/**
 * Events: how they are asked for, and what each message carries. A message comes with the number the registration was answered
 * with (`callback`), so that one stream of messages serves many registrations.
 */
import { type Codec, int, list, nullable, signedSize, size, string, struct, type Structure, type Fields, uint } from "../codec.ts";
import { domain, network, nodeDevice as device, secret, storagePool as pool } from "../structures.ts";
import { typedParameters } from "../typed-params.ts";
import { define } from "./procedure.ts";

export const eventProcedures = {
  connectDomainEventCallbackRegisterAny: define(316, { event: int, domain: nullable(domain) }, { callback: int }),
  connectDomainEventCallbackDeregisterAny: define(317, { callback: int }, {}),
  connectNetworkEventRegisterAny: define(313, { event: int, network: nullable(network) }, { callback: int }),
  connectNetworkEventDeregisterAny: define(314, { callback: int }, {}),
  connectStoragePoolEventRegisterAny: define(368, { event: int, pool: nullable(pool) }, { callback: int }),
  connectStoragePoolEventDeregisterAny: define(369, { callback: int }, {}),
  connectNodeDeviceEventRegisterAny: define(374, { event: int, device: nullable(device) }, { callback: int }),
  connectNodeDeviceEventDeregisterAny: define(375, { callback: int }, {}),
  connectSecretEventRegisterAny: define(380, { event: int, secret: nullable(secret) }, { callback: int }),
  connectSecretEventDeregisterAny: define(381, { callback: int }, {}),
} as const;

/** What an event belongs to; each has its own pair of (de)registration procedures. */
export type EventFamily = "domain" | "network" | "storagePool" | "nodeDevice" | "secret";

export interface EventDefinition<F extends EventFamily, M> {
  readonly family: F;
  /** The number it is asked for by (virDomainEventID and its like). */
  readonly id: number;
  /** The procedure number of its messages. */
  readonly message: number;
  readonly codec: Codec<{ readonly callback: number; readonly body: M }>;
}

/** Most domain messages came before callbacks did and are now wrapped: callback, then the old message. On the wire that is one sequence. */
function event<const F extends EventFamily, const M extends Fields>(
  family: F,
  id: number,
  message: number,
  fields: M,
): EventDefinition<F, Structure<M>> {
  return { family, id, message, codec: struct({ callback: int, body: struct(fields) }) };
}

const parameters = typedParameters(2_048);
const graphicsAddress = struct({ family: int, node: string, service: string });
const identity = struct({ type: string, name: string });

export const eventDefinitions = {
  /** `event` and `detail`: virDomainEventType and the detail of each. */
  lifecycle: event("domain", 0, 318, { domain, event: int, detail: int }),
  reboot: event("domain", 1, 319, { domain }),
  /** Seconds. */
  rtcChange: event("domain", 2, 320, { domain, offset: signedSize }),
  watchdog: event("domain", 3, 321, { domain, action: int }),
  ioError: event("domain", 4, 322, { domain, sourcePath: string, deviceAlias: string, action: int }),
  graphics: event("domain", 5, 323, {
    domain,
    phase: int,
    local: graphicsAddress,
    remote: graphicsAddress,
    authScheme: string,
    subject: list(identity, 20),
  }),
  ioErrorReason: event("domain", 6, 324, { domain, sourcePath: string, deviceAlias: string, action: int, reason: string }),
  controlError: event("domain", 7, 325, { domain }),
  /** `path` of the disk. `blockJob2` names the disk's target (`vda`) instead and is the one to use. */
  blockJob: event("domain", 8, 326, { domain, path: string, type: int, status: int }),
  diskChange: event("domain", 9, 327, {
    domain,
    oldSourcePath: nullable(string),
    newSourcePath: nullable(string),
    deviceAlias: string,
    reason: int,
  }),
  trayChange: event("domain", 10, 328, { domain, deviceAlias: string, reason: int }),
  pmWakeup: event("domain", 11, 329, { reason: int, domain }),
  pmSuspend: event("domain", 12, 330, { reason: int, domain }),
  /** KiB. */
  balloonChange: event("domain", 13, 331, { domain, actual: size }),
  pmSuspendDisk: event("domain", 14, 332, { reason: int, domain }),
  deviceRemoved: event("domain", 15, 333, { domain, deviceAlias: string }),
  /** `status`: 0 completed, 1 failed, 2 cancelled, 3 ready. */
  blockJob2: event("domain", 16, 339, { domain, disk: string, type: int, status: int }),
  tunable: event("domain", 17, 346, { domain, params: parameters }),
  /** `state`: 1 connected, 2 disconnected. */
  agentLifecycle: event("domain", 18, 348, { domain, state: int, reason: int }),
  deviceAdded: event("domain", 19, 354, { domain, deviceAlias: string }),
  migrationIteration: event("domain", 20, 359, { domain, iteration: int }),
  jobCompleted: event("domain", 21, 363, { domain, params: parameters }),
  deviceRemovalFailed: event("domain", 22, 367, { domain, deviceAlias: string }),
  metadataChange: event("domain", 23, 379, { domain, type: int, uri: nullable(string) }),
  /** Bytes. */
  blockThreshold: event("domain", 24, 385, { domain, device: string, path: nullable(string), threshold: size, excess: size }),
  memoryFailure: event("domain", 25, 423, { domain, recipient: int, action: int, flags: uint }),
  memoryDeviceSizeChange: event("domain", 26, 438, { domain, alias: string, size }),

  networkLifecycle: event("network", 0, 315, { network, event: int, detail: int }),
  storagePoolLifecycle: event("storagePool", 0, 370, { pool, event: int, detail: int }),
  storagePoolRefresh: event("storagePool", 1, 373, { pool }),
  nodeDeviceLifecycle: event("nodeDevice", 0, 376, { device, event: int, detail: int }),
  nodeDeviceUpdate: event("nodeDevice", 1, 377, { device }),
  secretLifecycle: event("secret", 0, 382, { secret, event: int, detail: int }),
  secretValueChanged: event("secret", 1, 383, { secret }),
} as const;

export type EventName = keyof typeof eventDefinitions;
type BodyOf<D> = D extends EventDefinition<EventFamily, infer M> ? M : never;

/** What each event carries, by name. */
export type EventBodies = { readonly [K in EventName]: BodyOf<(typeof eventDefinitions)[K]> };

/** The names of one family's events. */
export type EventNameOf<F extends EventFamily> = {
  [K in EventName]: (typeof eventDefinitions)[K]["family"] extends F ? K : never;
}[EventName];

/** An event with its name: a union to switch over. */
export type LibvirtEvent<N extends EventName = EventName> = { readonly [K in N]: { readonly name: K } & EventBodies[K] }[N];

/** CONNECT_EVENT_CONNECTION_CLOSED: the daemon lost its own hypervisor. */
export const CONNECTION_CLOSED_MESSAGE = 362;
