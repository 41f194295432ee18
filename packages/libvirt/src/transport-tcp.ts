/** A daemon by TCP, in clear and without a password: for laboratories and tunnels only. */
import { createConnection } from "node:net";
import type { Transport } from "./ports.ts";
import { streamWire, whenReady } from "./transport-node.ts";

export const TCP_PORT = 16_509;

export function tcpTransport(host: string, port: number = TCP_PORT): Transport {
  return {
    description: `tcp:${host}:${port}`,
    open: async (signal) => {
      const socket = createConnection({ host, port, noDelay: true });
      await whenReady(socket, "connect", signal);
      return streamWire(socket);
    },
  };
}
