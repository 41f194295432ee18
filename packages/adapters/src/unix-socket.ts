/** Bytes to and from a unix socket of this host (a guest's VNC): the real side of the agent's `LocalSockets`. */
import { connect } from "node:net";

export interface SocketBytes {
  /** @returns `undefined` at the end */
  read(): Promise<Uint8Array | undefined>;
  /** Resolves when the other side has room for more. */
  write(bytes: Uint8Array): Promise<void>;
  close(): void;
}

/** @throws what the operating system says: ENOENT, ECONNREFUSED */
export async function connectUnixSocket(path: string, signal: AbortSignal): Promise<SocketBytes> {
  signal.throwIfAborted();
  const socket = connect({ path, signal });
  await new Promise<void>((resolve, reject) => {
    socket.once("connect", resolve);
    socket.once("error", reject);
  });
  socket.on("error", () => {}); // reading ends by it; an `error` event without a listener would end the process
  const chunks = socket[Symbol.asyncIterator]();
  return {
    async read() {
      try {
        const next = await chunks.next();
        // Without an encoding a socket yields buffers.
        return next.done ? undefined : (next.value as Uint8Array);
      } catch {
        return undefined;
      }
    },
    write: (bytes) => new Promise((resolve, reject) => socket.write(bytes, (error) => (error ? reject(error) : resolve()))),
    close: () => void socket.destroy(),
  };
}
