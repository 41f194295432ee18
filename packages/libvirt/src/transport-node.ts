/** The real clock, and Node's byte streams as wires. One of the few places that touch Node's I/O; all others are `transport-*.ts`. */
import type { Duplex } from "node:stream";
import type { Timers, Wire, WireHandlers } from "./ports.ts";

export const nodeTimers: Timers = {
  monotonic: () => performance.now(),
  setTimer: (delayMs, run) => {
    const timer = setTimeout(run, delayMs);
    return { cancel: () => clearTimeout(timer) };
  },
};

/** An open stream as a wire. The stream belongs to the wire from now on. */
export function streamWire(stream: Duplex): Wire {
  let failure: Error | undefined;
  // From the first moment on: an error without a listener would end the process.
  stream.on("error", (error: Error) => {
    failure ??= error;
  });
  return {
    attach: (handlers: WireHandlers) => {
      let over = false;
      const closed = () => {
        if (over) return;
        over = true;
        // Later, so that a handler never runs inside a call to the wire.
        queueMicrotask(() => handlers.closed(failure));
      };
      stream.on("drain", () => handlers.drain());
      stream.on("close", closed);
      stream.on("end", () => {
        failure ??= new Error("the other side ended the connection");
        stream.destroy();
      });
      stream.on("data", (chunk: Uint8Array) => over || handlers.data(chunk));
      stream.resume();
      if (stream.destroyed) closed();
    },
    write: (bytes) => stream.destroyed || stream.write(bytes),
    pause: () => void stream.pause(),
    resume: () => void stream.resume(),
    destroy: () => void stream.destroy(),
  };
}

/** Waits for `ready`; the stream is destroyed and its error passed on when it fails or `signal` fires first. */
export function whenReady(stream: Duplex, ready: string, signal: AbortSignal): Promise<void> {
  return new Promise((resolve, reject) => {
    const finish = (settle: () => void) => {
      stream.off(ready, onReady);
      stream.off("error", onError);
      stream.off("close", onClose);
      signal.removeEventListener("abort", onAbort);
      settle();
    };
    const onReady = () => finish(resolve);
    const onError = (error: Error) => finish(() => reject(error));
    const onClose = () => finish(() => reject(new Error("the other side closed the connection at once")));
    const onAbort = () => {
      // Its own error must not go unheard when it is broken off here.
      stream.on("error", () => undefined);
      stream.destroy();
      finish(() => reject(signal.reason));
    };
    stream.on(ready, onReady);
    stream.on("error", onError);
    stream.on("close", onClose);
    if (signal.aborted) onAbort();
    else signal.addEventListener("abort", onAbort, { once: true });
  });
}
