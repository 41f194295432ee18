/** The server's end of the agents' wire, in memory: says welcome, sends documents, keeps what is reported. For tests of the agent alone. */
import {
  type AgentCalls,
  type AgentDocument,
  type AgentMessage,
  type AgentMethod,
  type LeaseGrant,
  type ServerMessage,
  streamHeaderBytes,
} from "@sheaf/contract";
import type { Kind } from "@sheaf/model";
import type { Dialer, Identity, ServerSocket, SocketHandlers } from "../ports.ts";

type Hello = Extract<AgentMessage, { type: "hello" }>;

export class SimulatedServer implements Dialer {
  reachable = true;
  incarnation = "i1";
  leaseMs = 15_000;
  /** What a heartbeat's answer says of the lease; nothing, as servers of the version before, unless set. */
  grant: ((heartbeat: Extract<AgentMessage, { type: "heartbeat" }>) => LeaseGrant) | null = null;
  /** Answers to heartbeats leave when they are let go. */
  delaysBeats: (send: () => void) => void = (send) => send();
  /** Newest value of each part: `vm/<id>/status/agent`. */
  readonly parts = new Map<string, unknown>();
  /** Every reported value in its order. */
  readonly reported: { readonly key: string; readonly value: unknown }[] = [];
  readonly documents = new Map<string, AgentDocument>();
  readonly hellos: Hello[] = [];
  readonly messages: AgentMessage[] = [];
  /** What consoles have shown, by stream. */
  readonly streams = new Map<number, Buffer>();
  /** Image contents by id. */
  readonly images = new Map<string, Uint8Array>();
  /** Bytes after which the next fetch breaks off. */
  breakFetchAfter: number | null = null;
  fetches = 0;
  /** Certificates handed out on request. */
  sign: ((request: string) => Promise<string>) | null = null;
  #handlers: SocketHandlers | null = null;
  #revision = 1;
  #call = 0;
  readonly #replies = new Map<number, (reply: Extract<AgentMessage, { type: "reply" }>) => void>();

  async dial(_identity: Identity, _signal: AbortSignal): Promise<ServerSocket> {
    if (!this.reachable) throw new Error("connection refused");
    const mine: { handlers: SocketHandlers | null } = { handlers: null };
    const end = (reason: string): void => {
      const { handlers } = mine;
      mine.handlers = null;
      if (this.#handlers === handlers) this.#handlers = null;
      queueMicrotask(() => handlers?.closed(1000, reason));
    };
    return {
      unsentBytes: 0,
      send: (data) => {
        if (!mine.handlers) return;
        if (typeof data === "string") this.#receive(JSON.parse(data) as AgentMessage); // of this version's agent
        else this.#receiveStream(data);
      },
      ping: () => queueMicrotask(() => mine.handlers?.alive()),
      close: (_code, reason) => end(reason),
      cut: () => end("cut"),
      listen: (handlers) => {
        mine.handlers = handlers;
        this.#handlers = handlers;
      },
    };
  }

  /** What an archive of the agent holds. */
  archive: Uint8Array = new Uint8Array();
  async fetchArchive() {
    return { body: this.#chunks(this.archive) };
  }

  async *#chunks(bytes: Uint8Array): AsyncGenerator<Uint8Array> {
    for (let at = 0; at < bytes.byteLength; at += 1024) yield bytes.subarray(at, at + 1024);
  }

  async fetchImage(_identity: Identity, imageId: string, offset: number) {
    this.fetches += 1;
    const content = this.images.get(imageId);
    if (!content) throw new Error(`no image ${imageId}`);
    const breakAt = this.breakFetchAfter;
    this.breakFetchAfter = null;
    async function* body(): AsyncGenerator<Uint8Array> {
      if (breakAt === null) return yield content?.subarray(offset) ?? new Uint8Array(0);
      yield content?.subarray(offset, offset + breakAt) ?? new Uint8Array(0);
      throw new Error("connection reset");
    }
    return { offset, totalBytes: content.byteLength, body: body() };
  }

  /** It asks for samples; those of its `messages` are never acknowledged. */
  keepsSamples = false;
  /** What follows the welcome is slow to come. */
  withholdsSync = false;

  /** Cuts the connection; with `reachable` false the agent does not come back. */
  cut(): void {
    const handlers = this.#handlers;
    this.#handlers = null;
    handlers?.closed(1006, "cut");
  }

  /** Its store is an old backup from now on: another life, and lower revisions. */
  restored(incarnation: string): void {
    this.incarnation = incarnation;
    this.#revision = 1;
    for (const [key, document] of this.documents) this.documents.set(key, { ...document, revision: 1 });
    this.cut();
  }

  put(...documents: AgentDocument[]): void {
    for (const document of documents) {
      this.#revision += 1;
      const next = { ...document, revision: this.#revision };
      this.documents.set(`${document.kind}/${document.id}`, next);
      this.#send({ type: "upsert", revision: this.#revision, document: next });
    }
  }

  remove(kind: Kind, id: string, gone: boolean, placement?: { epoch: number; incarnation: string }): void {
    this.documents.delete(`${kind}/${id}`);
    this.#send({ type: "remove", revision: ++this.#revision, kind, id, gone, ...(placement ? { placement } : {}) });
  }

  call<M extends AgentMethod>(method: M, parameters: AgentCalls[M]["in"], timeoutMs = 60_000): Promise<AgentCalls[M]["out"]> {
    const id = ++this.#call;
    return new Promise((resolve, reject) => {
      this.#replies.set(id, (reply) => {
        if (reply.ok) resolve(reply.result as AgentCalls[M]["out"]); // what the contract says of this method
        else reject(Object.assign(new Error(reply.problem.message), { code: reply.problem.code }));
      });
      this.#send({ type: "call", id, method, parameters, timeoutMs });
    });
  }

  part<T>(kind: Kind, id: string, part = "status/agent"): T | undefined {
    return this.parts.get(`${kind}/${id}/${part}`) as T | undefined; // the test knows what it asks for
  }

  /** Types into a console. */
  sendStream(stream: number, bytes: Uint8Array): void {
    const frame = new Uint8Array(streamHeaderBytes + bytes.byteLength);
    new DataView(frame.buffer).setUint32(0, stream);
    frame.set(bytes, streamHeaderBytes);
    this.#handlers?.bytes(frame);
  }

  #receiveStream(frame: Uint8Array): void {
    const stream = new DataView(frame.buffer, frame.byteOffset).getUint32(0);
    this.streams.set(stream, Buffer.concat([this.streams.get(stream) ?? Buffer.alloc(0), frame.subarray(streamHeaderBytes)]));
  }

  #receive(message: AgentMessage): void {
    this.messages.push(message);
    switch (message.type) {
      case "hello":
        this.hellos.push(message);
        this.#send({
          type: "welcome",
          wireVersion: 1,
          serverVersion: "test",
          incarnation: this.incarnation,
          heartbeatMs: 5000,
          leaseMs: this.leaseMs,
          now: 0,
          ...(this.keepsSamples ? { samples: true } : {}),
        });
        if (!this.withholdsSync) this.#send({ type: "sync", revision: this.#revision, documents: [...this.documents.values()] });
        return;
      case "heartbeat":
        return this.delaysBeats(() => this.#send({ type: "beat", sequence: message.sequence, now: 0, ...this.grant?.(message) }));
      case "report":
        for (const { kind, id, part, value } of message.parts) {
          const key = `${kind}/${id}/${part}`;
          this.reported.push({ key, value });
          if (value === null) this.parts.delete(key);
          else this.parts.set(key, value);
        }
        return this.#send({ type: "reported", sequence: message.sequence, refused: [] });
      case "reply":
        this.#replies.get(message.id)?.(message);
        return;
      case "renew-certificate":
        void this.sign?.(message.certificateRequest).then((certificate) => this.#send({ type: "certificate", certificate }));
        return;
      default:
    }
  }

  #send(message: ServerMessage): void {
    const handlers = this.#handlers;
    const text = JSON.stringify(message);
    // As on a network: later, in order.
    queueMicrotask(() => {
      if (this.#handlers === handlers) handlers?.text(text);
    });
  }
}
