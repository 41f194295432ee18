/**
 * Consoles: WebSockets on the API's port, joined with the stream that the host's agent opens (serial: bytes; VNC: RFB). Nothing on a
 * host listens; whoever is here has passed the same doors as every request, and is asked again while the console stands.
 * Called by the start-up code, once for an API.
 */
import type { IncomingMessage } from "node:http";
import type { Duplex } from "node:stream";
import type { Clock, Logger } from "@sheaf/base";
import { apiPrefix } from "@sheaf/contract";
import { problems, SheafError, vmRefusal, vmState, type Privilege, type RecordOf } from "@sheaf/model";
import { WebSocketServer, type WebSocket } from "ws";
import { problemText, toSheafError } from "../api/problem-answers.ts";
import type { AuditFields } from "../audit/audit-entry.ts";
import type { AgentStream, StreamHandlers } from "../gateway/agent-streams.ts";

/** What is needed of the API; `Api` is one, once its trail and its counter of refusals are handed over. */
export interface ConsoleDoor {
  authorize(
    request: { readonly authorization: string | undefined; readonly from: string },
    privilege: Privilege,
    kind: "vm",
    reference: string,
    project?: string,
  ): { readonly caller: { readonly actor: string }; readonly record: RecordOf<"vm"> };
  record(fields: AuditFields): Promise<void>;
  refused(attempt: { readonly actor: string; readonly from: string; readonly action: string; readonly code: SheafError["code"] }): void;
}

/** What is needed of the gateway. */
export interface ConsoleStreams {
  connected(hostId: string): boolean;
  openConsole(
    hostId: string,
    console: { readonly vmId: string; readonly type: ConsoleType },
    handlers: StreamHandlers,
    timeoutMs: number,
  ): Promise<AgentStream>;
}

export type ConsoleType = "serial" | "vnc";

/** `server` of Fastify: HTTP/1.1 connections of its port. */
export interface UpgradingServer {
  on(event: "upgrade", listener: (request: IncomingMessage, socket: Duplex, head: Buffer) => void): unknown;
}

export interface ConsoleLimits {
  readonly openTimeoutMs: number;
  /** Who watches is asked for the right again, and whether he is still there. */
  readonly lookEveryMs: number;
  /** On this server at once. */
  readonly consoles: number;
  /** Unread by the viewer: a serial console, and a screen that may come whole. */
  readonly unreadBytes: Readonly<Record<ConsoleType, number>>;
}

export const defaultConsoleLimits: ConsoleLimits = {
  openTimeoutMs: 15_000,
  lookEveryMs: 30_000,
  consoles: 1000,
  unreadBytes: { serial: 2 ** 20, vnc: 32 * 2 ** 20 },
};

export interface ConsoleOptions {
  readonly door: ConsoleDoor;
  readonly streams: ConsoleStreams;
  readonly clock: Clock;
  readonly logger: Logger;
  readonly limits?: Partial<ConsoleLimits>;
}

export interface Consoles {
  readonly count: number;
  /** Ends all. */
  close(): void;
}

interface Asked {
  readonly type: ConsoleType;
  readonly reference: string;
  readonly project: string | undefined;
  readonly authorization: string | undefined;
  readonly from: string;
}

const inputBytes = 2 ** 20;
const earlyBytesLimit = 8 * 2 ** 20;
const ownProtocol = "sheaf.console";
/** Browsers cannot send headers with a WebSocket: they offer the token as a protocol, which is never answered. */
const bearerProtocol = "sheaf.bearer.";

export function serveConsoles(server: UpgradingServer, options: ConsoleOptions): Consoles {
  const served = new ServedConsoles(options);
  server.on("upgrade", (request, socket, head) => void served.upgrade(request, socket, head));
  return served;
}

class ServedConsoles implements Consoles {
  readonly #options: ConsoleOptions;
  readonly #limits: ConsoleLimits;
  readonly #sockets = new WebSocketServer({
    noServer: true,
    clientTracking: false,
    perMessageDeflate: false,
    maxPayload: inputBytes,
    handleProtocols: (offered) => (offered.has(ownProtocol) ? ownProtocol : false),
  });
  readonly #open = new Set<{ end(code: number, reason: string): void }>();
  /** Admitted, the agent is asked. */
  #opening = 0;

  constructor(options: ConsoleOptions) {
    this.#options = options;
    this.#limits = { ...defaultConsoleLimits, ...options.limits };
  }

  get count(): number {
    return this.#open.size;
  }

  close(): void {
    for (const console of this.#open) console.end(1001, "the server is stopping");
  }

  async upgrade(request: IncomingMessage, socket: Duplex, head: Buffer): Promise<void> {
    socket.on("error", () => socket.destroy());
    const asked = read(request);
    let actor = "(nobody)";
    try {
      if (!asked)
        throw new SheafError("not-found", "There is no WebSocket at this path.", {
          next: `Consoles are at ${apiPrefix}/vms/<id>/console/serial and …/vnc.`,
        });
      const { caller, record } = this.#authorize(asked);
      ({ actor } = caller);
      if (this.#open.size + this.#opening >= this.#limits.consoles) {
        throw new SheafError("throttled", `${this.#limits.consoles} consoles are open on this server.`, {
          next: "Close others.",
          retryAfterMs: 10_000,
        });
      }
      await this.#join(asked, actor, record, request, socket, head);
    } catch (thrown) {
      const error = toSheafError(thrown);
      if (asked && ["unauthenticated", "not-allowed"].includes(error.code)) {
        this.#options.door.refused({ actor, from: asked.from, action: actionOf(asked.type), code: error.code });
      }
      if (problems[error.code].status >= 500)
        this.#options.logger.warn({ error: String(thrown), from: asked?.from }, "a console could not be opened");
      refuse(socket, error);
    }
  }

  #authorize({ authorization, from, reference, project }: Asked): ReturnType<ConsoleDoor["authorize"]> {
    return this.#options.door.authorize({ authorization, from }, "vm.console", "vm", reference, project);
  }

  async #join(asked: Asked, actor: string, vm: RecordOf<"vm">, request: IncomingMessage, socket: Duplex, head: Buffer): Promise<void> {
    const { streams, door } = this.#options;
    const host = vm.placement?.host;
    const refusal = vmRefusal("console", vmState(vm, host !== undefined && streams.connected(host)), vm.spec);
    if (refusal !== null || host === undefined) {
      throw new SheafError("state-refused", `Machine ${vm.name} has no console now: ${refusal ?? "it is on no host"}.`);
    }
    const relay = new Relay();
    this.#opening += 1;
    let stream: AgentStream;
    try {
      stream = await streams.openConsole(host, { vmId: vm.id, type: asked.type }, relay, this.#limits.openTimeoutMs);
    } finally {
      this.#opening -= 1;
    }
    if (socket.destroyed) return stream.close("the viewer has gone");
    try {
      const target = `vm/${vm.id}`;
      await door.record({
        actor,
        from: asked.from,
        action: actionOf(asked.type),
        target,
        result: "done",
        ...(vm.project === undefined ? {} : { project: vm.project }),
      });
    } catch (error) {
      stream.close("it could not be written to the audit trail");
      throw error;
    }
    this.#sockets.handleUpgrade(request, socket, head, (webSocket) => this.#carry(asked, webSocket, stream, relay));
  }

  #carry(asked: Asked, viewer: WebSocket, stream: AgentStream, relay: Relay): void {
    const { clock } = this.#options;
    const limit = this.#limits.unreadBytes[asked.type];
    let ended = false;
    let alive = true;
    const console = {
      end: (code: number, reason: string): void => {
        if (ended) return;
        ended = true;
        timer.cancel();
        this.#open.delete(console);
        stream.close();
        viewer.close(code, reason.slice(0, 120)); // RFC 6455: at most 123 bytes
      },
    };
    const look = (): void => {
      if (ended) return;
      if (!alive) return void (viewer.terminate(), console.end(1006, "the viewer is gone"));
      try {
        this.#authorize(asked);
      } catch (error) {
        return console.end(1008, error instanceof SheafError ? error.message : "the right to it is gone");
      }
      alive = false;
      viewer.ping();
      timer = clock.setTimer(this.#limits.lookEveryMs, look);
    };
    let timer = clock.setTimer(this.#limits.lookEveryMs, look);
    this.#open.add(console);
    viewer.on("error", () => {}); // it closes, too
    viewer.on("pong", () => (alive = true));
    viewer.on("close", () => console.end(1000, ""));
    viewer.on("message", (data) => {
      alive = true;
      stream.send(Array.isArray(data) ? Buffer.concat(data) : data instanceof ArrayBuffer ? new Uint8Array(data) : data);
    });
    relay.connect({
      bytes: (bytes) => {
        if (ended) return;
        viewer.send(bytes);
        if (viewer.bufferedAmount > limit) console.end(1013, "the viewer reads too slowly");
      },
      ended: (reason) => console.end(reason === undefined ? 1000 : 1011, reason ?? ""),
    });
  }
}

/** The agent may send before the viewer's side stands. */
class Relay implements StreamHandlers {
  #target: StreamHandlers | null = null;
  #early: Uint8Array[] = [];
  #earlyBytes = 0;
  #earlyEnd: { readonly reason: string | undefined } | null = null;

  bytes(bytes: Uint8Array): void {
    if (this.#target) this.#target.bytes(bytes);
    else if ((this.#earlyBytes += bytes.length) > earlyBytesLimit) this.ended("more came than is kept before the viewer's side stands");
    // Copied: the frame is the socket's.
    else this.#early.push(bytes.slice());
  }

  ended(reason: string | undefined): void {
    if (this.#target) this.#target.ended(reason);
    else this.#earlyEnd = { reason };
  }

  connect(target: StreamHandlers): void {
    this.#target = target;
    for (const bytes of this.#early) target.bytes(bytes);
    this.#early = [];
    if (this.#earlyEnd) target.ended(this.#earlyEnd.reason);
  }
}

const actionOf = (type: ConsoleType): string => `vm.console.${type}`;

/** @returns `null` for paths that are no console's */
function read(request: IncomingMessage): Asked | null {
  const [path = "", query = ""] = (request.url ?? "").split("?", 2);
  const match = /^\/vms\/([a-z0-9-]{1,63})\/console\/(serial|vnc)$/.exec(path.startsWith(apiPrefix) ? path.slice(apiPrefix.length) : "");
  if (!match || request.method !== "GET") return null;
  const project = new URLSearchParams(query).get("project") ?? undefined;
  const offered = (request.headers["sec-websocket-protocol"] ?? "").split(",").map((text) => text.trim());
  const ticket = offered.find((text) => text.startsWith(bearerProtocol))?.slice(bearerProtocol.length);
  return {
    reference: match[1] ?? "",
    type: match[2] === "vnc" ? "vnc" : "serial",
    project,
    authorization: request.headers.authorization ?? (ticket === undefined ? undefined : `Bearer ${ticket}`),
    from: request.socket.remoteAddress ?? "",
  };
}

function refuse(socket: Duplex, error: SheafError): void {
  const text = problemText(error, "");
  const { status } = problems[error.code];
  socket.end(
    `HTTP/1.1 ${status} ${error.code}\r\nConnection: close\r\nContent-Type: application/problem+json\r\nContent-Length: ${Buffer.byteLength(text)}\r\n\r\n${text}`,
  );
}
