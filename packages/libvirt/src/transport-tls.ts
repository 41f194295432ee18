/** A daemon by TLS, both sides with certificates. After the handshake the daemon sends one byte, 1, when it accepts ours. */
import { connect, type TLSSocket } from "node:tls";
import type { Transport } from "./ports.ts";
import { streamWire, whenReady } from "./transport-node.ts";

export const TLS_PORT = 16_514;

export interface TlsOptions {
  readonly host: string;
  readonly port?: number | undefined;
  /** PEM texts: the authority that signed the daemon's certificate, and our own certificate with its key. */
  readonly ca: string;
  readonly certificate: string;
  readonly key: string;
  /** The name the daemon's certificate must carry, when it is not `host`. */
  readonly serverName?: string | undefined;
}

export function tlsTransport(options: TlsOptions): Transport {
  const port = options.port ?? TLS_PORT;
  const description = `tls:${options.host}:${port}`;
  return {
    description,
    open: async (signal) => {
      const { host, ca, certificate: cert, key, serverName: servername } = options;
      const socket = connect({ host, port, ca, cert, key, minVersion: "TLSv1.2", ...(servername === undefined ? {} : { servername }) });
      await whenReady(socket, "secureConnect", signal);
      await acceptance(socket, description, signal);
      return streamWire(socket);
    },
  };
}

/** Waits for the daemon's byte; what came after it stays in the socket. */
async function acceptance(socket: TLSSocket, description: string, signal: AbortSignal): Promise<void> {
  for (;;) {
    // read() returns a Buffer: no encoding is set on this socket.
    const chunk = socket.read() as Buffer | null;
    if (chunk === null) await readable(socket, description, signal);
    else if (chunk[0] === 1) {
      if (chunk.length > 1) socket.unshift(chunk.subarray(1));
      return;
    } else {
      socket.destroy();
      throw new Error(`${description} refused our certificate; check that its authority is the daemon's and that the daemon allows our name`);
    }
  }
}

async function readable(socket: TLSSocket, description: string, signal: AbortSignal): Promise<void> {
  try {
    await whenReady(socket, "readable", signal);
  } catch (error) {
    if (signal.aborted) throw error;
    throw new Error(
      `${description} closed the connection instead of accepting our certificate: ${error instanceof Error ? error.message : String(error)}`,
      {
        cause: error,
      },
    );
  }
}
