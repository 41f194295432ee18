/**
 * The pulse of a host: a process of its own beside the agent that says "this host lives" by two other ways than the agent's: small requests
 * to the server, and a file in each shared pool that other hosts can see. So a hung agent, or a management network that is cut, is told
 * from a host that is off. Started by `apps/agent`; it must never depend on what the agent does but for the words it is handed.
 */
import { deadline, type Clock, type Logger, sleep } from "@sheaf/base";
import type { PulseMessage } from "@sheaf/contract";
import type { Files } from "./ports.ts";

export interface PulsePorts {
  readonly clock: Clock;
  readonly logger: Logger;
  readonly files: Pick<Files, "readText" | "writeAtomic" | "makeDirectory" | "facts">;
  /** One small request to the server. Rejects when it does not come through. */
  readonly tell: (message: PulseMessage, signal: AbortSignal) => Promise<void>;
}

export interface PulseOptions {
  readonly dataDirectory: string;
  readonly hostId: string;
  readonly bootId: string;
}

export interface Pulse {
  /** The agent has said that it works. */
  agentLives(): void;
  /** Resolves when what was under way has ended. */
  stop(): Promise<void>;
}

export const pulseEveryMs = 1000;
/** A request or a write that takes longer is given up; the next one is another. */
const limitMs = 5000;

/** Where the agent says which shared pools there are: one path a line. */
export const pulsePoolsFile = (dataDirectory: string): string => `${dataDirectory}/pulse-pools`;
export const pulseFile = (poolPath: string, hostId: string): string => `${poolPath}/pulse/${hostId}`;

export function startPulse(ports: PulsePorts, options: PulseOptions): Pulse {
  const { clock, logger, files } = ports;
  const ending = new AbortController();
  let agentHeardAt = clock.monotonic();
  let sequence = 0;

  const message = (): PulseMessage => ({
    bootId: options.bootId,
    sequence: (sequence += 1),
    agentSilentMs: Math.round(clock.monotonic() - agentHeardAt),
  });

  /** Each way has its own loop: storage that hangs does not hold up the network, nor the other way round. */
  async function beat(what: string, once: (signal: AbortSignal) => Promise<void>): Promise<void> {
    let failing = false;
    while (!ending.signal.aborted) {
      const limit = deadline(clock, limitMs, () => new Error(`no end within ${limitMs} ms`), ending.signal);
      try {
        await once(limit.signal);
        if (failing) logger.info({ way: what }, "the pulse gets through again");
        failing = false;
      } catch (error) {
        if (!failing && !ending.signal.aborted) logger.warn({ way: what, reason: String(error) }, "the pulse does not get through this way");
        failing = true;
      } finally {
        limit.done();
      }
      await sleep(clock, pulseEveryMs, ending.signal).catch(() => {});
    }
  }

  async function writeToPools(signal: AbortSignal): Promise<void> {
    const paths = ((await files.readText(pulsePoolsFile(options.dataDirectory))) ?? "").split("\n").filter(Boolean);
    const text = `${JSON.stringify({ ...message(), at: clock.now() })}\n`;
    await Promise.all(paths.map((path) => aborted(signal, writeTo(path, text))));
  }

  async function writeTo(path: string, text: string): Promise<void> {
    // What is not mounted must not be made on the host's own disk.
    if (!(await files.facts(path))) return;
    await files.makeDirectory(`${path}/pulse`, 0o755);
    await files.writeAtomic(pulseFile(path, options.hostId), text, { mode: 0o644 });
  }

  const loops = [beat("server", (signal) => aborted(signal, ports.tell(message(), signal))), beat("storage", writeToPools)];
  return {
    agentLives: () => (agentHeardAt = clock.monotonic()),
    async stop() {
      ending.abort(new Error("the pulse ends"));
      await Promise.all(loops);
    },
  };
}

/** Work that hangs is left behind. */
function aborted<T>(signal: AbortSignal, work: Promise<T>): Promise<T> {
  return new Promise((resolve, reject) => {
    const onAbort = (): void => reject(signal.reason);
    if (signal.aborted) onAbort();
    else signal.addEventListener("abort", onAbort, { once: true });
    work.then(resolve, reject).finally(() => signal.removeEventListener("abort", onAbort));
  });
}
