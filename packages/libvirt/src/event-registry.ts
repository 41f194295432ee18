/**
 * Who wants to hear which events. One registration at the daemon serves all listeners of the same event and target; after a
 * reconnect everything is registered again before calls go on. Used by `libvirt.ts` alone.
 */
import { type Codec, decodeValue, encodeValue } from "./codec.ts";
import type { Logger } from "./ports.ts";
import { type EventFamily, eventDefinitions, type EventName, type LibvirtEvent } from "./procedures/events.ts";
import { type Procedure, QEMU_PROGRAM, REMOTE_PROGRAM } from "./procedures/procedure.ts";
import { QEMU_MONITOR_EVENT_MESSAGE, qemuMonitorEvent } from "./procedures/qemu.ts";
import { procedures } from "./procedures/table.ts";
import type { DomainReference } from "./structures.ts";
import type { Carried } from "./codec.ts";
import type { Connection } from "./wire-connection.ts";

export interface Subscription {
  /** No further event is delivered once this was called; resolves when the daemon knows it too. */
  close(): Promise<void>;
}

export interface EventTarget {
  /** Only this domain's events (domain events only). */
  readonly domain?: DomainReference | undefined;
}

export type MonitorEvent = Carried<typeof qemuMonitorEvent>;

/** Makes a call on the main connection. */
export type MainCall = <A, R>(procedure: Procedure<A, R>, args: A) => Promise<R>;

interface Registration {
  readonly key: string;
  readonly family: EventFamily | "monitor";
  readonly register: { readonly procedure: Procedure<unknown, unknown>; readonly args: unknown };
  readonly listeners: Set<(event: unknown) => void>;
  /** The daemon's number for it; undefined while it is not registered. */
  callback: number | undefined;
  /** Being registered right now. */
  pending: boolean;
  ready: Promise<void>;
}

interface Message {
  readonly family: EventFamily | "monitor";
  readonly decode: (payload: Uint8Array) => { readonly callback: number; readonly event: unknown };
}

/** Messages kept for a registration whose answer has not been read yet. */
const MAX_EARLY_MESSAGES = 1_000;

export class EventRegistry {
  readonly #call: MainCall;
  readonly #logger: Logger;
  readonly #registrations = new Map<string, Registration>();
  readonly #byCallback = new Map<string, Registration>();
  readonly #messages = messageTable();
  #registering = 0;
  #early: { readonly family: string; readonly callback: number; readonly event: unknown }[] = [];

  constructor(call: MainCall, logger: Logger) {
    this.#call = call;
    this.#logger = logger;
  }

  /** Resolves when the daemon has agreed: every event from then on is delivered, in order. */
  async subscribe<N extends EventName>(
    names: readonly N[],
    listener: (event: LibvirtEvent<N>) => void,
    target: EventTarget = {},
  ): Promise<Subscription> {
    const opened: Subscription[] = [];
    try {
      for (const name of names) {
        const definition = eventDefinitions[name];
        const register = registration(definition.family, definition.id, target);
        const key = `${name} ${target.domain?.uuid ?? ""}`;
        // A registration delivers only the events of its own name.
        opened.push(await this.#add(key, definition.family, register, listener as (event: unknown) => void));
      }
    } catch (error) {
      await Promise.all(opened.map((subscription) => subscription.close()));
      throw error;
    }
    return { close: async () => void (await Promise.all(opened.map((subscription) => subscription.close()))) };
  }

  /** QEMU's own (QMP) events, unchanged; `event` limits them to one name. */
  subscribeMonitor(
    listener: (event: MonitorEvent) => void,
    target: EventTarget & { readonly event?: string | undefined } = {},
  ): Promise<Subscription> {
    const args = { domain: target.domain ?? null, event: target.event ?? null, flags: 0 };
    const register = { procedure: procedures.qemuConnectDomainMonitorEventRegister, args };
    const key = `monitor ${target.event ?? ""} ${target.domain?.uuid ?? ""}`;
    // The family `monitor` delivers monitor events only.
    return this.#add(key, "monitor", register, listener as (event: unknown) => void);
  }

  /** A message from the main connection. Never throws. */
  deliver(program: number, procedure: number, payload: Uint8Array): void {
    const message = this.#messages.get(`${program}:${procedure}`);
    if (message === undefined) return this.#logger.debug({ program, procedure }, "an event of an unknown kind was dropped");
    try {
      const { callback, event } = message.decode(payload);
      const target = this.#byCallback.get(`${message.family}:${callback}`);
      if (target !== undefined) this.#notify(target, event);
      else if (this.#registering > 0 && this.#early.length < MAX_EARLY_MESSAGES) this.#early.push({ family: message.family, callback, event });
    } catch (error) {
      this.#logger.warn({ program, procedure, reason: String(error) }, "an event could not be understood and was dropped");
    }
  }

  /** The main connection is gone, and with it all registrations. */
  detach(): void {
    this.#byCallback.clear();
    this.#early = [];
    for (const entry of this.#registrations.values()) entry.callback = undefined;
  }

  /** Registers everything again on a new main connection. Rejects when that is lost meanwhile. */
  async attach(connection: Connection, signal: AbortSignal): Promise<void> {
    for (const entry of this.#registrations.values()) {
      // One that waits for a connection registers itself.
      if (entry.pending) continue;
      try {
        await this.#register(entry, (procedure, args) => connection.call(procedure, encodeValue(procedure.args, args), signal));
      } catch (error) {
        if (connection.isClosed || signal.aborted) throw error;
        this.#logger.warn({ event: entry.key, reason: String(error) }, "the daemon does not give this event any more");
      }
    }
  }

  async #add(
    key: string,
    family: EventFamily | "monitor",
    register: Registration["register"],
    listener: (event: unknown) => void,
  ): Promise<Subscription> {
    let entry = this.#registrations.get(key);
    if (entry === undefined) {
      entry = { key, family, register, listeners: new Set(), callback: undefined, pending: false, ready: Promise.resolve() };
      this.#registrations.set(key, entry);
      entry.ready = this.#register(entry, this.#call);
    }
    const added = entry;
    // A wrapper of its own, so that one listener can be subscribed twice.
    const deliver = (event: unknown) => listener(event);
    added.listeners.add(deliver);
    try {
      await added.ready;
    } catch (error) {
      added.listeners.delete(deliver);
      if (this.#registrations.get(key) === added) this.#registrations.delete(key);
      throw error;
    }
    return { close: () => this.#remove(added, deliver) };
  }

  async #register(entry: Registration, call: MainCall): Promise<void> {
    this.#registering += 1;
    entry.pending = true;
    try {
      const reply = await call(entry.register.procedure, entry.register.args);
      // All registering procedures answer with the number of the callback.
      entry.callback = (reply as { readonly callback: number }).callback;
      this.#byCallback.set(`${entry.family}:${entry.callback}`, entry);
      this.#deliverEarly(entry);
    } finally {
      entry.pending = false;
      this.#registering -= 1;
      if (this.#registering === 0) this.#early = [];
    }
  }

  #deliverEarly(entry: Registration): void {
    const early = this.#early;
    const mine = (message: (typeof early)[number]) => message.family === entry.family && message.callback === entry.callback;
    this.#early = early.filter((message) => !mine(message));
    for (const message of early.filter(mine)) this.#notify(entry, message.event);
  }

  async #remove(entry: Registration, deliver: (event: unknown) => void): Promise<void> {
    if (!entry.listeners.delete(deliver) || entry.listeners.size > 0) return;
    this.#registrations.delete(entry.key);
    const { callback } = entry;
    // Without a number it is lost with its connection, or about to be registered again by a reconnect: then events without listeners come, and go nowhere.
    if (callback === undefined) return;
    this.#byCallback.delete(`${entry.family}:${callback}`);
    try {
      await this.#call(deregistration[entry.family], { callback });
    } catch (error) {
      this.#logger.debug(
        { event: entry.key, reason: String(error) },
        "an event could not be deregistered; the daemon forgets it with the connection",
      );
    }
  }

  #notify(entry: Registration, event: unknown): void {
    for (const listener of Array.from(entry.listeners)) {
      try {
        listener(event);
      } catch (error) {
        this.#logger.warn({ event: entry.key, reason: String(error) }, "a listener of an event failed");
      }
    }
  }
}

const deregistration = {
  domain: procedures.connectDomainEventCallbackDeregisterAny,
  network: procedures.connectNetworkEventDeregisterAny,
  storagePool: procedures.connectStoragePoolEventDeregisterAny,
  nodeDevice: procedures.connectNodeDeviceEventDeregisterAny,
  secret: procedures.connectSecretEventDeregisterAny,
  monitor: procedures.qemuConnectDomainMonitorEventDeregister,
} as const;

function registration(family: EventFamily, event: number, target: EventTarget): Registration["register"] {
  switch (family) {
    case "domain":
      return { procedure: procedures.connectDomainEventCallbackRegisterAny, args: { event, domain: target.domain ?? null } };
    case "network":
      return { procedure: procedures.connectNetworkEventRegisterAny, args: { event, network: null } };
    case "storagePool":
      return { procedure: procedures.connectStoragePoolEventRegisterAny, args: { event, pool: null } };
    case "nodeDevice":
      return { procedure: procedures.connectNodeDeviceEventRegisterAny, args: { event, device: null } };
    case "secret":
      return { procedure: procedures.connectSecretEventRegisterAny, args: { event, secret: null } };
  }
}

function messageTable(): ReadonlyMap<string, Message> {
  const messages = new Map<string, Message>();
  for (const [name, { family, message, codec }] of Object.entries(eventDefinitions)) {
    const body: Codec<{ readonly callback: number; readonly body: object }> = codec;
    messages.set(`${REMOTE_PROGRAM}:${message}`, {
      family,
      decode: (payload) => {
        const decoded = decodeValue(body, payload);
        return { callback: decoded.callback, event: { name, ...decoded.body } };
      },
    });
  }
  messages.set(`${QEMU_PROGRAM}:${QEMU_MONITOR_EVENT_MESSAGE}`, {
    family: "monitor",
    decode: (payload) => {
      const event = decodeValue(qemuMonitorEvent, payload);
      return { callback: event.callback, event };
    },
  });
  return messages;
}
