/** A daemon on this machine, by its unix socket. */
import { createConnection } from "node:net";
import type { Transport } from "./ports.ts";
import { streamWire, whenReady } from "./transport-node.ts";

export const SYSTEM_SOCKET = "/run/libvirt/libvirt-sock";

/** Default: the system's libvirtd. A path must stay below 108 bytes (the kernel's limit). */
export function unixTransport(path: string = SYSTEM_SOCKET): Transport {
  return {
    description: `unix:${path}`,
    open: async (signal) => {
      const socket = createConnection({ path });
      await whenReady(socket, "connect", signal);
      return streamWire(socket);
    },
  };
}
