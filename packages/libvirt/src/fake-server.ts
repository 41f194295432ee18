/**
 * A daemon in memory, made from the same procedure table as the client: for tests of whatever uses this library, without libvirt.
 * It answers what it is told to; it is no hypervisor. Sign-in, features, events' registrations and pings are answered by themselves.
 */
import { type Codec, decodeValue, encodeValue } from "./codec.ts";
import { ErrorCode, type ErrorCodeName, ErrorSource } from "./error-codes.ts";
import { encodeFrame, type Frame, FrameSplitter, KEEPALIVE_PING, KEEPALIVE_PONG, KEEPALIVE_PROGRAM, MessageStatus, MessageType } from "./frame.ts";
import { memoryWirePair } from "./memory-wire.ts";
import type { Transport, Wire } from "./ports.ts";
import { type EventBodies, eventDefinitions, type EventName } from "./procedures/events.ts";
import { type Procedure, REMOTE_PROGRAM } from "./procedures/procedure.ts";
import { type Arguments, type ProcedureName, procedures, type Reply } from "./procedures/table.ts";
import { remoteError } from "./structures.ts";
import { decodeHole, encodeHole, type StreamPiece } from "./stream.ts";
import { XdrError } from "./xdr.ts";

/** Thrown by a handler: the client gets it as a `LibvirtError`. */
export class FakeLibvirtError extends Error {
  override readonly name = "FakeLibvirtError";
  readonly code: number;
  readonly from: number;

  constructor(code: ErrorCodeName, message: string, from: number = ErrorSource.qemu) {
    super(message);
    this.code = ErrorCode[code];
    this.from = from;
  }
}

/** The daemon's end of a stream. */
export interface FakeStream {
  send(data: Uint8Array): void;
  sendHole(lengthBytes: number): void;
  /** The end of what this side sends. */
  sendEnd(): void;
  fail(error: FakeLibvirtError): void;
  /** From now on what is sent goes out at once, before the reply: a real daemon's event loop may be quicker than its worker. */
  overtakeReply(): void;
  /** What the client sends, in order; ends when it finishes (which is then confirmed) or breaks off. */
  readonly received: AsyncIterable<StreamPiece>;
  /** How the client ended it; undefined as long as it is open. */
  ended(): "finished" | "aborted" | undefined;
}

export interface FakeCall {
  /** Which of the server's connections, from 0 in the order they were made. */
  readonly connection: number;
  /** For procedures that open one. Data sent before the handler returns goes out after the reply, unless it overtakes it. */
  readonly stream: FakeStream;
}

export type FakeHandlers = { [N in ProcedureName]?: (args: Arguments<N>, call: FakeCall) => Reply<N> | Promise<Reply<N>> };

export interface FakeServerOptions {
  readonly handlers?: FakeHandlers;
  /** Default true. False: pings stay unanswered, as from a frozen host. */
  readonly answersPings?: boolean;
}

const byNumber = new Map(Object.entries(procedures).map(([key, procedure]) => [`${procedure.program}:${procedure.number}`, { key, procedure }]));

const registering: readonly string[] = [
  "connectDomainEventCallbackRegisterAny",
  "connectNetworkEventRegisterAny",
  "connectStoragePoolEventRegisterAny",
  "connectNodeDeviceEventRegisterAny",
  "connectSecretEventRegisterAny",
  "qemuConnectDomainMonitorEventRegister",
];

export class FakeServer {
  /** Hand this to `connect`. */
  readonly transport: Transport;
  /** Change at any time; the next call is answered by what stands here then. */
  readonly handlers: FakeHandlers;
  answersPings: boolean;
  /** While true, connecting fails. */
  refusesConnections = false;
  /** Answers to pings that were sent with `sendRaw`. */
  pongsReceived = 0;
  /** The name of every call that arrived, in order, over all connections. */
  readonly calls: string[] = [];
  readonly #connections: FakeConnection[] = [];

  constructor(options: FakeServerOptions = {}) {
    this.handlers = options.handlers ?? {};
    this.answersPings = options.answersPings ?? true;
    this.transport = {
      description: "fake",
      open: async (signal) => {
        signal.throwIfAborted();
        if (this.refusesConnections) throw new Error("connection refused");
        const [ours, theirs] = memoryWirePair();
        this.accept(ours);
        return theirs;
      },
    };
  }

  /** Serves a wire, for example a real socket in a test of a transport. */
  accept(wire: Wire): void {
    this.#connections.push(new FakeConnection(this, wire, this.#connections.length));
  }

  /** Connections made so far, closed ones included. */
  get connectionsMade(): number {
    return this.#connections.length;
  }

  get openConnections(): number {
    return this.#connections.filter((connection) => connection.open).length;
  }

  /** The most calls that were ever unanswered at once on one connection. */
  get mostInFlight(): number {
    return Math.max(0, ...this.#connections.map((connection) => connection.mostInFlight));
  }

  /** Sends an event to every connection that registered for it. Returns how many messages went out. */
  emit<N extends EventName>(name: N, body: EventBodies[N]): number {
    const { family, id, message } = eventDefinitions[name];
    // The codec and the body are the same entry's.
    const codec = eventDefinitions[name].codec as Codec<{ readonly callback: number; readonly body: unknown }>;
    let sent = 0;
    for (const connection of this.#connections) {
      for (const callback of connection.registered(family, id)) {
        connection.send(REMOTE_PROGRAM, message, MessageType.event, 0, MessageStatus.ok, encodeValue(codec, { callback, body }));
        sent += 1;
      }
    }
    return sent;
  }

  /** Ends all connections, as a daemon that is killed. */
  dropConnections(): void {
    for (const connection of this.#connections) connection.drop();
  }

  /** Sends bytes as they are to all connections: for tests of bad input. */
  sendRaw(bytes: Uint8Array): void {
    for (const connection of this.#connections) connection.sendRaw(bytes);
  }
}

class FakeConnection {
  readonly #server: FakeServer;
  readonly #wire: Wire;
  readonly #index: number;
  readonly #splitter = new FrameSplitter();
  readonly #streams = new Map<number, FakeStreamEnd>();
  readonly #callbacks = new Map<number, { readonly family: string; readonly event: number }>();
  #nextCallback = 1;
  #inFlight = 0;
  mostInFlight = 0;
  open = true;

  constructor(server: FakeServer, wire: Wire, index: number) {
    this.#server = server;
    this.#wire = wire;
    this.#index = index;
    wire.attach({
      data: (bytes) => {
        for (const frame of this.#splitter.push(bytes)) this.#dispatch(frame);
      },
      drain: () => undefined,
      closed: () => {
        this.open = false;
        for (const stream of this.#streams.values()) stream.end("aborted");
      },
    });
  }

  registered(family: string, event: number): readonly number[] {
    if (!this.open) return [];
    return [...this.#callbacks].filter(([, wanted]) => wanted.family === family && wanted.event === event).map(([callback]) => callback);
  }

  drop(): void {
    this.open = false;
    this.#wire.destroy();
  }

  sendRaw(bytes: Uint8Array): void {
    if (this.open) this.#wire.write(bytes);
  }

  send(program: number, procedure: number, type: number, serial: number, status: number, payload?: Uint8Array): void {
    if (this.open) this.#wire.write(encodeFrame({ program, procedure, type, serial, status }, payload));
  }

  #dispatch(frame: Frame): void {
    if (frame.program === KEEPALIVE_PROGRAM) {
      if (frame.procedure === KEEPALIVE_PING && this.#server.answersPings) {
        this.send(KEEPALIVE_PROGRAM, KEEPALIVE_PONG, MessageType.event, 0, MessageStatus.ok);
      } else if (frame.procedure === KEEPALIVE_PONG) this.#server.pongsReceived += 1;
    } else if (frame.type === MessageType.call) void this.#serve(frame);
    else this.#streams.get(frame.serial)?.receive(frame);
  }

  async #serve(frame: Frame): Promise<void> {
    const { program, procedure: number, serial } = frame;
    const found = byNumber.get(`${program}:${number}`);
    this.#inFlight += 1;
    this.mostInFlight = Math.max(this.mostInFlight, this.#inFlight);
    const stream = new FakeStreamEnd((type, status, payload) => this.send(program, number, type, serial, status, payload));
    try {
      if (found === undefined) throw new FakeLibvirtError("rpc", `unknown procedure: ${number}`, ErrorSource.rpc);
      this.#server.calls.push(found.procedure.name);
      if (found.procedure.stream !== "none") this.#streams.set(serial, stream);
      const reply = await this.#answer(found.key, found.procedure, frame, stream);
      this.send(program, number, MessageType.reply, serial, MessageStatus.ok, reply);
      // What was held back until the reply was out.
      stream.overtakeReply();
    } catch (error) {
      this.#streams.delete(serial);
      this.send(program, number, MessageType.reply, serial, MessageStatus.error, errorPayload(error));
    } finally {
      this.#inFlight -= 1;
    }
  }

  async #answer(key: string, procedure: Procedure<unknown, unknown>, frame: Frame, stream: FakeStream): Promise<Uint8Array> {
    const args = decodeValue(procedure.args, frame.payload);
    // Keys of `byNumber` are the table's; the handler under a key takes that procedure's arguments.
    const handler = this.#server.handlers[key as ProcedureName] as ((args: unknown, call: FakeCall) => unknown) | undefined;
    const reply = handler === undefined ? this.#byDefault(key, args) : await handler(args, { connection: this.#index, stream });
    return encodeValue(procedure.reply, reply);
  }

  #byDefault(key: string, args: unknown): unknown {
    if (key === "authList") return { types: [0] };
    if (key === "connectOpen" || key === "connectClose") return {};
    if (key === "connectSupportsFeature") return { supported: true };
    if (registering.includes(key)) {
      const callback = this.#nextCallback;
      this.#nextCallback += 1;
      // `connectStoragePoolEventRegisterAny` → `storagePool`: the family's name is in the procedure's.
      const family = key.replace(/^connect(.*?)Event.*$/, (_all, noun: string) => noun.charAt(0).toLowerCase() + noun.slice(1));
      // All registering procedures but the monitor's carry the event's number.
      this.#callbacks.set(callback, { family, event: (args as { readonly event: number }).event });
      return { callback };
    }
    if (/Deregister/.test(key)) {
      // All deregistering procedures carry the callback's number.
      this.#callbacks.delete((args as { readonly callback: number }).callback);
      return {};
    }
    throw new FakeLibvirtError("noSupport", `the fake server has no handler for ${key}`);
  }
}

class FakeStreamEnd implements FakeStream {
  readonly #sendFrame: (type: number, status: number, payload?: Uint8Array) => void;
  #started = false;
  #queued: (() => void)[] = [];
  #pieces: StreamPiece[] = [];
  #wake: (() => void) | undefined;
  #end: "finished" | "aborted" | undefined;

  constructor(sendFrame: (type: number, status: number, payload?: Uint8Array) => void) {
    this.#sendFrame = sendFrame;
  }

  readonly received: AsyncIterable<StreamPiece> = {
    [Symbol.asyncIterator]: () => ({
      next: async () => {
        for (;;) {
          const value = this.#pieces.shift();
          if (value !== undefined) return { done: false, value };
          if (this.#end !== undefined) return { done: true, value: undefined };
          await new Promise<void>((resolve) => {
            this.#wake = resolve;
          });
        }
      },
    }),
  };

  ended = () => this.#end;

  send(data: Uint8Array): void {
    this.#queue(() => this.#sendFrame(MessageType.stream, MessageStatus.continue, data));
  }

  sendHole(lengthBytes: number): void {
    this.#queue(() => this.#sendFrame(MessageType.streamHole, MessageStatus.continue, encodeHole(lengthBytes)));
  }

  sendEnd(): void {
    this.#queue(() => this.#sendFrame(MessageType.stream, MessageStatus.continue));
  }

  fail(error: FakeLibvirtError): void {
    this.#queue(() => this.#sendFrame(MessageType.stream, MessageStatus.error, errorPayload(error)));
  }

  overtakeReply(): void {
    this.#started = true;
    for (const run of this.#queued) run();
    this.#queued = [];
  }

  receive(frame: Frame): void {
    if (frame.status === MessageStatus.ok) {
      this.#queue(() => this.#sendFrame(MessageType.stream, MessageStatus.ok));
      this.end("finished");
    } else if (frame.status === MessageStatus.error) this.end("aborted");
    else if (frame.type === MessageType.streamHole) this.#pieces.push({ kind: "hole", lengthBytes: decodeHole(frame.payload) });
    else this.#pieces.push({ kind: "data", data: new Uint8Array(frame.payload) });
    this.#wake?.();
  }

  end(how: "finished" | "aborted"): void {
    this.#end ??= how;
    this.#wake?.();
  }

  #queue(run: () => void): void {
    if (this.#started) run();
    else this.#queued.push(run);
  }
}

function errorPayload(error: unknown): Uint8Array {
  const fake = error instanceof FakeLibvirtError ? error : undefined;
  const badArguments = error instanceof XdrError;
  return encodeValue(remoteError, {
    code: fake?.code ?? (badArguments ? ErrorCode.rpc : ErrorCode.internalError),
    from: fake?.from ?? ErrorSource.rpc,
    message: error instanceof Error ? error.message : String(error),
    level: 2,
    domain: null,
    text1: null,
    text2: null,
    text3: null,
    number1: 0,
    number2: 0,
    network: null,
  });
}
