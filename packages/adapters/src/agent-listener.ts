/**
 * The agents' port: TLS 1.3 where both sides show certificates of the site's own authority, WebSocket upgrades and plain `GET`s.
 * The real side of the gateway's `AgentListener` port. Who the peer is comes from its certificate alone; whether it is let in is
 * the caller's decision, for each connection.
 */
import { createServer, type Server } from "node:https";
import type { IncomingMessage, ServerResponse } from "node:http";
import type { Socket } from "node:net";
import type { TLSSocket } from "node:tls";
import { pipeline } from "node:stream/promises";
import { WebSocketServer } from "ws";
import { messageSocket, type MessageSocket } from "./message-socket.ts";

export interface PeerCertificate {
  /** Common name: the host's id. */
  readonly commonName: string;
  /** Hexadecimal, capital letters, as OpenSSL prints it. */
  readonly serial: string;
  /** PEM. */
  readonly certificate: string;
  /** End of its validity, ms since the epoch. */
  readonly notAfter: number;
  /** Address of the connection's other end. */
  readonly address: string;
}

export interface ListenerIdentity {
  /** PEM: certificate and key of this server, and the authority that peers must have. */
  readonly certificate: string;
  readonly privateKey: string;
  readonly authority: string;
}

/** An answer to a `GET`; `body` absent for `HEAD`. */
export interface PlainAnswer {
  readonly status: number;
  readonly headers: Readonly<Record<string, string>>;
  readonly body?: AsyncIterable<Uint8Array>;
}

export interface AgentListenerOptions {
  /** Address to listen at; all by default. */
  readonly address?: string;
  /** 0: any free one. */
  readonly port: number;
  readonly identity: ListenerIdentity;
  readonly socketPath: string;
  /** Largest message taken. */
  readonly maximumMessageBytes: number;
  /** @returns `null` to let the peer in, else why not. */
  admit(peer: PeerCertificate): string | null;
  connected(socket: MessageSocket, peer: PeerCertificate): void;
  /** WebSockets of other peers than agents, with a path and a door of their own. */
  readonly others?: {
    readonly socketPath: string;
    admit(peer: PeerCertificate): string | null;
    connected(socket: MessageSocket, peer: PeerCertificate): void;
  };
  /** `GET` and `HEAD` of other paths. */
  request(request: { readonly method: "GET" | "HEAD"; readonly path: string; readonly range?: string }, peer: PeerCertificate): Promise<PlainAnswer>;
  /** A connection that failed before it was admitted: a foreign certificate, no TLS. */
  rejected(address: string, why: string): void;
}

export interface AgentListener {
  readonly port: number;
  /** New connections get the new certificate; those that stand keep theirs. */
  renew(identity: ListenerIdentity): void;
  /** Cuts all connections. */
  close(): Promise<void>;
}

export async function listenForAgents(options: AgentListenerOptions): Promise<AgentListener> {
  const server = createServer(secureOptions(options.identity));
  server.headersTimeout = 10_000;
  server.maxHeadersCount = 50;
  server.maxConnections = 20_000;
  const sockets = new WebSocketServer({ noServer: true, perMessageDeflate: false, maxPayload: options.maximumMessageBytes, clientTracking: false });
  const open = new Set<Socket>();
  server.on("connection", (socket: Socket) => {
    open.add(socket);
    socket.once("close", () => open.delete(socket));
  });
  server.on("tlsClientError", (error, socket) => options.rejected(socket.remoteAddress ?? "", error.message));
  server.on("upgrade", (request: IncomingMessage, socket: Socket, head: Buffer) => {
    socket.on("error", () => socket.destroy());
    const peer = peerOf(request);
    const door = options.others !== undefined && request.url === options.others.socketPath ? options.others : options;
    const refusal = peer ? door.admit(peer) : "no certificate came with the connection";
    if (!peer || refusal !== null) return refuseUpgrade(socket, 403, refusal ?? "");
    if (request.url !== door.socketPath) return refuseUpgrade(socket, 404, "there is no such path");
    sockets.handleUpgrade(request, socket, head, (webSocket) => door.connected(messageSocket(webSocket, socket), peer));
  });
  server.on("request", (request, response) => {
    void answer(options, request, response).catch(() => response.destroy());
  });
  await new Promise<void>((resolve, reject) => {
    server.once("error", reject);
    server.listen(options.port, options.address, resolve);
  });
  return {
    port: portOf(server),
    renew: (identity) => server.setSecureContext(secureOptions(identity)),
    close: () =>
      new Promise((resolve) => {
        server.close(() => resolve());
        for (const socket of open) socket.destroy();
      }),
  };
}

const secureOptions = (identity: ListenerIdentity) => ({
  cert: identity.certificate,
  key: identity.privateKey,
  ca: identity.authority,
  requestCert: true,
  rejectUnauthorized: true,
  minVersion: "TLSv1.3" as const,
});

function portOf(server: Server): number {
  const address = server.address();
  return typeof address === "object" && address ? address.port : 0;
}

/** @returns `null` without a certificate that the authority signed. */
function peerOf(request: IncomingMessage): PeerCertificate | null {
  const socket = request.socket as TLSSocket; // the server speaks TLS only
  if (!socket.authorized) return null;
  const certificate = socket.getPeerX509Certificate();
  if (!certificate) return null;
  const commonName = /^CN=(.+)$/m.exec(certificate.subject)?.[1];
  if (commonName === undefined) return null;
  return {
    commonName,
    serial: certificate.serialNumber,
    certificate: certificate.toString(),
    notAfter: certificate.validToDate.getTime(),
    address: socket.remoteAddress ?? "",
  };
}

function refuseUpgrade(socket: Socket, status: 403 | 404, why: string): void {
  const text = `${why}\n`;
  socket.end(
    `HTTP/1.1 ${status} ${status === 403 ? "Forbidden" : "Not Found"}\r\nConnection: close\r\nContent-Type: text/plain; charset=utf-8\r\nContent-Length: ${Buffer.byteLength(text)}\r\n\r\n${text}`,
  );
}

async function answer(options: AgentListenerOptions, request: IncomingMessage, response: ServerResponse): Promise<void> {
  request.resume(); // nothing that is answered here has a body
  const peer = peerOf(request);
  const refusal = peer ? options.admit(peer) : "no certificate came with the connection";
  if (!peer || refusal !== null) {
    response.writeHead(403, { "content-type": "text/plain; charset=utf-8", connection: "close" }).end(`${refusal ?? ""}\n`);
    return;
  }
  const { method, url = "/", headers } = request;
  if (method !== "GET" && method !== "HEAD") {
    response.writeHead(405, { allow: "GET, HEAD" }).end();
    return;
  }
  const path = url.split("?", 1)[0] ?? "/";
  const found = await options.request({ method, path, ...(headers.range === undefined ? {} : { range: headers.range }) }, peer);
  response.writeHead(found.status, found.headers);
  if (found.body && method === "GET") await pipeline(found.body, response);
  else response.end();
}
